"""What a study asks. It is continued by those alone who ask the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study, StudyDirection

from energyopt.core.study_record import Metric
from energyopt.core.target_names import MOVED, as_stored
from energyopt.errors import StudyError
from energyopt.storage.exchange.anonymize import may_be_same

IDENTITY = "energyopt"
"""Attribute of a study that holds what it asks."""

PLANS = "energyopt_plans"
"""Attribute of a study that holds what its last run was told of the time after it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a study asks. Continuing it with any difference is refused.

    Attributes:
        metrics: The objectives.
        overrides: The fixed command-line words.
        sweep: The words that span the space.
        config: The resolved config without what may change (budgets, storage); None for
            another app, whose config is its own affair.
        target: Accuracy to reach; None for another app.
    """

    metrics: tuple[Metric, ...]
    overrides: tuple[str, ...]
    sweep: tuple[str, ...]
    config: Mapping[str, Any] | None
    target: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "overrides": list(self.overrides),
            "sweep": list(self.sweep),
            "config": self.config,
            "target": self.target,
        }


def is_name(name: str) -> bool:
    """Whether a word can be a study's name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Refuse study names that are no safe file names.

    Raises:
        StudyError: Saying what is allowed.
    """
    if not is_name(name):
        raise StudyError(
            f"study={name!r} is not a name: up to 100 letters, digits, '.', '_', '+' and '-', "
            "beginning with a letter or digit"
        )


def check_metrics(study: Study, metrics: Sequence[Metric]) -> None:
    """Refuse a study with other directions: Optuna would silently keep them.

    Raises:
        StudyError: Naming both.
    """
    asked = [metric.direction for metric in metrics]
    there = ["minimize" if d == StudyDirection.MINIMIZE else "maximize" for d in study.directions]
    if asked != there:
        raise StudyError(
            f"study {study.study_name} has the directions {', '.join(there)}, this run asks for "
            f"{', '.join(asked)}; give it another study=name"
        )


def check_same(
    name: str,
    known: Mapping[str, Any],
    asked: Mapping[str, Any],
    moved: Mapping[str, str] = MOVED,
) -> None:
    """Refuse to continue a study that asks something else.

    Args:
        name: The study's name.
        known: What it asks.
        asked: What this run asks.
        moved: Where code is now that one of them may name as it was called before.

    Raises:
        StudyError: With each difference.
    """
    before, now = _flat(as_stored(known, moved)), _flat(as_stored(asked, moved))
    differences = [
        f"{key}: {before.get(key, 'not set')} -> {now.get(key, 'not set')}"
        for key in sorted(before.keys() | now.keys())
        if not may_be_same(before.get(key), now.get(key))
    ]
    if differences:
        raise StudyError(
            f"study {name} asks another question than this run ({'; '.join(differences)}); "
            "repeat its words to continue it, or give another study=name"
        )


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared: the space and the config (which the fixed words only lead to)."""
    flat: dict[str, Any] = {
        f"search of {key}": axis
        for key, _, axis in (word.lstrip("+").partition("=") for word in data["sweep"])
    }

    def descend(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                descend(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    descend("", data["config"] or {})
    return flat
