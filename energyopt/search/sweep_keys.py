"""The keys of `hydra.sweeper`: the one place where each is declared.

A declaration holds type, default, allowed values and, for a root key of our own app, its meaning
for a study. The checks of root keys, the list of keys that may be swept, the identity of a study,
the defaults of the Hydra plugin and the reference are derived from it. The plugin imports it at
every start of every Hydra app, so it uses the standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any

from energyopt.core.key_rule import COUNT, YES_OR_NO, KeyRule, above_zero, at_least

_DECLARED = "declared"
OWN, COMMAND = "energyopt", "command"
"""Values of `app`: our own app, and commands of users."""


@dataclass(frozen=True, slots=True)
class SweepKey:
    """Declaration of a key, in addition to its type and default.

    Attributes:
        name: Name of the field, that is of `hydra.sweeper.NAME`.
        root: The root key of our own app that sets it, for the whole study; None where there is
            none.
        rule: Its allowed values; None where its user checks it.
        is_identifying: Whether a study with another value is a different study.
        needs_joules: Whether it has no meaning where trials report no energy, as in other apps.
    """

    name: str
    root: str | None = None
    rule: KeyRule | None = None
    is_identifying: bool = False
    needs_joules: bool = False


def _root(
    default: Any,
    rule: KeyRule | None = None,
    *,
    name: str | None = None,
    is_identifying: bool = False,
    needs_joules: bool = False,
) -> Any:
    """Declare a key that a root key of our own app sets, by default one of the same name."""
    declaration = {
        "root": name,
        "rule": rule,
        "is_identifying": is_identifying,
        "needs_joules": needs_joules,
    }
    return field(default=default, metadata={_DECLARED: declaration})


_JOULES, _SECONDS, _TRAININGS = (
    above_zero(f"a number of {unit}") for unit in ("joules", "seconds", "trainings")
)


@dataclass(frozen=True, slots=True)
class SweepKeys:
    """The configuration of a sweep.

    Attributes:
        app: `OWN` in our own app, `COMMAND` for a command; None in any other Hydra app.
        sampler: A short name, or a node with a `_target_`.
        pruner: A short name, or a node with a `_target_`, for jobs that report: the study has one
            objective then, what a job returns or else the best that it reported; None prunes none.
        direction: "minimize" or "maximize", or a list of them, one for each objective; None is
            that of the metric which the jobs report, or else "minimize".
        metric_names: Names of the objectives; None numbers them.
        monitor: Name of the metric that the jobs of another app report with `energyopt.Run`; with
            `mode`, `target` and `epochs` None, the run of the default configuration declares it.
        mode: "max" if more of it is better, "min" if less is.
        target: Value of it to reach.
        epochs: Most epochs that a job trains.
        hardware: What meters the jobs of another app: an option of the group `hardware`, or its
            keys.
        stopping: Options of the group `stopping`, one or several, for jobs that report; None for
            what goes with the sampler.
        storage: A file, a SQLAlchemy URL, or a node of Optuna's RDBStorage.
        study_name: The study's name; None generates one.
        n_trials: Total number of trials of the study.
        n_jobs: Number of parallel trials.
        max_failures: Number of failed trials that ends the run; None for no limit.
        max_failure_rate: Share of n_trials that may fail, instead of the default number of
            `max_failures`; None for any.
        heartbeat_s: Interval of heartbeats, in s; after ten missed ones other hosts consider a
            run crashed.
        storage_wait_s: How long to retry a storage that does not answer, in s.
        search_budget_j: Energy of all trials after which none begins, in J; None for any.
        search_budget_s: Time of all runs after which no trial begins, in s; None for any.
        planned_trainings: Number of planned trainings with the result; None does not require a
            trial to save its cost.
        reuse: Deprecated name of `planned_trainings`.
        dry_run: Whether to train only one epoch of the default configuration, and to print what
            the search would cost.
        params: Sweeps of the config, by key; the command line has precedence.
        search_space: The same in the form of hydra-optuna-sweeper 1.1: `{type: float, low: 0,
            high: 1}` by key.
        custom_search_space: A function of (config, trial) that suggests more, or its path.
    """

    app: str | None = None
    sampler: Any = _root("tpe", is_identifying=True)  # noqa: RUF009  # returns a field
    pruner: Any = None
    direction: Any = None
    metric_names: Sequence[str] | None = None
    monitor: str | None = None
    mode: str | None = None
    target: float | None = None
    epochs: float | None = None
    hardware: Any = "auto"
    stopping: Any = None
    storage: Any = _root(None)  # noqa: RUF009
    study_name: str | None = _root(None, name="study")
    n_trials: int = _root(20, COUNT)
    n_jobs: int = _root(1, COUNT)
    max_failures: int | None = _root(5, COUNT.or_null())
    max_failure_rate: float | None = None
    heartbeat_s: float = _root(60, _SECONDS)
    storage_wait_s: float = _root(300, at_least(0, "a number of seconds"))
    search_budget_j: float | None = _root(None, _JOULES.or_null(), needs_joules=True)
    search_budget_s: float | None = _root(None, _SECONDS.or_null())
    planned_trainings: float | None = _root(None, _TRAININGS.or_null(), needs_joules=True)
    reuse: float | None = _root(None, _TRAININGS.or_null(), needs_joules=True)
    dry_run: bool = _root(False, YES_OR_NO)
    params: Mapping[str, Any] | None = None
    search_space: Mapping[str, Any] | None = None
    custom_search_space: Any = None


def _declared() -> Iterator[SweepKey]:
    for key in fields(SweepKeys):
        declaration = dict(key.metadata.get(_DECLARED, {}))
        root = declaration.pop("root") or key.name if declaration else None
        yield SweepKey(key.name, root, **declaration)


DECLARED: tuple[SweepKey, ...] = tuple(_declared())
"""All keys, in their order."""

ROOT_KEYS: Mapping[str, SweepKey] = {key.root: key for key in DECLARED if key.root is not None}
"""Keys that a root key of our own app sets, by its name."""


_DEFAULTS = ("_self_", {"sampler": "tpe"}, {"pruner": "none"})
"""Hydra's defaults list of `hydra/sweeper=energyopt`."""


def sweeper_schema(name: str, module: str, target: str) -> type:
    """Return the keys of `hydra.sweeper` as a dataclass for Hydra's ConfigStore.

    Its fields hold anything: the sweeper checks values, in sentences that name the key.

    Args:
        name: Name of the dataclass.
        module: The module that it is a name of, for pickles of a config.
        target: Path of the sweeper's class.
    """
    hydras: list[Any] = [
        ("_target_", str, target),
        ("_recursive_", bool, False),
        ("defaults", list[Any], field(default_factory=lambda: list(_DEFAULTS))),
    ]
    keys = [(key.name, Any, key.default) for key in fields(SweepKeys)]
    return make_dataclass(name, [*hydras, *keys], namespace={"__module__": module})
