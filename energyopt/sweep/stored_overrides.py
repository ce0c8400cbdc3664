"""The overrides of a paused trial, which come from the database: only searched keys are set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from energyopt.config.trust import names_code
from energyopt.errors import StudyError
from energyopt.search.space import Dimension


def refuse_planted(
    number: int,
    overrides: Sequence[str],
    dimensions: Iterable[Dimension],
    params: Mapping[str, Any],
) -> None:
    """Check that stored overrides set only what this command searches, to values that it may take.

    Args:
        number: The trial.
        overrides: Its stored overrides.
        dimensions: The search space of this command.
        params: The trial's parameters, for those of a `custom_search_space`.

    Raises:
        StudyError: Naming the override.
    """
    by_key = {dimension.key: dimension for dimension in dimensions}
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        if not _may_set(override, by_key.get(key), text, is_param=key in params or key == "seed"):
            raise StudyError(
                f"trial {number} was paused with {override}, which this command does not search; "
                "nothing else that a database names is run: give another study=name, or a "
                "database that only you can write"
            )


def _may_set(override: str, dimension: Dimension | None, text: str, *, is_param: bool) -> bool:
    if dimension is None:
        return is_param and not names_code(override)
    return text in dimension.texts.values() if dimension.texts else _is_number(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
