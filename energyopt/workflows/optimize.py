"""Search the hyperparameters of a function, from Python.

The function becomes the task of a Hydra app that has nothing else: its config holds the default
of each searched key. So the study is one as any other, by the same sweeper, coordinator and
launcher, but for the launcher's start method: a notebook has threads, and is never forked.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from energyopt.core.metric import Mode, Monitor
from energyopt.errors import ConfigError
from energyopt.storage import DEFAULT_STORAGE
from energyopt.storage.identity import check_name
from energyopt.utils.paths import STORAGE_VARIABLE
from energyopt.utils.text import did_you_mean
from energyopt.workflows.function_task import FunctionTask, Train, digest_of, name_of
from energyopt.workflows.load_study import LoadedStudy, load_study

_CONFIG = "its_default"
_CODE = "function_code"
_TAKEN = ("hydra", _CODE)
_HYDRA = (
    *("hydra/sweeper=energyopt", "hydra/launcher=energyopt", "hydra.output_subdir=null"),
    *("hydra.launcher.start_method=spawn", "hydra.launcher.output=file", "hydra.job.chdir=false"),
    *("hydra/job_logging=none", "hydra/hydra_logging=none"),
)


def optimize(
    train: Train,
    space: Mapping[str, BaseDistribution],
    *,
    monitor: str,
    mode: Mode,
    target: float,
    n_trials: int = 20,
    epochs: float | None = None,
    default: Mapping[str, Any] | None = None,
    storage: str | os.PathLike[str] | None = None,
    study_name: str | None = None,
    **options: Any,
) -> LoadedStudy:
    """Search the configuration with which a function reaches a target with the least energy.

    Each trial calls the function in a process of its own, with an open `Run` whose `params` are
    the values to train with. It calls `begin` and reports, and may be paused and resumed.

    Args:
        train: A function of a run.
        space: The distribution of each searched value, as Optuna has them.
        monitor: Name of the metric that it reports.
        mode: "max" if more of it is better, "min" if less is.
        target: Value of it to reach.
        n_trials: Total number of trials of the study.
        epochs: Maximum number of epochs; None for what the function declares.
        default: Your own values: the first trial, with which savings are compared. What it lacks
            is the middle of the space.
        storage: A file or a SQLAlchemy URL. If None, the value of ENERGYOPT_STORAGE, else
            studies/energyopt.db.
        study_name: The name of a study to create or continue; None makes one of the question, so
            that the same call continues the same study.
        **options: Other keys of `hydra.sweeper`, such as `n_jobs`, `hardware`, `stopping`,
            `sampler`, `search_budget_j`.

    Returns:
        The study.

    Raises:
        EnergyoptError: If an argument is not allowed, or no trial completed.
        KeyboardInterrupt: On Ctrl-C; the same call continues the study.
    """
    if not isinstance(monitor, str) or not monitor:
        raise ConfigError(f"monitor={monitor!r}: the name of the metric that is reported is needed")
    goal = {"monitor": monitor, "mode": mode, "target": target, "epochs": epochs}
    Monitor(monitor, mode)  # checks the mode
    task = FunctionTask.of(train, goal)
    axes = {key: _axis(key, axis) for key, axis in _checked(space).items()}
    defaults = _defaults(space, default or {})
    config = {**defaults, _CODE: digest_of(train)}
    name = study_name or _name(train, [goal, axes, config])
    check_name(name)
    location = os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE) if storage is None else storage
    keys = {
        "sampler": "joule",
        **options,
        **goal,
        "n_trials": n_trials,
        "study_name": name,
        "storage": os.fspath(location),
        "search_space": axes,
    }
    _search(task, config, keys, Path("studies") / name)
    return load_study(name, storage=location)


def _search(
    task: FunctionTask, config: Mapping[str, Any], keys: Mapping[str, Any], folder: Path
) -> None:
    """Run a study whose jobs have a config of its own.

    Args:
        task: What they call.
        config: The default of each searched key, and what else the study shares.
        keys: The keys of `hydra.sweeper`.
        folder: Folder of their folders.
    """
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from hydra.core.utils import JobRuntime, setup_globals
    from hydra.types import HydraContext, RunMode
    from hydra_plugins.energyopt_sweeper import EnergyoptSweeper

    from energyopt.config.overrides import override_for

    with _own_hydra():
        setup_globals()
        Plugins.instance()  # they store their options
        JobRuntime().set("name", keys["study_name"])
        ConfigStore.instance().store(name=_CONFIG, node=dict(config))
        loader = ConfigLoaderImpl(config_search_path=create_config_search_path(None))
        words = [*_HYDRA, override_for("hydra.sweep.dir", str(folder))]
        composed = loader.load_configuration(_CONFIG, words, RunMode.MULTIRUN)
        sweeper = EnergyoptSweeper(**keys)
        context = HydraContext(config_loader=loader, callbacks=Callbacks(composed))
        sweeper.setup(hydra_context=context, task_function=task, config=composed)
        try:
            sweeper.search([])
        except SystemExit as end:  # of an interrupt, whose energy is stored
            raise KeyboardInterrupt from end


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Leave Hydra's global objects as they were: the caller may be a Hydra app itself."""
    from hydra.core.singleton import Singleton

    instances = dict(Singleton._instances)  # noqa: SLF001  # `set_state` would find all plugins again
    try:
        yield
    finally:
        Singleton._instances = instances  # noqa: SLF001


def _checked(space: Mapping[str, BaseDistribution]) -> Mapping[str, BaseDistribution]:
    """Return a space whose keys can be searched.

    Raises:
        ConfigError: If one cannot, or there are none.
    """
    if not isinstance(space, Mapping) or not space:
        raise ConfigError(
            f"the space {space!r:.60} is empty; give a distribution for each searched value, such "
            'as {"lr": FloatDistribution(1e-4, 1e-1, log=True)}'
        )
    for key in space:
        if not isinstance(key, str) or not key.isidentifier() or key in _TAKEN:
            raise ConfigError(f"the key {key!r} cannot be searched; give it the name of a variable")
    return space


def _axis(key: str, axis: object) -> dict[str, Any]:
    """Return a distribution as an axis of `hydra.sweeper.search_space`.

    Raises:
        ConfigError: If it is none.
    """
    if isinstance(axis, CategoricalDistribution):
        for choice in axis.choices:
            if not (choice is None or isinstance(choice, str | int | float | bool)):
                raise ConfigError(
                    f"{key}: the choice {choice!r:.60} is no text, number, bool or None; give it a "
                    "name, and look that up in the function"
                )
        return {"type": "categorical", "choices": list(axis.choices)}
    if isinstance(axis, FloatDistribution | IntDistribution):
        kind = "float" if isinstance(axis, FloatDistribution) else "int"
        step = None if axis.log else axis.step
        return {"type": kind, "low": axis.low, "high": axis.high, "step": step, "log": axis.log}
    raise ConfigError(
        f"{key}={axis!r:.60} is no distribution; give a FloatDistribution, IntDistribution or "
        "CategoricalDistribution of optuna.distributions"
    )


def _defaults(space: Mapping[str, BaseDistribution], default: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default of each searched key.

    Raises:
        ConfigError: If there is one of another key.
    """
    for key in default:
        if key not in space:
            hint = did_you_mean(key, list(space))
            raise ConfigError(f"default has {key}, which is not searched; {hint}")
    return {key: _middle(axis) for key, axis in space.items()} | dict(default)


def _middle(axis: BaseDistribution) -> Any:
    """Return the middle of an axis; the first of choices."""
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[0]
    assert isinstance(axis, FloatDistribution | IntDistribution)  # noqa: S101  # for the type checker
    middle = math.sqrt(axis.low * axis.high) if axis.log else (axis.low + axis.high) / 2
    if isinstance(axis, IntDistribution):
        return axis.low + round((middle - axis.low) / axis.step) * axis.step
    if axis.step is None:
        return middle
    return axis.low + round((middle - axis.low) / axis.step) * axis.step


def _name(train: Train, question: Any) -> str:
    """Return a name for the study of a question: that of the function, and a digest."""
    text = json.dumps(question, sort_keys=True, default=str)
    return f"{name_of(train)}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
