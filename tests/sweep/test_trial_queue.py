"""Studies whose trials pause and resume, and their recovery when a run dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from optuna.samplers import RandomSampler

from energyopt.analysis.summary import summarize
from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.outcome import outcome_of_paused
from energyopt.core.study_record import Outcome, StudyRecord
from energyopt.errors import LeaseLostError, SamplerError, StudyError
from energyopt.search.halving import Halving
from energyopt.search.schedule import Step, TrialSnapshot
from energyopt.storage.reader import read_study
from energyopt.storage.reconciliation import TrialRemnant
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.outbox import Outbox
from energyopt.training.checkpointing import NAME as PAUSED
from tests import small_study
from tests.damage import flip
from tests.small_study import IDENTITY, NAME, SPACE, UNTOUCHED, check_in_steps, elsewhere, forked
from tests.toys import result

N = 7
SLOW = pytest.mark.slow


def opened(where: str, **more: object) -> StudyStore:
    return StudyStore.open(where, NAME, IDENTITY, RandomSampler, **more)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def run(where: str, folder: Path, n_trials: int = N, **more: object) -> None:
    schedule = Halving(eta=2, rungs=2)
    small_study.run(where, folder, n_trials, schedule=schedule, **more)  # type: ignore[arg-type]


# A run that is left alone ------------------------------------------------------------------


@pytest.mark.slow
def test_trials_pause_and_the_best_go_on(where, folder):
    run(where, folder)
    study = check_in_steps(where, folder, N)
    ends = [trial.result.end for trial in study.trials if trial.result]
    assert ends[0] == "epochs"  # the default, with nothing to be compared with before
    assert 1 < ends.count("epochs") < N
    stopped = [trial for trial in study.trials if trial.result and trial.result.end == "stopped"]
    assert {trial.reason for trial in stopped} == {"schedule: not promoted"}
    best = max(study.trials, key=lambda trial: trial.params["lr"])
    assert best.result is not None
    assert best.result.end == "epochs"
    assert sum(t.result.training_j for t in study.trials if t.result) < N * 250
    run(where, folder)  # and again: nothing changes
    assert read_study(where, NAME) == study


@pytest.mark.slow
def test_at_several_at_a_time(where, folder):
    """Jobs of this process run one after the other, whatever is asked for."""
    run(where, folder, n_jobs=4)
    check_in_steps(where, folder, N)


@pytest.mark.slow
def test_more_trials_go_on_from_what_there_is(where, folder):
    run(where, folder, 4)
    before = read_study(where, NAME)
    run(where, folder, 9)
    study = check_in_steps(where, folder, 9)
    assert study.trials[:4] == before.trials


class Pausing:
    """A schedule that begins all trials up to a pause, and resumes none."""

    def next_step(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
        self.observed = list(observed)
        return Step(None, 60.0) if can_begin else None


class Stops(Pausing):
    """Which stops before the study has its total."""

    def next_step(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
        return super().next_step(observed, can_begin=can_begin and len(observed) < 3)


def test_what_is_paused_when_a_run_stops_early_stays_open(where, folder):
    schedule = Stops()
    small_study.run(where, folder, N, schedule=schedule)
    study = read_study(where, NAME)
    assert [trial.state for trial in study.trials] == ["paused"] * 3
    assert all(trial.result and trial.result.end == "paused" for trial in study.trials)
    assert study.search_energy_j == small_study.burnt_j(folder)
    assert len(list(folder.glob(f"*/{PAUSED}"))) == 3
    seen = schedule.observed
    assert [each.state for each in seen] == ["paused"] * 3
    assert [each.joules for each in seen] == [(25, 50, 75)] * 3
    assert all(each.epoch_j == 100 and each.spent_j > 75 for each in seen)
    assert [each.default for each in seen] == [True, False, False]
    # Their curves are on the front, their joules among those of the search; none is over.
    summary = summarize(study)
    assert summary.counts.states == {"paused": 3}
    assert summary.counts.finished == 0
    assert summary.counts.outcomes == {}
    assert {point.trial for point in summary.front} <= {0, 1, 2}
    assert summary.front
    assert summary.break_even_reason == "no trial reached 0.9"
    run(where, folder)
    check_in_steps(where, folder, N)


@pytest.mark.slow
def test_what_is_paused_ends_with_the_final_word_of_a_schedule(where, folder):
    class Final(Stops):
        final = True

    small_study.run(where, folder, N, schedule=Final())
    study = read_study(where, NAME)
    assert len(study.trials) == 3
    assert {trial.state for trial in study.trials} <= {"complete", "pruned"}
    assert study.search_energy_j == small_study.burnt_j(folder)
    assert not list(folder.glob(f"*/{PAUSED}"))
    run(where, folder)  # which another schedule resumes
    assert len(read_study(where, NAME).trials) == N


def test_what_a_schedule_raises_is_called_its_own(where, folder):
    class Broken(Pausing):
        def next_step(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
            raise KeyError("no plan")

    with pytest.raises(SamplerError, match=r"^schedule .*Broken raised KeyError: 'no plan'"):
        small_study.run(where, folder, N, schedule=Broken())


def test_a_schedule_that_resumes_what_does_not_wait_is_refused(where, folder):
    class Wrong(Pausing):
        def next_step(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
            return Step(5)

    with pytest.raises(StudyError, match="Wrong resumes trial 5, which does not wait"):
        small_study.run(where, folder, N, schedule=Wrong())


@pytest.mark.slow
def test_a_trial_whose_pause_is_elsewhere_waits(where, folder, capsys):
    small_study.run(where, folder, N, schedule=Stops())
    (folder / "1" / PAUSED).rename(folder / "elsewhere")
    run(where, folder)
    study = read_study(where, NAME)
    assert [trial.state for trial in study.trials].count("paused") == 1
    assert study.trials[1].state == "paused"
    (folder / "elsewhere").rename(folder / "1" / PAUSED)
    run(where, folder)
    check_in_steps(where, folder, N)


# Deaths ------------------------------------------------------------------------------------

# Each step after which a process may be gone; "trained" is in the job, before it answers.
STEPS = (
    *("asked", "claimed", "suggested", "trained", "answered"),
    *("paused", "resumed", "kept", "told"),
)


@pytest.mark.parametrize(
    ("step", "nth"),
    [
        *((step, 1) for step in STEPS),
        *(pytest.param(step, 3, marks=SLOW) for step in ("trained", "paused", "resumed", "told")),
    ],
)
@pytest.mark.slow
def test_a_run_that_is_killed_at_a_step_is_taken_up(where, folder, step, nth):
    assert forked(lambda: run(where, folder), f"{step}#{nth}:kill") == -signal.SIGKILL
    assert forked(lambda: run(where, folder)) == 0
    study = check_in_steps(where, folder, N)
    assert len(study.trials) - N <= 1  # at most the one that died before it had paused


@pytest.mark.slow
@pytest.mark.parametrize("nth", [4, 31, 58])
def test_a_fault_at_some_statements_costs_nothing(where, folder, nth):
    for action in ("kill", "fail"):
        code = forked(lambda: run(where, folder), f"sql#{nth}:{action}")
        assert code in (0, 2, UNTOUCHED, -signal.SIGKILL)
    assert forked(lambda: run(where, folder)) == 0
    check_in_steps(where, folder, N)


class Resuming(Pausing):
    """A schedule that lets the first that waits train to its end, and begins nothing."""

    def next_step(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
        waiting = [trial.number for trial in observed if trial.state == "paused"]
        return Step(waiting[0]) if waiting else None


def three_paused(where: str, folder: Path) -> StudyRecord:
    small_study.run(where, folder, N, schedule=Stops())
    return read_study(where, NAME)


def resume(where: str, folder: Path) -> None:
    small_study.run(where, folder, N, schedule=Resuming())


def settle(where: str, folder: Path) -> StudyRecord:
    """The recovery by the next run before it trains."""
    store = opened(where, remains=Outbox(folder, SPACE.overrides, journals=True).remains)
    store.reap()
    study = store.read()
    store.close()
    return study


@pytest.mark.slow
@pytest.mark.parametrize("step", ["resumed", "suggested", "trained", "answered"])
def test_what_was_resumed_by_a_run_that_dies_goes_on_from_its_pause(where, folder, step):
    """The energy since the pause counts; what was measured before is unchanged."""
    before = three_paused(where, folder).trials
    assert forked(lambda: resume(where, folder), f"{step}:kill") == -signal.SIGKILL
    study = settle(where, folder)
    assert [trial.state for trial in study.trials] == ["paused"] * 3
    assert study.search_energy_j == small_study.burnt_j(folder)
    assert study.trials[1:] == before[1:]
    was, now = before[0].result, study.trials[0].result
    assert was is not None
    assert now is not None
    assert now.curve == was.curve
    assert study.trials[0].overrides == before[0].overrides
    assert (now.spent_j > was.spent_j) == (step in ("trained", "answered"))
    assert now.booked("restarted").total_j == now.spent_j - was.spent_j
    resume(where, folder)
    study = check_in_steps(where, folder, 3)
    assert [trial.state for trial in study.trials] == ["complete"] * 3


def test_what_kills_its_runs_time_after_time_has_failed(where, folder):
    three_paused(where, folder)
    for _ in range(2):
        assert forked(lambda: resume(where, folder), "trained:kill") == -signal.SIGKILL
    study = settle(where, folder)
    assert [trial.state for trial in study.trials] == ["failed", "paused", "paused"]
    assert study.trials[0].reason == "its run died, 2 times with this setup"
    assert study.search_energy_j == small_study.burnt_j(folder)


@pytest.mark.parametrize("name", [PAUSED, JOURNAL])
def test_what_was_changed_on_the_disk_is_trained_again(where, folder, name):
    """Its energy counts, another trial has its parameters, and the others resume."""
    before = three_paused(where, folder)
    path = folder / "0" / name
    flip(path, path.read_bytes().index(b"0.5") if name == JOURNAL else 400)
    resume(where, folder)
    run(where, folder, 3)  # what the first waits for
    study = read_study(where, NAME)
    changed, *others = study.trials
    assert changed.state == "failed"
    assert "was changed on the disk" in changed.reason
    assert before.trials[0].result is not None
    assert changed.result is not None
    assert changed.result.spent_j >= before.trials[0].result.spent_j
    assert [trial.params for trial in others].count(changed.params) == 1
    assert {trial.state for trial in others} <= {"complete", "pruned"}
    assert len(others) == 3
    assert study.search_energy_j >= before.search_energy_j


# Whose it is -------------------------------------------------------------------------------


def with_a_paused(where: str, **more: object) -> StudyStore:
    store = opened(where, **more)
    store.plan({"lr": 0.5, "momentum": 0.5})
    trial = store.ask()
    assert trial is not None
    trial.suggest_float("lr", 0, 1)
    store.pause(trial, outcome_of_paused(result([(100, 2, 0.5)], end="paused")), ["lr=0.5"])
    return store


def at_once(count: int, work: object) -> list[int]:
    """Do something in several processes at the same time; their exit codes."""
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit(work(number))  # type: ignore[operator]
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


@pytest.mark.parametrize("round_", range(2))
def test_of_eight_runs_that_claim_a_paused_trial_one_wins(postgres, round_):
    with_a_paused(postgres).close()

    def claim(_: int) -> int:
        store = opened(postgres)
        waiting = store.resume(0)
        store._storage.engine.dispose()
        return 0 if waiting is None else 7

    assert sorted(at_once(8, claim)) == [0] * 7 + [7]


def test_a_paused_trial_is_nobodys_and_is_not_reaped(where):
    with_a_paused(where).close()
    store = opened(where)
    assert store.reap() == 0
    assert (store.n_finished(), store.paused()) == (0, 1)
    assert not store.can_begin(1)
    waiting = store.resume(0)
    assert waiting is not None
    assert waiting.overrides == ("lr=0.5",)
    assert waiting.trial.params == {"lr": 0.5}
    assert store.resume(0) is None
    assert [each.state for each in store.observed()] == ["running"]
    training = result([(100, 2, 0.5), (200, 4, 0.95)])
    store.tell(waiting.trial, Outcome("complete", (4.0, 0.95), result=training), waiting.overrides)
    study = store.read()
    assert [trial.state for trial in study.trials] == ["complete"]
    assert store._study.trials[0].user_attrs["paused"] is False
    store.close()


def test_what_another_host_resumed_and_left_is_trained_again(postgres):
    """Its jobs may still be training there, in the same folder: no other run resumes it."""
    with_a_paused(postgres).close()
    other_store = opened(postgres, process=elsewhere("other"), grace_s=0.0)
    waiting = other_store.resume(0)
    assert waiting is not None
    of = outcome_of_paused(result([(100, 2, 0.5)], end="paused"))
    here = opened(postgres, remains=lambda _: TrialRemnant((), None, of.result, of))
    assert here.reap() == 1
    assert [trial.state for trial in here.read().trials] == ["failed", "waiting"]
    with pytest.raises(LeaseLostError):
        other_store.pause(waiting.trial, of, ["lr=0.5"])
    assert here.read().search_energy_j == 2
    for store in (here, other_store):
        store.close()


def test_a_pause_that_optuna_was_not_told_is_told_by_the_next_run(where):
    assert forked(lambda: with_a_paused(where), "paused:kill") == -signal.SIGKILL
    store = opened(where)
    assert "curve" not in store._study.trials[0].user_attrs
    store.reap()
    (seen,) = store.observed()
    assert (seen.state, seen.joules, seen.spent_j) == ("paused", (2,), 2)
    store.close()
