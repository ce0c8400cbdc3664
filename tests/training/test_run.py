"""`Run` outside of a study: windows, the loop, the end, and what it refuses."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from energyopt.core.journal import JournalWriter
from energyopt.core.run_context import VARIABLE
from energyopt.core.trial_result import TrialResult, TrialStart
from energyopt.errors import ConfigError, EnergyoptError, TrialError
from energyopt.hardware.simulated import SimulatedMeter
from energyopt.models.mlp import MLP
from energyopt.paradigms.scratch import Scratch
from energyopt.tasks.digits import Digits
from energyopt.training.plan import Plan
from energyopt.training.run import Run
from energyopt.training.run_process import end_open_run
from energyopt.training.run_progress import Point
from energyopt.training.trial import run_trial
from tests.toys import Counter, ToyMeter
from tests.training.runs import EPOCH_J, EVALUATION_J, LOADING_J, ToyTraining, record


@pytest.fixture(autouse=True)
def _outside_of_a_study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    end_open_run()


def test_windows_partition_the_time() -> None:
    toy = ToyTraining()
    run = toy.run()
    run.begin()
    for _ in run.epochs(4):
        toy.epoch()
        with run.evaluation():
            loss = toy.evaluate()
        toy.counter.total_j += 1  # between the evaluation and the report
        run.report(loss)
        toy.counter.total_j += 2  # a scheduler's step
    toy.counter.total_j += 1000  # exports, tests
    books = {purpose: energy.total_j for purpose, energy in run.result.books.items()}
    assert books == {
        "loading": LOADING_J,
        "training": 4 * (EPOCH_J + 1 + 2),
        "evaluation": 4 * EVALUATION_J,
    }
    curve = run.result.curve
    assert curve.training_j == (101, 204, 307, 410)  # what follows a report is of the next epoch
    assert curve.accuracy == (1, 1 / 2, 1 / 3, 1 / 4)
    assert curve.epoch == (1, 2, 3, 4)
    assert curve.samples == curve.steps == (None,) * 4
    assert "evaluation_in_training" not in run.result.flags


def test_the_journal_holds_the_whole_record_with_its_end() -> None:
    toy = ToyTraining()
    with toy.run() as run:
        run.begin()
        for _ in run.epochs(2):
            toy.epoch()
            run.report(toy.evaluate())
    assert run.folder is not None
    assert record(run.folder) == run.result
    assert (run.result.end, run.result.reason) == ("epochs", "trained all 2 epochs")
    assert run.result.start.epochs == 2
    assert run.folder.parts[-4:-2] == ("outputs", run.name)


def test_without_a_window_of_its_own_an_evaluation_is_training_and_flagged() -> None:
    toy = ToyTraining()
    run = toy.run()
    run.begin()
    for _ in run.epochs(2):
        toy.epoch()
        run.report(toy.evaluate())
    assert run.result.training_j == 2 * (EPOCH_J + EVALUATION_J)
    assert "evaluation" not in run.result.books
    assert run.result.flags.count("evaluation_in_training") == 1


def test_reaching_the_target_ends_the_loop_only_if_asked() -> None:
    for stop, epochs in ((False, 6), (True, 4)):
        toy = ToyTraining()
        run = toy.run(stop_at_target=stop)
        run.begin()
        for _ in run.epochs(6):
            toy.epoch()
            run.report(toy.evaluate())
        assert toy.trained == epochs
        assert run.result.end == ("target" if stop else "epochs")
    assert run.result.reason == "loss 0.25 reached the target 0.3"


def test_a_signal_ends_a_run_also_after_one_that_ended_in_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class KilledError(Exception):
        pass

    def kill(_pid: int, _number: int) -> None:
        raise KilledError

    first = ToyTraining().run()
    closing = threading.Thread(target=first.close)
    closing.start()
    closing.join()
    monkeypatch.setattr(os, "kill", kill)
    run = ToyTraining().run()
    run.begin()
    with pytest.raises(KilledError):
        signal.raise_signal(signal.SIGTERM)
    assert (run.result.end, run.result.reason) == ("interrupted", "ended by SIGTERM")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_ends_the_loop_as_diverged(value: float) -> None:
    toy = ToyTraining()
    run = toy.run()
    run.begin()
    for epoch in run.epochs(6):
        toy.epoch()
        run.report(value if epoch == 2 else toy.evaluate())
    assert run.result.end == "diverged"
    assert run.result.reason == f"the metric loss is {value} at epoch 3"
    assert len(run.result.checkpoints) == 2
    assert run.result.training_j == 3 * EPOCH_J + 2 * EVALUATION_J


def test_a_loop_of_ones_own_ends_where_report_says_so() -> None:
    toy = ToyTraining()
    run = toy.run(epochs=3)
    run.begin()
    for _ in range(run.start_epoch, 10):
        toy.epoch()
        if run.report(toy.evaluate()):
            break
    assert toy.trained == 3
    assert run.result.end == "epochs"
    assert not run.paused
    with pytest.raises(TrialError, match=r"report\(\) after the run ended"):
        run.report(0.1)


def test_a_loop_that_is_left_early_ran_its_course_and_says_where() -> None:
    toy = ToyTraining()
    run = toy.run()
    run.begin()
    for _ in run.epochs(10):
        toy.epoch()
        run.report(toy.evaluate())
        if toy.trained == 2:
            break
    toy.counter.total_j += 1000  # is no training any more
    assert run.result.reason == "its program left the loop after 2 of 10 epochs"
    assert run.result.training_j == 2 * (EPOCH_J + EVALUATION_J)


def test_after_a_loop_that_is_left_nothing_is_training() -> None:
    toy = ToyTraining()
    run = toy.run()
    run.begin()
    for _ in run.epochs(10):
        toy.epoch()
        if toy.trained == 2:
            break
        run.report(toy.evaluate())
    with run.evaluation():
        loss = toy.evaluate()
    run.report(loss)
    toy.counter.total_j += 1000  # exports
    with pytest.raises(TrialError, match=r"left the loop .*: close\(\) it, and make another"):
        run.epochs(10)
    assert run.result.training_j == 2 * EPOCH_J + EVALUATION_J
    assert run.result.booked("evaluation").total_j == EVALUATION_J
    assert run.result.curve.accuracy == (1, 1 / 2)


def test_a_loop_has_a_length_for_progress_bars() -> None:
    run = ToyTraining().run()
    run.begin()
    assert len(run.epochs(4)) == 4  # type: ignore[arg-type]
    assert len(run.steps(25, evaluate_every=10)) == 3  # type: ignore[arg-type]


def test_a_target_that_is_no_challenge_is_flagged() -> None:
    toy = ToyTraining()
    run = toy.run(target=2)
    run.begin()
    for _ in run.epochs(2):
        toy.epoch()
        run.report(toy.evaluate())
    assert run.result.flags.count("target_at_first_evaluation") == 1


def test_steps_are_counted_between_evaluations() -> None:
    toy = ToyTraining()
    run = toy.run()
    run.begin()
    seen = []
    for steps in run.steps(25, evaluate_every=10):
        for step in steps:
            seen.append(step)
            run.step(samples=4)
        toy.epoch()
        run.report(toy.evaluate())
    assert seen == list(range(25))
    assert run.result.curve.steps == (10, 20, 25)
    assert run.result.curve.samples == (40, 80, 100)
    assert run.result.start.epochs == 3


def test_each_report_is_handed_on_with_its_joules() -> None:
    points: list[Point] = []
    toy = ToyTraining()
    run = toy.run(on_report=points.append)
    run.begin()
    for _ in run.epochs(2):
        toy.epoch()
        with run.evaluation():
            loss = toy.evaluate()
        run.report(loss, samples=50 * toy.trained, metrics={"accuracy": 0.5})
    last = points[-1]
    assert (last.epoch, last.value, last.metrics) == (2, 0.5, {"accuracy": 0.5})
    assert (last.training_j, last.evaluation_j) == (2 * EPOCH_J, 2 * EVALUATION_J)
    assert last.samples == 100


def train_with(toy: ToyTraining, run: Run, error: BaseException) -> None:
    """Train until an error in the third epoch."""
    with run:
        run.begin()
        for _ in run.epochs(4):
            toy.epoch()
            if toy.trained == 3:
                raise error
            run.report(toy.evaluate())


@pytest.mark.parametrize(
    ("error", "end", "reason"),
    [
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (SystemExit(0), "epochs", "its program left the loop after 2 of 4 epochs"),
        (KeyboardInterrupt(), "interrupted", "interrupted"),
    ],
)
def test_an_exception_ends_it_with_its_joules_and_passes_on(
    error: BaseException, end: str, reason: str
) -> None:
    toy = ToyTraining()
    run = toy.run()
    with pytest.raises(type(error)):
        train_with(toy, run, error)
    assert (run.result.end, run.result.reason) == (end, reason)
    assert run.result.training_j == 3 * EPOCH_J + 2 * EVALUATION_J
    assert run.folder is not None
    assert record(run.folder) == run.result


def test_work_that_is_pending_on_a_device_is_waited_for() -> None:
    toy = ToyTraining()
    pending_j = 0.0

    def synchronize() -> None:
        nonlocal pending_j
        toy.counter.total_j += pending_j
        pending_j = 0.0

    run = toy.run(synchronize=synchronize)
    run.begin()
    for _ in run.epochs(2):
        toy.epoch()
        pending_j = 7.0
        with run.evaluation():
            loss = toy.evaluate()
            pending_j = 5.0
        run.report(loss)
    assert run.result.training_j == 2 * (EPOCH_J + 7)
    assert run.result.booked("evaluation").total_j == 2 * (EVALUATION_J + 5)


def test_it_measures_what_our_own_loop_measures() -> None:
    def paradigm() -> Scratch:
        torch.manual_seed(0)
        task = Digits(n_train=320, n_validation=80, n_test=20)
        optimizer = partial(torch.optim.Adam, lr=1e-3)
        model = MLP(input_shape=task.input_shape, num_classes=task.num_classes)
        return Scratch(task=task, model=model, optimizer=optimizer, batch_size=64, epochs=3, seed=0)

    def run_pulled() -> TrialResult:
        pulled = paradigm()
        meter = SimulatedMeter(64)
        plan = Plan(target=0.9, epochs=3, eval_every=pulled.epoch_samples)
        start = TrialStart(0.9, 3, 0, meter.provenance)
        return run_trial(lambda: pulled, meter, plan, start, JournalWriter(None))

    def run_pushed() -> TrialResult:
        run = Run("error", "min", 0.1, meter=SimulatedMeter(64))
        pushed = paradigm()
        run.begin()
        for _ in run.epochs(3):
            pushed.train(pushed.epoch_samples)
            with run.evaluation():
                error = 1 - pushed.evaluate()
            run.report(error)
        return run.result

    pulled, pushed = run_pulled(), run_pushed()
    assert [1 - error for error in pushed.curve.accuracy] == pytest.approx(pulled.curve.accuracy)
    assert pushed.curve.training_j == pytest.approx(pulled.curve.training_j, rel=0.02)
    assert pushed.booked("evaluation").total_j == pytest.approx(
        pulled.booked("evaluation").total_j, rel=0.02
    )


def test_a_gpu_that_is_not_metered_is_flagged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Run("loss", "min", 0.1, meter="cpu", folder=tmp_path / "run")
    run.begin()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1024 * device)
    properties = SimpleNamespace(uuid="8f2c")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    for _ in run.epochs(1):
        sum(range(100_000))
        run.report(0.5)
    assert "unmetered_gpu" in run.result.flags


def test_a_forked_child_leaves_the_run_to_its_parent() -> None:
    toy = ToyTraining()
    run = toy.run()
    run.begin()
    for _ in run.epochs(2):
        toy.epoch()
        child = os.fork()
        if not child:
            end_open_run()
            os._exit(0)
        os.waitpid(child, 0)
        run.report(toy.evaluate())
    assert run.result.end == "epochs"
    assert run.folder is not None
    assert record(run.folder) == run.result


def test_it_says_its_end_in_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    toy = ToyTraining()
    with toy.run(folder="here") as run:
        run.begin()
        for _ in run.epochs(4):
            toy.epoch()
            with run.evaluation():
                loss = toy.evaluate()
            run.report(loss)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "energyopt: 400 J to loss 0.3 (epoch 4); trained all 4 epochs",
        "energyopt: 528 J in all: loading 64 J, training 400 J, evaluation 64 J",
        f"energyopt: {run.result.start.provenance}; record: here",
    ]


def test_there_is_one_run_at_a_time() -> None:
    toy = ToyTraining()
    run = toy.run(name="first")
    with pytest.raises(TrialError, match=r"another Run is open in this process \(first\)"):
        toy.run()
    run.close()
    with toy.run():
        pass


def test_a_run_that_cannot_begin_leaves_room_for_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device=tpu is not known"):
        Run(target=0.9, meter="tpu", folder=tmp_path / "a")
    with ToyTraining().run():
        pass


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    with ToyTraining().run(folder=tmp_path / "kept"):
        pass
    with pytest.raises(ConfigError, match=r"kept'.* holds a run; give another folder"):
        ToyTraining().run(folder=tmp_path / "kept")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "give its target"),
        ({"target": math.nan}, r"target=nan.* a finite number"),
        ({"target": "0.9"}, r"target='0.9'.* a finite number"),
        ({"target": 0.9, "monitor": "loss", "mode": "up"}, "choose min or max"),
        ({"target": 0.9, "monitor": "loss"}, "monitor=loss needs mode=min.* or mode=max"),
        ({"target": 0.9, "mode": "min"}, "mode=min needs the name of the metric"),
        ({"target": 0.9, "meter": 3}, r"meter=3.* a device such as cpu .* or a meter with"),
        ({"target": 63.2}, "target=63.2 .* at most 1 .* monitor=val_loss mode=min"),
        ({"target": 0.9, "epochs": 0}, "epochs=0.* above 0"),
    ],
)
def test_what_it_is_asked_is_checked(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Run(**arguments)


@pytest.mark.parametrize(
    ("reported", "words"),
    [
        (("0.4",), r"report\('0.4'\).* one number is expected, the value of loss"),
        ((None,), r"report\(None\)"),
        ((True,), r"report\(True\)"),
        ((np.array([1.0, 2.0]),), r"report\(ndarray\)"),
        ((0.4, 0), r"report\(epoch=0\) after epoch 0 .* give epoch \+ 1"),
        ((0.4, "2"), r"report\(epoch='2'\)"),
        ((0.4, math.inf), r"report\(epoch=inf\)"),
        ((0.4, 1, "9"), r"report\(samples='9'\).* whole number"),
    ],
)
def test_what_is_reported_is_checked(reported: tuple[Any, ...], words: str) -> None:
    with ToyTraining().run() as run:
        run.begin()
        with pytest.raises(TrialError, match=words):
            run.report(*reported)


def test_numbers_of_arrays_and_tensors_are_numbers() -> None:
    values = (np.float32(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor([0.5]), 1)
    toy = ToyTraining()
    with toy.run() as run:
        run.begin()
        for value in values:
            toy.epoch()
            run.report(value)
    assert run.result.curve.accuracy == (0.5, 0.5, 0.5, 0.5, 1)


def test_numbers_of_numpy_count(tmp_path: Path) -> None:
    toy = ToyTraining()
    batch: Any = np.int64(30)
    with toy.run(folder=tmp_path / "run") as run:
        run.begin()
        for epoch in map(np.int64, range(run.start_epoch, 2)):
            toy.epoch()
            run.step(batch)
            trained: Any = epoch + 1
            run.report(toy.evaluate(), trained, samples=2 * batch * trained)
        word: Any = "x"
        with pytest.raises(TrialError, match=r"step\(samples='x'\)"):
            run.step(word)
    assert run.result.curve.epoch == (1, 2)
    assert record(tmp_path / "run").curve.samples == (60, 120)


def test_an_accuracy_in_percent_is_refused() -> None:
    meter = ToyMeter(Counter())
    with Run(target=0.9, meter=meter) as run:
        run.begin()
        with pytest.raises(TrialError, match=r"^report\(\) was given 63.2; .*monitor=.* mode="):
            run.report(63.2)


def test_a_second_report_in_an_epoch_says_when() -> None:
    toy = ToyTraining()
    with toy.run() as run:
        run.begin()
        for epoch in run.epochs(1):
            toy.epoch()
            run.report(toy.evaluate(), epoch + 0.5)
            run.report(toy.evaluate())
            with pytest.raises(TrialError, match="second report"):
                run.report(toy.evaluate())
    assert run.result.curve.epoch == (0.5, 1)


def test_what_comes_before_begin_says_that_begin_is_missing() -> None:
    with ToyTraining().run() as run:
        for call in (
            lambda: run.report(0.5),
            lambda: run.evaluation().__enter__(),
            lambda: next(run.epochs(2)),
            lambda: next(run.steps(20, evaluate_every=10)),
        ):
            with pytest.raises(TrialError, match=r"before begin\(\): call run.begin\(\)"):
                call()
        with pytest.raises(TrialError, match=r"begin\(ToyTraining\) .* begin\(model=model"):
            run.begin(ToyTraining())
        run.begin()
        with pytest.raises(TrialError, match="called already"):
            run.begin()


@pytest.mark.parametrize("n", [None, "3", 0, math.nan, math.inf, True])
def test_a_loop_needs_a_number(n: Any) -> None:
    run = ToyTraining().run()
    run.begin()
    with pytest.raises(TrialError, match=r"epochs\(.*number"):
        run.epochs(n)
    with pytest.raises(TrialError, match=r"steps\(n\)=.* number"):
        run.steps(n, evaluate_every=10)
    assert len(run.epochs(np.int64(3))) == 3  # type: ignore[arg-type]


def test_what_has_no_state_is_named() -> None:
    with ToyTraining().run() as run, pytest.raises(EnergyoptError, match=r"begin\(model=\.\.\.\)"):
        run.begin(model=object())


def test_a_run_without_a_report_failed() -> None:
    with ToyTraining().run() as run:
        run.begin()
    assert (run.result.end, run.result.reason) == ("failed", "it ended without a report")
    assert run.result.spent_j == LOADING_J


def test_the_result_is_not_complete_inside_of_the_loop() -> None:
    toy = ToyTraining()
    with toy.run() as run:
        run.begin()
        for _ in run.epochs(1):
            toy.epoch()
            run.report(toy.evaluate())
            with pytest.raises(TrialError, match="complete after the loop"):
                run.result  # noqa: B018
