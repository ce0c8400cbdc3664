"""Configs for hydra-optuna-sweeper are read as what they mean there, or refused by the line."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler

from energyopt.config.instantiate import make_sampler
from energyopt.errors import ConfigError
from energyopt.sweep.moved_configs import check_typed_sampler, moved_sampler, params_of, storage_of
from energyopt.sweep.space_parser import parse_space
from tests.composing import config_loader

TPE = "optuna.samplers.TPESampler"
GRID = {"_target_": "grid"}


class DistributionType(Enum):
    float = 2


@pytest.mark.parametrize(
    ("node", "today"),
    [
        ("sampler of our own app", "sampler of our own app"),
        (None, None),
        ({"_target_": TPE, "seed": 1}, {"_target_": TPE, "seed": 1}),
        (
            {"_target_": "optuna.samplers.MOTPESampler", "n_ehvi_candidates": 5},
            {"_target_": TPE, "n_ei_candidates": 5},
        ),
        (
            {"_target_": "hydra_plugins.hydra_optuna_sweeper.config.raise_motpe_removed"},
            {"_target_": TPE},
        ),
        ({"_target_": "optuna.samplers.GridSampler", "_partial_": True}, GRID),
        ({"_target_": "grid", "seed": 123}, GRID),
    ],
    ids=str,
)
def test_samplers_have_the_names_of_today(node: Any, today: Any) -> None:
    assert moved_sampler(node, "sampler") == today


# All keys of hydra-optuna-sweeper's samplers, versions 1.1 to 1.3, at its defaults.
PRIOR = {"consider_prior": True, "prior_weight": 1.0, "consider_magic_clip": True}
OLD_SAMPLERS: dict[str, dict[str, Any]] = {
    "TPESampler": {
        **PRIOR,
        "consider_endpoints": False,
        "n_startup_trials": 10,
        "n_ei_candidates": 24,
        "multivariate": False,
        "warn_independent_sampling": True,
    },
    "RandomSampler": {},
    "CmaEsSampler": {
        "x0": None,
        "sigma0": None,
        "independent_sampler": None,
        "warn_independent_sampling": True,
        "consider_pruned_trials": False,
        "restart_strategy": None,
        "inc_popsize": 2,
        "use_separable_cma": False,
        "source_trials": None,
    },
    "NSGAIISampler": {
        "population_size": 50,
        "mutation_prob": None,
        "crossover_prob": 0.9,
        "swapping_prob": 0.5,
        "constraints_func": None,
    },
    "MOTPESampler": {
        **PRIOR,
        "consider_endpoints": False,
        "n_startup_trials": 10,
        "n_ehvi_candidates": 24,
    },
}


@pytest.mark.filterwarnings("ignore")  # of Optuna, on options that it will remove
@pytest.mark.parametrize("name", OLD_SAMPLERS)
def test_all_keys_of_the_old_samplers_are_taken(name: str) -> None:
    node = {"_target_": f"optuna.samplers.{name}", "seed": 1, **OLD_SAMPLERS[name]}
    sampler = make_sampler(moved_sampler(node, "sampler"), {}, OmegaConf.create())
    assert isinstance(sampler, BaseSampler)


def test_a_short_name_of_another_app_is_one_of_its_options() -> None:
    node = {"_target_": "optuna.samplers.CmaEsSampler", "seed": None}
    assert moved_sampler("cmaes", "hydra.sweeper.sampler") == node
    assert moved_sampler("cmaes", "sampler") == "cmaes"  # has one objective, our own app two
    assert moved_sampler("grid", "hydra.sweeper.sampler") == GRID
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.sampler=cmase is not known; did you"):
        moved_sampler("cmase", "hydra.sweeper.sampler")


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ([], TPE),
        (["hydra/sweeper/sampler=tpe"], TPE),
        (["hydra/sweeper/sampler=motpe"], TPE),
        (["hydra/sweeper/sampler=grid"], "grid"),
        (["hydra/sweeper/sampler=mine"], "my.Sampler"),
        (["hydra/sweeper/sampler=random", f"hydra.sweeper.sampler._target_={TPE}"], TPE),
    ],
    ids=str,
)
def test_the_sampler_that_was_typed_is_used(words: list[str], target: str) -> None:
    config = OmegaConf.create({"hydra": {"overrides": {"hydra": words}}})
    check_typed_sampler(config, {"_target_": target})


def test_a_config_that_replaces_the_typed_sampler_is_named() -> None:
    words = ["hydra/sweeper/sampler=cmaes", "hydra.sweeper.sampler.seed=1"]
    config = OmegaConf.create({"hydra": {"overrides": {"hydra": words}}})
    with pytest.raises(ConfigError, match=r"a config sets hydra\.sweeper\.sampler\._target_=.*TPE"):
        check_typed_sampler(config, {"_target_": TPE})


def test_a_grid_has_no_options() -> None:
    with pytest.raises(ConfigError, match=r"^sampler\.n_trials: a grid has no such option"):
        moved_sampler({"_target_": "grid", "n_trials": 3}, "sampler")


def test_a_sampler_of_the_other_plugin_names_the_word_to_change() -> None:
    with pytest.raises(ConfigError, match=r"write `override hydra/sweeper: energyopt`"):
        moved_sampler(RandomSampler(), "hydra.sweeper.sampler")


@pytest.mark.parametrize(
    ("axis", "distribution"),
    [
        ({"type": "float", "low": 0, "high": 1}, FloatDistribution(0, 1)),
        (
            {"type": "float", "low": -5.5, "high": 5.5, "step": 0.5},
            FloatDistribution(-5.5, 5.5, step=0.5),
        ),
        ({"type": "float", "low": 0, "high": 1, "step": 0.3}, FloatDistribution(0, 0.9, step=0.3)),
        (
            {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
            FloatDistribution(1e-5, 0.1, log=True),
        ),
        ({"type": "int", "low": 1, "high": 9}, IntDistribution(1, 9)),
        (
            {"type": "int", "low": 1, "high": 9, "step": 1, "log": True},
            IntDistribution(1, 9, log=True),
        ),
        (
            {"type": "int", "low": 1, "high": 9, "step": 4, "log": None},
            IntDistribution(1, 9, step=4),
        ),
        ({"type": "int", "low": 1.0, "high": 10, "step": 4}, IntDistribution(1, 9, step=4)),
        ({"type": DistributionType.float, "low": 0, "high": 1}, FloatDistribution(0, 1)),
        (
            {"type": "categorical", "choices": ["a b", 1, False, None, "c,d"]},
            CategoricalDistribution(["a b", 1, False, None, "c,d"]),
        ),
        ("tag(log, interval(1, 8))", FloatDistribution(1, 8, log=True)),
    ],
    ids=str,
)
def test_an_axis_of_the_older_search_space_is_the_same_distribution(
    axis: Any, distribution: Any
) -> None:
    (text,) = params_of({"lr": axis}).values()
    (dimension,) = parse_space([f"lr={text}"], config_loader()).dimensions
    assert dimension.distribution == distribution


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        ({"type": "float", "lo": 0}, r"\.lo: there is no such key; did you mean .*\.x\.low\?"),
        ({"low": 0, "high": 1}, r"\.type=None: choose float, int, categorical"),
        ({"type": "floats"}, r"\.type=floats: choose float, int, categorical"),
        ({"type": "float", "low": 0}, " needs high: a number"),
        ({"type": "int", "low": 0.5, "high": 1}, r"\.low=0.5: a whole number is needed"),
        ({"type": "float", "low": "a", "high": 1}, r"\.low=a: a number is needed"),
        ({"type": "float", "low": 1, "high": 2, "step": 1, "log": True}, " has both log and step"),
        ({"type": "int", "low": 1, "high": 2, "step": -1}, ": low=1, high=2, step=-1 leaves noth"),
        ({"type": "categorical"}, r"\.choices=None: a list of choices is needed"),
        ({"type": "categorical", "choices": []}, r"\.choices=\[\]: a list of choices is needed"),
        (3, r"=3: \{type: float, low: 0, high: 1\} or the like is needed"),
    ],
    ids=str,
)
def test_an_axis_that_cannot_be_taken_is_refused_by_its_line(axis: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^hydra\.sweeper\.search_space\.x{says}"):
        params_of({"x": axis})


RDB = "optuna.storages.RDBStorage"


@pytest.mark.parametrize(
    ("storage", "location"),
    [
        (None, None),
        ("sqlite:///a.db", "sqlite:///a.db"),
        (Path("a.db"), "a.db"),
        ({"_target_": RDB, "url": "sqlite:///a.db"}, "sqlite:///a.db"),
        (
            {"_target_": RDB, "url": "sqlite:///a.db", "engine_kwargs": None, "grace_period": None},
            "sqlite:///a.db",
        ),
        ({"_target_": "optuna.storages.InMemoryStorage"}, None),
    ],
    ids=str,
)
def test_storages_are_files_or_urls(storage: Any, location: str | None) -> None:
    assert storage_of(storage, "storage") == location


@pytest.mark.parametrize("storage", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_a_file_of_the_sweep(storage: str) -> None:
    assert storage_of(storage, "hydra.sweeper.storage") is None
    assert storage_of(storage, "storage") == storage


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        (
            {"_target_": "optuna.storages.JournalStorage", "log_storage": {}},
            "._target_=optuna.stor",
        ),
        ({"url": "sqlite:///a.db"}, "._target_=None is not supported"),
        ({"_target_": RDB}, ".url=None: the URL of a database is needed"),
        ({"_target_": RDB, "url": "a.db", "heartbeat_interval": 60}, ".heartbeat_interval: "),
        (["a.db"], "=['a.db']: studies are kept in SQLite files and in PostgreSQL"),
        ("", "='': studies are kept in SQLite files and in PostgreSQL"),
        ("{_target_: optuna.storages.RDBStorage}", "='{_target_: "),
        (True, "=True: "),
    ],
    ids=str,
)
def test_other_storages_are_refused_by_name(storage: Any, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        storage_of(storage, "hydra.sweeper.storage")
    assert str(refused.value).startswith(f"hydra.sweeper.storage{says}")
