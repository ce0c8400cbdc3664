"""The identity of a study: the settings that a run must share to continue it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.study import Study, StudyDirection

from energyopt.core.command_template import CommandTemplate
from energyopt.core.moved_code import MOVED, as_stored
from energyopt.core.study_record import Metric
from energyopt.errors import StudyError
from energyopt.storage.axes import Axes
from energyopt.storage.credentials import masked
from energyopt.storage.exchange.anonymize import may_be_same

IDENTITY = "energyopt"
"""Attribute of a study that holds its identity."""

PLANS = "energyopt_plans"
"""Attribute of a study that holds the report settings of its last run."""

BASELINE = "energyopt_default"
"""Attribute of a study that says how trial 0 differs from the user's default, if it does."""

_APP = re.compile(
    r"python (-m [A-Za-z_][\w.]*|[\w./+][\w./+-]*|'[\w./+][\w ./+-]*')"
    r"|[A-Za-z_]\w*\((run|trial)\)"  # a function, whose parameters follow
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_MAX_CHARACTERS = 512  # of Optuna's column
_JOINER = "\u200d"  # between the parts of an emoji


@dataclass(frozen=True, slots=True)
class Identity:
    """The settings of a study that may not change: a run with other ones cannot continue it.

    Config is None for another app, whose config is not compared; so is the target where its jobs
    return values.
    """

    metrics: tuple[Metric, ...]
    overrides: tuple[str, ...]  # the fixed ones
    sweep: tuple[str, ...]  # overrides that span the search space
    config: Mapping[str, Any] | None  # resolved, without what may change (budgets, storage)
    target: float | None
    app: str | None = None  # command of another app whose jobs report
    axes: Axes = field(default_factory=dict)  # the search space that `sweep` means
    app_config: Mapping[str, Any] | None = None  # of another app, see `sweep.app_question`
    name_key: str = "study"  # the key that names a study in this app

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "overrides": list(self.overrides),
            "sweep": list(self.sweep),
            "config": self.config,
            "target": self.target,
            **({} if self.app is None else {"app": self.app}),
        }


def app_of(identity: Mapping[str, Any]) -> str | None:
    """Return the command, or the function, of another app whose jobs report; None for our own.

    It is shown to be pasted, so that of a database may be nothing but the run of a program, or a
    command of which a shell takes each word as it is.
    """
    app = identity.get("app")
    if app is None:
        return None
    is_known = CommandTemplate.of_app(app) is not None or _APP.fullmatch(str(app))
    return app if isinstance(app, str) and is_known else "python APP"


def is_name(name: str) -> bool:
    """Return True if a text can be a study's name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Check that a study name is a safe file name.

    Raises:
        StudyError: If it is not; the message says what is allowed.
    """
    if not is_name(name):
        raise StudyError(
            f"study={name!r} is not a name: up to 100 letters, digits, '.', '_', '+' and '-', "
            "beginning with a letter or digit"
        )


def check_any_name(name: str) -> None:
    """Check that a text can be the name of another app's study: nearly all that Optuna takes.

    Raises:
        StudyError: If it is empty, very long, or would not be seen as it is on a terminal.
    """
    is_seen = name.replace(_JOINER, "").isprintable() and bool(name.strip())
    if not is_seen or len(name) > _MAX_CHARACTERS:
        raise StudyError(
            f"study={name!r} is not a name: up to {_MAX_CHARACTERS} printable characters on one "
            "line"
        )


def file_name(name: str) -> str:
    """Return a name for the files of a study: its own where that is safe, else one like it."""
    if is_name(name):
        return name
    text = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{text or 'study'}-{digest}"


def no_such_study(name: str, names: Iterable[str], url: str) -> str:
    """Return the message that a storage has no study of a name, only others."""
    existing = ", ".join(sorted(names)) or "none yet"
    return f"there is no study {name!r} in {masked(url)}; there are: {existing}"


def metrics_of(study: Study) -> tuple[Metric, ...]:
    """Return the objectives of a study; another program's may have no names."""
    names = study.metric_names or [f"value_{i}" for i in range(len(study.directions))]
    return tuple(
        Metric(name, "minimize" if direction == StudyDirection.MINIMIZE else "maximize")
        for name, direction in zip(names, study.directions, strict=True)
    )


def check_metrics(study: Study, metrics: Sequence[Metric]) -> None:
    """Check that a study has these directions; Optuna silently keeps its own.

    Raises:
        StudyError: If it has others.
    """
    requested = [metric.direction for metric in metrics]
    existing = [metric.direction for metric in metrics_of(study)]
    if requested != existing:
        raise StudyError(
            f"study {study.study_name} has the directions {', '.join(existing)}, this run asks for "
            f"{', '.join(requested)}; give it another study=name"
        )


def check_same(
    name: str,
    stored: Mapping[str, Any],
    requested: Mapping[str, Any],
    moved: Mapping[str, str] = MOVED,
    *,
    axes: Mapping[str, str | None] | None = None,
    name_key: str = "study",
) -> None:
    """Check that a run has the identity of the study that it continues.

    Args:
        name: The study's name.
        stored: Its identity.
        requested: The identity of this run.
        moved: New paths of code by old ones, either of which an identity may hold.
        axes: The axes that were compared by meaning: why each does not continue the study's, or
            None; those of other keys are compared as text.
        name_key: The key that names a study in this app, for the remedy.

    Raises:
        StudyError: If they differ; the message lists all differences.
    """
    axes = axes or {}
    old, new = _flatten(as_stored(stored, moved)), _flatten(as_stored(requested, moved))
    for key in axes:
        old.pop(f"search of {key}", None)
        new.pop(f"search of {key}", None)
    differences = [reason for reason in axes.values() if reason is not None] + [
        f"{key}: {old.get(key, 'not set')} -> {new.get(key, 'not set')}"
        for key in sorted(old.keys() | new.keys())
        if not may_be_same(old.get(key), new.get(key))
    ]
    if differences:
        raise StudyError(
            f"study {name} was created with other settings than this run ({'; '.join(differences)})"
            f"; set these back to continue it, or give another {name_key}=name"
        )


def _flatten(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the search space and the config by key; the fixed overrides are part of the config."""
    flat: dict[str, Any] = {
        f"search of {key}": axis
        for key, _, axis in (override.lstrip("+").partition("=") for override in data["sweep"])
    }

    def descend(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                descend(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    descend("", data["config"] or {})
    return flat
