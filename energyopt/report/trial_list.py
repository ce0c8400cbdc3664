"""Sort and filter the trials of a study, as rows of `json_data.trial_data`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from energyopt.analysis.summary import TrialOutcome
from energyopt.core.metric import Monitor
from energyopt.core.number_checks import is_number
from energyopt.errors import ConfigError
from energyopt.utils.text import did_you_mean

Row = Mapping[str, Any]

_COLUMNS = {
    "number": "trial",
    "state": "state",
    "outcome": "outcome",
    "metric": "metric",
    "energy": "energy_to_target_j",
    "time": "time_to_target_s",
    "spent": "spent_j",
    "epochs": "epochs",
    "seed": "seed",
}
"""Keys to sort and filter by, with the key of a row; in SI units without a prefix."""
_STATES = ("complete", "pruned", "failed", "running", "paused", "waiting", *get_args(TrialOutcome))
_COMPARISON = re.compile(r"\s*([^<>=!\s]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*")
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}


class TrialKeys:
    """The keys of some trials: their columns, the metric's name, and what was searched.

    Args:
        rows: The trials.
        monitor: Their metric.
    """

    def __init__(self, rows: Sequence[Row], monitor: Monitor) -> None:
        self._searched = set[str]().union(*(row["params"] for row in rows))
        self._columns = {**_COLUMNS, monitor.name: "metric"}

    def value(self, row: Row, key: str) -> Any:
        """Return the value of a key; None if it is unknown. A searched key comes first."""
        if key in self._searched:
            return row["params"].get(key)
        return row[self._columns[key]]

    def check(self, key: str, option: str) -> None:
        """Raise ConfigError for a key that there is not, with one that may be meant."""
        names = [*self._columns, *sorted(self._searched)]
        if key not in names:
            raise ConfigError(f"{option}: no trial has a key {key!r}; {did_you_mean(key, names)}")

    def sorted(self, rows: Sequence[Row], key: str, *, reverse: bool) -> list[Row]:
        """Return the rows by a key: numbers, then text; trials without a value come last."""
        self.check(key, "--sort")
        with_value = [row for row in rows if self.value(row, key) is not None]
        without_value = [row for row in rows if self.value(row, key) is None]

        def order(row: Row) -> tuple[bool, Any]:
            value = self.value(row, key)
            return (False, value) if is_number(value) else (True, str(value))

        return [*sorted(with_value, key=order, reverse=reverse), *without_value]

    def filtered(self, rows: Sequence[Row], condition: str) -> list[Row]:
        """Return the rows that meet a condition: a state or an outcome, or `lr<0.01`."""
        if condition in _STATES:
            return [row for row in rows if condition in (row["state"], row["outcome"])]
        match = _COMPARISON.fullmatch(condition)
        if match is None:
            raise ConfigError(
                f"--filter {condition!r} is neither a state nor a comparison such as 'lr<0.01'; "
                + did_you_mean(condition, _STATES)
            )
        key, sign, text = match.groups()
        self.check(key, "--filter")
        limit = _number(text)
        is_state = key in ("state", "outcome") and key not in self._searched
        if is_state and text.lower() not in _STATES:
            raise ConfigError(f"--filter {condition!r}: {did_you_mean(text, _STATES)}")
        if limit is None and sign.strip("=!"):
            raise ConfigError(f"--filter {condition!r}: {sign} needs a number, got {text!r}")

        def meets(row: Row) -> bool:
            value = self.value(row, key)
            if value is None:
                return False
            if limit is not None and is_number(value):
                return _OPERATORS[sign](value, limit)
            return not sign.strip("=!") and _OPERATORS[sign](str(value).lower(), text.lower())

        return [row for row in rows if meets(row)]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
