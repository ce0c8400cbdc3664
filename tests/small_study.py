"""A whole run of a study without training: our coordinator, our store, and jobs that do nothing.

For tests that kill and fail it at each of its steps, in forked processes.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from rich.console import Console

from energyopt import failpoints
from energyopt.composer import Composer
from energyopt.coordinator import Coordinator, Jobs
from energyopt.errors import EnergyoptError
from energyopt.known import Known
from energyopt.objectives import EnergyVsAccuracy, judge
from energyopt.options import Options
from energyopt.process import Process
from energyopt.records import StudyRecord
from energyopt.report.live import LiveStudy
from energyopt.search.space import Dimension, Space
from energyopt.spool import Spool
from energyopt.store.identity import Identity
from energyopt.store.reading import read_study
from energyopt.store.runs import only_coordinator
from energyopt.store.studies import StudyStore
from tests.toys import METRICS, result

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


class AtOnce(Launcher):
    """Jobs that end when they begin: each burns 1 J in training and reaches the target."""

    def setup(self, **_: Any) -> None:
        """Take nothing."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Answer."""
        del job_overrides, initial_job_idx
        outcome = judge(result([(100, 1, 0.95)]), EnergyVsAccuracy())
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=outcome)]


def run(where: str, folder: Path, n_trials: int, **options: Any) -> None:
    """Run what is missing of the study, as the command does."""
    with only_coordinator(where, NAME) as sole:
        spool = Spool(folder, SPACE.words, journals=False)
        store = StudyStore.open(
            where, NAME, IDENTITY, RandomSampler, remains=spool.remains, sole=sole
        )
        store.reap()
        store.plan_first({"lr": 0.5, "momentum": 0.5})
        jobs = Jobs(AtOnce(), folder, (), in_process=True, journals=False, stop=lambda: None)
        try:
            Coordinator(
                store=store,
                space=SPACE,
                composer=Composer(cast("Any", None), cast("Any", None), SPACE),
                options=Options(n_trials=n_trials, storage_wait_s=0.0, **options),
                metrics=METRICS,
                jobs=jobs,
                known=Known(),
                spool=spool,
            ).run(n_trials, None, LiveStudy(n_trials, Console(file=io.StringIO())))
        finally:
            store.close()


def forked(work: Callable[[], object], failpoint: str = "") -> int:
    """Do something in a process of its own; its exit code: negative a signal, 2 a refusal."""
    pid = os.fork()
    if pid == 0:
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


def elsewhere(host: str) -> Process:
    """A process of another host."""
    return Process(host, f"boot-of-{host}/pid:[1]", 1, "1")
