"""What Optuna's dashboard reads of a study of ours: its tables, and what it does not know of them.

The dashboard knows no constraints of Optuna 5 and shows only what stands in a study's attributes.
So that nothing has to be written into a study, be it running or read-only, its reading goes through
a storage that adds this on the way: figures, a note, units, feasibility, artifacts. What somebody
has written there by the dashboard itself stays as it is.
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
from optuna.storages import BaseStorage, RDBStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from energyopt.analysis.summary import summarize
from energyopt.core.study_record import StudyRecord
from energyopt.report.dashboard.artifacts import artifacts_of
from energyopt.report.dashboard.figures import figures
from energyopt.report.export.front_file import markdown_cell
from energyopt.report.sentences import summary_lines
from energyopt.storage.identity import IDENTITY
from energyopt.storage.optuna_tables import State, count_trials
from energyopt.storage.reader import record_of
from energyopt.storage.tables import CONFIRMATIONS

# Where the dashboard looks in a study's and a trial's attributes.
_FIGURE, _VERSION, _TEXT = "dashboard:plot_data:", "note_ver", "note_str:"
_METRICS, _CONSTRAINTS = "study:metric_names", "constraints"

_HIDDEN = ("curve", "paused", "reason")  # long; and what an earlier pause has left
_UNITS = {"_j": "J", "_s": "s", "_w": "W"}
_MOST_NOTES = 100  # of trials that missed
_LOOK_S = 3.0  # between two looks whether a study has changed
_AGE_S = 60.0  # after which one that runs is read again: its trials move
_SHARE = 0.05  # of the time that may be spent on reading it

_ABOUT_PAGE = (
    "*This page is Optuna's dashboard over energyopt's database; figures, this note, units, "
    "`feasible` and artifacts are added when it is looked at and stand in no table. A trial that "
    "missed the target is infeasible: its energy is what it burnt in vain, so it is grey, and no "
    "best trial. A stopped one is pruned. Best Trials are those of the told values; the front of "
    "all evaluations is in energyopt's own figures, below the dashboard's on the first page.*"
)

_MISSED_NOTE = (
    "**Missed the target.** Its energy is what it burnt in vain, a lower bound of what it would "
    "need: no best trial is made of it."
)

_asked: ContextVar[int | None] = ContextVar("asked", default=None)


class Shown(enum.Enum):
    """A state that is called what it is, and that no best trial and no importance is made of.

    Of a trial that missed its target the value is no energy to it, but a lower bound.
    """

    COMPLETE = "missed"

    def is_finished(self) -> bool:
        """As Optuna's states say."""
        return True


@dataclass(frozen=True, slots=True)
class _Added:
    """What is added to a study's attributes, of what and when it was made, and how long it took."""

    attributes: Mapping[str, Any]
    state: object
    made_s: float
    looked_s: float
    took_s: float


@contextmanager
def asking_for(study_id: int | None) -> Iterator[None]:
    """Say which study is looked at: figures of all others need not be made."""
    token = _asked.set(study_id)
    try:
        yield
    finally:
        _asked.reset(token)


class Overlay(RDBStorage):
    """A storage for reading alone, which shares the connections of another.

    Args:
        storage: The other one.
    """

    def __init__(self, storage: RDBStorage) -> None:
        self.__dict__.update(storage.__dict__)
        self._plain = storage
        self._added: dict[int, _Added] = {}
        self._lock = threading.Lock()

    def get_all_studies(self) -> list[FrozenStudy]:
        """All of them; the one that is asked for with what is added."""
        studies = self._plain.get_all_studies()
        for study in studies:
            study_id = study._study_id  # noqa: SLF001  # no other way
            if study_id == _asked.get():
                study.system_attrs = self._with_added(study_id, study.system_attrs)
            study.user_attrs = _in_words(study.user_attrs)
        return studies

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """With what is added."""
        return self._with_added(study_id, self._plain.get_study_system_attrs(study_id))

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """As they are shown; the states are those that are shown."""
        trials = self._plain.get_all_trials(study_id, deepcopy=deepcopy)
        if self._is_ours(study_id):
            trials = [_shown(trial) for trial in trials]
        return [trial for trial in trials if states is None or trial.state in states]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As it is shown."""
        return _shown(self._plain.get_trial(trial_id))

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """As they are shown."""
        return self.get_trial(trial_id).system_attrs

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best of those that are feasible."""
        return BaseStorage.get_best_trial(self, study_id)

    def _is_ours(self, study_id: int) -> bool:
        return IDENTITY in self._plain.get_study_user_attrs(study_id)

    def _with_added(self, study_id: int, there: Mapping[str, Any]) -> dict[str, Any]:
        """A study's attributes with ours, which give way to what somebody has written."""
        if not self._is_ours(study_id):
            return dict(there)
        with self._lock:
            added = self._current(study_id)
        written = {key.partition(_VERSION)[0] for key in there if key.endswith(_VERSION)}
        kept = {
            key: value for key, value in added.items() if key.partition("note_")[0] not in written
        }
        metrics = {_METRICS: [_with_unit(name) for name in there.get(_METRICS, ())]}
        return {**kept, **there, **metrics}

    def _current(self, study_id: int) -> Mapping[str, Any]:
        """What is added, made again where the study has changed, and not too often."""
        known, now_s = self._added.get(study_id), time.monotonic()
        if known is not None and now_s - known.looked_s < max(_LOOK_S, known.took_s / _SHARE):
            return known.attributes
        name, state = self._plain.get_study_name_from_id(study_id), self._state(study_id)
        # A trial that runs moves without being counted.
        old = known is not None and now_s - known.made_s > _AGE_S and bool(state[1].get("running"))
        if known is not None and known.state == (name, state) and not old:
            known = replace(known, looked_s=now_s)
        else:
            made = self._attributes(study_id, name)
            took_s = time.monotonic() - now_s
            known = _Added(made, (name, state), now_s, now_s, took_s)
        self._added[study_id] = known
        return known.attributes

    def _attributes(self, study_id: int, name: str) -> dict[str, Any]:
        """Figures and notes as attributes, in parts that the dashboard numbers from 0."""
        study = optuna.load_study(study_name=name, storage=self._plain)
        record = record_of(study, self._plain, study_id)
        added: dict[str, Any] = {
            f"{_FIGURE}{key}:0": json.dumps(of) for key, of in figures(record).items()
        }
        notes = {"": study_note(record)}
        complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        missed = [trial for trial in complete if not _is_feasible(trial)]
        for trial in missed[-_MOST_NOTES:]:  # the dashboard looks through all of them for each
            notes[f"{trial._trial_id}:"] = _MISSED_NOTE  # noqa: SLF001  # no other way
        for of, text in notes.items():
            # The version is that of nothing written: who edits the note writes the first one.
            added |= {f"dashboard:{of}{_VERSION}": 0, f"dashboard:{of}{_TEXT}0": text}
        return added

    def _state(self, study_id: int) -> tuple[int, Mapping[State, int]]:
        """What changes with a study, without reading any record."""
        with self.engine.connect() as connection:
            counts = dict(count_trials(connection, study_id))
            confirmed = 0
            if sa.inspect(connection).has_table(CONFIRMATIONS.name):
                mine = CONFIRMATIONS.c.study_id == study_id
                over = mine & (CONFIRMATIONS.c.state != "running")
                query = sa.select(sa.func.count()).select_from(CONFIRMATIONS).where(over)
                confirmed = connection.execute(query).scalar_one()
        return confirmed, counts


def study_note(study: StudyRecord) -> str:
    """Sum a study up as its run does at its end."""
    lines = [markdown_cell(line) for line in summary_lines(summarize(study))]
    return "\n\n".join((*(str(line) for line in lines), _ABOUT_PAGE))


def _shown(trial: FrozenTrial) -> FrozenTrial:
    """A trial as the dashboard understands it."""
    shown = copy.copy(trial)
    hidden = _HIDDEN if trial.state == TrialState.COMPLETE else _HIDDEN[:1]
    attributes = {key: value for key, value in trial.user_attrs.items() if key not in hidden}
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        attributes["feasible"] = _is_feasible(trial)
    shown._user_attrs = attributes  # noqa: SLF001  # its setters ask for a study
    system = dict(trial.system_attrs)
    if trial.constraints:
        system[_CONSTRAINTS] = list(trial.constraints.values())
    if trial.state.is_finished():
        system |= artifacts_of(trial)
    shown._system_attrs = system  # noqa: SLF001
    if trial.state == TrialState.COMPLETE and not _is_feasible(trial):
        attributes["energy"] = "what it burnt in vain: it missed the target"
        shown.state = Shown.COMPLETE  # type: ignore[assignment]
    return shown


def _is_feasible(trial: FrozenTrial) -> bool:
    return all(violation <= 0 for violation in trial.constraints.values())


def _in_words(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A study's attributes, with what it asks as words and without its whole config."""
    shown = dict(attributes)
    question = shown.pop(IDENTITY, None)
    if question is not None:
        words = {"setup": "overrides", "search": "sweep"}
        shown |= {name: " ".join(question.get(key, ())) for name, key in words.items()}
        shown["target"] = question.get("target")
    return shown


def _with_unit(metric: str) -> str:
    """The name of a metric for people: "energy to target [J]"."""
    for suffix, unit in _UNITS.items():
        if metric.endswith(suffix):
            return f"{metric.removesuffix(suffix)} [{unit}]".replace("_", " ")
    return metric.replace("_", " ")
