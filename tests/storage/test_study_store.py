"""A study remembers what it was told, asks one question, and belongs to one coordinator."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState

from energyopt.core.outcome import outcome_of
from energyopt.core.report_settings import NONE, ReportSettings
from energyopt.core.study_record import Metric, Outcome, TrialRecord
from energyopt.errors import StorageError, StudyError
from energyopt.objectives import EnergyVsAccuracy
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.database import open_database
from energyopt.storage.identity import Identity, check_name, file_name
from energyopt.storage.optuna_tables import count_trials, running_trials, stored_trials
from energyopt.storage.reader import read_studies, read_study
from energyopt.storage.reconciliation import TrialRemnant
from energyopt.storage.run_leases import only_coordinator
from energyopt.storage.study_store import StudyStore
from tests.toys import ESTIMATED, METRICS, result

CONFIG = {"epochs": 30, "model": {"width": 8, "sizes": [1, 2]}, "study_note": None}
ASKED = Identity(METRICS, ("epochs=30",), ("lr=interval(0,1)",), CONFIG, 0.9)
OF_ANOTHER_APP = Identity((Metric("value", "minimize"),), (), ("x=interval(0,1)",), None, None)

Open = Callable[..., StudyStore]


def make_sampler(existing: int) -> BaseSampler:
    return RandomSampler(seed=existing)


@pytest.fixture
def database(where: str) -> str:
    return where


def left(record: Any = None, outcome: Outcome | None = None) -> Callable[[Any], TrialRemnant]:
    """Files of a dead run outside the database."""
    return lambda trial: TrialRemnant((f"lr={trial.params.get('lr')}",), outcome, record)


@pytest.fixture
def open_study(database: str) -> Iterator[Open]:
    """Open a study as one run after the other does."""
    opened: list[StudyStore] = []

    def open_it(identity: Identity = ASKED, name: str = "toy", **more: Any) -> StudyStore:
        opened.append(StudyStore.open(database, name, identity, make_sampler, **more))
        return opened[-1]

    yield open_it
    for store in opened:
        store._storage.engine.dispose()


def ask(store: StudyStore) -> optuna.Trial:
    trial = store.ask()
    assert trial is not None
    with store.storage_errors():
        trial.suggest_float("lr", 0, 1)
    return trial


def only_trial(store: StudyStore) -> TrialRecord:
    (trial,) = store.read().trials
    return trial


# --- reported results can be read


def test_a_new_study_is_empty_and_knows_its_question(open_study):
    store = open_study()
    study = store.read()
    assert store.name == study.name == "toy"
    assert study.metrics == METRICS
    assert (study.overrides, study.sweep) == (("epochs=30",), ("lr=interval(0,1)",))
    assert (study.target, study.trials) == (0.9, ())
    assert (store.n_finished(), store.seen(), store.reap()) == (0, [], 0)


@pytest.mark.parametrize(
    ("of", "state", "feasible"),
    [
        (result([(100, 2, 0.7), (200, 4, 0.95)], evaluation_j=0.5, warmup_j=1), "complete", True),
        (result([(100, 2, 0.7), (200, 4, 0.8)], reason="trained all epochs"), "complete", False),
        (result([(100, 2, 0.7)], end="diverged", reason="the loss is nan"), "pruned", False),
    ],
    ids=["reached", "missed", "diverged"],
)
def test_a_judged_trial_comes_back_whole(open_study, database, of, state, feasible):
    store = open_study()
    trial = ask(store)
    outcome = outcome_of(of, EnergyVsAccuracy())
    store.tell(trial, outcome, ["lr=0.5"])
    expected = TrialRecord(
        number=0,
        state=state,
        params=trial.params,
        overrides=("lr=0.5",),
        values=outcome.values,
        feasible=feasible,
        reason=of.reason,
        result=of,
    )
    assert only_trial(store) == expected
    assert read_study(database, "toy").trials == (expected,)
    assert read_study(database, "toy") == store.read()

    with quiet_optuna():  # Optuna's own view, for the dashboard
        (frozen,) = optuna.load_study(study_name="toy", storage=store._storage).trials
    assert frozen.state.name == state.upper()
    assert frozen.constraints == {"target_missed_by": pytest.approx(0.9 - of.best_accuracy)}
    assert frozen.user_attrs["censored"] is (not of.reached)
    if state == "pruned":
        assert frozen.user_attrs["reason"] == "the loss is nan"


def test_trials_are_read_as_optuna_reads_them(open_study):
    """We read its tables ourselves, since it takes its time."""
    store = open_study()
    study = store._study
    lists = {"choice": ("a", 2, None, True), "other": (1.5, "b")}
    for index, state in enumerate(("complete", "complete", "pruned", "failed", "running")):
        trial = study.ask()
        trial.suggest_float("lr", 1e-5, 1, log=True)
        trial.suggest_int("width", 2, 8, step=2)
        for key, choices in lists.items():
            trial.suggest_categorical(key, choices)
        if state == "complete":
            trial.set_constraint("one", index - 0.5)
            trial.set_constraint("other", -1)
            study.tell(trial, [index, float("inf")])
        elif state != "running":
            study.tell(trial, state={"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[state])
    old = {"constraints": [-1.0, 1.0]}  # as Optuna kept them before version 5
    study.add_trial(optuna.trial.create_trial(values=[1, -float("inf")], system_attrs=old))
    store.plan({"lr": 0.5})
    with store._storage.engine.connect() as connection:
        kept = stored_trials(connection, store._run.study_id)
        counts = count_trials(connection, store._run.study_id)
        running = running_trials(connection, store._run.study_id)
    frozen = study.get_trials()
    assert counts == Counter(trial.state for trial in kept)
    assert running == {trial.number for trial in frozen if trial.state == TrialState.RUNNING}
    assert [trial.number for trial in kept] == [trial.number for trial in frozen]
    assert [(list(t.params.items()), list(t.values)) for t in kept] == [
        (list(trial.params.items()), trial.values or []) for trial in frozen
    ]
    assert [trial.state for trial in kept] == [
        *("complete", "complete", "pruned", "failed", "running", "complete", "waiting")
    ]
    assert [trial.feasible for trial in kept] == [
        all(violation <= 0 for violation in trial.constraints.values()) for trial in frozen
    ]


def test_a_failed_trial_keeps_its_reason_and_its_joules(open_study):
    store = open_study()
    broken = result([(100, 2, 0.7)], end="failed", reason="killed")
    store.tell(ask(store), Outcome("failed", reason="killed", result=broken), ["lr=0.5"])
    trial = only_trial(store)
    assert (trial.state, trial.reason, trial.values) == ("failed", "killed", ())
    assert trial.result == broken
    assert store.read().search_energy_j == 2
    assert store.read().results == ()


def test_a_job_of_another_app_needs_no_record(open_study):
    store = open_study(OF_ANOTHER_APP)
    constraints = {"memory": 0.5, "time": -1.0, "never": float("inf")}
    attributes = {"a": [1, None], "ä": "ö"}
    store.tell(ask(store), Outcome("complete", (1e-300,), constraints, attributes), ["x=1"])
    trial = only_trial(store)
    assert (trial.state, trial.values, trial.feasible, trial.result) == (
        "complete", (1e-300,), False, None,
    )  # fmt: skip
    (frozen,) = store._study.trials
    assert frozen.constraints == constraints
    assert frozen.user_attrs == attributes
    assert store.read().target is None


def test_a_trial_on_its_way_is_running(open_study):
    store = open_study()
    trial = ask(store)
    assert only_trial(store) == TrialRecord(0, "running", trial.params, ())
    assert store.n_finished() == 0
    assert store.seen() == [trial.params]


# --- planned setups, and lost ones


def test_planned_setups_are_asked_first_and_in_order(open_study):
    store = open_study()
    store.plan({"lr": 0.25}, default=True)
    store.plan({"lr": 0.75})
    assert store.seen() == [{"lr": 0.25}, {"lr": 0.75}]
    assert [trial.state for trial in store.read().trials] == ["waiting", "waiting"]
    first, second = ask(store), ask(store)
    assert (first.params, second.params) == ({"lr": 0.25}, {"lr": 0.75})
    for trial in (first, second):
        store.tell(trial, Outcome("complete", (1.0, 0.9)), [])
    assert [trial.default for trial in store.read().trials] == [True, False]


def test_a_lost_trial_does_not_count_and_its_setup_is_asked_again(open_study):
    dead = open_study()
    dead.plan({"lr": 0.25}, default=True)
    ask(dead)
    store = open_study(remains=left(result([(100, 2, 0.7)], end="failed")))
    assert store.reap() == 1
    assert store.reap() == 0
    assert (store.n_finished(), store.seen()) == (0, [{"lr": 0.25}])
    again = ask(store)
    assert (again.number, again.params) == (1, {"lr": 0.25})
    store.tell(again, outcome_of(result([(100, 2, 0.95)]), EnergyVsAccuracy()), ["lr=0.25"])
    assert store.n_finished() == 1
    study = store.read()
    assert [(t.state, t.default, t.reason) for t in study.trials] == [
        ("failed", True, "its run died"),
        ("complete", True, ""),
    ]
    assert study.trials[0].overrides == ("lr=0.25",)
    assert [t.number for t, _ in study.results] == [1]  # a lost curve is not compared
    assert study.search_energy_j == 4


def test_a_setup_whose_runs_die_time_after_time_has_failed(open_study):
    open_study().plan({"lr": 0.25})
    for _ in range(2):
        ask(open_study())
    store = open_study(remains=left(result([(100, 2, 0.7)], end="failed")))
    assert (store.reap(), store.n_finished(), store.seen()) == (1, 1, [{"lr": 0.25}])
    trials = store.read().trials
    assert [trial.reason for trial in trials] == [
        "its run died",
        "its run died, 2 times with this setup",
    ]
    assert store.read().search_energy_j == 2


def test_an_interrupted_trial_is_asked_again_each_time(open_study):
    open_study().plan({"lr": 0.25}, default=True)
    for number in range(4):
        store = open_study()
        trial = ask(store)
        assert (trial.number, trial.params) == (number, {"lr": 0.25})
        used = result([(100, 2, 0.7)], end="interrupted")
        store.lose(trial, ["lr=0.25"], "interrupted", "interrupted", used)
        assert store.n_finished() == 0
    study = store.read()
    assert [trial.state for trial in study.trials] == ["failed"] * 4 + ["waiting"]
    assert study.search_energy_j == 8


def test_a_trial_lost_before_its_first_suggestion_keeps_its_planned_setup(open_study):
    dead = open_study()
    dead.plan({"lr": 0.25}, default=True)
    dead.ask()
    again = ask(open_study())
    assert again.params == {"lr": 0.25}
    assert again.user_attrs["default_setup"] is True


def test_a_trial_lost_before_anything_was_known_of_it_plans_nothing(open_study):
    open_study().ask()
    store = open_study()
    store.reap()
    assert [trial.state for trial in store.read().trials] == ["failed"]
    assert store.n_finished() == 0


def test_what_was_spooled_is_told(open_study):
    trial = ask(open_study())
    training = result([(100, 2, 0.95)])
    store = open_study(remains=left(training, outcome_of(training, EnergyVsAccuracy())))
    assert (store.reap(), store.n_finished()) == (1, 1)
    stored = only_trial(store)
    assert (stored.state, stored.values, stored.params) == ("complete", (2.0, 0.95), trial.params)
    assert (stored.result, stored.feasible) == (training, True)


def test_joules_of_a_running_trial_are_in_the_books(open_study, database):
    store = open_study()
    trial = ask(store)
    for joules in (2, 3):
        store.beat({0: result([(100, joules, 0.7)], end="lost")})
        assert read_study(database, "toy").search_energy_j == joules
    assert read_study(database, "toy").results == ()
    # Energy known only from an unreachable journal is not lost.
    assert open_study().reap() == 1
    study = read_study(database, "toy")
    assert (study.trials[0].state, study.search_energy_j) == ("failed", 3)
    assert ask(open_study()).params == trial.params


def test_the_total_is_never_passed(open_study):
    store = open_study()
    first, second = store.ask(2), store.ask(2)
    assert first is not None
    assert second is not None
    assert store.ask(2) is None
    store.tell(first, Outcome("complete", (1.0, 0.9)), [])
    assert store.ask(2) is None
    store.lose(second, [], "interrupted", "interrupted", None)
    assert store.ask(2) is not None
    assert store.ask(2) is None
    assert store.ask(3) is not None


def test_every_kind_of_end_counts(open_study):
    store = open_study()
    outcomes = [
        Outcome("complete", (1.0, 0.9)),
        Outcome("pruned", reason="slow"),
        Outcome("failed", reason="broke"),
    ]
    for i, outcome in enumerate(outcomes):
        assert store.n_finished() == i
        store.tell(ask(store), outcome, [])
    ask(store)
    assert store.n_finished() == 3
    assert len(store.seen()) == 4


# --- one question


def test_the_same_question_goes_on(open_study):
    first = open_study()
    first.tell(ask(first), Outcome("complete", (1.0, 0.9)), [])
    again = open_study()
    assert again.n_finished() == 1
    assert ask(again).number == 1
    assert first._study.trials[0].params != again._study.trials[1].params  # seeded by the number


@pytest.mark.parametrize(
    "identity",
    [
        dataclasses.replace(ASKED, overrides=()),  # words only lead to the config
        dataclasses.replace(ASKED, sweep=("+lr=interval(0,1)",)),
        dataclasses.replace(
            ASKED,
            metrics=(Metric("other_j", "minimize"), Metric("accuracy", "maximize")),
        ),
    ],
)
def test_the_same_question_in_other_words_goes_on(open_study, identity):
    open_study()
    assert open_study(identity).read().metrics == METRICS


def changed(**config: Any) -> Identity:
    return dataclasses.replace(ASKED, config={**CONFIG, **config})


@pytest.mark.parametrize(
    ("identity", "difference"),
    [
        (changed(epochs=31), "epochs: 30 -> 31"),
        (changed(model={"width": 9, "sizes": [1, 2]}), "model.width: 8 -> 9"),
        (changed(model={"width": 8, "sizes": [1]}), "model.sizes: [1, 2] -> [1]"),
        (changed(more=1), "more: not set -> 1"),
        (changed(model={"width": 8}), "model.sizes: [1, 2] -> not set"),
        (changed(study_note="x"), "study_note: None -> x"),
        (changed(epochs=31, more=1), "epochs: 30 -> 31; more: not set -> 1"),
        (
            dataclasses.replace(ASKED, sweep=("lr=interval(0,2)",)),
            "search of lr: interval(0,1) -> interval(0,2)",
        ),
        (
            dataclasses.replace(ASKED, sweep=(*ASKED.sweep, "batch_size=16,32")),
            "search of batch_size: not set -> 16,32",
        ),
    ],
)
@pytest.mark.slow
def test_another_question_is_refused_with_the_difference(
    open_study, database, identity, difference
):
    store = open_study()
    before = store.read()
    with pytest.raises(StudyError) as caught:
        open_study(identity)
    assert str(caught.value) == (
        f"study toy was created with other settings than this run ({difference}); set these back "
        "to continue it, or give another study=name"
    )
    assert read_study(database, "toy") == before


@pytest.mark.parametrize(
    ("metrics", "directions"),
    [
        (METRICS[:1], "minimize"),
        ((METRICS[1], METRICS[0]), "maximize, minimize"),
        ((*METRICS, Metric("time_s", "minimize")), "minimize, maximize, minimize"),
    ],
)
def test_other_directions_are_refused(open_study, metrics, directions):
    open_study()
    with pytest.raises(StudyError) as caught:
        open_study(dataclasses.replace(ASKED, metrics=metrics))
    assert str(caught.value).startswith(
        "study toy has the directions minimize, maximize, this run asks for "
        f"{directions}; give it another study=name"
    )


def test_joules_of_two_kinds_do_not_mix(open_study):
    open_study().bind(ESTIMATED)
    store = open_study()
    store.bind(ESTIMATED)
    store.bind(dataclasses.replace(ESTIMATED, host="another", version="9", uncertainty="?"))
    for other in (
        dataclasses.replace(ESTIMATED, kind="measured"),
        dataclasses.replace(ESTIMATED, meter="RAPL"),
        dataclasses.replace(ESTIMATED, scope="GPU board"),
        dataclasses.replace(ESTIMATED, device="Another CPU"),
    ):
        with pytest.raises(StudyError) as caught:
            store.bind(other)
        message = str(caught.value)
        assert message.startswith(
            f"study toy holds joules {' / '.join(ESTIMATED.binding)}, this machine gives "
            f"{' / '.join(other.binding)}; "
        )
        assert "give the new measurements their own study=name" in message


# --- names


def test_the_last_word_of_what_is_planned_counts(open_study):
    assert open_study().read().plans == NONE
    for plans in (
        ReportSettings(reuse=30, price_per_kwh=0.3, currency="CHF"),
        ReportSettings(pue=1.2),
        NONE,
    ):
        store = open_study()
        store.keep_plans(plans)
        store.close()
        assert open_study().read().plans == plans


@pytest.mark.parametrize("name", ["a", "9", "digits-cnn-0123abcd", "A.b_c+d-e", "x" * 100])
def test_names_that_are_safe_files_are_taken(name):
    check_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "../x", "a/b", "a b", ".hidden", "-flag", "x" * 101, "ä", "a\n", "a:b", "~", "a\\b"],
)
def test_other_names_are_refused_for_our_own_app(name):
    message = f"study={name!r} is not a name: up to 100 letters, digits"
    with pytest.raises(StudyError) as caught:
        check_name(name)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["", " ", "x" * 513, "a\n", "a\0b", "a\u202eb", "\ud800"])
def test_names_that_a_terminal_does_not_show_are_refused_and_nothing_is_made(tmp_path, name):
    database = str(tmp_path / "a.db")
    with pytest.raises(StudyError, match="is not a name: up to 512 printable characters"):
        StudyStore.open(database, name, ASKED, make_sampler)
    with pytest.raises(StudyError, match="is not a name"), only_coordinator(database, name):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["cifar10/resnet 18", "../x", "_train", ".hidden", "größe 模型", "x" * 512, "-x", "a:b"]
)
def test_another_apps_study_has_any_name_and_the_files_a_safe_one(tmp_path, name):
    database = str(tmp_path / "a.db")
    with only_coordinator(database, name):
        (lock,) = tmp_path.iterdir()
        assert lock.name.isascii()
        with pytest.raises(StudyError), only_coordinator(database, name):
            pass
        with only_coordinator(database, f"{name[1:]}y"):
            assert len(list(tmp_path.iterdir())) == 2
    assert file_name(name) != file_name(f"{name}y")


# --- reading


def test_studies_share_a_database_and_keep_apart(open_study, database):
    first, second = open_study(name="b"), open_study(OF_ANOTHER_APP, name="a")
    first.tell(ask(first), outcome_of(result([(100, 2, 0.95)]), EnergyVsAccuracy()), ["lr=1"])
    second.tell(ask(second), Outcome("failed", reason="broke"), ["x=1"])
    second.lose(second.ask(), [], "lost", "lost", None)
    assert (first.n_finished(), second.n_finished()) == (1, 1)
    studies = read_studies(database)
    assert [study.name for study in studies] == ["a", "b"]
    assert studies == [second.read(), first.read()]
    assert [trial.reason for trial in studies[0].trials] == ["broke", "lost"]


def test_a_study_that_is_not_there_names_those_that_are(open_study, database):
    open_database(database, create=True).engine.dispose()
    assert read_studies(database) == []
    with pytest.raises(StudyError, match=r"no study 'toy' in .*; there are: none yet"):
        read_study(database, "toy")
    open_study(name="b")
    open_study(name="a")
    with pytest.raises(StudyError, match=r"there is no study 'toy' in .*; there are: a, b$"):
        read_study(database, "toy")


def test_a_study_made_by_optuna_alone_can_be_read(database):
    storage = open_database(database, create=True)
    with quiet_optuna():
        study = optuna.create_study(storage=storage, study_name="plain", directions=["maximize"])
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    (found,) = read_studies(database)
    assert found.metrics == (Metric("value_0", "maximize"),)
    assert (found.sweep, found.overrides, found.target) == ((), (), None)
    assert [trial.values for trial in found.trials] == [(t.value,) for t in study.trials]
    storage.engine.dispose()


def test_a_database_that_vanishes_is_said_in_a_sentence(tmp_path):
    database = str(tmp_path / "a.db")
    store = StudyStore.open(database, "toy", ASKED, make_sampler)
    store._storage.engine.dispose()
    Path(database).write_bytes(b"")
    with pytest.raises(StorageError, match=r"^storage sqlite:.* cannot be used: "):
        store.read()
