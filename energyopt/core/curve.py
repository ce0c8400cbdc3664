"""The curve of a trial: its evaluations, kept as columns.

A study has hundreds of thousands of evaluations. They are stored, read and summed by column;
objects of single evaluations are made on access.
"""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from energyopt.core.energy import Energies, Energy
from energyopt.core.metric import ACCURACY, Monitor


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One evaluation, with its training and evaluation windows. What was not counted is None.

    Attributes:
        samples: Training samples seen since the first step.
        steps: Optimizer steps since the first.
        epoch: Amount of training, in units of the training set.
        accuracy: Value of the monitored metric as it was reported, whatever its name: the key that
            records and files have had since the first version.
        loss: Mean training loss since the last checkpoint.
        training: Energy of the training window since the last checkpoint.
        evaluation: Energy of the evaluation window.
        heads: Validation accuracy of each head, where the task has several.
        index: Its number in the curve, from 0; a later checkpoint of the same number replaces it.
            None before it is numbered, and in journals from older versions, whose checkpoints are
            identified by samples.
    """

    samples: int | None
    steps: int | None
    epoch: float
    accuracy: float
    loss: float | None
    training: Energy
    evaluation: Energy
    heads: Mapping[str, float] = field(default_factory=dict)
    index: int | None = field(default=None, compare=False)  # its position, not its content


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A point of a training to stop at: its cost so far, and its value of the monitored metric.

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
    """The points of a training to stop at, as columns: see `CurvePoint`.

    `monitor` is the metric by which they are compared.
    """

    training_j: tuple[float, ...] = ()
    training_s: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()
    samples: tuple[int | None, ...] = ()
    steps: tuple[int | None, ...] = ()
    epoch: tuple[float, ...] = ()
    index: tuple[int, ...] = ()
    monitor: Monitor = ACCURACY

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> CurvePoint:
        return CurvePoint(
            self.training_j[index],
            self.training_s[index],
            self.accuracy[index],
            self.samples[index],
            self.steps[index],
            self.epoch[index],
            self.index[index],
        )

    def __iter__(self) -> Iterator[CurvePoint]:
        return map(self.__getitem__, range(len(self)))

    def only(self, counts: Sequence[bool]) -> Curve:
        """Return the curve with only the points that count."""
        columns: dict[str, Any] = {
            name: tuple(itertools.compress(getattr(self, name), counts)) for name in _COLUMNS
        }
        return replace(self, **columns)

    @property
    def scores(self) -> tuple[float, ...]:
        """The values as scores: a higher one is better."""
        if self.monitor.mode == "max":
            return self.accuracy
        return tuple(map(operator.neg, self.accuracy))

    @property
    def best(self) -> float | None:
        """The best finite value; None without any."""
        return self.monitor.best(filter(math.isfinite, self.accuracy))

    def in_epochs(self, epoch_j: float | None, upfront_j: float) -> tuple[float, ...]:
        """Return the epochs at each point, with its upfront energy converted to epochs.

        Extrapolating in epochs at a constant energy per epoch then extrapolates in energy.

        Args:
            epoch_j: Energy of an epoch, in J.
            upfront_j: Energy used before its first step, in J.
        """
        if not epoch_j or not upfront_j:
            return self.epoch
        return tuple(energy_j / epoch_j for energy_j in self.training_j)

    def rises(self) -> list[int]:
        """Return the indices of the points that are better than all before."""
        scores, rises = self.scores, [0] if len(self) else []
        for i, score in enumerate(scores):
            if score > scores[rises[-1]]:
                rises.append(i)
        return rises

    def thinned(self, most: int, target: float) -> Curve:
        """Return at most `most` points: the last, the first at a target, then those that rise."""
        if len(self) <= most:
            return self
        hit = next(self._reached(target), 0)
        chosen = {*thin_indices(self.rises(), self.training_j, most - 2), hit, len(self) - 1}
        unchosen = [i for i in range(len(self)) if i not in chosen]
        chosen.update(thin_indices(unchosen, self.training_j, most - len(chosen)))
        return self.only([i in chosen for i in range(len(self))])

    def first_at(self, target: float) -> CurvePoint | None:
        """Return the first point at a target or better, or None if it was missed."""
        index = next(self._reached(target), None)
        return None if index is None else self[index]

    def _reached(self, target: float) -> Iterator[int]:
        """Yield the indices of the points at a target or better."""
        reaches = operator.ge if self.monitor.mode == "max" else operator.le
        return (i for i, value in enumerate(self.accuracy) if reaches(value, target))


_COLUMNS = tuple(column.name for column in fields(Curve) if column.name != "monitor")


def _are_finite(losses: Sequence[float | None]) -> bool:
    """Return True if all losses are finite or were not stated."""
    try:
        return all(map(math.isfinite, losses))  # type: ignore[arg-type]
    except TypeError:
        return all(loss is None or math.isfinite(loss) for loss in losses)


def thin_indices(indices: Sequence[int], joules: Sequence[float], most: int) -> list[int]:
    """Choose points of a curve, evenly spaced in the log of their energy, ends included.

    Args:
        indices: Indices to choose from, increasing.
        joules: Energy at each index, in J; above 0.
        most: Maximum number of points to choose.
    """
    if len(indices) <= most:
        return list(indices)
    if most < 2:  # noqa: PLR2004  # no two ends
        return list(indices[len(indices) - most :])
    low, high = (math.log(joules[end]) for end in (indices[0], indices[-1]))
    logs = [math.log(joules[index]) for index in indices]
    marks = (low + (high - low) * part / (most - 1) for part in range(1, most - 1))
    chosen = {min(bisect.bisect_left(logs, mark), len(indices) - 1) for mark in marks}
    return [indices[i] for i in sorted({0, *chosen, len(indices) - 1})]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The evaluations of a trial, in order, as columns: see `Checkpoint`.

    A head that was not scored at an evaluation has accuracy 0 there. The index in a column is the
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

    def __getitem__(self, index: int) -> Checkpoint:
        return Checkpoint(
            self.samples[index],
            self.steps[index],
            self.epoch[index],
            self.accuracy[index],
            self.loss[index],
            self.training[index],
            self.evaluation[index],
            {name: column[index] for name, column in self.heads.items()},
            range(len(self))[index],
        )

    def __iter__(self) -> Iterator[Checkpoint]:
        return map(self.__getitem__, range(len(self)))

    def curve(
        self, upfront_j: float = 0.0, upfront_s: float = 0.0, *, monitor: Monitor = ACCURACY
    ) -> Curve:
        """Return the evaluations with training energy and time summed from the first step.

        Evaluations with a loss that is not finite are left out: the model has diverged. So are
        those before a coarse energy counter first moved: 0 J would be too low.

        Args:
            upfront_j: Energy used before the first step, in J.
            upfront_s: Time used before the first step, in s.
            monitor: The metric.
        """
        summed_j = tuple(itertools.accumulate(self.training.total_j))
        summed_s = itertools.accumulate(self.training.time_s)
        training_j = tuple([upfront_j + j for j in summed_j]) if upfront_j else summed_j
        training_s = tuple([upfront_s + s for s in summed_s])
        counted = (self.samples, self.steps, self.epoch, tuple(range(len(self))))
        curve = Curve(training_j, training_s, self.accuracy, *counted, monitor=monitor)
        if min(summed_j, default=1) > 0 and _are_finite(self.loss):
            return curve
        counts = [
            energy_j > 0 and (loss is None or math.isfinite(loss))
            for energy_j, loss in zip(summed_j, self.loss, strict=True)
        ]
        return curve.only(counts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: a list for each column."""
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
        """Read what `to_dict` wrote, or a list of evaluations, as older versions stored them.

        The energies of evaluations may be `Energies` already.
        """
        if isinstance(data, list):
            return cls.of(map(checkpoint_from_dict, data))
        evaluation = data["evaluation"]
        return cls(
            tuple(data["samples"]),
            tuple(data["steps"]),
            tuple(data["epoch"]),
            tuple(data["accuracy"]),
            tuple(data["loss"]),
            Energies.from_dict(data["training"]),
            evaluation if isinstance(evaluation, Energies) else Energies.from_dict(evaluation),
            {name: tuple(column) for name, column in data.get("heads", {}).items()},
        )


def checkpoint_from_dict(data: Mapping[str, Any]) -> Checkpoint:
    """Read a `Checkpoint` from plain data."""
    training, evaluation = (Energy.from_dict(data[part]) for part in ("training", "evaluation"))
    return Checkpoint(**{**data, "training": training, "evaluation": evaluation})
