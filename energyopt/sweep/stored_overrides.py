"""The overrides of a paused trial, which come from the database: only searched keys are set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from energyopt.config.trust import runs_untyped
from energyopt.core.number_checks import is_number_text
from energyopt.errors import StudyError
from energyopt.search.space import Dimension


def refuse_planted(
    number: int,
    overrides: Sequence[str],
    dimensions: Iterable[Dimension],
    suggested: Collection[str] = (),
) -> None:
    """Check that stored overrides set only what this command searches, to values that it may take.

    Args:
        number: The trial.
        overrides: Its stored overrides.
        dimensions: The search space of this command.
        suggested: The trial's parameters where a `custom_search_space` suggests more; else none,
            since the same database names them.

    Raises:
        StudyError: Naming the override.
    """
    by_key = {dimension.key: dimension for dimension in dimensions}
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        if not _may_set(override, by_key.get(key), text, {*suggested, "seed"} & {key}):
            raise StudyError(
                f"trial {number} was paused with {override}, which this command does not search; "
                "nothing else that a database names is run: give another study=name, or a "
                "database that only you can write"
            )


def _may_set(override: str, dimension: Dimension | None, text: str, known: Collection[str]) -> bool:
    if dimension is None:
        return bool(known) and runs_untyped(override, searched=known)
    return text in dimension.texts.values() if dimension.texts else is_number_text(text)
