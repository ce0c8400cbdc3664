"""`Run` as a job of a study: its context, pauses, stopping rules, and how it leaves the job."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from energyopt.core.history import StudyHistory
from energyopt.core.run_context import VARIABLE, RunContext
from energyopt.core.trial_result import TrialResult
from energyopt.core.verdict import Verdict, write_verdict
from energyopt.errors import ConfigError, RunPaused, RunStopped, TrialError
from energyopt.training.run import Run
from energyopt.training.run_process import call_task, end_open_run
from energyopt.training.run_progress import Point
from tests.toys import Counter, ToyMeter
from tests.training.runs import EPOCH_J, LOADING_J, ToyTraining, enter_study, record


@pytest.fixture(autouse=True)
def _end_what_is_open() -> Iterator[None]:
    yield
    end_open_run()


def train(toy: ToyTraining, epochs: int = 4, **report: Any) -> Run:
    """Train a toy in its own script."""
    run = Run(meter=toy.meter)
    toy.counter.total_j += LOADING_J
    run.begin(toy=toy)
    for _ in run.epochs(epochs):
        toy.epoch()
        with run.evaluation():
            loss = toy.evaluate()
        run.report(loss, **report)
    return run


def test_it_reads_its_context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    enter_study(monkeypatch, tmp_path, params={"lr": 0.5}, target=0.3, epochs=2)
    run = Run(meter=ToyMeter(Counter()), params={"lr": 0.1, "depth": 3})
    assert run.params == {"lr": 0.5, "depth": 3}
    assert run.folder == tmp_path
    run.begin()
    assert list(run.epochs()) == [0, 1]
    start = run.result.start
    assert (start.monitor.name, start.monitor.mode, start.target) == ("loss", "min", 0.3)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"target": 0.2}, r"target=0.2.* differs from the study's target=0.1"),
        ({"monitor": "error"}, "monitor='error'.* the study's monitor='loss'"),
        ({"mode": "max"}, "mode='max'.* the study's mode='min'"),
    ],
)
def test_what_differs_from_its_study_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: dict[str, Any], words: str
) -> None:
    enter_study(monkeypatch, tmp_path)
    with pytest.raises(ConfigError, match=words):
        Run(**own)


def test_a_study_without_a_target_takes_what_the_run_declares(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path, metric="accuracy", mode="max", target=None)
    toy = ToyTraining()
    run = toy.run(monitor="error", target=0.5)
    run.begin()
    for _ in run.epochs(2):
        toy.epoch()
        run.report(toy.evaluate())
    start = record(tmp_path).start
    assert (start.monitor.name, start.monitor.mode, start.target) == ("error", "min", 0.5)
    assert start.epochs == 2


def test_it_pauses_between_epochs_and_resumes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path / "whole")
    train(ToyTraining())
    whole = record(tmp_path / "whole")
    folder = tmp_path / "paused"
    enter_study(monkeypatch, folder, pause_at_j=EPOCH_J)
    with pytest.raises(RunPaused, match="paused after 1 epoch, 100 J of training"):
        train(ToyTraining())
    at_pause = record(folder)
    assert (at_pause.end, len(at_pause.checkpoints)) == ("paused", 1)
    assert at_pause.epoch_j == EPOCH_J
    enter_study(monkeypatch, folder, pause_at_j=2.5 * EPOCH_J, resume=True)
    with pytest.raises(RunPaused):
        train(ToyTraining())
    assert len(record(folder).checkpoints) == 3
    enter_study(monkeypatch, folder, resume=True)
    toy = ToyTraining()
    run = train(toy)
    assert run.start_epoch == 3
    assert toy.trained == 4  # one of them here
    resumed = record(folder)
    assert resumed.curve == whole.curve
    assert resumed.end == "epochs"
    assert resumed.training_j == whole.training_j
    assert resumed.booked("loading").total_j == 3 * LOADING_J


def train_late(toy: ToyTraining) -> None:
    """Train a little before the report, and most of an epoch after it, as schedulers do."""
    run = Run(meter=toy.meter)
    run.begin(toy=toy)
    for _ in run.epochs(2):
        toy.counter.total_j += 1
        run.report(1.0 / (toy.trained + 1))
        toy.epoch()


def test_what_follows_a_report_is_kept_and_is_of_the_next_point(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path, pause_at_j=0)
    with pytest.raises(RunPaused):
        train_late(ToyTraining())
    enter_study(monkeypatch, tmp_path, resume=True)
    toy = ToyTraining()
    train_late(toy)
    assert toy.trained == 2
    assert record(tmp_path).curve.accuracy == (1, 1 / 2)
    assert record(tmp_path).curve.training_j == (1, 1 + EPOCH_J + 1)
    assert record(tmp_path).training_j == 2 * (EPOCH_J + 1)


def test_a_loop_of_ones_own_pauses_at_its_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def train_own(toy: ToyTraining) -> Run:
        run = Run(meter=toy.meter, epochs=3)
        run.begin(toy=toy)
        for _ in range(run.start_epoch, 3):
            toy.epoch()
            if run.report(toy.evaluate()):
                break
        return run

    enter_study(monkeypatch, tmp_path, pause_at_j=0)
    assert train_own(ToyTraining()).paused
    enter_study(monkeypatch, tmp_path, resume=True)
    toy = ToyTraining()
    run = train_own(toy)
    assert not run.paused
    assert (run.start_epoch, toy.trained) == (1, 3)
    assert record(tmp_path).curve.accuracy == (1, 1 / 2, 1 / 3)


def test_a_break_in_a_loop_that_pauses_pauses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path, pause_at_j=0)
    toy = ToyTraining()
    run = Run(meter=toy.meter)
    run.begin(toy=toy)
    for _ in run.epochs(3):
        toy.epoch()
        if run.report(toy.evaluate()):
            break
    assert run.paused
    assert record(tmp_path).end == "paused"


def test_an_exception_after_the_report_is_no_pause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path, pause_at_j=0)
    toy = ToyTraining()

    def job() -> None:
        run = Run(meter=toy.meter)
        run.begin(toy=toy)
        for _ in run.epochs(3):
            toy.epoch()
            run.report(toy.evaluate())
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        call_task(job)
    assert (record(tmp_path).end, record(tmp_path).reason) == ("failed", "ValueError: no")


def test_a_job_is_left_without_what_follows_the_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path, pause_at_j=0)

    def job(epochs: int) -> str:
        train(ToyTraining(), epochs)
        return "tested and exported"

    assert call_task(job, 3) is None
    assert record(tmp_path).end == "paused"
    enter_study(monkeypatch, tmp_path)
    assert call_task(job, 3) == "tested and exported"


def test_a_job_that_ends_in_its_loop_is_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path)
    toy = ToyTraining()

    def job() -> int:
        run = Run(meter=toy.meter)
        run.begin()
        for _ in run.epochs(5):
            toy.epoch()
            run.report(toy.evaluate())
            return 7
        return 8

    assert call_task(job) == 7
    assert record(tmp_path).reason == "its program left the loop after 1 of 5 epochs"


def test_a_job_that_left_its_run_open_does_not_disturb_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path / "0")
    Run(meter=ToyMeter(Counter()))
    enter_study(monkeypatch, tmp_path / "1")
    train(ToyTraining())
    assert (record(tmp_path / "0").end, record(tmp_path / "1").end) == ("failed", "epochs")


def test_a_stopping_rule_stops_it_for_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rules = {"energy_cap": {"_target_": "energyopt.stopping.energy_cap.EnergyCap", "beta": 2}}
    history = StudyHistory(incumbent_j=1.2 * EPOCH_J, incumbent=7)
    enter_study(monkeypatch, tmp_path, rules=rules, history=history)
    with pytest.raises(RunStopped, match="energy_cap: used 300 J, more than 2 x the 120 J"):
        train(ToyTraining(), 6)
    result = record(tmp_path)
    assert (result.end, result.stopped_by, len(result.checkpoints)) == ("stopped", "energy_cap", 3)


def test_a_study_that_stops_at_the_target_ends_the_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path, target=0.5, stop_at_target=True)
    toy = ToyTraining()
    train(toy, 6)
    assert (toy.trained, record(tmp_path).end) == (2, "target")


def test_a_diverged_training_leaves_the_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path)
    toy = ToyTraining()
    toy.evaluate = lambda: math.nan  # type: ignore[method-assign]
    with pytest.raises(RunStopped):
        train(toy)
    assert record(tmp_path).end == "diverged"


def test_without_a_state_it_trains_to_its_end_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enter_study(monkeypatch, tmp_path, pause_at_j=0)
    toy = ToyTraining()
    run = Run(meter=toy.meter)
    run.begin()
    for _ in run.epochs(3):
        toy.epoch()
        run.report(toy.evaluate())
    assert record(tmp_path).end == "epochs"
    assert record(tmp_path).flags.count("cannot_pause") == 1
    assert capsys.readouterr().err.count("cannot pause") == 1


@pytest.mark.parametrize("form", ["mapping", "callable", "path"])
def test_a_checkpoint_is_returned_to_the_run_that_resumes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    written = tmp_path / "model.json"
    made = []

    def make() -> dict[Any, Any]:
        made.append(1)
        return {"weights": np.arange(3.0), "names": ("a", "b"), 7: [1, None]}

    def checkpoint(value: float) -> Any:
        written.write_text(json.dumps({"loss": value}))
        if form == "path":
            return written
        return make if form == "callable" else make()

    def job() -> Any:
        toy = ToyTraining()
        run = Run(meter=toy.meter)
        kept = run.begin()
        for _ in run.epochs(3):
            toy.epoch()
            run.report(toy.evaluate(), checkpoint=checkpoint(0.5))
        return kept

    enter_study(monkeypatch, tmp_path / "run", pause_at_j=1.5 * EPOCH_J)
    assert call_task(job) is None
    if form == "callable":
        assert made == [1]  # only where it paused
    enter_study(monkeypatch, tmp_path / "run", resume=True)
    kept: Any = call_task(job)
    if form == "path":
        assert kept == written
    else:
        assert list(kept["weights"]) == [0, 1, 2]
        assert (kept["names"], kept[7]) == (("a", "b"), [1, None])


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        ({"model": ToyTraining()}, r"holds tests\..*kept without code: tensors"),
        ({"model": lambda: 1}, "cannot be kept|kept without code"),
        ("missing.pt", "there is no such file"),
    ],
)
def test_a_checkpoint_that_cannot_be_kept_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Any, words: str
) -> None:
    enter_study(monkeypatch, tmp_path, pause_at_j=0)
    with pytest.raises(TrialError, match=words):
        train(ToyTraining(), checkpoint=checkpoint)
    end_open_run(TrialError("as the job's end would do"))
    assert record(tmp_path).end == "failed"
    assert record(tmp_path).training_j == EPOCH_J


def test_other_names_than_at_the_pause_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path, pause_at_j=0)
    with pytest.raises(RunPaused):
        train(ToyTraining())
    enter_study(monkeypatch, tmp_path, resume=True)
    run = Run(meter=ToyMeter(Counter()))
    with pytest.raises(TrialError, match=r"paused with begin\(toy\) .* begin\(model\)"):
        run.begin(model=ToyTraining())


def test_a_preflight_ends_at_begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    enter_study(monkeypatch, tmp_path, preflight=True)
    toy = ToyTraining()
    with pytest.raises(RunStopped):
        train(toy)
    assert toy.trained == 0
    assert record(tmp_path).end == "stopped"


def test_the_meter_of_a_study_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meter = {"_target_": "energyopt.hardware.simulated.SimulatedMeter", "window_j": 1.0}
    enter_study(
        monkeypatch, tmp_path, hardware={"meter": meter}, device="cpu", params={"batch_size": 8}
    )
    run = Run(meter=ToyMeter(Counter()))  # for runs outside of a study
    run.begin()
    for _ in run.epochs(1):
        run.report(0.5)
    assert record(tmp_path).start.provenance.kind == "simulated"
    assert record(tmp_path).spent_j == 3.0  # loading, and two windows of training


def test_an_older_context_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = json.loads(RunContext(folder=tmp_path, target=0.1).to_json())
    new = ("epochs", "stop_at_target", "hardware", "device", "leased_gpus", "rules")
    text = json.dumps({key: value for key, value in known.items() if key not in new})
    monkeypatch.setenv(VARIABLE, text)
    assert RunContext.from_environment() == RunContext(folder=tmp_path, target=0.1)


# A training with torch ---------------------------------------------------------------------


def plain_loop(folder: Path, seed: int = 0) -> TrialResult:
    """A plain loop: a DataLoader that shuffles, dropout, momentum, a scheduler after the report."""
    torch.manual_seed(seed)
    inputs = torch.randn(64, 5)
    data = TensorDataset(inputs, inputs.sum(1, keepdim=True).tanh())
    loader = DataLoader(data, batch_size=16, shuffle=True)
    model = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.Dropout(0.2), torch.nn.ReLU(), torch.nn.Linear(8, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    counter = Counter()
    run = Run(meter=ToyMeter(counter))
    run.begin(model=model, optimizer=optimizer, scheduler=scheduler)
    for _ in run.epochs(6):
        model.train()
        for batch, target in loader:
            optimizer.zero_grad()
            error: Any = torch.nn.functional.mse_loss(model(batch), target)
            error.backward()
            optimizer.step()
            run.step(len(batch))
            counter.total_j += 1
        model.eval()
        with run.evaluation(), torch.inference_mode():
            loss = torch.nn.functional.mse_loss(model(data.tensors[0]), data.tensors[1])
        run.report(loss)
        scheduler.step(loss)
    return record(folder)


def paused_every_epoch(
    patch: pytest.MonkeyPatch, folder: Path, loop: Callable[[Path], TrialResult]
) -> TrialResult:
    """Train in as many pieces as there are epochs."""
    for piece in range(20):
        torch.manual_seed(1000 + piece)  # a new process has another random state
        enter_study(patch, folder, pause_at_j=0, resume=piece > 0)
        result = call_task(loop, folder)
        if result is not None:
            return result
    raise AssertionError("it never ended")


def test_a_paused_plain_loop_gives_bit_for_bit_the_curve_of_one_that_was_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path / "whole")
    whole = plain_loop(tmp_path / "whole")
    pieces = paused_every_epoch(monkeypatch, tmp_path / "paused", plain_loop)
    assert pieces.curve == whole.curve
    assert whole.curve.samples == (64, 128, 192, 256, 320, 384)
    assert len(set(whole.curve.accuracy)) == 6


def test_a_verdict_of_the_study_ends_the_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter_study(monkeypatch, tmp_path, has_pruner=True, epochs=5)
    toy = ToyTraining()

    def judge(point: Point) -> None:  # what the study does between a report and its answer
        reason = "median: it is worse" if point.epoch == 2 else None
        write_verdict(tmp_path, Verdict(int(point.epoch) - 1, reason))

    def job() -> None:
        run = Run(meter=toy.meter, on_report=judge)
        run.begin()
        for _ in run.epochs():
            toy.epoch()
            run.report(toy.evaluate())

    with pytest.raises(RunStopped, match="median: it is worse"):
        job()
    kept = record(tmp_path)
    assert (kept.end, kept.stopped_by, len(kept.checkpoints)) == ("stopped", "median", 2)


def test_a_study_that_does_not_answer_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("energyopt.training.run_pruner._VERDICT_S", 0.05)
    enter_study(monkeypatch, tmp_path, has_pruner=True, epochs=3)
    write_verdict(tmp_path, Verdict(9, "of an earlier training"))
    train(ToyTraining(), epochs=3)
    kept = record(tmp_path)
    assert (kept.end, len(kept.checkpoints)) == ("epochs", 3)
    assert kept.flags.count("not_judged") == 1
