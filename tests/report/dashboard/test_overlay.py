"""What the overlay adds to a study's tables, which do not change."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from energyopt.core.outcome import outcome_of
from energyopt.core.study_record import Metric
from energyopt.core.trial_result import TrialResult
from energyopt.objectives import EnergyToTarget, EnergyVsAccuracy
from energyopt.report.dashboard import overlay as module
from energyopt.report.dashboard.artifacts import Artifacts
from energyopt.report.dashboard.overlay import Overlay, Shown, requested_study
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.database import open_database, read_only
from energyopt.storage.identity import Identity
from energyopt.storage.study_store import StudyStore
from tests.small_study import IDENTITY, NAME
from tests.toys import result

# It uses less energy than any other, and misses the target.
MISSED = result([(100, 1, 0.5)])
REACHED = result([(100, 1.5, 0.6), (200, 2, 0.95)])
STOPPED = result([(100, 0.5, 0.2)], end="stopped", reason="cap: enough")


def filled(
    where: Path, *results: TrialResult, identity: Identity = IDENTITY, name: str = NAME
) -> Path:
    """A database with a study of these trials."""
    single = len(identity.metrics) == 1
    store = StudyStore.open(str(where), name, identity, RandomSampler)
    for of in results:
        trial = store.ask()
        assert trial is not None
        lr = trial.suggest_float("lr", 0, 1)
        outcome = outcome_of(of, EnergyToTarget() if single else EnergyVsAccuracy())
        store.tell(trial, outcome, [f"lr={lr}"])
    store.close()
    return where


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return filled(tmp_path / "a.db", MISSED, REACHED, STOPPED)


def opened(where: Path) -> RDBStorage:
    return read_only(open_database(str(where), create=False))


@pytest.fixture
def shown(database: Path) -> Iterator[Overlay]:
    storage = opened(database)
    with quiet_optuna():
        yield Overlay(storage)
    storage.remove_session()
    storage.engine.dispose()


def test_who_missed_the_target_is_complete_infeasible_and_never_the_best(shown: Overlay) -> None:
    missed, reached, stopped = shown.get_all_trials(1)
    assert missed.state.name == "COMPLETE"
    assert missed.state == Shown.COMPLETE  # type: ignore[comparison-overlap]
    assert missed.state.is_finished()
    assert missed.values == [1.0, 0.5]
    assert missed.system_attrs["constraints"] == [pytest.approx(0.4)]
    assert (reached.state, stopped.state) == (TrialState.COMPLETE, TrialState.PRUNED)
    assert [t.user_attrs["feasible"] for t in (missed, reached, stopped)] == [False, True, False]
    assert shown.get_all_trials(1, states=(TrialState.COMPLETE,)) == [reached]
    with quiet_optuna():
        best = optuna.load_study(study_name=NAME, storage=shown).best_trials
    assert [trial.number for trial in best] == [1]


def test_of_one_objective_the_best_is_feasible(tmp_path: Path) -> None:
    energy = Identity(
        (Metric("energy_to_target_j", "minimize"),), (), ("lr=interval(0,1)",), {}, 0.9
    )
    where = filled(tmp_path / "b.db", MISSED, REACHED, identity=energy)
    storage = opened(where)
    assert Overlay(storage).get_best_trial(1).number == 1
    storage.engine.dispose()


def test_figures_notes_and_units_are_added_to_the_study_that_is_asked_for(shown: Overlay) -> None:
    (study,) = shown.get_all_studies()
    assert not any(key.startswith("dashboard:") for key in study.system_attrs)
    with requested_study(1):
        (study,) = shown.get_all_studies()
    added = study.system_attrs
    assert added["study:metric_names"] == ["energy to target [J]", "best accuracy"]
    drawn = [key for key in added if key.startswith("dashboard:plot_data:energyopt-")]
    assert len(drawn) >= 4
    assert all(json.loads(added[key])["layout"]["images"] for key in drawn)
    assert "Study small: 3 trials" in added["dashboard:note_str:0"]
    assert "Missed the target" in added["dashboard:1:note_str:0"]
    assert added["dashboard:2:note_str:0"].startswith("**Recommended.** ")
    assert "dashboard:3:note_str:0" not in added
    assert shown.get_best_trial(1).number == 1
    assert study.user_attrs["search"] == "lr=interval(0,1) momentum=interval(0,1)"


def test_looking_changes_no_byte(database: Path, shown: Overlay) -> None:
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    with requested_study(1):
        shown.get_all_studies()
    shown.get_all_trials(1)
    shown.get_study_system_attrs(1)
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before
    plain = opened(database)
    assert plain.get_study_system_attrs(1) == {
        "study:metric_names": ["energy_to_target_j", "best_accuracy"]
    }
    assert "feasible" not in plain.get_all_trials(1)[0].user_attrs
    plain.engine.dispose()


def test_artifacts_are_what_the_database_says(database: Path, shown: Overlay) -> None:
    files = Artifacts(shown)
    metas = [
        json.loads(value)
        for key, value in shown.get_trial_system_attrs(2).items()
        if key.startswith("artifacts:")
    ]
    assert [meta["filename"] for meta in metas] == ["config.json", "result.json"]
    config, record = (json.load(files.open_reader(meta["artifact_id"])) for meta in metas)
    assert config["config_of_study"] == {"epochs": 1}
    assert config["overrides"][0].startswith("lr=")
    assert TrialResult.from_dict(record) == REACHED
    for wrong in ("9-0", "2-2", "x-0", "2", "", "-0", "99999999999999999999-0"):
        with pytest.raises(ArtifactNotFound):
            files.open_reader(wrong)
    with pytest.raises(PermissionError):
        files.remove("2-0")
    with pytest.raises(PermissionError):
        files.write("2-0", io.BytesIO())


def test_what_somebody_wrote_by_the_dashboard_stays(database: Path, shown: Overlay) -> None:
    writing = open_database(str(database), create=True)
    writing.set_study_system_attr(1, "dashboard:note_ver", 1)
    writing.set_study_system_attr(1, "dashboard:note_str:0", "mine")
    writing.engine.dispose()
    found = shown.get_study_system_attrs(1)
    assert (found["dashboard:note_ver"], found["dashboard:note_str:0"]) == (1, "mine")
    assert "dashboard:1:note_str:0" in found  # that of a trial is another


def test_it_is_made_again_when_the_study_has_changed(
    database: Path, shown: Overlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> str:
        return str(shown.get_study_system_attrs(1)["dashboard:note_str:0"])

    assert "3 trials" in said()
    filled(database, REACHED)
    assert "3 trials" in said()  # not looked again yet
    monkeypatch.setattr(module, "_MIN_CHECK_S", 0.0)
    monkeypatch.setattr(module, "_MAX_READ_SHARE", 1e9)
    assert "4 trials" in said()
    made = shown._added[1].attributes
    said()
    assert shown._added[1].attributes is made  # nothing changed, nothing read


def test_another_programs_study_is_shown_as_it_is(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path / 'theirs.db'}"
    with quiet_optuna():
        study = optuna.create_study(storage=where, study_name="theirs")
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
        storage = opened(tmp_path / "theirs.db")
        overlay = Overlay(storage)
        with requested_study(1):
            (found,) = overlay.get_all_studies()
        assert found.system_attrs == {}
        assert [trial.user_attrs for trial in overlay.get_all_trials(1)] == [{}, {}]
    storage.engine.dispose()


def test_values_are_rounded_and_numbers_as_choices_in_order(tmp_path: Path) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path / 'a.db'}")
    study = optuna.create_study(study_name="small", storage=storage)
    space = {
        "lr": FloatDistribution(0.0, 1.0),
        "batch_size": CategoricalDistribution((128, 16, 64)),
        "momentum": CategoricalDistribution((0.123456, 0.9)),
    }
    params = {"lr": 0.0358927, "batch_size": 64, "momentum": 0.123456}
    study.add_trial(optuna.create_trial(params=params, distributions=space, value=1.23456))
    trial = Overlay(storage).get_trial(1)
    assert trial.params == {**params, "lr": 0.03589}
    assert trial.values == [1.235]
    assert trial.distributions["batch_size"] == CategoricalDistribution((16, 64, 128))
