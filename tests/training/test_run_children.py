"""Child processes at the borders of a run's windows: imports, and prefetching."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.run_context import VARIABLE
from energyopt.training.run_children import ChildClock, wait_until_idle
from energyopt.training.run_process import end_open_run
from tests.training.runs import ToyTraining

SPIN = "import time, sys\nend = time.time() + float(sys.argv[1])\nwhile time.time() < end: pass\n"


@contextmanager
def child(busy_s: float) -> Iterator[subprocess.Popen[bytes]]:
    """A child that computes for a while, and then waits."""
    command = [sys.executable, "-c", f"{SPIN}time.sleep(60)", str(busy_s)]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_without_children_nothing_is_waited_for() -> None:
    began_s = time.monotonic()
    assert wait_until_idle()
    assert time.monotonic() < began_s + 5


def test_a_child_that_imports_is_waited_for() -> None:
    began_s = time.monotonic()
    with child(busy_s=0.5):
        assert wait_until_idle(max_wait_s=30)
        assert time.monotonic() >= began_s + 0.5


def test_a_child_that_never_rests_is_not_waited_for_forever() -> None:
    with child(busy_s=60):
        assert not wait_until_idle(max_wait_s=0.5)


@pytest.mark.parametrize(
    ("method", "place", "lives", "is_flagged"),
    [
        ("spawn", "training", True, True),
        ("spawn", "training", False, True),  # as loader workers, which end with their epoch
        ("spawn", "loading", True, False),
        ("spawn", "evaluation", True, False),
        ("fork", "training", True, False),
    ],
)
def test_imports_of_children_that_start_during_the_training_are_flagged(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    method: str,
    place: str,
    *,
    lives: bool,
    is_flagged: bool,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "multiprocessing.popen_spawn_posix", raising=False)
    context: Any = multiprocessing.get_context(method)
    worker = context.Process(target=time.sleep, args=(60 if lives else 0,), daemon=True)

    def start_at(here: str) -> None:
        if here == place:
            worker.start()
            if not lives:
                worker.join()

    with ToyTraining().run(folder=tmp_path / "run") as run:
        start_at("loading")
        run.begin()
        for _ in run.epochs(1):
            start_at("training")
            with run.evaluation():
                start_at("evaluation")
            run.report(0.5)
    if lives:
        worker.kill()
        worker.join()
    assert ("imports_in_training" in run.result.flags) == is_flagged


def test_work_of_older_children_in_an_evaluation_is_counted() -> None:
    clock = ChildClock()
    with child(busy_s=60) as process:
        clock.start()
        until_s = time.monotonic() + 30
        while clock.used_s < 0.1 and time.monotonic() < until_s:
            time.sleep(0.1)
            clock.stop()
            clock.start()
        clock.stop()
        assert process.poll() is None
    assert clock.used_s >= 0.1


def test_prefetching_in_an_evaluation_is_flagged(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    toy = ToyTraining()
    run = toy.run(folder=tmp_path_factory.mktemp("run"))
    run.begin()
    with child(busy_s=60) as worker:
        for _ in run.epochs(1):
            toy.counter.total_j += 1  # of 0.5 s
            with run.evaluation():
                until_s = time.monotonic() + 0.5
                while time.monotonic() < until_s:
                    worker.poll()
                    time.sleep(0.05)
            run.report(0.5)
    assert "prefetch_in_evaluation" in run.result.flags
    end_open_run()
