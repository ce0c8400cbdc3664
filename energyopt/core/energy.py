"""Energy and time of windows by device, one at a time or as columns."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any


def _sum(a: float | None, b: float | None) -> float | None:
    if a is None:
        return b
    return a if b is None else a + b


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy and time of one window, by device.

    Attributes:
        time_s: Monotonic wall time of the window, in s.
        gpu_j: Energy of the GPU boards, in J; None where they were not metered.
        cpu_j: Energy of the CPU packages (or its estimate), in J; None where not metered.
        dram_j: Energy of the memory, in J; None where not metered.
        gpus_j: Energy of each GPU board, in J, in the order of `Machine.gpus`.
    """

    time_s: float = 0.0
    gpu_j: float | None = None
    cpu_j: float | None = None
    dram_j: float | None = None
    gpus_j: tuple[float, ...] = ()

    @property
    def total_j(self) -> float:
        """Sum of the parts that were metered, in J."""
        return sum(part for part in (self.gpu_j, self.cpu_j, self.dram_j) if part is not None)

    def __add__(self, other: Energy) -> Energy:
        return Energy(
            self.time_s + other.time_s,
            _sum(self.gpu_j, other.gpu_j),
            _sum(self.cpu_j, other.cpu_j),
            _sum(self.dram_j, other.dram_j),
            tuple(map(sum, itertools.zip_longest(self.gpus_j, other.gpus_j, fillvalue=0.0))),
        )

    def __mul__(self, factor: float) -> Energy:
        def scaled(part: float | None) -> float | None:
            return None if part is None else factor * part

        return Energy(
            factor * self.time_s,
            scaled(self.gpu_j),
            scaled(self.cpu_j),
            scaled(self.dram_j),
            tuple(factor * part for part in self.gpus_j),
        )

    def __sub__(self, other: Energy) -> Energy:
        return self + other * -1

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Energy:
        """Read one from plain data."""
        return cls(**{**data, "gpus_j": tuple(data.get("gpus_j", ()))})


def total(energies: Iterable[Energy]) -> Energy:
    """Return the sum of windows; without any, zero seconds and no metered part."""
    return sum(energies, start=Energy())


PARTS = ("gpu_j", "cpu_j", "dram_j")
"""The parts of an `Energy` that add up to its total."""


@dataclass(frozen=True, slots=True)
class Energies:
    """Windows of one purpose, as columns.

    Attributes:
        time_s: Time of each window, in s.
        gpu_j: Energy of the GPU boards in each window, in J, as in `Energy`; None if no window has
            that part.
        cpu_j: See `gpu_j`.
        dram_j: See `gpu_j`.
        gpus_j: A column for each board, in J, with None for windows without that board.
    """

    time_s: tuple[float, ...] = ()
    gpu_j: tuple[float | None, ...] | None = None
    cpu_j: tuple[float | None, ...] | None = None
    dram_j: tuple[float | None, ...] | None = None
    gpus_j: tuple[tuple[float | None, ...], ...] = ()

    @classmethod
    def of(cls, windows: Iterable[Energy]) -> Energies:
        """Make columns of windows."""
        rows = tuple(windows)
        return cls(
            tuple(row.time_s for row in rows),
            _unless_empty(row.gpu_j for row in rows),
            _unless_empty(row.cpu_j for row in rows),
            _unless_empty(row.dram_j for row in rows),
            tuple(itertools.zip_longest(*(row.gpus_j for row in rows))),
        )

    def __getitem__(self, index: int) -> Energy:
        return Energy(
            self.time_s[index],
            None if self.gpu_j is None else self.gpu_j[index],
            None if self.cpu_j is None else self.cpu_j[index],
            None if self.dram_j is None else self.dram_j[index],
            tuple(part for board in self.gpus_j if (part := board[index]) is not None),
        )

    @property
    def total_j(self) -> list[float]:
        """Sum of the metered parts of each window, in J."""
        columns = [column for column in (self.gpu_j, self.cpu_j, self.dram_j) if column is not None]
        if not columns:
            return [0.0] * len(self.time_s)
        totals = [part or 0.0 for part in columns[0]]
        for column in columns[1:]:
            pairs = zip(totals, column, strict=True)
            totals = [subtotal + (part or 0.0) for subtotal, part in pairs]
        return totals

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; a board column equal to `gpu_j` is not repeated."""
        boards = ["gpu_j" if board == self.gpu_j else board for board in self.gpus_j]
        return {
            "time_s": self.time_s,
            "gpu_j": self.gpu_j,
            "cpu_j": self.cpu_j,
            "dram_j": self.dram_j,
            "gpus_j": boards,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Energies:
        """Read what `to_dict` wrote."""
        gpu_j, cpu_j, dram_j = (data[part] and tuple(data[part]) for part in PARTS)
        boards = (gpu_j if board == "gpu_j" else tuple(board) for board in data["gpus_j"])
        return cls(tuple(data["time_s"]), gpu_j, cpu_j, dram_j, tuple(boards))


class UnreadEnergies(Energies):
    """Windows in JSON, which is read when one of the columns is first looked at.

    Reading numbers is most of what it takes to read a study. Those of evaluations are seldom used.

    Args:
        text: JSON of what `to_dict` returns.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    def __getattr__(self, name: str) -> Any:
        # Python asks for an attribute here only as long as its slot is empty.
        if name not in _COLUMNS:
            raise AttributeError(name)
        energies = Energies.from_dict(json.loads(self._text))
        for column in _COLUMNS:
            object.__setattr__(self, column, getattr(energies, column))
        return getattr(self, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Energies) and astuple(self) == astuple(other)

    def __hash__(self) -> int:
        return hash(astuple(self))

    def __repr__(self) -> str:
        return repr(Energies(*astuple(self)))


_COLUMNS = frozenset(column.name for column in fields(Energies))


def _unless_empty(column: Iterable[float | None]) -> tuple[float | None, ...] | None:
    parts = tuple(column)
    return None if all(part is None for part in parts) else parts
