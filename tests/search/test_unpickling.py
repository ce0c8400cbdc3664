"""No sampler runs a pickle of a database, wherever in another one it is hidden."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

import optuna
import pytest
from hydra.core.config_store import ConfigStore
from optuna.samplers import BaseSampler, CmaEsSampler, PartialFixedSampler, TPESampler

from energyopt.errors import ConfigError
from energyopt.search.budget import Budget
from energyopt.search.quiet import quiet_optuna
from energyopt.search.unpickling import check_unpickling, guard_unpickling

ROOT = Path(__file__).parents[2]
CMAES = {"_target_": "optuna.samplers.CmaEsSampler"}
FIXED = "optuna.samplers.PartialFixedSampler"


class Cmaes(CmaEsSampler):
    """A user's own."""

    def __init__(self) -> None:  # as one without the package cmaes
        pass


class Slotted:
    """Keeps what it holds where no `__dict__` shows it."""

    __slots__ = ("inner",)

    def __init__(self, inner: object) -> None:
        self.inner = inner


class Held:
    """Keeps it in an attribute."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def make(self) -> object:
        return self.inner


def closure(inner: object) -> object:
    return lambda: inner


def fixed(sampler: BaseSampler) -> BaseSampler:
    with quiet_optuna():
        return PartialFixedSampler({}, sampler)


NODES = [
    CMAES,
    {"_target_": FIXED, "fixed_params": {}, "base_sampler": CMAES},
    {"_target_": FIXED, "base_sampler": {"_target_": FIXED, "base_sampler": CMAES}},
    {"_target_": "mine.First", "samplers": [{"_target_": "mine.Second"}, CMAES | {"seed": 1}]},
    {"_target_": "mine.First", "make": CMAES | {"_partial_": True}},
    {"_target_": "mine.samplers.CmaEsSampler"},
]
OBJECTS = [
    Cmaes(),
    fixed(fixed(Cmaes())),
    Held([{"a": (Cmaes(),)}]),
    Held(Cmaes),
    Held(partial(Cmaes)),
    Held(partial(dict, sampler=Cmaes())),
    Slotted(Cmaes()),
    Held(Held(Cmaes()).make),
    Held(closure(Cmaes())),
]


@pytest.mark.parametrize(
    "sampler", [*NODES, *OBJECTS], ids=lambda x: str(x)[:60] if isinstance(x, dict) else "object"
)
def test_a_study_is_not_continued_by_a_sampler_that_unpickles(sampler):
    check_unpickling(sampler, 0)
    with pytest.raises(ConfigError, match="CmaEsSampler keeps its state in the database as a pick"):
        check_unpickling(sampler, 3)


def test_other_samplers_continue():
    harmless = Held([os])
    harmless.inner.append(harmless)  # a circle
    for sampler in (
        {"_target_": FIXED, "base_sampler": {"_target_": "optuna.samplers.TPESampler"}},
        fixed(TPESampler()),
        harmless,
    ):
        check_unpickling(sampler, 3)


def test_no_other_sampler_of_optuna_unpickles():
    folder = Path(optuna.samplers.__file__).parent
    unpickles = re.compile(r"\b(pickle|marshal|shelve|joblib|dill)\b|\b(eval|exec)\(")
    found = {file.name for file in folder.rglob("*.py") if unpickles.search(file.read_text())}
    assert found == {"_cmaes.py"}


# Stands for the package, where it is not installed: an optimizer that counts its generations.
_PACKAGE = """
    import numpy as np

    class CMA:
        population_size = 2

        def __init__(self, mean, **_):
            self.dim, self.generation, self._mean = len(mean), 0, mean
            self._rng = np.random.RandomState(0)

        def ask(self):
            return np.clip(self._mean + self._rng.normal(size=self.dim) / 9, 0, 1)

        def tell(self, solutions):
            self.generation += 1
            self._mean = min(solutions, key=lambda pair: pair[1])[0]

    class CMAwM: pass
    class SepCMA: pass
"""
_STUDY = """
    import os, sys
    import optuna
    from optuna.samplers import CmaEsSampler
    from energyopt.search.unpickling import guard_unpickling

    guard_unpickling()
    guard_unpickling()
    where, trials = sys.argv[1], int(sys.argv[2])
    sampler = CmaEsSampler(seed=0, n_startup_trials=1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=where, study_name="x", load_if_exists=True, sampler=sampler
    )
    before = len(study.trials)
    study.optimize(lambda t: sum((t.suggest_float(k, 0, 1) - 0.3) ** 2 for k in "xyz"), trials)
    print(max(t.system_attrs.get("cma:generation", 0) for t in study.trials[before:]))
"""


def test_only_what_this_process_stored_is_loaded(tmp_path):
    """Also in the middle of a study, and in an app whose studies continue with CMA-ES."""
    (tmp_path / "cmaes.py").write_text(dedent(_PACKAGE))
    where = f"sqlite:///{tmp_path}/a.db"

    def generations(trials: int) -> int:
        return int(
            subprocess.check_output(
                [sys.executable, "-c", dedent(_STUDY), where, str(trials)],
                env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
                text=True,
            )
        )

    assert generations(8) == 3  # what it stored itself is loaded
    marker = tmp_path / "marker"
    storage = optuna.storages.RDBStorage(where)
    study = optuna.load_study(study_name="x", storage=storage)
    for trial in study.trials:
        planted = pickle.dumps(_Touch(str(marker))).hex()
        _plant(storage, trial._trial_id, planted)
    storage.engine.dispose()
    assert generations(4) >= 3  # it learns from the values of the earlier ones
    assert not marker.exists()


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mknod, (self.path,)


def _plant(storage: optuna.storages.RDBStorage, trial_id: int, content: str) -> None:
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(
            "DELETE FROM trial_system_attributes WHERE trial_id=? AND key LIKE 'cma:optimizer%'",
            (trial_id,),
        )
        connection.exec_driver_sql(
            "INSERT INTO trial_system_attributes (trial_id, key, value_json) "
            "VALUES (?, 'cma:optimizer:0', ?)",
            (trial_id, f'"{content}"'),
        )


def test_a_guard_that_does_not_fit_is_said(monkeypatch):
    monkeypatch.setattr(optuna.samplers._cmaes, "pickle", None)
    with pytest.raises(ConfigError, match="this version of Optuna keeps the state of CmaEsSampler"):
        guard_unpickling()


def test_the_sweep_that_a_sampler_of_ours_asks_is_not_searched():
    sweep = Budget()  # of the program
    held = {"config": CMAES}
    check_unpickling(Held([sweep.over, held]), existing=0)
    with pytest.raises(ConfigError):
        check_unpickling(Held([sweep.over, held]), existing=1)
    config_store = ConfigStore.instance()
    check_unpickling(Held(lambda: config_store), existing=1)
