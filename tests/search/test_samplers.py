"""Samplers by short name or `_target_`, seeded so that a resumed study repeats nothing."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf

from energyopt.config.instantiate import make_sampler
from energyopt.errors import ConfigError
from energyopt.search.quiet import quiet_optuna
from energyopt.search.sampler_names import SAMPLERS
from energyopt.search.samplers import continued_seed, sampler_node

NOTHING = OmegaConf.create({})


def make(spec: object, seed: int | None = 0) -> optuna.samplers.BaseSampler:
    with quiet_optuna():
        sampler = make_sampler(sampler_node(spec), {"seed": seed}, NOTHING)
    assert isinstance(sampler, optuna.samplers.BaseSampler)
    return sampler


def first(sampler: optuna.samplers.BaseSampler) -> list[float]:
    with quiet_optuna():
        study = optuna.create_study(sampler=sampler, directions=["minimize", "maximize"])
        trials = [study.ask() for _ in range(3)]
        return [trial.suggest_float("x", 0, 1) for trial in trials]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        *((short, target.rpartition(".")[2]) for short, target in SAMPLERS.items()),
        ("nsgaii", "NSGAIISampler"),
        ("nsgaiii", "NSGAIIISampler"),
        ("motpe", "TPESampler"),
        ({"_target_": "grid"}, "RandomSampler"),
        ({"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 5}, "TPESampler"),
        ({"_target_": "optuna.samplers.BruteForceSampler"}, "BruteForceSampler"),
    ],
    ids=str,
)
def test_a_sampler_by_any_of_its_names(spec, name):
    assert type(make(spec)).__name__ == name


@pytest.mark.parametrize("spec", ["tep", "", "TPE", None, 3, {}, {"_target_": None}, ["tpe"]])
def test_an_unknown_sampler_is_refused_with_the_known_ones(spec):
    with pytest.raises(ConfigError) as caught:
        sampler_node(spec)
    message = str(caught.value)
    assert message.startswith(f"sampler={spec} is not known; choose joule, tpe, nsga2, ")
    assert all(name in message for name in SAMPLERS)
    assert "_target_" in message


@pytest.mark.parametrize("spec", ["tpe", "random", "nsga2", "nsga3", "qmc"])
def test_a_seed_decides_what_is_suggested(spec):
    assert first(make(spec, 1)) == first(make(spec, 1))
    if spec != "qmc":  # begins with the same points
        assert first(make(spec, 1)) != first(make(spec, 2))


def test_a_seed_is_given_only_where_it_can_be():
    make({"_target_": "optuna.samplers.PartialFixedSampler", "fixed_params": {}} | {
        "base_sampler": {"_target_": "optuna.samplers.RandomSampler"}
    })  # fmt: skip
    assert first(make("random", None)) != first(make("random", None))


def test_the_studys_seed_replaces_the_samplers_own_so_that_a_resumed_one_goes_on():
    own = {"_target_": "optuna.samplers.RandomSampler", "seed": 5}
    assert first(make(own, None)) == first(make(own, None))
    assert first(make(own, 6)) == first(make("random", 6))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "optuna.samplers.NoSampler"}, "optuna.samplers has no 'NoSampler'"),
        (
            {"_target_": "optuna.samplers.TPESampler", "startup": 5},
            r"sampler\.startup: TPESampler has no such option; did",
        ),
        (
            {"_target_": "optuna.samplers.NSGAIISampler", "population_size": 1},
            "cannot be built: .*population_size",
        ),
        ({"_target_": "subprocess.run", "args": "true"}, r"trusted_targets=\[subprocess\]"),
        ({"_target_": "optuna.create_study"}, r"trusted_targets=\[optuna\]"),
        ({"_target_": "builtins.dict"}, r"trusted_targets=\[builtins\]"),
    ],
    ids=str,
)
def test_a_sampler_that_cannot_be_made_says_why(node, message):
    with pytest.raises(ConfigError, match=message):
        make(node)


def test_code_inside_a_samplers_options_needs_trust_too(tmp_path: Path):
    marker = tmp_path / "ran"
    inner = {"_target_": "subprocess.run", "args": ["touch", str(marker)]}
    with pytest.raises(ConfigError, match=r"trusted_targets=\[subprocess\]"):
        make({"_target_": "optuna.samplers.TPESampler", "gamma": inner})
    with pytest.raises(ConfigError, match=r"trusted_targets=\[subprocess\]"):
        make({"_target_": "optuna.samplers.TPESampler", "gamma": [inner]})
    assert not marker.exists()


def test_a_continued_study_gets_other_seeds_that_are_the_same_each_time():
    assert continued_seed(7, 0) == 7
    assert continued_seed(None, 12) is None
    seeds = [continued_seed(seed, existing) for seed in (0, 7) for existing in range(1, 20)]
    assert seeds == [continued_seed(seed, existing) for seed in (0, 7) for existing in range(1, 20)]
    assert len({0, 7, *seeds}) == 2 + len(seeds)
    assert all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)


def test_the_largest_seed_of_a_study_can_be_continued():
    assert isinstance(continued_seed(2**63 - 1, 3), int)
