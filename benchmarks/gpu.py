"""Measure a real GPU, in one call.

    python benchmarks/gpu.py [--out docs/measurements] [--device cuda:0] [--budget-s 540]
    python benchmarks/gpu.py --rehearse

Takes at most ten minutes. The card is taken as it is: no clock, power limit or mode is ever set.
The parts follow each other; one that fails does not lose the others, and after each all that was
measured is written, so that a killed run keeps it. Where time runs short, parts get shorter and
say so. A rehearsal runs all of it on the tests' pretend GPU and the CPU, in little time, and
measures nothing. Exit code 1 if a part failed, 2 if there is nothing to measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # energyopt of a bare checkout, and its tests

from benchmarks.overhead import environment  # noqa: E402
from energyopt.config.trial_factory import TrialFactory  # noqa: E402
from energyopt.core.calibration import Calibration  # noqa: E402
from energyopt.core.curve import Checkpoint  # noqa: E402
from energyopt.core.journal import NAME, JournalWriter  # noqa: E402
from energyopt.core.protocols import EnergyMeter, Paradigm, SupportsWarmUp, TrainStep  # noqa: E402
from energyopt.core.trial_result import TrialResult  # noqa: E402
from energyopt.errors import EnergyoptError, HardwareError  # noqa: E402
from energyopt.hardware.board_sampler import BoardSampler  # noqa: E402
from energyopt.hardware.host import commit, cpu_model, package_versions, resolve_device  # noqa: E402
from energyopt.hardware.nvml import (  # noqa: E402
    Board,
    all_boards,
    driver_version,
    visible_boards,
)
from energyopt.hardware.power_limit_journal import stale_limits  # noqa: E402
from energyopt.report.flags import event_text  # noqa: E402
from energyopt.training.plan import Plan  # noqa: E402
from energyopt.training.trial import run_trial  # noqa: E402

BEGAN_S = time.monotonic()
PRETEND = "FAKE_NVML_STATE"
REHEARSAL = "REHEARSAL ON A PRETEND GPU: NOTHING WAS MEASURED"
AGREEMENT = 0.05
LONG_ENOUGH_S = 60.0
SAMPLE_S = 0.05
CHUNK_S = 0.25
WINDOWS_AN_EPOCH = 8  # before the target, with the defaults: benchmarks/metering.py
GOAL = 0.01
TRACE_PAIRS = 3
CLOCK = "time: time.perf_counter()"


@dataclass(frozen=True)
class Sizes:
    """The amount of work.

    Attributes:
        study: Overrides of the study, in addition to where it trains.
        trials: Trials of the study.
        workload: Words of what the other parts train.
        batch_size: Samples a step, where nothing else is said.
        ramp_s: Training before what is measured, in s.
        load_s: Steady training whose power is sampled, in s.
        repeats: Identical trials.
        repeat_s: Length of each, in s.
        cool_down: The least and the longest pause between them, in s.
        batch_sizes: Those that are compared.
        batch_s: Training at each, in s.
        settle_s: Pause before power at rest is measured, in s.
        rest_s: How long that is, in s.
        period_s: How long the counter is watched, in s.
        reads: Reads and windows that are timed.
        planned_s: What each part takes, by its key, in s.
    """

    study: tuple[str, ...]
    trials: int
    workload: tuple[str, ...]
    batch_size: int
    ramp_s: float
    load_s: float
    repeats: int
    repeat_s: float
    cool_down: tuple[float, float]
    batch_sizes: tuple[int, ...]
    batch_s: float
    settle_s: float
    rest_s: float
    period_s: float
    reads: int
    planned_s: Mapping[str, float]


_WORK = ("task=har", "task.n_train=16384", "model=transformer", "model.width=256", "model.depth=4")
REAL = Sizes(
    study=(*_WORK, "epochs=12", "target=0.97", "hardware.idle_s=10"),
    trials=8,
    workload=_WORK,
    batch_size=1024,
    ramp_s=3,
    load_s=65,
    repeats=9,
    repeat_s=15,
    cool_down=(3, 5),
    batch_sizes=(16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    batch_s=5,
    settle_s=5,
    rest_s=10,
    period_s=5,
    reads=200,
    planned_s={
        "machine": 10,
        "study": 125,
        "power": 75,
        "trace": 40,
        "repeats": 195,
        "batches": 70,
        "counter": 25,
    },
)
REHEARSED = Sizes(
    study=(
        *("task=har", "task.n_train=2048", "model=transformer", "epochs=3", "target=0.5"),
        *("hardware.idle_s=0.1", "hardware.cool_down_s=0"),
    ),
    trials=2,
    workload=("task=har", "task.n_train=128", "task.n_validation=16", "model=transformer"),
    batch_size=32,
    ramp_s=0.1,
    load_s=1.5,
    repeats=3,
    repeat_s=0.3,
    cool_down=(0, 0),
    batch_sizes=(16, 64),
    batch_s=0.3,
    settle_s=0.1,
    rest_s=0.5,
    period_s=0.5,
    reads=20,
    planned_s=dict.fromkeys(REAL.planned_s, 10.0),
)


@dataclass(frozen=True)
class Found:
    """The results of a part.

    Attributes:
        text: For people, in Markdown.
        data: The same and more, for programs.
        sources: Where its numbers come from.
    """

    text: Sequence[str]
    data: Mapping[str, Any]
    sources: Sequence[str]


class Bench:
    """The common inputs of all parts.

    Args:
        board: The GPU.
        device: Where to train.
        position: The GPU's number among those that CUDA sees.
        sizes: How much is done.
        folder: For studies and journals.
    """

    def __init__(
        self, board: Board, device: str, position: int, sizes: Sizes, folder: Path
    ) -> None:
        self.board = board
        self.sizes = sizes
        self.folder = folder
        self.where = (f"device={device}", "hardware=nvidia", f"hardware.gpus=[{position}]")
        self.rate: float | None = None  # samples a second at `batch_size`, once known
        self.traced: TrialResult | None = None  # a steady training with its trace, once known

    @cached_property
    def _task(self) -> Any:
        with self._bare_setup() as setup:
            return setup.task

    def _bare_setup(self, *words: str) -> TrialFactory:
        from tests.composing import composed

        quiet = ("hardware.idle_s=0", "hardware.cool_down_s=0", "target=1", "patience=null")
        return TrialFactory(
            composed(*self.where, *self.sizes.workload, *quiet, *words), (self.folder,)
        )

    def setup(self, *words: str) -> TrialFactory:
        """Everything of a trial; the data are shared by all."""
        setup = self._bare_setup(*words)
        setup.task = self._task
        return setup

    def train(self, *words: str, known: Calibration | None = None) -> TrialResult:
        """Train once, to the samples that the words say."""
        with self.setup(*words) as setup:
            journal = JournalWriter(self.folder / NAME)
            return run_trial(
                setup.make_paradigm,
                setup.meter,
                setup.plan,
                setup.start,
                journal,
                gpus=setup.gpus,
                calibration=known,
            )

    def train_for(self, batch_size: int, *times_s: float, words: Sequence[str] = ()) -> Steadily:
        """Train once, with an evaluation after each of some times.

        Raises:
            RuntimeError: If the training diverged.
        """
        plan = Plan(
            target=1.0,
            epochs=1e6,
            eval_every=1,
            stop_at_target=True,
            max_loss_growth=math.inf,
        )
        made: list[Steady] = []

        def make_paradigm() -> Paradigm:
            made.append(Steady(setup.make_paradigm(), batch_size, times_s))
            return made[0]

        with self.setup(f"batch_size={batch_size}", *words) as setup:
            journal = JournalWriter(self.folder / NAME)
            result = run_trial(
                make_paradigm, setup.meter, plan, setup.start, journal, gpus=setup.gpus
            )
        if len(result.checkpoints) < len(times_s):
            raise RuntimeError(f"the training ended early: {result.reason}")
        *before, last = result.checkpoints
        return Steadily(
            result,
            last,
            samples=(last.samples or 0) - sum(at.samples or 0 for at in before[-1:]),
            steps=(last.steps or 0) - sum(at.steps or 0 for at in before[-1:]),
            span_s=made[0].spans_s[-1],
        )


@dataclass(frozen=True)
class Steadily:
    """A training for a time; its numbers are those of the last of its times.

    Attributes:
        result: The whole record.
        last: Its last checkpoint.
        samples: Samples trained.
        steps: Steps made.
        span_s: Its begin and its end, as `time.perf_counter()` counts.
    """

    result: TrialResult
    last: Checkpoint
    samples: int
    steps: int
    span_s: tuple[float, float]

    @property
    def energy_j(self) -> float:
        """Of the GPU, in J."""
        return self.last.training.gpu_j or 0.0

    @property
    def time_s(self) -> float:
        """Of the training, in s."""
        return self.last.training.time_s


class Steady:
    """Trains for given times where the loop asks for samples, and ends the trial after them.

    What it says of its accuracy means nothing.

    Args:
        inner: What is trained.
        batch_size: Samples a step.
        times_s: How long each call of `train` lasts, in s.
    """

    def __init__(self, inner: Paradigm, batch_size: int, times_s: Sequence[float]) -> None:
        self._inner = inner
        self._batch_size = batch_size
        self._times_s = times_s
        self.epoch_samples = inner.epoch_samples
        self.spans_s: list[tuple[float, float]] = []

    def warm_up(self) -> None:
        """As what is trained does."""
        if isinstance(self._inner, SupportsWarmUp):
            self._inner.warm_up()

    def train(self, samples: int) -> TrainStep:  # noqa: ARG002  # it goes by time
        """Train until the next time is over, in calls that last long enough not to matter."""
        began_s = now_s = time.perf_counter()
        until_s = began_s + self._times_s[len(self.spans_s)]
        chunk, seen, steps, loss = self._batch_size, 0, 0, 0.0
        while now_s < until_s:
            trained = self._inner.train(chunk)
            seen += trained.samples
            steps += trained.steps
            loss += trained.loss * trained.samples
            before_s, now_s = now_s, time.perf_counter()
            if now_s - before_s < CHUNK_S:
                chunk *= 2
        self.spans_s.append((began_s, now_s))
        return TrainStep(seen, steps, loss / seen)

    def evaluate(self) -> float:
        """Evaluate, and say 1 once all times are over."""
        self._inner.evaluate()
        return float(len(self.spans_s) == len(self._times_s))


# The parts ---------------------------------------------------------------------------------


def machine(bench: Bench, scale: float) -> Found:  # noqa: ARG001  # it is short anyway
    """Describe card and machine, by `energyopt doctor` where that can look without setting."""
    import torch

    board = bench.board
    data = {
        "gpu": dataclasses.asdict(board.record()),
        "temperature_c": board.temperature_c(),
        "power_w": board.power_w(),
        "processes": [str(process) for process in board.processes() or ()],
        "driver": driver_version(),
        "cuda_of_torch": torch.version.cuda,
        "packages": dict(package_versions()),
        "commit": commit(ROOT),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
    }
    doctor = ask_doctor(bench)
    gpu = {f"GPU {key}": value for key, value in dataclasses.asdict(board.record()).items()}
    plain = {key: value for key, value in data.items() if key not in ("gpu", "packages")}
    rows = [(f"`{key}`", told(value)) for key, value in {**gpu, **plain}.items()]
    said = ["", "`energyopt doctor --json --no-probe`:", "", "```json", doctor, "```"]
    unsaid = ["", "`energyopt doctor` was not asked: it would set the limit that is in force."]
    return Found(
        [*table(("", "read"), rows), *(said if doctor else unsaid)],
        {**data, "doctor": as_json(doctor)},
        ("NVML, as read; nothing was set",),
    )


def ask_doctor(bench: Bench) -> str:
    """Return the output of `energyopt doctor` if it works without setting limits; else nothing."""
    doctor = [sys.executable, "-m", "energyopt", "doctor"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*doctor, *words],
            cwd=bench.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    asked = run("--help")
    if asked.returncode or "--no-probe" not in asked.stdout:
        return ""
    return run("--json", "--no-probe", *bench.where).stdout.strip()


def study(bench: Bench, scale: float) -> Found:
    """Run a study through the command line, as a user does."""
    sizes = bench.sizes
    words = [
        *("-m", *bench.where, *sizes.study),
        *("lr=tag(log,interval(1e-4,1e-1))", "batch_size=choice(64,256,1024)"),
        *(f"n_trials={max(2, round(sizes.trials * scale))}", "study=gpu"),
    ]
    kept = {key: value for key, value in environment().items() if key != "ENERGYOPT_STORAGE"}
    process = subprocess.Popen(
        [sys.executable, "-m", "energyopt", *words],
        cwd=bench.folder,
        env=kept | {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    limit_s = max(20.0, scale * sizes.planned_s["study"])
    interrupted = False
    try:
        out, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        interrupted = True
        process.send_signal(signal.SIGINT)  # it closes its books, and says what it has
        try:
            out, _ = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    if process.returncode and not interrupted:
        raise RuntimeError(f"the study ended with exit code {process.returncode}:\n{out[-3000:]}")
    from energyopt.storage.reader import read_study

    trials = read_study(str(bench.folder / "studies" / "energyopt.db"), "gpu").trials
    heads = ("trial", "setup", "ended", "J to target", "training", "mean power", "degC", "flags")
    rows = [
        (
            str(trial.number),
            " ".join(trial.overrides),
            of.end,
            told(of.energy_to_target_j),
            f"{of.training_j:.1f} J in {of.booked('training').time_s:.2f} s",
            watts(of.training_j, of.booked("training").time_s),
            f"{told(of.conditions.temperature_before_c)} to "
            f"{told(of.conditions.temperature_after_c)}",
            " ".join(of.flags),
        )
        for trial in trials
        if (of := trial.result) is not None
    ]
    text = [f"    python -m energyopt {shlex.join(words)}", "", *table(heads, rows), ""]
    if interrupted:
        text += [f"Interrupted after {limit_s:.0f} s, for want of time.", ""]
    data = {
        "command": words,
        "interrupted": interrupted,
        "trials": [
            {"number": t.number, "overrides": t.overrides, "result": t.result.to_dict()}
            for t in trials
            if t.result is not None
        ],
        "printed": out,
    }
    sources = ("energy and time: the study's own records, from NVML's counter", "degC: NVML")
    return Found([*text, "```", out.strip(), "```"], data, sources)


def power(bench: Bench, scale: float) -> Found:
    """Compare the counter with the integral of sampled power."""
    sizes = bench.sizes
    with sampled_power(bench.board) as samples:
        steady = bench.train_for(sizes.batch_size, sizes.ramp_s * scale, sizes.load_s * scale)
    bench.rate = steady.samples / steady.time_s
    bench.traced = steady.result
    integral_j = integral(samples, *steady.span_s)
    inside_w = [w for t, w in samples if steady.span_s[0] <= t <= steady.span_s[1]]
    ratio = steady.energy_j / integral_j
    verdict = "pass" if abs(ratio - 1) <= AGREEMENT else "FAIL"
    if steady.time_s < LONG_ENOUGH_S:
        verdict += f", over less than {LONG_ENOUGH_S:g} s"
    data = {
        "batch_size": sizes.batch_size,
        "time_s": steady.time_s,
        "counter_j": steady.energy_j,
        "integral_j": integral_j,
        "ratio": ratio,
        "verdict": verdict,
        "samples_per_s": bench.rate,
        "power_samples": len(inside_w),
        "power_w": samples,
    }
    rows = [
        ("steady training", f"{steady.time_s:.2f} s at batch size {sizes.batch_size}"),
        ("counter", f"{steady.energy_j:.1f} J"),
        ("integral of power", f"{integral_j:.1f} J from {len(inside_w)} samples"),
        ("power", f"{min(inside_w):.0f} to {max(inside_w):.0f} W"),
        ("counter / integral", f"{ratio:.4f}"),
        (f"within {AGREEMENT:.0%}", verdict),
    ]
    power_source = (
        f"power: nvmlDeviceGetPowerUsage every {1000 * SAMPLE_S:g} ms (since Ampere the driver's "
        "mean over 1 s), trapezoids; both come from the same board's sensors"
    )
    return Found(table(("", ""), rows), data, (source(steady.result), power_source, CLOCK))


def trace(bench: Bench, scale: float) -> Found:
    """Measure what the trace of a trial costs, and whether its counter and its power agree."""
    sizes, board = bench.sizes, bench.board
    times_s = (scale * sizes.batch_s / 5, scale * sizes.batch_s)
    rates: dict[str, list[float]] = {"0": [], "1": []}
    for _ in range(TRACE_PAIRS):
        for period, of_period in rates.items():  # in turns, since boards get warmer
            words = (f"hardware.trace_s={period}",)
            steady = bench.train_for(sizes.batch_size, *times_s, words=words)
            of_period.append(steady.samples / steady.time_s)
    traced = bench.traced or steady.result
    sampler = BoardSampler(board)
    reads_s = [timed(partial(sampler.read, time.perf_counter, 0)) for _ in range(sizes.reads)]
    lists_s = [timed(board.processes) for _ in range(sizes.reads)]
    share = statistics.median(reads_s) + statistics.median(lists_s)  # of a sample a second
    slower = statistics.fmean(rates["0"]) / statistics.fmean(rates["1"]) - 1
    samples = [sample for sample in traced.trace.samples() if sample.power_w is not None]
    counted_j = samples[-1].counter_j - samples[0].counter_j
    powers = [(sample.time_s, sample.power_w or 0.0) for sample in samples]
    length_s = samples[-1].time_s - samples[0].time_s
    drawn_j = integral(powers, samples[0].time_s, samples[-1].time_s)
    ratio = counted_j / drawn_j
    verdict = "pass" if abs(ratio - 1) <= AGREEMENT else "FAIL"
    if length_s < LONG_ENOUGH_S:
        verdict += f", over less than {LONG_ENOUGH_S:g} s"
    events = [event_text(event) for event in traced.conditions.events]
    rows = [
        ("reading a sample takes", spread_ms(reads_s)),
        ("listing the processes takes", spread_ms(lists_s)),
        (
            "a sample a second",
            f"{share:.2%} of a thread: {'within' if share <= GOAL else 'ABOVE'} {GOAL:.0%}",
        ),
        (
            f"training with a trace, {TRACE_PAIRS} in turns with {TRACE_PAIRS} without",
            f"{slower:+.2%} of the time (range without: {spread(rates['0'])})",
        ),
        ("a whole trace", f"{len(samples)} samples in {length_s:.1f} s"),
        ("counter / integral of its power", f"{ratio:.4f}"),
        (f"within {AGREEMENT:.0%}", verdict),
        ("stored", f"{len(traced.trace.text)} bytes"),
        ("flagged", "; ".join(events) or "nothing"),
    ]
    data = {
        "reads_s": reads_s,
        "lists_s": lists_s,
        "share_of_1_s": share,
        "samples_per_s": rates,
        "slower": slower,
        "counter_j": counted_j,
        "integral_j": drawn_j,
        "ratio": ratio,
        "verdict": verdict,
        "events": events,
        "trace": [dataclasses.asdict(sample) for sample in samples],
    }
    sources = (source(traced), "power: nvmlDeviceGetPowerUsage about every s, trapezoids", CLOCK)
    return Found(table(("", ""), rows), data, sources)


def repeats(bench: Bench, scale: float) -> Found:
    """Identical trials: how much their joules differ."""
    sizes = bench.sizes
    batch = sizes.batch_size
    if bench.rate is None:
        steady = bench.train_for(batch, sizes.ramp_s * scale, sizes.ramp_s * scale)
        bench.rate = steady.samples / steady.time_s
    samples = batch * max(1, round(bench.rate * sizes.repeat_s * scale / batch))
    least_s, most_s = sizes.cool_down
    words = (
        *(f"batch_size={batch}", f"max_samples={samples}", f"eval_every={samples}"),
        *("epochs=1000000", "seed=0"),
        *(f"hardware.cool_down_s={least_s}", f"hardware.cool_down_max_s={most_s}"),
    )
    time.sleep(sizes.settle_s * scale)  # the first is not to start hotter than the others
    calibration = Calibration()
    results: list[TrialResult] = []
    for _ in range(sizes.repeats):
        results.append(bench.train(*words, known=calibration))
        calibration = calibration.updated_with(results[0])
    spent = [result.booked("training") for result in results]
    joules = [each.gpu_j or 0.0 for each in spent]
    times_s = [each.time_s for each in spent]
    mean_j, sd_j = statistics.fmean(joules), statistics.stdev(joules)
    mean_s, sd_s = statistics.fmean(times_s), statistics.stdev(times_s)
    drift = joules[-1] / joules[0] - 1
    rows = [
        (
            str(number),
            f"{each_j:.2f}",
            f"{each_s:.3f}",
            watts(each_j, each_s),
            told(result.conditions.temperature_before_c),
            told(result.conditions.temperature_after_c),
            " ".join(result.flags),
        )
        for number, (result, each_j, each_s) in enumerate(
            zip(results, joules, times_s, strict=True), start=1
        )
    ]
    heads = ("trial", "J", "s", "mean power", "degC before", "degC after", "flags")
    text = [
        f"{sizes.repeats} trainings of {samples} samples at batch size {batch}, seed 0, "
        f"{least_s:g} to {most_s:g} s of pause:",
        "",
        *table(heads, rows),
        "",
        f"- joules: mean {mean_j:.2f} J, sd {sd_j:.2f} J, CV {sd_j / mean_j:.2%}",
        f"- time: mean {mean_s:.3f} s, sd {sd_s:.3f} s, CV {sd_s / mean_s:.2%}",
        f"- last against first: {drift:+.2%}",
    ]
    data = {
        "batch_size": batch,
        "samples": samples,
        "joules": joules,
        "times_s": times_s,
        "mean_j": mean_j,
        "sd_j": sd_j,
        "cv": sd_j / mean_j,
        "cv_time": sd_s / mean_s,
        "last_against_first": drift,
        "results": [result.to_dict() for result in results],
    }
    return Found(text, data, (source(results[0]), CLOCK, "degC: NVML"))


def batches(bench: Bench, scale: float) -> Found:
    """Joules of a step and of a sample against batch size."""
    sizes = bench.sizes
    data: list[dict[str, Any]] = []
    for batch_size in sizes.batch_sizes:
        steady = bench.train_for(batch_size, scale * sizes.batch_s / 5, scale * sizes.batch_s)
        data.append(
            {
                "batch_size": batch_size,
                "time_s": steady.time_s,
                "energy_j": steady.energy_j,
                "steps": steady.steps,
                "samples": steady.samples,
                "temperature_after_c": steady.result.conditions.temperature_after_c,
            }
        )
    rows = [
        (
            str(at["batch_size"]),
            str(at["steps"]),
            f"{1000 * at['time_s'] / at['steps']:.3f}",
            f"{at['energy_j'] / at['steps']:.4g}",
            f"{1000 * at['energy_j'] / at['samples']:.4g}",
            watts(at["energy_j"], at["time_s"]),
            f"{at['samples'] / at['time_s']:.0f}",
            told(at["temperature_after_c"]),
        )
        for at in data
    ]
    heads = (
        *("batch size", "steps", "ms/step", "J/step", "mJ/sample"),
        *("mean power", "samples/s", "degC after"),
    )
    sources = (source(steady.result), CLOCK, "degC: NVML")
    return Found(table(heads, rows), {"batches": data}, sources)


def counter(bench: Bench, scale: float) -> Found:
    """Power at rest, how often the counter moves, and what reading it costs."""
    import torch

    sizes, board = bench.sizes, bench.board
    with bench.setup() as setup:
        setup.gpus  # noqa: B018  # leased before anything runs on it
        context = torch.ones(1, device=setup.device)
        meter = setup.meter
        time.sleep(sizes.settle_s * scale)
        temperature_c = board.temperature_c()
        meter.start()
        time.sleep(sizes.rest_s * scale)
        rested = meter.stop()
        moves = watched(board, sizes.period_s * scale)
        reads_s = [timed(board.counter_j) for _ in range(sizes.reads)]
        windows_s = [timed(partial(window, meter)) for _ in range(sizes.reads)]
        del context
    idle_w = (rested.gpu_j or 0.0) / rested.time_s
    periods_s = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(moves)]
    steps_j = [later - earlier for (_, earlier), (_, later) in itertools.pairwise(moves)]
    share = WINDOWS_AN_EPOCH * statistics.median(windows_s)
    rows = [
        (
            "power at rest, context open",
            f"{idle_w:.2f} W over {rested.time_s:.1f} s, from {told(temperature_c)} degC",
        ),
        ("the counter moves every", spread_ms(periods_s)),
        ("by", f"{statistics.median(steps_j):.3f} J (median)" if steps_j else "-"),
        ("a read of the counter takes", spread_ms(reads_s)),
        ("a window takes", spread_ms(windows_s)),
        (
            f"metering of an epoch of 1 s ({WINDOWS_AN_EPOCH} windows)",
            f"{share:.2%}: {'within' if share <= GOAL else 'ABOVE'} the goal of {GOAL:.0%}",
        ),
    ]
    data = {
        "idle_w": idle_w,
        "idle_s": rested.time_s,
        "temperature_c": temperature_c,
        "moves": moves,
        "reads_s": reads_s,
        "windows_s": windows_s,
        "share_of_1_s_epoch": share,
    }
    sources = (
        f"energy: {meter.provenance}, {meter.provenance.version}",
        "counter's moves: nvmlDeviceGetTotalEnergyConsumption read again every ms, at rest",
        CLOCK,
    )
    return Found(table(("", ""), rows), data, sources)


@dataclass(frozen=True)
class Part:
    """A part of the call.

    Attributes:
        title: For people.
        work: Does it, at a share of its planned length.
    """

    title: str
    work: Callable[[Bench, float], Found]


PARTS: Mapping[str, Part] = {
    "machine": Part("The machine", machine),
    "study": Part("A study", study),
    "power": Part("The counter against the integral of power", power),
    "trace": Part("The trace of a trial", trace),
    "repeats": Part("Repeatability", repeats),
    "batches": Part("Joules against batch size", batches),
    "counter": Part("The counter, and power at rest", counter),
}


# What they share ---------------------------------------------------------------------------


@contextmanager
def sampled_power(board: Board) -> Iterator[list[tuple[float, float]]]:
    """Sample a GPU's power in a thread: pairs of s and W.

    Raises:
        HardwareError: If the driver tells no power.
    """
    samples: list[tuple[float, float]] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            before_s = time.perf_counter()
            power_w = board.power_w()
            if power_w is not None:
                samples.append(((before_s + time.perf_counter()) / 2, power_w))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()
    if len(samples) < 2:
        raise HardwareError(f"{board} tells no power: nothing to compare its counter with")


def integral(samples: Sequence[tuple[float, float]], begin_s: float, end_s: float) -> float:
    """Integrate samples over a span by trapezoids; the outermost ones hold on beyond them."""

    def at(time_s: float) -> float:
        for (t0, w0), (t1, w1) in itertools.pairwise(samples):
            if t0 <= time_s <= t1:
                return w0 + (w1 - w0) * (time_s - t0) / (t1 - t0)
        return samples[0][1] if time_s < samples[0][0] else samples[-1][1]

    inside = [(t, w) for t, w in samples if begin_s < t < end_s]
    points = [(begin_s, at(begin_s)), *inside, (end_s, at(end_s))]
    return sum((t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in itertools.pairwise(points))


def watched(board: Board, time_s: float) -> list[tuple[float, float]]:
    """When a GPU's counter moved, and to what: pairs of s and J."""
    moves: list[tuple[float, float]] = []
    last_j = board.counter_j()
    until_s = time.perf_counter() + time_s
    while (now_s := time.perf_counter()) < until_s:
        read_j = board.counter_j()
        if read_j != last_j:
            moves.append((now_s, read_j))
            last_j = read_j
        time.sleep(0.001)
    return moves


def timed(work: Callable[[], object]) -> float:
    """How long something takes, in s."""
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def window(meter: EnergyMeter) -> None:
    """Measure a window of a meter, with nothing in it."""
    meter.start()
    meter.stop()


def source(result: TrialResult) -> str:
    """Where a trial's joules come from."""
    provenance = result.start.provenance
    return f"energy: {provenance}, {provenance.version}; {provenance.uncertainty}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def spread_ms(times_s: Sequence[float]) -> str:
    """Median and range, in ms."""
    if not times_s:
        return "-"
    low, middle, high = (1000 * f(times_s) for f in (min, statistics.median, max))
    return f"{middle:.3f} ms (median of {len(times_s)}; {low:.3f} to {high:.3f})"


def spread(values: Sequence[float]) -> str:
    """Range, as a share of the mean."""
    return f"{(max(values) - min(values)) / statistics.fmean(values):.2%}"


def watts(energy_j: float, time_s: float) -> str:
    """Mean power."""
    return f"{energy_j / time_s:.1f} W" if time_s else "-"


def told(value: object) -> str:
    """Write a value for people; "-" for what is not known."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def finite(data: Any) -> Any:
    """Replace NaN and infinities, which JSON does not support."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: finite(value) for key, value in data.items()}
    return [finite(value) for value in data] if isinstance(data, list | tuple) else data


def as_json(text: str) -> Any:
    """Parse a text as JSON; return None if it is invalid."""
    try:
        return json.loads(text)
    except ValueError:
        return None


# The report --------------------------------------------------------------------------------


@dataclass
class Report:
    """Write the results so far, in one file for people and one for programs.

    Attributes:
        path: The Markdown file.
        board: The GPU.
        rehearsal: Whether it is a pretend one.
        command: What was typed.
        head: What is known beforehand, for programs.
        parts: What became of each part, by its key.
    """

    path: Path
    board: Board
    rehearsal: bool
    command: str
    head: Mapping[str, Any]
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    _texts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, key: str, outcome: Mapping[str, Any], text: Sequence[str]) -> None:
        """Keep what became of a part, and write all that there is."""
        self.parts[key] = {**outcome, "limit_w": self.board.record().limit_w}
        self._texts[key] = ["", f"## {PARTS[key].title}", "", *text]
        self.write()

    def write(self) -> None:
        """Write both files, each as a whole."""
        data = {**self.head, "rehearsal": self.rehearsal, "parts": self.parts}
        self._replace(self.path.with_suffix(".json"), json.dumps(finite(data), indent=1) + "\n")
        lines = [*self._header(), *itertools.chain.from_iterable(self._texts.values())]
        self._replace(self.path, "\n".join(lines) + "\n")

    def _header(self) -> list[str]:
        gpu, head = self.head["gpu"], self.head
        title = REHEARSAL if self.rehearsal else f"{self.board.name}: what energyopt measured"
        versions = ", ".join(f"{name} {version}" for name, version in head["packages"].items())
        rows = [
            (
                PARTS[key].title,
                part["status"],
                f"{part['took_s']:.0f} s",
                f"{part['scale']:.0%}",
                told(part["limit_w"]),
            )
            for key, part in self.parts.items()
        ]
        return [
            f"# {title}",
            "",
            *(["Every number below is made up, to test the script.", ""] * self.rehearsal),
            f"- command: `{self.command}`",
            f"- date: {head['date']}",
            f"- GPU: {gpu['name']}, {gpu['uuid']}; driver {head['driver']}",
            f"- power limit as read back before: {told(gpu['limit_w'])} W (default "
            f"{told(gpu['default_limit_w'])}, range {told(gpu['min_limit_w'])} to "
            f"{told(gpu['max_limit_w'])}); nothing was set",
            f"- versions: {versions}; commit {head['commit']}",
            f"- all numbers, and the raw ones: `{self.path.with_suffix('.json').name}`",
            "",
            *table(("part", "outcome", "took", "of planned length", "limit then, W"), rows),
        ]

    @staticmethod
    def _replace(path: Path, text: str) -> None:
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(text)
        fresh.replace(path)


def run_parts(bench: Bench, report: Report, keys: Sequence[str], until_s: float) -> None:
    """Run parts one after the other; each gets its share of the time that is left."""
    for number, key in enumerate(keys):
        planned_s = sum(bench.sizes.planned_s[later] for later in keys[number:])
        left_s = until_s - time.monotonic()
        scale = min(1.0, left_s / planned_s)
        began_s = time.monotonic()
        outcome: dict[str, Any] = {"scale": max(0.0, scale)}
        try:
            if left_s <= 0:
                raise TimeoutError("no time was left")  # noqa: TRY301  # told like all failures
            found = PARTS[key].work(bench, scale)
        except Exception as error:  # the other parts are to be had all the same
            outcome |= {"status": "FAILED", "error": f"{type(error).__name__}: {error}"}
            outcome["trace"] = traceback.format_exc()
            text = ["```", outcome["error"], "```"]
        else:
            outcome |= {"status": "done", "sources": list(found.sources), "data": found.data}
            text = [*found.text, "", f"Sources: {'; '.join(found.sources)}."]
            if scale < 1:
                text += ["", f"Shortened to {scale:.0%} of its planned length, for want of time."]
        outcome["took_s"] = time.monotonic() - began_s
        report.add(key, outcome, text)
        print(f"{PARTS[key].title}: {outcome['status']} in {outcome['took_s']:.0f} s", flush=True)
        if "error" in outcome:
            print(f"  {outcome['error']}", flush=True)


def free_path(folder: Path, name: str, *, rehearsal: bool) -> Path:
    """Return a file for a GPU's report that overwrites no other one."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    slug = f"rehearsal-{slug}" if rehearsal else slug
    names = itertools.chain([slug], (f"{slug}-{number}" for number in itertools.count(2)))
    return next(p for p in (folder / f"{name}.md" for name in names) if not p.exists())


def find_board(device: str) -> tuple[Board, int]:
    """Return the GPU of a device, and its number among those that CUDA sees.

    Raises:
        EnergyoptError: If there is none, or a dead process has left a power limit.
    """
    stale = stale_limits()
    if stale:
        raise HardwareError(
            f"a killed run left a power limit on {', '.join(stale)}; energyopt would put the "
            "previous one back, and this script sets nothing: do that first (energyopt restore)"
        )
    boards = visible_boards(all_boards())
    resolved = resolve_device(device)
    position = int(resolved.partition(":")[2] or 0)
    if position >= len(boards):
        raise HardwareError(f"device={device}: NVML lists {len(boards)} visible GPUs")
    return boards[position], position


def rehearse(words: Sequence[str]) -> int:
    """Run this script on a pretend GPU."""
    from tests import fake_nvml

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        fake = fake_nvml.FakeNvml(fake_nvml.build(folder), folder, period_s=0.1, real_clock=True)
        os.environ.update(fake.environment, ENERGYOPT_RUN_DIR=str(folder / "run"))
        fake.physics(0, demand_w=280, static_w=130)
        # LD_LIBRARY_PATH counts for a process that begins with it.
        done = subprocess.run(
            [sys.executable, __file__, *words],
            env=environment(),
            check=False,
        )
        changes = fake.changes()
    if changes:
        sys.stderr.write(f"gpu.py: the GPU's settings were touched: {changes}\n")
    return done.returncode or bool(changes)


def measure(options: argparse.Namespace, folder: Path, *, rehearsal: bool) -> int:
    """Run the parts that are asked for.

    Raises:
        EnergyoptError: If there is no GPU to measure.
    """
    device = options.device or ("cpu" if rehearsal else "cuda:0")
    board, position = find_board(device)
    out = options.out or (
        Path(tempfile.mkdtemp(prefix="energyopt-rehearsal-"))
        if rehearsal
        else ROOT / "docs" / "measurements"
    )
    out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "benchmarks/gpu.py", *sys.argv[1:]])
    head = {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "gpu": dataclasses.asdict(board.record()),
        "driver": driver_version(),
        "packages": dict(package_versions()),
        "commit": commit(ROOT),
        "budget_s": options.budget_s,
    }
    path = free_path(out, board.name, rehearsal=rehearsal)
    report = Report(path, board, rehearsal, command, head)
    report.write()
    sizes = REHEARSED if rehearsal else REAL
    bench = Bench(board, device, position, sizes, folder)
    keys = [key for key in PARTS if key in options.parts]
    run_parts(bench, report, keys, BEGAN_S + options.budget_s)
    if rehearsal:
        print(REHEARSAL)
    print(f"kept in {path}, and all numbers in {path.with_suffix('.json').name}")
    return int(any(part["status"] != "done" for part in report.parts.values()))


def parts_of(text: str) -> list[str]:
    """Return the parts that a command line names."""
    keys = text.split(",")
    unknown = [key for key in keys if key not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(PARTS)}")
    return keys


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder (default: docs/measurements)")
    parser.add_argument("--device", help="where to train (default: cuda:0)")
    parser.add_argument("--budget-s", type=float, default=540, help="time for everything, in s")
    parser.add_argument("--parts", type=parts_of, default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--rehearse", action="store_true", help="on a pretend GPU, in a minute")
    options = parser.parse_args()
    if options.rehearse and PRETEND not in os.environ:
        sys.exit(rehearse(sys.argv[1:]))
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as NVML counts
    with tempfile.TemporaryDirectory() as folder:
        try:
            code = measure(options, Path(folder), rehearsal=PRETEND in os.environ)
        except EnergyoptError as error:
            sys.stderr.write(f"gpu.py: {error}\n")
            code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
