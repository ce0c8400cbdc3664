"""The curve of a trial: its evaluations, kept as columns.

A study has hundreds of thousands of evaluations. They are stored, read and summed by column;
one is an object where somebody looks at it.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from energyopt.core.energy import Energies, Energy


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One evaluation, with the two windows that led to it. What was not counted is None.

    Attributes:
        samples: Training samples seen since the first step.
        steps: Optimizer steps since the first.
        epoch: How much was trained, in units of the training set.
        accuracy: Validation accuracy in [0, 1]; higher is better.
        loss: Mean training loss since the last checkpoint.
        training: Energy of the training window since the last checkpoint.
        evaluation: Energy of the evaluation window.
        heads: Validation accuracy of each head, where the task has several.
        index: Its number in the curve, from 0: one of the same number corrects it. None where
            nobody has numbered it yet, and in lines of old, which are told apart by samples.
    """

    samples: int | None
    steps: int | None
    epoch: float
    accuracy: float
    loss: float | None
    training: Energy
    evaluation: Energy
    heads: Mapping[str, float] = field(default_factory=dict)
    index: int | None = field(default=None, compare=False)  # where it is, not what it is


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A setup one could stop at: what the training cost so far, and what it reached.

    `index` is the number of its evaluation in the trial, from 0; see `Checkpoint` for the rest.
    """

    training_j: float
    training_s: float
    accuracy: float
    samples: int | None
    steps: int | None
    epoch: float
    index: int


@dataclass(frozen=True, slots=True)
class Curve:
    """The setups along a training that one could stop at, as columns: see `CurvePoint`."""

    training_j: tuple[float, ...] = ()
    training_s: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()
    samples: tuple[int | None, ...] = ()
    steps: tuple[int | None, ...] = ()
    epoch: tuple[float, ...] = ()
    index: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, at: int) -> CurvePoint:
        return CurvePoint(
            self.training_j[at],
            self.training_s[at],
            self.accuracy[at],
            self.samples[at],
            self.steps[at],
            self.epoch[at],
            self.index[at],
        )

    def __iter__(self) -> Iterator[CurvePoint]:
        return map(self.__getitem__, range(len(self)))

    def only(self, counts: Sequence[bool]) -> Curve:
        """The points that count."""
        columns = (getattr(self, each.name) for each in fields(self))
        return Curve(*(tuple(itertools.compress(column, counts)) for column in columns))

    def in_epochs(self, epoch_j: float | None, upfront_j: float) -> tuple[float, ...]:
        """Epochs at each point, those that its upfront energy is worth included.

        Who looks ahead in epochs at a constant energy of an epoch then sees the joules.

        Args:
            epoch_j: Energy of an epoch, in J.
            upfront_j: What went into it before its first step, in J.
        """
        if not epoch_j or not upfront_j:
            return self.epoch
        return tuple(energy_j / epoch_j for energy_j in self.training_j)

    def rises(self) -> list[int]:
        """Indices of the points that are more accurate than all before."""
        rises: list[int] = []
        for at, accuracy in enumerate(self.accuracy):
            if not rises or accuracy > self.accuracy[rises[-1]]:
                rises.append(at)
        return rises

    def thinned(self, most: int, target: float) -> Curve:
        """At most so many points: the last, the first at a target, then those that rise."""
        if len(self) <= most:
            return self
        hit = next((at for at, accuracy in enumerate(self.accuracy) if accuracy >= target), 0)
        kept = {*spread(self.rises(), self.training_j, most - 2), hit, len(self) - 1}
        others = [at for at in range(len(self)) if at not in kept]
        kept.update(spread(others, self.training_j, most - len(kept)))
        return self.only([at in kept for at in range(len(self))])

    def first_at(self, target: float) -> CurvePoint | None:
        """The first point at or above a target, or None where it was missed."""
        reached = (at for at, accuracy in enumerate(self.accuracy) if accuracy >= target)
        at = next(reached, None)
        return None if at is None else self[at]


def spread(at: Sequence[int], joules: Sequence[float], most: int) -> list[int]:
    """Choose some of the points of a curve, spread over the log of their joules, ends included.

    Args:
        at: Indices to choose from, increasing.
        joules: Energy at each index, in J; above 0.
        most: How many to choose at most.
    """
    if len(at) <= most:
        return list(at)
    if most < 2:  # noqa: PLR2004  # no two ends
        return list(at[len(at) - most :])
    low, high = (math.log(joules[end]) for end in (at[0], at[-1]))
    logs = [math.log(joules[index]) for index in at]
    marks = (low + (high - low) * part / (most - 1) for part in range(1, most - 1))
    chosen = {min(bisect.bisect_left(logs, mark), len(at) - 1) for mark in marks}
    return [at[i] for i in sorted({0, *chosen, len(at) - 1})]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The evaluations of a trial, in order, as columns: see `Checkpoint`.

    A head that was not scored at an evaluation has accuracy 0 there. The place in a column is the
    evaluation's number.
    """

    samples: tuple[int | None, ...] = ()
    steps: tuple[int | None, ...] = ()
    epoch: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()
    loss: tuple[float | None, ...] = ()
    training: Energies = field(default_factory=Energies)
    evaluation: Energies = field(default_factory=Energies)
    heads: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoints: Iterable[Checkpoint]) -> Checkpoints:
        """Make columns of evaluations."""
        rows = tuple(checkpoints)
        return cls(
            tuple(row.samples for row in rows),
            tuple(row.steps for row in rows),
            tuple(row.epoch for row in rows),
            tuple(row.accuracy for row in rows),
            tuple(row.loss for row in rows),
            Energies.of(row.training for row in rows),
            Energies.of(row.evaluation for row in rows),
            {
                name: tuple(row.heads.get(name, 0.0) for row in rows)
                for name in dict.fromkeys(name for row in rows for name in row.heads)
            },
        )

    def __len__(self) -> int:
        return len(self.epoch)

    def __getitem__(self, at: int) -> Checkpoint:
        return Checkpoint(
            self.samples[at],
            self.steps[at],
            self.epoch[at],
            self.accuracy[at],
            self.loss[at],
            self.training[at],
            self.evaluation[at],
            {name: column[at] for name, column in self.heads.items()},
            range(len(self))[at],
        )

    def __iter__(self) -> Iterator[Checkpoint]:
        return map(self.__getitem__, range(len(self)))

    def curve(self, upfront_j: float = 0.0, upfront_s: float = 0.0) -> Curve:
        """The evaluations with training energy and time summed from the first step.

        A model whose loss is not finite is no setup to stop at, whatever it scores; and what
        was trained before a coarse counter first moved was not trained for nothing.

        Args:
            upfront_j: Energy that went into it before its first step, in J.
            upfront_s: The same of time, in s.
        """
        own_j = tuple(itertools.accumulate(self.training.total_j))
        training_j = tuple(upfront_j + at for at in own_j)
        training_s = tuple(upfront_s + at for at in itertools.accumulate(self.training.time_s))
        counted = (self.samples, self.steps, self.epoch, tuple(range(len(self))))
        curve = Curve(training_j, training_s, self.accuracy, *counted)
        counts = [
            energy_j > 0 and (loss is None or math.isfinite(loss))
            for energy_j, loss in zip(own_j, self.loss, strict=True)
        ]
        return curve if all(counts) else curve.only(counts)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: a list a column."""
        return {
            "samples": self.samples,
            "steps": self.steps,
            "epoch": self.epoch,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "training": self.training.to_dict(),
            "evaluation": self.evaluation.to_dict(),
            **({"heads": dict(self.heads)} if self.heads else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | list[Mapping[str, Any]]) -> Checkpoints:
        """Read what `to_dict` wrote, or a list of evaluations, as in records of old."""
        if isinstance(data, list):
            return cls.of(map(checkpoint_from_dict, data))
        return cls(
            tuple(data["samples"]),
            tuple(data["steps"]),
            tuple(data["epoch"]),
            tuple(data["accuracy"]),
            tuple(data["loss"]),
            Energies.from_dict(data["training"]),
            Energies.from_dict(data["evaluation"]),
            {name: tuple(column) for name, column in data.get("heads", {}).items()},
        )


def checkpoint_from_dict(data: Mapping[str, Any]) -> Checkpoint:
    """Read a `Checkpoint` from plain data."""
    fields = dict(data)
    fields["training"] = Energy.from_dict(fields["training"])
    fields["evaluation"] = Energy.from_dict(fields["evaluation"])
    return Checkpoint(**fields)
