"""A training of several ranks: one record, the joules of all, one decision, no endless waiting."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.journal import NAME
from energyopt.errors import ConfigError
from energyopt.training import ranks as module
from energyopt.training.ranks import own_rank, train_alone
from energyopt.training.run import Run
from tests.fake_nvml import FakeNvml
from tests.toys import Counter, ToyMeter
from tests.training.runs import (
    EPOCH_J,
    LOADING_J,
    Job,
    ToyTraining,
    enter_study,
    ranked,
    record,
)


class OwnMeter(ToyMeter):
    """Counts one process, as an estimate by CPU time does."""

    counts_own_processes = True


class Noise:
    """A training whose loss depends on the random numbers of its rank, and on all epochs."""

    def __init__(self) -> None:
        self.sum = 0.0

    def state_dict(self) -> dict[str, float]:
        """Return the sum."""
        return {"sum": self.sum}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore it."""
        self.sum = state["sum"]


@pytest.fixture(autouse=True)
def _a_launch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASTER_ADDR", str(tmp_path))
    monkeypatch.setenv("MASTER_PORT", "1")


def toy_run(rank: int, folder: Path, **more: Any) -> list[float]:
    """Train a toy in each rank; returns what its `on_report` saw of the training."""
    toy, seen = ToyTraining(), list[float]()
    options = {"meter": OwnMeter(toy.counter), "folder": folder, **more}
    run = Run("loss", "min", 0.3, on_report=lambda point: seen.append(point.training_j), **options)
    toy.counter.total_j += LOADING_J
    run.begin(toy=toy)
    for _ in run.epochs(3):
        toy.epoch()
        toy.counter.total_j += rank  # its own share
        run.step(10 + rank)
        with run.evaluation():
            loss = toy.evaluate()
        run.report(loss)
    return seen


def test_one_record_has_the_joules_of_all_ranks(tmp_path: Path) -> None:
    seen, nothing, _ = ranked(lambda rank: toy_run(rank, tmp_path / "run"), size=3)
    total = record(tmp_path / "run")
    epoch_j = 3 * EPOCH_J + 1 + 2
    assert total.curve.training_j == (epoch_j, 2 * epoch_j, 3 * epoch_j)
    assert json.loads(seen) == [epoch_j, 2 * epoch_j, 3 * epoch_j]
    assert json.loads(nothing) == []  # trackers get each point once
    assert total.booked("loading").total_j == 3 * LOADING_J
    assert total.curve.samples == (33, 66, 99)
    assert total.curve.accuracy == (1, 1 / 2, 1 / 3)
    assert (total.end, total.reason) == ("epochs", "trained all 3 epochs")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_board_or_a_package_is_counted_once(tmp_path: Path) -> None:
    def job(rank: int) -> None:
        counter = Counter()
        run = Run("loss", "min", 0.3, meter=ToyMeter(counter), folder=tmp_path / "run")
        run.begin()
        for _ in run.epochs(2):
            counter.total_j += EPOCH_J  # as each of them would read it
            run.report(0.5)

    assert ranked(job) == ["null", "null"]
    assert record(tmp_path / "run").curve.training_j == (EPOCH_J, 2 * EPOCH_J)


def test_rank_0_holds_and_reads_a_board_for_each_rank(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: FakeNvml
) -> None:
    meter = {"_target_": "energyopt.hardware.zeus.NvmlMeter"}
    options = {"meter": meter, "gpus": 1, "cool_down_s": 0, "idle_s": 0, "trace_s": 0}
    options["power_ceiling"] = 1e9  # the boards' time is not that of the test
    enter_study(monkeypatch, tmp_path / "run", hardware=options, device="cpu")

    def job(rank: int) -> None:
        gpus.processes(rank, os.getpid())
        run = Run()
        run.begin()
        for _ in run.epochs(1):
            if rank == 0:
                gpus.demand(0, 250)
                gpus.demand(1, 150)
                gpus.advance(10)
            run.report(0.5)

    assert ranked(job) == ["null", "null"]
    total = record(tmp_path / "run")
    assert total.start.machine is not None
    assert [gpu.uuid for gpu in total.start.machine.gpus] == [gpus.uuid(0), gpus.uuid(1)]
    assert total.booked("training").gpus_j == (2500, 1500)
    assert "shared_gpu" not in total.flags


def noisy(rank: int) -> list[float]:
    """Train with random numbers that differ by rank; the loss is the same in all."""
    noise, counter = Noise(), Counter()
    run = Run(meter=OwnMeter(counter))
    run.begin(noise=noise)
    drawn = []
    for _ in run.epochs(5):
        noise.sum += random.random()
        counter.total_j += EPOCH_J
        drawn.append(noise.sum)
        run.report(noise.sum if rank == 0 else None)
    return drawn


def seeded(job: Job, seed: int) -> Job:
    """Seed each rank by itself first."""

    def call(rank: int) -> Any:
        random.seed(seed + rank)
        return job(rank)

    return call


def test_a_training_of_ranks_resumes_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path / "whole")
    whole = [json.loads(end) for end in ranked(seeded(noisy, 3))]
    folder = tmp_path / "paused"
    for piece, pause_at_j in enumerate((2 * EPOCH_J, 5 * EPOCH_J)):  # of both ranks together
        enter_study(monkeypatch, folder, pause_at_j=pause_at_j, resume=piece > 0)
        assert ranked(seeded(noisy, 3 + 100 * piece)) == ["null", "null"]
        assert record(folder).end == "paused"
    enter_study(monkeypatch, folder, resume=True)
    last = [json.loads(end) for end in ranked(seeded(noisy, 500))]
    assert record(folder).curve == record(tmp_path / "whole").curve
    assert [drawn[-1] for drawn in last] == [drawn[-1] for drawn in whole]
    assert last[0][-1] != last[1][-1]


def test_a_pause_that_rank_0_did_not_keep_leaves_the_one_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path, pause_at_j=2 * EPOCH_J)
    assert ranked(noisy) == ["null", "null"]
    kept = (tmp_path / "paused-1.0.pt").read_bytes()
    enter_study(monkeypatch, tmp_path, pause_at_j=4 * EPOCH_J, resume=True)

    def full_at_rank_0(rank: int) -> None:
        if rank == 0:
            monkeypatch.setattr("energyopt.training.run_state.keep", None)
        noisy(rank)

    assert "TypeError" in ranked(full_at_rank_0)[0]
    assert (tmp_path / "paused-1.0.pt").read_bytes() == kept
    enter_study(monkeypatch, tmp_path, resume=True)
    assert len(json.loads(ranked(noisy)[1])) == 4
    assert record(tmp_path).end == "epochs"


def test_another_number_of_ranks_cannot_resume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path, pause_at_j=0)
    assert ranked(noisy) == ["null", "null"]
    enter_study(monkeypatch, tmp_path, pause_at_j=0, resume=True)
    for end in ranked(noisy, size=3):
        assert end.startswith("TrialError: the training paused with 2 ranks and would resume with")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"target": 0.2}, "target is 0.3 in rank 0 and 0.2 in rank 1"),
        ({"params": {"lr": 0.2}}, "params['lr'] is 0.1 in rank 0 and 0.2 in rank 1"),
        ({"mode": "max"}, "mode is min in rank 0 and max in rank 1"),
        ({"epochs": 4}, "epochs is 3 in rank 0 and 4 in rank 1"),
    ],
)
def test_ranks_with_other_arguments_are_refused(own: dict[str, Any], words: str) -> None:
    def job(rank: int) -> None:
        same = {"monitor": "loss", "mode": "min", "target": 0.3, "params": {"lr": 0.1}, "epochs": 3}
        Run(**{**same, **(own if rank else {})})

    for end in ranked(job):
        assert end == f"ConfigError: the ranks disagree: {words}; give all ranks the same"


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (lambda run, rank: run.report(0.5 + rank), "report loss=0.5 in rank 0 and 1.5 in rank 1"),
        (lambda run, rank: run.report(0.5, epoch=1 + rank), "epoch is 1.0 in rank 0 and 2.0 in"),
        (
            lambda run, rank: run.report(0.5) or run.report(0.5) if not rank else run.report(0.5),
            "rank 1 is at the end of its run and rank 0 at report()",
        ),
        (lambda run, rank: rank or run.report(0.5), "rank 1 did not arrive at report() within 0.4"),
        (lambda run, rank: rank and run.report(0.5), "rank 0 did not arrive at report() within"),
        (lambda run, rank: 1 / 0 if rank else run.report(0.5), "rank 1: ZeroDivisionError"),
        (lambda run, rank: run.report(0.5) if rank else 1 / 0, "rank 0: ZeroDivisionError"),
        (lambda run, rank: os._exit(0) if rank else run.report(0.5), "rank 1 ended before its run"),
    ],
)
def test_ranks_that_part_are_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, report: Callable[..., Any], words: str
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.4)

    def job(rank: int) -> None:
        run = Run("loss", "min", 0.3, meter=ToyMeter(Counter()), folder=tmp_path / "run")
        run.begin()
        try:
            report(run, rank)
        finally:
            (tmp_path / str(rank)).touch()
        if words.startswith(f"rank {rank} did not"):
            while not (tmp_path / str(1 - rank)).exists():
                time.sleep(0.02)

    ends = ranked(job)
    assert any(words in end for end in ends), ends
    result = record(tmp_path / "run")
    assert result.end == "failed"
    assert result.reason.count("rank 0: ") == 0


@pytest.mark.parametrize("absent", [0, 1])
def test_a_rank_without_a_run_is_named(monkeypatch: pytest.MonkeyPatch, absent: int) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.4)

    def job(rank: int) -> None:
        if rank != absent:
            Run("loss", "min", 0.3, meter=ToyMeter(Counter()))

    assert ranked(job)[1 - absent].startswith(
        f"TrialError: rank {absent} of 2 made no Run within 0.4 s; each rank makes one"
    )
    assert not list(Path.cwd().rglob(NAME))


def test_ranks_on_several_machines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="4 ranks train, 2 of them on this machine"):
        own_rank()


def test_a_size_without_a_rank_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # as other launchers set it
    monkeypatch.delenv("RANK", raising=False)
    assert own_rank() == (0, 1)


def test_one_of_several_processes_does_the_work_of_a_program_that_trains_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as left:
        train_alone()
    assert left.value.code == 0
    assert "rank 1 of 2 has nothing to do" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    train_alone()
    assert own_rank() == (0, 1)
