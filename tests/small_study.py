"""A whole run of a study without training: our coordinator, our store, and jobs that do nothing.

For tests that kill and fail it at each of its steps, in forked processes.
"""

from __future__ import annotations

import functools
import gc
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import Trial
from rich.console import Console

from energyopt.core.calibration import Calibration
from energyopt.core.energy import total
from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.journal import JournalReader, JournalWriter
from energyopt.core.outcome import outcome_of
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome, StudyRecord
from energyopt.core.trial_result import TrialStart
from energyopt.errors import EnergyoptError
from energyopt.objectives import EnergyVsAccuracy
from energyopt.report.live import LiveStudy
from energyopt.search.schedule import Schedule
from energyopt.search.space import Dimension, Space, Value
from energyopt.storage.identity import Identity
from energyopt.storage.reader import read_study
from energyopt.storage.run_leases import only_coordinator
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.coordinator import Coordinator, Limits
from energyopt.sweep.outbox import Outbox
from energyopt.training.checkpointing import NAME as PAUSED
from energyopt.training.checkpointing import ResumeState, check_same, load, save_to
from energyopt.training.plan import Plan
from energyopt.training.trial import run_trial
from energyopt.utils import failpoints
from energyopt.utils.process import Process
from tests.toys import ESTIMATED, METRICS, Counter, Pausable, ToyMeter, result

NAME = "small"
UNTOUCHED = 3
"""Exit code of work that never came to its failpoint."""

_AXES = {key: FloatDistribution(0.0, 1.0) for key in ("lr", "momentum")}
SPACE = Space(
    (),
    tuple(f"{key}=interval(0,1)" for key in _AXES),
    tuple(Dimension(key, f"+{key}", axis, {}) for key, axis in _AXES.items()),
)
IDENTITY = Identity(METRICS, (), SPACE.sweep, {"epochs": 1}, 0.9)


class AtOnce:
    """Trials that end at once: each uses 1 J in training and reaches the target.

    An `Adapter` of the coordinator.
    """

    in_process = True
    keeps_journals = False

    def __init__(self, folder: Path, n_jobs: int = 1) -> None:
        self._folder = folder
        self.n_slots = n_jobs

    def dimensions(self, groups: Mapping[str, Value]) -> Sequence[Dimension]:
        """All."""
        del groups
        return SPACE.dimensions

    def suggest_more(self, trial: Trial) -> Mapping[str, Value]:
        """Nothing."""
        del trial
        return {}

    def recipe(self, params: Mapping[str, Value], *, n_repeats: int = 0) -> tuple[str, ...]:
        """Its words."""
        del n_repeats
        return SPACE.overrides(params)

    def folder(self, number: int) -> Path:
        """Named by its number."""
        return self._folder / str(number)

    def has_run(self, number: int) -> bool:
        del number
        return False

    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        """Answer."""
        del number, recipe, context
        return outcome_of(result([(100, 1, 0.95)]), EnergyVsAccuracy())

    def stop(self) -> None:
        """Nothing runs."""

    def clean_up(self) -> None:
        """Nothing is left."""


class InSteps(AtOnce):
    """Trials that follow a script of ten evaluations up to the accuracy `lr`, each for 25 J.

    They pause, resume and leave journals, as real ones do.
    """

    keeps_journals = True

    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        """Train until it ends, or pauses."""
        words = {key.lstrip("+"): value for word in recipe for key, value in [pair(word)]}
        folder, resume = self.folder(number), context.resume
        state = load(folder / PAUSED) if resume else None
        pause = None if state is None else state["pause"]
        journal = JournalWriter(folder / JOURNAL, is_rerun=True, pause=pause)
        resumed = None
        if state is not None and journal.resumed is not None:
            check_same(folder / PAUSED, journal.resumed.at)
            resumed = ResumeState(journal.resumed, state)
        counter, best = Counter(), float(words["lr"])
        trained = run_trial(
            lambda: Pausable(counter, [best * share / 10 for share in range(1, 11)]),
            ToyMeter(counter),
            Plan(0.9, 2.5, pause_at_j=context.pause_at_j),
            TrialStart(0.9, 2.5, 0, ESTIMATED),
            journal,
            keep=save_to(folder / PAUSED),
            resumed=resumed,
        )
        failpoints.hit("trained")
        return outcome_of(trained, EnergyVsAccuracy())


def pair(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def run(
    where: str,
    folder: Path,
    n_trials: int,
    *,
    schedule: Schedule | None = None,
    process: Process | None = None,
    n_jobs: int = 1,
    adapter: AtOnce | None = None,
    **limits: Any,
) -> None:
    """Run what is missing of the study, as the command does.

    Args:
        where: The storage.
        folder: Where each trial has a folder.
        n_trials: The study's total.
        schedule: Pauses and resumes its trials, which are then trained in steps.
        process: Whose run it is; this one's if None.
        n_jobs: Trials at a time.
        adapter: Runs the trials; that of the schedule if None.
        **limits: More of the coordinator's limits.
    """
    in_steps = schedule is not None
    if adapter is None:
        adapter = InSteps(folder, n_jobs) if in_steps else AtOnce(folder, n_jobs)
    with only_coordinator(where, NAME) as sole:
        outbox = Outbox(folder, adapter.recipe, journals=in_steps)
        store = StudyStore.open(
            *(where, NAME, IDENTITY, RandomSampler),
            remains=outbox.remains,
            process=process,
            sole=sole,
        )
        store.reap()
        store.plan_first({"lr": 0.5, "momentum": 0.5})
        try:
            Coordinator(
                store=store,
                space=SPACE,
                adapter=adapter,
                limits=Limits(n_trials=n_trials, storage_wait_s=0.0, **limits),
                calibration=Calibration(),
                outbox=outbox,
                schedule=schedule,
            ).run(n_trials, None, LiveStudy(n_trials, Console(file=io.StringIO())))
        finally:
            store.close()


def forked(work: Callable[[], object], failpoint: str = "") -> int:
    """Do something in a process of its own; its exit code: negative a signal, 2 a refusal."""
    _warm_up()
    pid = os.fork()
    if pid == 0:
        gc.freeze()  # its collector would look at, and so copy, all that is the parent's
        code = 1
        try:
            failpoints.arm(failpoint)
            work()
            code = 0 if not failpoint or failpoints.has_struck() else UNTOUCHED
        except EnergyoptError as error:
            sys.stderr.write(f"{error}\n")
            code = 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@functools.cache
def _warm_up() -> None:
    """Load and compile once what else each child would."""
    with tempfile.TemporaryDirectory() as folder:
        run(f"{folder}/small.db", Path(folder), 1)


def check(where: str, n_trials: int, *, retries: int | None = None) -> StudyRecord:
    """A study is whole: as many trials as were asked for, none twice, none forgotten."""
    study = read_study(where, NAME)
    assert [trial.number for trial in study.trials] == list(range(len(study.trials)))
    complete = [trial for trial in study.trials if trial.state == "complete"]
    assert len(complete) == n_trials
    assert all(trial.state in ("complete", "failed") for trial in study.trials)
    assert all(trial.result is not None for trial in complete)
    setups = [tuple(trial.params.items()) for trial in complete]
    assert len(set(setups)) == len(setups), "a setup was trained twice"
    lost = [trial for trial in study.trials if trial.state == "failed"]
    if retries is not None:
        assert len(lost) == retries
    for trial in lost:  # what was lost was trained again, as far as it was chosen
        chosen = {key: value for key, value in trial.params.items() if key in _AXES}
        again = [t for t in complete if chosen.items() <= dict(t.params).items()]
        assert again, f"trial {trial.number} was not trained again"
        assert not chosen or len(again) == 1
    assert study.search_energy_j == len(complete)
    return study


def check_in_steps(where: str, folder: Path, n_trials: int) -> StudyRecord:
    """A study of trials in steps is whole: nothing waits, no joule is lost or counted twice."""
    study = read_study(where, NAME)
    assert [trial.number for trial in study.trials] == list(range(len(study.trials)))
    kept = [trial for trial in study.trials if trial.state != "failed"]
    assert len(kept) == n_trials
    assert {trial.state for trial in kept} <= {"complete", "pruned"}
    assert all(trial.result is not None for trial in kept)
    assert study.search_energy_j == burnt_j(folder)
    assert not list(folder.glob(f"*/{PAUSED}"))
    for trial in kept:  # however often it paused, its curve is the one of its script
        assert trial.result is not None
        curve = trial.result.curve
        samples = tuple(25 * (index + 1) for index in range(len(curve)))
        assert curve.samples == samples
        assert curve.training_j == tuple(map(float, samples))
    return study


def burnt_j(folder: Path) -> float:
    """All that the journals know."""
    journals = (JournalReader(path).read() for path in folder.glob(f"*/{JOURNAL}"))
    return sum(total(w.energy for w in journal.windows).total_j for journal in journals)


def elsewhere(host: str) -> Process:
    """A process of another host."""
    return Process(host, f"boot-of-{host}/pid:[1]", 1, "1")
