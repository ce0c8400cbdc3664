"""Each named pruner is one of Optuna's, with options that its class has."""

from __future__ import annotations

import inspect
from typing import Any

import optuna
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from energyopt.search.pruner_names import PRUNERS, pruner_name


def test_all_pruners_of_optuna_have_a_name() -> None:
    classes = {name for name in optuna.pruners.__all__ if name != "BasePruner"}
    assert {node["_target_"].rpartition(".")[2] for node in PRUNERS.values()} == classes


@pytest.mark.parametrize("name", PRUNERS)
def test_the_defaults_are_those_of_the_class(name: str) -> None:
    options: dict[str, Any] = {k: v for k, v in PRUNERS[name].items() if k != "_target_"}
    target = PRUNERS[name]["_target_"]
    parameters = inspect.signature(getattr(optuna.pruners, target.rpartition(".")[2])).parameters
    assert set(options) == set(parameters)
    for key, parameter in parameters.items():
        if parameter.default is not parameter.empty:
            assert options[key] == parameter.default
    assert pruner_name(PRUNERS[name]) == pruner_name(name) == name


def test_a_pruner_of_ones_own_is_called_by_its_class() -> None:
    assert pruner_name({"_target_": "my_code.Impatient", "after": 3}) == "Impatient"


def test_hydra_offers_and_completes_each_of_them() -> None:
    Plugins.instance()  # imports all plugins
    offered = ConfigStore.instance().list("hydra/sweeper/pruner")
    assert sorted(offered) == sorted(f"{name}.yaml" for name in (*PRUNERS, "none"))
