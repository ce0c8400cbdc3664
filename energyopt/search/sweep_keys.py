"""The keys of `hydra.sweeper`: the one place where each is declared.

A key's line says its type, its default, what it may hold, and, where it is a root key of our own
app, what it means for a study. The checks of root keys, what may be swept, the question that a
study asks, the defaults of the Hydra plugin and the reference are made from it. The plugin reads it
at every start of every Hydra app, so it needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from energyopt.core.key_rule import COUNT, KeyRule, above_zero, at_least

_DECLARED = "declared"


@dataclass(frozen=True, slots=True)
class SweepKey:
    """What is declared of a key beside its type and default.

    Attributes:
        name: Of the field, that is of `hydra.sweeper.NAME`.
        root: The root key of our own app that sets it, a part of the whole study; None where
            there is none.
        rule: What it may hold; None where who uses it checks it.
        asked: Whether a study with another value asks another question.
        needs_joules: Whether it means nothing where trials tell no joules, as in other apps.
    """

    name: str
    root: str | None = None
    rule: KeyRule | None = None
    asked: bool = False
    needs_joules: bool = False


def _root(
    default: Any,
    rule: KeyRule | None = None,
    *,
    name: str | None = None,
    asked: bool = False,
    needs_joules: bool = False,
) -> Any:
    """Declare a key that a root key of our own app sets, one of the same name if none is given."""
    declared = {"root": name, "rule": rule, "asked": asked, "needs_joules": needs_joules}
    return field(default=default, metadata={_DECLARED: declared})


_JOULES, _SECONDS, _TRAININGS = (
    above_zero(f"a number of {unit}") for unit in ("joules", "seconds", "trainings")
)


@dataclass(frozen=True, slots=True)
class SweepKeys:
    """What a sweep is told.

    Attributes:
        app: "energyopt" in our own app; None in any other.
        sampler: A short name, or a node with a `_target_`.
        direction: "minimize" or "maximize", or a list of them, one an objective.
        metric_names: Names of the objectives; None numbers them.
        storage: A file or a SQLAlchemy URL.
        study_name: The study's name; None makes one.
        n_trials: The study's total.
        n_jobs: Trials at a time.
        max_failures: Failed trials that end the run; None never.
        max_failure_rate: Share of n_trials that may fail; None any.
        heartbeat_s: Time between signs of life, in s; after ten missed ones other hosts take a
            run for dead.
        storage_wait_s: How long a storage that does not answer is tried again, in s.
        search_budget_j: Energy of all trials after which none begins, in J; None for any.
        search_budget_s: The same for the time of all runs, in s.
        reuse: How many trainings will use what is found; None asks no trial to save its cost.
        params: Sweeps from the config, by key; the command line has precedence.
        custom_search_space: A function of (config, trial) that suggests more, or its path.
    """

    app: str | None = None
    sampler: Any = _root("tpe", asked=True)  # noqa: RUF009  # it makes a field
    direction: Any = "minimize"
    metric_names: Sequence[str] | None = None
    storage: str | None = _root(None)
    study_name: str | None = _root(None, name="study")
    n_trials: int = _root(20, COUNT)
    n_jobs: int = _root(1, COUNT)
    max_failures: int | None = _root(None, COUNT.or_null())
    max_failure_rate: float | None = None
    heartbeat_s: float = _root(60, _SECONDS)
    storage_wait_s: float = _root(300, at_least(0, "a number of seconds"))
    search_budget_j: float | None = _root(None, _JOULES.or_null(), needs_joules=True)
    search_budget_s: float | None = _root(None, _SECONDS.or_null())
    reuse: float | None = _root(None, _TRAININGS.or_null(), needs_joules=True)
    params: Mapping[str, Any] | None = None
    custom_search_space: Any = None


def _declared() -> Iterator[SweepKey]:
    for each in fields(SweepKeys):
        declared = dict(each.metadata.get(_DECLARED, {}))
        root = declared.pop("root") or each.name if declared else None
        yield SweepKey(each.name, root, **declared)


DECLARED: tuple[SweepKey, ...] = tuple(_declared())
"""All keys, in their order."""

ROOT_KEYS: Mapping[str, SweepKey] = {key.root: key for key in DECLARED if key.root is not None}
"""Those that a root key of our own app sets, by its name."""


def sweeper_defaults() -> dict[str, Any]:
    """Return the keys of `hydra.sweeper` with their defaults; a sampler is chosen from a group."""
    return {each.name: each.default for each in fields(SweepKeys) if each.name != "sampler"}
