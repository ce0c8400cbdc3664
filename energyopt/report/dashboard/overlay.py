"""Storage overlay that shows energyopt's figures and notes in Optuna's dashboard.

The dashboard does not know the constraints of Optuna 5 and shows only attributes of a study. The
overlay adds figures, a note, units, feasibility and artifacts while the dashboard reads, so nothing
is written into a study, whether running or read-only. Notes that a user has written in the
dashboard are kept.
"""

from __future__ import annotations

import copy
import enum
import json
import threading
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from energyopt.analysis.search_range import in_order
from energyopt.analysis.summary import Summary, summarize
from energyopt.report.answer_view import answer_text
from energyopt.report.dashboard.artifacts import artifacts_of
from energyopt.report.dashboard.figures import figures
from energyopt.report.export.front_file import markdown_cell
from energyopt.report.sentences import summary_lines
from energyopt.storage.identity import IDENTITY
from energyopt.storage.optuna_tables import State, count_trials
from energyopt.storage.reader import record_of
from energyopt.storage.tables import CONFIRMATIONS

# Attribute keys that the dashboard reads.
_FIGURE, _VERSION, _TEXT = "dashboard:plot_data:", "note_ver", "note_str:"
_METRICS, _CONSTRAINTS = "study:metric_names", "constraints"

_HIDDEN = ("curve", "paused", "reason")  # too long to show, or left over from a pause
_UNITS = {"_j": "J", "_s": "s", "_w": "W"}
_MAX_NOTES = 100  # trials that missed
_MIN_CHECK_S = 3.0  # between two checks whether a study has changed
_MAX_AGE_S = 60.0  # of a running study: its trials progress without changing the counts
_MAX_READ_SHARE = 0.05  # of the time

_ABOUT_PAGE = (
    "*This page is Optuna's dashboard over energyopt's database; figures, this note, units, "
    "`feasible` and artifacts are added when it is shown and stand in no table. A trial that "
    "missed the target is infeasible: it is shown in grey and excluded from Best Trials, and its "
    "energy is what it used without reaching the target. A stopped one is pruned. Best Trials are "
    "those of the objective values; the front of all evaluations is the first of energyopt's own "
    "figures, above the dashboard's.*"
)

_MISSED_NOTE = (
    "**Missed the target.** Its energy is what it used without reaching the target, a lower bound "
    "of what it would need: it is excluded from Best Trials."
)

_requested: ContextVar[int | None] = ContextVar("requested", default=None)


class Shown(enum.Enum):
    """State of trials that missed the target: excluded from best trials and importances.

    The value of such a trial is only a lower bound of its energy to the target.
    """

    COMPLETE = "missed"

    def is_finished(self) -> bool:
        """Return True, as Optuna's `TrialState` does for complete trials."""
        return True


@dataclass(frozen=True, slots=True)
class _Added:
    """Attributes added to a study, cached.

    Attributes:
        attributes: The attributes.
        version: Changes with the study.
        built_s: When they were built, monotonic.
        checked_s: When the study was last checked for changes, monotonic.
        took_s: How long building them took.
        answer: Number of the trial whose configuration is recommended.
    """

    attributes: Mapping[str, Any]
    version: object
    built_s: float
    checked_s: float
    took_s: float
    answer: int | None


@contextmanager
def requested_study(study_id: int | None) -> Iterator[None]:
    """Limit figures to the requested study: building those of all studies would be slow."""
    token = _requested.set(study_id)
    try:
        yield
    finally:
        _requested.reset(token)


class Overlay(RDBStorage):
    """Read-only storage that adds to what the dashboard reads, on the connections of another."""

    def __init__(self, storage: RDBStorage) -> None:
        self.__dict__.update(storage.__dict__)
        self._plain = storage
        self._added: dict[int, _Added] = {}
        self._lock = threading.Lock()

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies; only the requested one has the added attributes."""
        studies = self._plain.get_all_studies()
        for study in studies:
            study_id = study._study_id  # noqa: SLF001  # no other way
            if study_id == _requested.get():
                study.system_attrs = self._with_added(study_id, study.system_attrs)
            study.user_attrs = _readable(study.user_attrs)
        return studies

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes of a study, with the added ones."""
        return self._with_added(study_id, self._plain.get_study_system_attrs(study_id))

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials as shown; `states` filters by the shown state."""
        trials = self._plain.get_all_trials(study_id, deepcopy=deepcopy)
        if self._is_ours(study_id):
            trials = [_shown(trial) for trial in trials]
        return [trial for trial in trials if states is None or trial.state in states]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return the trial as shown."""
        return _shown(self._plain.get_trial(trial_id))

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """Return the attributes of the trial as shown."""
        return self.get_trial(trial_id).system_attrs

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """Return the trial of the answer, where there is one; else the best feasible trial."""
        if self._is_ours(study_id):
            with self._lock:
                answer = self._current(study_id).answer
            if answer is not None:
                return self.get_all_trials(study_id)[answer]
        return BaseStorage.get_best_trial(self, study_id)

    def _is_ours(self, study_id: int) -> bool:
        return IDENTITY in self._plain.get_study_user_attrs(study_id)

    def _with_added(self, study_id: int, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Merge stored and added attributes; notes written by a user take precedence."""
        if not self._is_ours(study_id):
            return dict(stored)
        with self._lock:
            added = self._current(study_id).attributes
        written = {key.partition(_VERSION)[0] for key in stored if key.endswith(_VERSION)}
        unwritten = {
            key: value for key, value in added.items() if key.partition("note_")[0] not in written
        }
        metrics = {_METRICS: [_with_unit(name) for name in stored.get(_METRICS, ())]}
        return {**unwritten, **stored, **metrics}

    def _current(self, study_id: int) -> _Added:
        """Return the added attributes, built again if the study has changed, but not too often."""
        cached, now_s = self._added.get(study_id), time.monotonic()
        if cached is not None:
            min_age_s = max(_MIN_CHECK_S, cached.took_s / _MAX_READ_SHARE)
            if now_s - cached.checked_s < min_age_s:
                return cached
        name, counts = self._plain.get_study_name_from_id(study_id), self._counts(study_id)
        version = (name, counts)
        is_running = bool(counts[1].get("running"))
        if (
            cached is not None
            and cached.version == version
            and not (is_running and now_s - cached.built_s > _MAX_AGE_S)
        ):
            cached = replace(cached, checked_s=now_s)
        else:
            attributes, answer = self._attributes(study_id, name)
            took_s = time.monotonic() - now_s
            cached = _Added(attributes, version, now_s, now_s, took_s, answer)
        self._added[study_id] = cached
        return cached

    def _attributes(self, study_id: int, name: str) -> tuple[dict[str, Any], int | None]:
        """Return figures and notes, in parts numbered from 0 as the dashboard stores them.

        Returns:
            They, and the number of the trial of the answer.
        """
        study = optuna.load_study(study_name=name, storage=self._plain)
        record = record_of(study, self._plain, study_id)
        added: dict[str, Any] = {
            f"{_FIGURE}{key}:0": json.dumps(figure) for key, figure in figures(record).items()
        }
        summary = summarize(record)
        notes = {"": study_note(summary)}
        complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        missed = [trial for trial in complete if not _is_feasible(trial)]
        for trial in missed[-_MAX_NOTES:]:  # the dashboard scans all notes for each trial
            notes[f"{trial._trial_id}:"] = _MISSED_NOTE  # noqa: SLF001  # no other way
        if summary.answer is not None:
            recommended = study.get_trials(deepcopy=False)[summary.answer.trial]
            text = f"**Recommended.** {markdown_cell(answer_text(summary).headline)}."
            notes[f"{recommended._trial_id}:"] = text  # noqa: SLF001  # no other way
        for prefix, text in notes.items():
            # Version 0 is that of no note: a user who edits it writes version 1.
            added |= {f"dashboard:{prefix}{_VERSION}": 0, f"dashboard:{prefix}{_TEXT}0": text}
        return added, None if summary.answer is None else summary.answer.trial

    def _counts(self, study_id: int) -> tuple[int, Mapping[State, int]]:
        """Count finished confirmations and trials by state: cheap, and changes with the study."""
        with self.engine.connect() as connection:
            counts = dict(count_trials(connection, study_id))
            confirmed = 0
            if sa.inspect(connection).has_table(CONFIRMATIONS.name):
                is_finished = (CONFIRMATIONS.c.study_id == study_id) & (
                    CONFIRMATIONS.c.state != "running"
                )
                query = sa.select(sa.func.count()).select_from(CONFIRMATIONS).where(is_finished)
                confirmed = connection.execute(query).scalar_one()
        return confirmed, counts


def study_note(summary: Summary) -> str:
    """Return the note of a study: the answer, and the accounts that `show --all` prints."""
    headline = f"**{markdown_cell(answer_text(summary).headline)}.**"
    lines = [markdown_cell(line) for line in summary_lines(summary)]
    return "\n\n".join((headline, *lines, _ABOUT_PAGE))


def _shown(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy of a trial in the form the dashboard understands."""
    display = copy.copy(trial)
    hidden = _HIDDEN if trial.state == TrialState.COMPLETE else _HIDDEN[:1]
    attributes = {key: value for key, value in trial.user_attrs.items() if key not in hidden}
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        attributes["feasible"] = _is_feasible(trial)
    display._user_attrs = attributes  # noqa: SLF001  # its setter needs a study
    display.distributions = {key: _in_order(d) for key, d in trial.distributions.items()}
    display.params = {
        key: _rounded(value) if isinstance(trial.distributions[key], FloatDistribution) else value
        for key, value in trial.params.items()
    }
    if trial.values is not None:
        display.values = [_rounded(value) for value in trial.values]
    system = dict(trial.system_attrs)
    if trial.constraints:
        system[_CONSTRAINTS] = list(trial.constraints.values())
    if trial.state.is_finished():
        system |= artifacts_of(trial)
    display._system_attrs = system  # noqa: SLF001
    if trial.state == TrialState.COMPLETE and not _is_feasible(trial):
        attributes["energy"] = "what it used without reaching the target"
        display.state = Shown.COMPLETE  # type: ignore[assignment]
    return display


def _in_order(distribution: BaseDistribution) -> BaseDistribution:
    """Return a distribution with numbers as categories in numeric order."""
    choices = getattr(distribution, "choices", None)
    return distribution if choices is None else CategoricalDistribution(in_order(choices))


def _rounded(value: float) -> float:
    """Round to the digits that energyopt shows."""
    return float(f"{value:.4g}")


def _is_feasible(trial: FrozenTrial) -> bool:
    return all(violation <= 0 for violation in trial.constraints.values())


def _readable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the identity of a study, which holds its whole config, by its overrides."""
    readable = dict(attributes)
    identity = readable.pop(IDENTITY, None)
    if identity is not None:
        keys = {"setup": "overrides", "search": "sweep"}
        readable |= {name: " ".join(identity.get(key, ())) for name, key in keys.items()}
        readable["target"] = identity.get("target")
    return readable


def _with_unit(metric: str) -> str:
    """Return the name of a metric for people: "energy to target [J]"."""
    for suffix, unit in _UNITS.items():
        if metric.endswith(suffix):
            return f"{metric.removesuffix(suffix)} [{unit}]".replace("_", " ")
    return metric.replace("_", " ")
