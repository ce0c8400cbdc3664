"""The node that Hydra composes as `hydra.sweeper` from the schema that our plugin registers."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from energyopt.search.sweep_keys import DECLARED
from tests.composing import config_loader

OURS = "hydra_plugins.energyopt_sweeper.EnergyoptSweeper"
OLD = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
DEFAULTS = "defaults: [_self_, {override hydra/sweeper: energyopt}]\n"


def sweeper(folder: Path, text: str, *words: str) -> Any:
    """Return the node `hydra.sweeper` of a config, composed with some words."""
    (folder / "app.yaml").write_text(f"{DEFAULTS}{text}")
    loader = config_loader(folder)
    return loader.load_configuration("app", list(words), RunMode.MULTIRUN).hydra.sweeper


def test_the_schema_is_a_dataclass_with_all_keys_and_their_defaults(tmp_path: Path) -> None:
    node = sweeper(tmp_path, "x: 1\n")
    assert dataclasses.is_dataclass(OmegaConf.get_type(node))
    options = {str(key): node[key] for key in node if not str(key).startswith("_")}
    assert list(options) == [key.name for key in DECLARED]
    assert options["n_trials"] == 20
    assert options["sampler"] == {"_target_": "optuna.samplers.TPESampler", "seed": None}


@pytest.mark.parametrize(
    ("target", "taken"),
    [(OLD, OURS), (OURS, OURS), ("hydra_plugins.mine.MySweeper", "hydra_plugins.mine.MySweeper")],
)
def test_the_class_of_the_old_sweeper_stands_for_ours(
    tmp_path: Path, target: str, taken: str
) -> None:
    text = f"hydra: {{sweeper: {{_target_: {target}, n_trials: 3}}}}\n"
    node = sweeper(tmp_path, text)
    assert node._target_ == taken
    assert pickle.loads(pickle.dumps(copy.deepcopy(node)))._target_ == taken
    typed = sweeper(tmp_path, "x: 1\n", f"hydra.sweeper._target_={target}")
    assert typed._target_ == taken


def test_unknown_keys_come_to_the_sweeper_which_names_the_near_ones(tmp_path: Path) -> None:
    words = ["hydra.sweeper.n_trails=2", "hydra.sweeper.sampler.n_startup_trials=3"]
    node = sweeper(tmp_path, "hydra: {sweeper: {directions: maximize}}\n", *words)
    assert node.n_trails == 2
    assert node.directions == "maximize"
    assert node.sampler.n_startup_trials == 3


def test_another_sampler_by_its_class_gets_no_options_of_the_default_one(tmp_path: Path) -> None:
    sampler = {"_target_": "optuna.samplers.RandomSampler", "seed": 1}
    text = "hydra: {sweeper: {sampler: {_target_: optuna.samplers.RandomSampler, seed: 1}}}\n"
    assert sweeper(tmp_path, text).sampler == sampler
