"""The bodies of a `Run`, taken one by one, as hooks of any trainer do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energyopt.errors import ConfigError, RunPaused, TrialError
from energyopt.integrations.trainer_loop import TO_TARGET_J, TRAINED_J, TrainerLoop
from energyopt.training.run_process import end_open_run
from tests.conftest import ROOT, need_package
from tests.training.runs import EPOCH_J, EVALUATION_J, ToyTraining, enter_study, record


@pytest.fixture(autouse=True)
def _end_what_is_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    end_open_run()


def loop_of(toy: ToyTraining, **options: Any) -> tuple[TrainerLoop, list[dict[str, float]]]:
    logged: list[dict[str, float]] = []
    stated = {"monitor": "loss", "mode": "min", "target": 0.3, **options}
    return TrainerLoop(logged.append, meter=toy.meter, **stated), logged


def train(loop: TrainerLoop, toy: ToyTraining, epochs: int, **report: Any) -> None:
    """Train as a trainer does: its hooks call the loop."""
    loop.begin()
    loop.begin_bodies(loop.run.epochs(epochs))
    for number in range(loop.run.start_epoch, epochs):
        if number > loop.run.start_epoch:
            loop.advance()
        toy.epoch()
        loop.begin_evaluation()
        loss = toy.evaluate()
        loop.end_evaluation()
        loop.run.report(loss, **report)
    loop.finish()


def test_what_the_hooks_enclose_is_booked_where_it_belongs() -> None:
    toy = ToyTraining()
    loop, logged = loop_of(toy)
    train(loop, toy, 5)
    books = loop.run.result.books
    assert books["training"].total_j == 5 * EPOCH_J
    assert books["evaluation"].total_j == 5 * EVALUATION_J
    assert [energies[TRAINED_J] for energies in logged] == [n * EPOCH_J for n in range(1, 6)]
    assert [energies.get(TO_TARGET_J) for energies in logged] == [None] * 3 + [4 * EPOCH_J] * 2


def test_the_random_generators_stay_as_the_trainer_has_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    toy = ToyTraining()
    enter_study(monkeypatch, tmp_path, pause_at_j=1e-9)
    paused, _ = loop_of(toy, target=None, monitor=None, mode=None)
    with pytest.raises(RunPaused):
        train(paused, toy, 3, checkpoint={"any": 1})
    end_open_run()
    enter_study(monkeypatch, tmp_path, resume=True)
    resumed, _ = loop_of(toy, target=None, monitor=None, mode=None)
    np.random.seed(7)  # noqa: NPY002  # as a trainer restores it
    expected = np.random.RandomState(7).random()
    resumed.begin()
    resumed.begin_bodies(resumed.run.epochs(3))
    assert np.random.random() == expected  # noqa: NPY002


def test_a_checkpoint_of_a_pause_replaces_all_but_that_which_it_resumed_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    toy = ToyTraining()
    for number, resume in ((1, False), (2, True), (3, True)):
        enter_study(monkeypatch, tmp_path, pause_at_j=1e-9, resume=resume)
        loop, _ = loop_of(toy, target=None, monitor=None, mode=None)
        assert (loop.checkpoint is not None) is resume
        path = loop.checkpoint_path(f"epoch-{number}")
        path.write_text("weights")
        with pytest.raises(RunPaused):
            train(loop, toy, 9, checkpoint=path)
        end_open_run()
    assert sorted(path.name for path in (tmp_path / "paused").iterdir()) == ["epoch-2", "epoch-3"]
    (tmp_path / "paused" / "epoch-3").unlink()
    loop, _ = loop_of(toy, target=None, monitor=None, mode=None)
    with pytest.raises(TrialError, match="epoch-3 is gone"):
        _ = loop.checkpoint


def test_a_trainer_that_ends_its_loop_does_not_pause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    toy = ToyTraining()
    enter_study(monkeypatch, tmp_path, pause_at_j=1e-9)
    loop, _ = loop_of(toy, target=None, monitor=None, mode=None)
    loop.begin()
    loop.begin_bodies(loop.run.epochs(9))
    toy.epoch()
    loop.run.report(toy.evaluate(), checkpoint={"any": 1})
    assert loop.is_pausing
    loop.finish()  # by an early stopping of the trainer's own
    assert record(tmp_path).end == "epochs"


def test_a_metric_that_there_is_not_is_refused_with_the_near_one() -> None:
    loop, _ = loop_of(ToyTraining(), monitor="vall_loss")
    says = (
        r"monitor='vall_loss' is none of the metrics .*: train_loss, val_loss; did you mean 'val_"
    )
    with pytest.raises(ConfigError, match=says):
        loop.metric({"val_loss": 1.0, "train_loss": 2.0})


def test_processes_that_the_trainer_starts_itself_are_refused() -> None:
    loop, _ = loop_of(ToyTraining())
    loop.check_ranks(1, "one process")
    with pytest.raises(ConfigError, match=r"has 2 processes, .*torchrun --nproc-per-node 2"):
        loop.check_ranks(2, "one process")


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["lightning", "transformers"])
def test_a_fit_over_two_processes_pauses_and_resumes_bit_for_bit(
    trainer: str, tmp_path: Path
) -> None:
    need_package(trainer)
    command = [sys.executable, "-m", "tests.integrations.ranked_fits", trainer, str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    whole, pieces = json.loads((tmp_path / "curves.json").read_text())
    assert pieces == whole
    assert whole[1] == [128, 256, 384]  # samples of both
