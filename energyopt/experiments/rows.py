"""Rows: the numbers of each training that a summary needs, and the file that stores them.

A summary is computed only from rows, rounded as in the file, so a summary made from the file is
identical to the byte.
"""

from __future__ import annotations

import json
import math
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
"""Role of the trials that choose a configuration; other roles name the chosen one."""

RAW = "trials.jsonl"

_DIGITS = 6  # significant ones
_FORMAT = 1


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        arm: The arm.
        role: "grid", or the role its configuration was chosen for: "best", "default", "worst", or
            the option of a group.
        setup: The values of the grid's keys, without the seed.
        seed: The seed.
        end: How the training ended.
        target: Accuracy to reach.
        reached: True if it reached the target.
        steps: Optimizer steps to the target; all steps if it missed.
        samples: Training samples to the target, or all; with a model per head, those of each model.
        energy_j: Energy to the target including the share of the upfront cost, in J; all energy of
            training if it missed.
        upfront_j: Full energy of the pretraining or teacher and the preparation, in J.
        share_j: The share of it that this training pays, in J.
        best_accuracy: The best of all evaluations; with several heads, that of the worst head.
        books_j: All energy by purpose, in J.
        heads_j: Energy to the target of each head, in J; None if missed.
        answers_j: Energy of 1,000 inferences by model, in J.
        missed: Pretrainings or teachers that missed their own targets.
        curve: Points at which the accuracy rose: (energy in J, accuracy).
        evaluation_j: Energy of the evaluations to the target, that one included, in J; of all if it
            missed. None in files from before it was kept.
        test: The metric on the test split, of the model as the training ended; None if not tested.
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
    evaluation_j: float | None = None
    test: float | None = None

    @property
    def evaluated_j(self) -> float | None:
        """Energy to the target with its evaluations, in J; None if that is not known.

        In files from before they were kept apart, it is known of trainings that end at the target.
        """
        if self.evaluation_j is not None:
            return self.energy_j + self.evaluation_j
        is_whole = self.end == "target"
        return self.energy_j + self.books_j.get("evaluation", 0.0) if is_whole else None

    @property
    def training_j(self) -> float:
        """Energy to the target without the share of the upfront cost, in J."""
        return self.energy_j - self.share_j

    @property
    def total_j(self) -> float:
        """Energy for all purposes, in J."""
        return sum(self.books_j.values())

    @property
    def key(self) -> tuple[Any, ...]:
        """Identity of the training, equal in another run of the experiment."""
        return (self.arm, self.role, tuple(sorted(self.setup.items())), self.seed)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Row:
        """Read the output of `asdict`."""
        curve = tuple((energy_j, accuracy) for energy_j, accuracy in data["curve"])
        return cls(**{**data, "missed": tuple(data["missed"]), "curve": curve})


@dataclass(frozen=True)
class Raw:
    """The complete input of a summary.

    Attributes:
        experiment: The plan.
        rows: All trainings.
        skipped: Reasons why arms were not trained, by name.
        source: Provenance of the energies, as plain data; empty without any training.
        packages: Versions of the packages that were used.
        words: Overrides from the command line, in addition to the experiment's.
    """

    experiment: Experiment
    rows: tuple[Row, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def select(self, arm: str, role: str | None = None) -> list[Row]:
        """Return the trainings of an arm, in one role or in all."""
        return [row for row in self.rows if row.arm == arm and role in (None, row.role)]

    def to_text(self) -> str:
        """Return the content of the file: a line with the plan, then a line per training."""
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
        """Read the output of `to_text`.

        Raises:
            ConfigError: If the text has another format.
        """
        try:
            head, *rows = (json.loads(line) for line in text.splitlines())
            readers = {_FORMAT: Experiment.from_dict}
            head |= {"experiment": readers[head.pop("format")](head["experiment"])}
            head |= {"rows": tuple(map(Row.from_dict, rows)), "words": tuple(head["words"])}
            return cls(**head)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError("it is no file that `summarize` has written") from error


def read_raw(folder: Path) -> Raw:
    """Read the raw data of an experiment from the folder of its summary.

    Raises:
        ConfigError: If there is none, or it has another format.
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


def rows_from_study(
    study: StudyRecord, arm: Arm, role: str, setup: Mapping[str, Any] | None = None
) -> list[Row]:
    """Return the finished trainings of an arm's study, one per configuration and seed.

    A training that failed and was repeated is represented by the repetition.
    """
    rows: dict[tuple[Any, ...], Row] = {}
    for trial, result in study.results:
        if trial.state in ("complete", "pruned"):
            row = _row(trial, result, arm.name, role, setup)
            rows.setdefault(row.key, row)
    return list(rows.values())


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
        steps=(end.steps if end else 0) or 0,  # every training of an experiment counts its steps
        samples=(end.samples if end else 0) or 0,
        energy_j=_rounded(end.training_j if end else result.cost_j),
        upfront_j=_rounded(sum(cost.total_j for cost in result.upfront)),
        share_j=_rounded(result.upfront_j),
        best_accuracy=_rounded(result.best_accuracy),
        books_j={purpose: _rounded(energy.total_j) for purpose, energy in result.books.items()},
        heads_j={
            head: None if hit is None else _rounded(hit.training_j)
            for head, hit in head_hits(result).items()
        },
        answers_j={
            model: _rounded(energy_j) for model, energy_j in result.inference_j_per_1000.items()
        },
        missed=tuple(cost.name for cost in result.upfront if cost.missed),
        curve=tuple(_rising(zip(curve.training_j, curve.accuracy, strict=True)))
        if len(trial.values) > 1
        else (),
        evaluation_j=_rounded(_evaluation_j(result)),
        test=None if result.test_value is None else _rounded(result.test_value),
    )


def _evaluation_j(result: TrialResult) -> float:
    """Return the energy of the evaluations up to the one at the target, in J; of all if missed."""
    n_counted = len(result.checkpoints) if result.hit is None else result.hit.index + 1
    return math.fsum(result.checkpoints.evaluation.total_j[:n_counted])


def _rising(points: Iterable[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    """Yield the points at which the accuracy exceeds all earlier ones."""
    best = -1.0
    for energy_j, accuracy in points:
        if accuracy > best:
            best = accuracy
            yield _rounded(energy_j), _rounded(accuracy)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
