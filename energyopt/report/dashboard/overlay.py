"""What Optuna's dashboard reads of a study of ours: its tables, and what it does not know of them.

The dashboard knows no constraints of Optuna 5 and shows only what stands in a study's attributes.
So that nothing has to be written into a study, be it running or read-only, its reading goes through
a storage that adds this on the way: figures, a note, units, feasibility, artifacts. What somebody
has written there by the dashboard itself stays as it is.
"""

from __future__ import annotations

import copy
import enum
import io
import json
import re
import threading
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import optuna
import sqlalchemy as sa
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage, RDBStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from energyopt.report.dashboard.figures import figures
from energyopt.report.dashboard.note import MISSED, note
from energyopt.store.identity import IDENTITY
from energyopt.store.reading import record_of
from energyopt.store.tables import CONFIRMATIONS, TRIALS, has_rows
from energyopt.store.trials import count_trials

# Where the dashboard looks in a study's and a trial's attributes.
_FIGURE, _VERSION, _TEXT = "dashboard:plot_data:", "note_ver", "note_str:"
_METRICS, _CONSTRAINTS, _ARTIFACT = "study:metric_names", "constraints", "artifacts:"

_HIDDEN = ("curve", "paused", "reason")  # long; and what an earlier pause has left
_UNITS = {"_j": "J", "_s": "s", "_w": "W"}
_ARTIFACTS = ("config.json", "result.json")
_NAMED = re.compile(r"(\d{1,9})-([01])")
_LOOK_S = 3.0  # between two looks whether a study has changed
_AGE_S = 60.0  # after which one that runs is read again: its trials move
_SHARE = 0.05  # of the time that may be spent on reading it

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
    """What is added to a study's attributes, and when it was made of what."""

    attributes: Mapping[str, Any]
    state: object
    at_s: float
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
        self._ours: dict[int, bool] = {}
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
        if study_id not in self._ours:
            self._ours[study_id] = IDENTITY in self._plain.get_study_user_attrs(study_id)
        return self._ours[study_id]

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
        if known is not None and now_s - known.at_s < max(_LOOK_S, known.took_s / _SHARE):
            return known.attributes
        state = self._state(study_id)
        is_same = known is not None and known.state == state and now_s - known.at_s < _AGE_S
        if known is None or not is_same:
            made = self._attributes(study_id)
            took_s = time.monotonic() - now_s
            known = self._added[study_id] = _Added(made, state, now_s, took_s)
        return known.attributes

    def _attributes(self, study_id: int) -> dict[str, Any]:
        """Figures and notes as attributes, in parts that the dashboard numbers from 0."""
        name = self._plain.get_study_name_from_id(study_id)
        study = optuna.load_study(study_name=name, storage=self._plain)
        record = record_of(study, self._plain, study_id)
        added: dict[str, Any] = {
            f"{_FIGURE}{key}:0": json.dumps(of) for key, of in figures(record).items()
        }
        notes = {"": note(record)}
        for trial in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
            if not _is_feasible(trial):
                notes[f"{trial._trial_id}:"] = MISSED  # noqa: SLF001  # no other way
        for of, text in notes.items():
            # The version is that of nothing written: who edits the note writes the first one.
            added |= {f"dashboard:{of}{_VERSION}": 0, f"dashboard:{of}{_TEXT}0": text}
        return added

    def _state(self, study_id: int) -> object:
        """What changes with a study, without reading any record."""
        with self.engine.connect() as connection:
            counts = dict(count_trials(connection, study_id))
            confirmed = 0
            if sa.inspect(connection).has_table(CONFIRMATIONS.name):
                mine = CONFIRMATIONS.c.study_id == study_id
                over = mine & (CONFIRMATIONS.c.state != "running")
                query = sa.select(sa.func.count()).select_from(CONFIRMATIONS).where(over)
                confirmed = connection.execute(query).scalar_one()
        return counts, confirmed


class Artifacts:
    """The config and the record of each trial as files, read from the database when asked for.

    Args:
        storage: The database.
    """

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Read one.

        Raises:
            ArtifactNotFound: If there is none.
        """
        named = _NAMED.fullmatch(artifact_id)
        if named is None:
            raise ArtifactNotFound
        with self._storage.engine.connect() as connection:
            if not has_rows(connection):
                raise ArtifactNotFound
            found = sa.text("SELECT study_id, number FROM trials WHERE trial_id = :id")
            ids = connection.execute(found, {"id": int(named[1])}).one_or_none()
            if ids is None:
                raise ArtifactNotFound
            query = sa.select(TRIALS.c.overrides, TRIALS.c.result)
            of = (TRIALS.c.study_id == ids.study_id) & (TRIALS.c.number == ids.number)
            row = connection.execute(query.where(of)).one_or_none()
        if row is None:
            raise ArtifactNotFound
        result = json.loads(row.result or "null")
        data = result if named[2] == "1" else self._config(ids.study_id, json.loads(row.overrides))
        return io.BytesIO(json.dumps(data, indent=1).encode())

    def _config(self, study_id: int, overrides: list[str]) -> dict[str, Any]:
        question = self._storage.get_study_user_attrs(study_id).get(IDENTITY, {})
        return {
            "overrides": [*question.get("overrides", ()), *overrides],
            "config_of_study": question.get("config"),
        }

    def write(self, artifact_id: str, content_body: BinaryIO) -> NoReturn:
        """Nothing is written.

        Raises:
            PermissionError: Always.
        """
        raise PermissionError(artifact_id, content_body)

    def remove(self, artifact_id: str) -> NoReturn:
        """Nothing is removed.

        Raises:
            PermissionError: Always.
        """
        raise PermissionError(artifact_id)


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
        for number, name in enumerate(_ARTIFACTS):
            artifact = f"{trial._trial_id}-{number}"  # noqa: SLF001
            about = {"artifact_id": artifact, "filename": name, "mimetype": "application/json"}
            system[f"{_ARTIFACT}{artifact}"] = json.dumps({**about, "encoding": None})
    shown._system_attrs = system  # noqa: SLF001
    if trial.state == TrialState.COMPLETE and not _is_feasible(trial):
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
