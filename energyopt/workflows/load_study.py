"""Load a study into a notebook or script: its trials, Pareto front and recommendation."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from energyopt.analysis.pareto import FrontPoint, curve_front, final_front
from energyopt.analysis.recommendation import Basis
from energyopt.analysis.summary import summarize
from energyopt.core.seeds import without_seeds
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.units import accuracy, joules
from energyopt.errors import ConfigError, EnergyoptError, StudyError
from energyopt.report.answer_view import answer_text
from energyopt.storage import DEFAULT_STORAGE
from energyopt.storage.credentials import masked
from energyopt.storage.exchange.reader import study_at
from energyopt.storage.reader import read_study, study_names
from energyopt.utils.paths import STORAGE_VARIABLE

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd


@dataclass(frozen=True, slots=True)
class RecommendedConfiguration:
    """The configuration to train with; the fields are those of `energyopt recommend --json`.

    Attributes:
        trial: Number of the cheapest trial with it that reached the target.
        params: The searched values, by config key.
        overrides: The command-line overrides that train it up to the target.
        energy_j: Its expected energy to the target, in J.
        interval_j: The 95 % interval of that energy.
        probability: Probability that it is within 5 % of the best configuration that was tried.
        trainings: Number of trainings of it.
        reached: Number of them that reached the target.
        basis: What the choice rests on: "confirmed", "expected", or "only" without a comparison.
        rivals: Numbers of trials whose configurations are as good.
        text: The answer in a sentence, as everywhere.
    """

    trial: int
    params: Mapping[str, Any]
    overrides: tuple[str, ...]
    energy_j: float
    interval_j: tuple[float, float]
    probability: float
    trainings: int
    reached: int
    basis: Basis
    rivals: tuple[int, ...]
    text: str


@dataclass(frozen=True, repr=False)  # without slots, which cached_property does not support
class LoadedStudy:
    """A read-only snapshot of a study.

    Attributes:
        record: The complete record.
    """

    record: StudyRecord

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.record.name

    @property
    def target(self) -> float | None:
        """Value of the metric to reach; None for another app's study."""
        return self.record.target

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials, by number; `.result` of each has its curve, energies and provenance."""
        return self.record.trials

    @cached_property
    def recommendation(self) -> RecommendedConfiguration:
        """The configuration to train with: the answer that `show` and all others name.

        Raises:
            StudyError: If no trial reached the target, or the study has no target.
        """
        if self.target is None:
            raise StudyError(
                f"study {self.name} has no target, being another app's, and so no "
                "configuration to recommend"
            )
        summary = summarize(self.record)
        answer = summary.answer
        if answer is None:
            raise StudyError(
                f"no trial of study {self.name} reached {accuracy(self.target)}; search on, or "
                "look at front()"
            )
        return RecommendedConfiguration(
            trial=answer.trial,
            params=without_seeds(answer.point.params),
            overrides=answer.point.overrides,
            energy_j=answer.energy.value,
            interval_j=(answer.energy.low, answer.energy.high),
            probability=answer.probability,
            trainings=answer.trainings,
            reached=answer.reached,
            basis=answer.basis,
            rivals=tuple(point.trial for point in answer.rivals),
            text=answer_text(summary).headline,
        )

    def front(
        self, target: float | None = None, points: Literal["curve", "final"] = "curve"
    ) -> tuple[FrontPoint, ...]:
        """Return the Pareto-optimal points in energy and metric, cheapest first.

        Args:
            target: Only points at this value of the metric or better.
            points: "curve" for all checkpoints of all trials, each a training one could stop
                at; "final" for energy to target and best value of the trials that reached it.

        Raises:
            ConfigError: If `points` is neither.
        """
        fronts = {"curve": curve_front, "final": final_front}
        if points not in fronts:
            raise ConfigError(f"points={points!r} is not known; give 'curve' or 'final'")
        front = fronts[points](self.record)
        reaches = self.record.monitor.reaches
        return tuple(point for point in front if target is None or reaches(point.accuracy, target))

    def figures(self) -> dict[str, alt.LayerChart | alt.FacetChart]:
        """Return the figures of the study's report by name, in its order; a notebook draws them."""
        from energyopt.report.html.figure import WIDTH
        from energyopt.report.html.sections import report
        from energyopt.report.html.theme import PRINTED

        return {
            figure.name: figure.chart.properties(width=WIDTH, title=figure.title, config=PRINTED)
            for figure in report(self.record).figures
        }

    def plot_front(self) -> alt.LayerChart | alt.FacetChart:
        """Return the first of them: the metric against energy, and what is recommended.

        Raises:
            StudyError: If no trial has a curve.
        """
        figures = self.figures()
        if "front" not in figures:
            raise StudyError(f"study {self.name} has no curves of energy to draw yet")
        return figures["front"]

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with a row per trial and the columns of an export's trials.csv.

        Raises:
            EnergyoptError: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise EnergyoptError(
                f"to_pandas() needs pandas ({error}): pip install pandas"
            ) from error
        from energyopt.report.export.study_folder import trial_row

        metrics = [metric.name for metric in self.record.metrics]
        return pd.DataFrame([trial_row(trial, metrics) for trial in self.trials])

    def _repr_html_(self) -> str:
        """Return the study with its answer, for a notebook."""
        try:
            answer = self.recommendation.text
        except StudyError as error:
            answer = str(error)
        return f"<b>{escape(answer)}</b><br>{escape(repr(self))}"

    def __repr__(self) -> str:
        states = Counter(trial.state for trial in self.trials)
        parts = [
            f"{len(self.trials)} trials ({', '.join(f'{n} {s}' for s, n in states.items())})"
            if self.trials
            else "no trials",
            f"{joules(self.record.search_energy_j)} in all",
        ]
        if self.target is not None:
            parts.insert(0, f"target {self.target:g}")
        if self.record.provenance is not None:
            parts.append(str(self.record.provenance))
        return f"<study {self.name}: {'; '.join(parts)}>"


def load_study(
    study: str | os.PathLike[str], *, storage: str | os.PathLike[str] | None = None
) -> LoadedStudy:
    """Read a study from a database, or from the folder of an export.

    Args:
        study: Its name in the storage; the folder of an export, as a `Path` or a string (a string
            without a slash is first looked up as a name); or, without `storage`, the SQLAlchemy URL
            of a database that holds one study.
        storage: The storage, a file or a SQLAlchemy URL. If None, the value of ENERGYOPT_STORAGE,
            else studies/energyopt.db.

    Raises:
        StorageError: If the database or the folder cannot be read.
        StudyError: If there is no such study; the message lists the existing ones.
    """
    if storage is None and isinstance(study, str) and "://" in study:
        return LoadedStudy(_only_study(study))
    if storage is None:
        storage = os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)
    # An absolute path cannot be mistaken for the name of a study.
    name_or_folder = study if isinstance(study, str) else str(Path(study).expanduser().absolute())
    try:
        return LoadedStudy(study_at(os.fspath(storage), name_or_folder))
    except EnergyoptError as error:
        if not Path(name_or_folder).expanduser().is_file():
            raise
        raise StudyError(
            f"{name_or_folder} is a file; give the name of a study in it, and the file as storage="
        ) from error


def _only_study(url: str) -> StudyRecord:
    """Read the only study of a database."""
    names = study_names(url)
    if not names:
        raise StudyError(f"there is no study in {masked(url)} yet")
    if len(names) > 1:
        raise StudyError(
            f"there are {len(names)} studies in {masked(url)}: {', '.join(names)}; give the name "
            "of one, and the URL as storage="
        )
    return read_study(url, names[0])
