"""Trials of an experiment as rows: what a summary needs of each, and the file that keeps them.

A summary is made from rows alone, rounded as the file has them, so that whoever has the file gets
the same summary to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from energyopt.core.accounting import head_hits
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError, StorageError
from energyopt.experiments.plan import Arm, Experiment

GRID = "grid"
"""Role of the trials that chose a setup; other roles say what was chosen."""

RAW = "trials.jsonl"

_DIGITS = 6
_FORMAT = 1


@dataclass(frozen=True)
class Row:
    """A training.

    Attributes:
        arm: Its arm.
        role: "grid", or what its setup was chosen for: "best", "default", "worst", an option.
        setup: The grid's keys with their values, without the seed.
        seed: Its seed.
        end: How it ended.
        target: Accuracy to reach.
        reached: Whether it did.
        steps: Optimizer steps up to there, or all of one that missed.
        samples: Training samples likewise, each head's counted once.
        energy_j: Energy to the target with its share of what went before, in J; of one that
            missed, what it spent without reaching it.
        upfront_j: What its source or teacher and its preparation cost, whole, in J.
        share_j: Its share of that, in J.
        best_accuracy: The best of all evaluations; of several heads that of the worst.
        books_j: All energy it burnt, by purpose, in J.
        heads_j: Of each head the energy to its target, in J; None if missed.
        answers_j: Energy of 1,000 answers by model, in J.
        missed: What it began with that missed its own target.
        curve: Where its accuracy rose: (energy in J, accuracy).
    """

    arm: str
    role: str
    setup: Mapping[str, Any]
    seed: int
    end: str
    target: float
    reached: bool
    steps: int
    samples: int
    energy_j: float
    upfront_j: float
    share_j: float
    best_accuracy: float
    books_j: Mapping[str, float] = field(default_factory=dict)
    heads_j: Mapping[str, float | None] = field(default_factory=dict)
    answers_j: Mapping[str, float] = field(default_factory=dict)
    missed: tuple[str, ...] = ()
    curve: tuple[tuple[float, float], ...] = ()

    @property
    def own_j(self) -> float:
        """Energy to the target of its own training alone, in J."""
        return self.energy_j - self.share_j

    @property
    def spent_j(self) -> float:
        """All energy that it burnt, in J."""
        return sum(self.books_j.values())

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it the same training in another run."""
        return (self.arm, self.role, tuple(sorted(self.setup.items())), self.seed)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Row:
        """Read what `asdict` wrote."""
        curve = tuple((energy_j, accuracy) for energy_j, accuracy in data["curve"])
        return cls(**{**data, "missed": tuple(data["missed"]), "curve": curve})


@dataclass(frozen=True)
class Raw:
    """All that a summary is made of.

    Attributes:
        experiment: What was asked.
        rows: All trainings.
        skipped: Why an arm was not trained, by its name.
        source: Where the joules come from, as plain data; empty without any training.
        packages: Versions of what made the numbers.
        words: Words of the command beside the experiment's.
    """

    experiment: Experiment
    rows: tuple[Row, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def of(self, arm: str, role: str | None = None) -> list[Row]:
        """The trainings of an arm, of one role or all."""
        return [row for row in self.rows if row.arm == arm and role in (None, row.role)]

    def to_text(self) -> str:
        """The file's content: a line of what was asked, then one a training."""
        head = {
            "format": _FORMAT,
            "experiment": self.experiment.to_dict(),
            "skipped": dict(self.skipped),
            "source": dict(self.source),
            "packages": dict(self.packages),
            "words": list(self.words),
        }
        lines = [head, *(asdict(row) for row in self.rows)]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    @classmethod
    def from_text(cls, text: str) -> Raw:
        """Read what `to_text` wrote.

        Raises:
            ConfigError: If it is none of ours.
        """
        try:
            head, *rows = (json.loads(line) for line in text.splitlines())
            known = {_FORMAT: Experiment.from_dict}
            head |= {"experiment": known[head.pop("format")](head["experiment"])}
            head |= {"rows": tuple(map(Row.from_dict, rows)), "words": tuple(head["words"])}
            return cls(**head)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError("it is no file that `summarize` has written") from error


def read_raw(folder: Path) -> Raw:
    """Read the raw data of an experiment from the folder of its summary.

    Raises:
        ConfigError: If there is none, or it is none of ours.
        StorageError: If it cannot be read.
    """
    path = folder / RAW
    if not path.is_file():
        raise ConfigError(f"{path} is not there; give a folder that `summarize` has written")
    try:
        return Raw.from_text(path.read_text(encoding="utf-8"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error


def rows_of(
    study: StudyRecord, arm: Arm, role: str, setup: Mapping[str, Any] | None = None
) -> list[Row]:
    """The trainings of an arm's study that are over, one for each setup and seed.

    Of one that was trained again after a failure the valid training counts.

    Args:
        study: The study.
        arm: The arm.
        role: The role of its trainings.
        setup: What they have in common beside the arm's words; None reads it of each.
    """
    found: dict[tuple[Any, ...], Row] = {}
    for trial, result in study.results:
        if trial.state in ("complete", "pruned"):
            row = _row(trial, result, arm.name, role, setup)
            found.setdefault(row.key, row)
    return list(found.values())


def _row(
    trial: TrialRecord,
    result: TrialResult,
    arm: str,
    role: str,
    setup: Mapping[str, Any] | None,
) -> Row:
    if setup is None:
        setup = {key: value for key, value in trial.params.items() if key != "seed"}
    hit, curve = result.hit, result.curve
    end = hit or (curve[len(curve) - 1] if len(curve) else None)
    return Row(
        arm=arm,
        role=role,
        setup=dict(setup),
        seed=int(trial.params["seed"]),
        end=result.end,
        target=result.target,
        reached=result.reached,
        steps=(end.steps if end else 0) or 0,  # our own trainings count theirs
        samples=(end.samples if end else 0) or 0,
        energy_j=_rounded(end.training_j if end else result.cost_j),
        upfront_j=_rounded(sum(each.total_j for each in result.upfront)),
        share_j=_rounded(result.upfront_j),
        best_accuracy=_rounded(result.best_accuracy),
        books_j={p: _rounded(energy.total_j) for p, energy in result.books.items()},
        heads_j={
            head: None if at is None else _rounded(at.training_j)
            for head, at in head_hits(result).items()
        },
        answers_j={m: _rounded(j) for m, j in result.inference_j_per_1000.items()},
        missed=tuple(each.name for each in result.upfront if each.missed),
        curve=tuple(_rising(zip(curve.training_j, curve.accuracy, strict=True)))
        if len(trial.values) > 1
        else (),
    )


def _rising(points: Iterable[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    best = -1.0
    for energy_j, accuracy in points:
        if accuracy > best:
            best = accuracy
            yield _rounded(energy_j), _rounded(accuracy)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
