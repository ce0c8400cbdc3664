"""A search on recorded trainings: trains through the product's own loop, counts all joules."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from benchmarks.problems import Problem, Setup
from energyopt.core.calibration import Calibration, digest, shape_of_work
from energyopt.core.conditions import NOT_MEASURED, Conditions, Gpu, Machine
from energyopt.core.curve import Checkpoint
from energyopt.core.journal import JournalWriter, PausedRecord, Record
from energyopt.core.protocols import Paradigm
from energyopt.core.traces import AccuracyTrace, Clock, Costs
from energyopt.core.trial_result import PausePoint, TrialResult, TrialStart, Window
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.hardware.power_limit_policy import Select, selector
from energyopt.hardware.recorded import RecordedMeter
from energyopt.paradigms.replay import EPOCH_SAMPLES, Playback
from energyopt.search.schedule import TrialSnapshot
from energyopt.stopping.rules import Rules
from energyopt.training.checkpointing import ResumeState, State
from energyopt.training.plan import Plan
from energyopt.training.power_profiler import PowerProfiler
from energyopt.training.trial import run_trial


class _Memory(JournalWriter):
    """A trial's journal that is kept in memory, for a trial that may pause."""

    def __init__(self) -> None:
        super().__init__(None)
        self._start: TrialStart | None = None
        self._windows: list[Window] = []
        self._checkpoints: dict[int | None, Checkpoint] = {}  # by number: one may be corrected
        self._conditions: Conditions = NOT_MEASURED
        self.paused: PausedRecord | None = None

    def append(self, *records: Record) -> None:
        for record in records:
            match record:
                case TrialStart():
                    self._start = record
                case Window():
                    self._windows.append(record)
                case Checkpoint():
                    self._checkpoints[record.index] = record
                case Conditions():
                    self._conditions = record
                case PausePoint():
                    self._mark(record)

    def _mark(self, at: PausePoint) -> None:
        assert self._start is not None
        self.paused = PausedRecord(
            at,
            self._start,
            tuple(self._windows),
            tuple(self._checkpoints.values()),
            self._conditions,
        )


@dataclass
class Training:
    """A trial: one recorded run that is played, perhaps with pauses.

    Attributes:
        number: Its number in the search.
        setup: What is searched, by key.
        name: What is played, for its power profile.
        curve: The run.
        costs: What it costs.
        result: Its record up to now; None before it has trained.
        state: What a paused trial resumes from.
    """

    number: int
    setup: dict[str, object]
    name: object
    curve: AccuracyTrace
    costs: Costs
    result: TrialResult | None = None
    state: State | None = None
    journal: _Memory = field(default_factory=_Memory)
    limit_w: float | None = None
    _seen: tuple[TrialResult | None, TrialSnapshot] | None = None

    @property
    def paused(self) -> bool:
        """True if the trial can resume."""
        return self.result is not None and self.result.end == "paused"

    def keep(self, state: State) -> AbstractContextManager[str]:
        """Store what is needed to resume."""

        @contextmanager
        def kept() -> Iterator[str]:
            self.state = state
            yield ""

        return kept()

    def observed(self) -> TrialSnapshot:
        """As a search sees it."""
        if self._seen is None or self._seen[0] is not self.result:
            self._seen = (self.result, self._observed())
        return self._seen[1]

    def _observed(self) -> TrialSnapshot:
        if self.result is None:
            return TrialSnapshot(self.number, self.setup, default=self.number == 0)
        curve, result = self.result.curve, self.result
        samples = result.checkpoints.samples[-1] if len(result.checkpoints) else 0
        if self.paused and self.journal.paused is not None:
            samples = self.journal.paused.at.samples
        return TrialSnapshot(
            number=self.number,
            params=self.setup,
            epochs=curve.epoch,
            joules=curve.training_j,
            accuracy=curve.scores,
            epoch_j=result.training_j * EPOCH_SAMPLES / samples if samples else None,
            spent_j=result.spent_j,
            state="paused" if self.paused else "ended",
            reached=result.reached,
            default=self.number == 0,
        )


@dataclass(frozen=True, slots=True)
class MarkedPlan(Plan):
    """A plan that evaluates where something was recorded, if that is not each epoch.

    Attributes:
        marks: Samples at which to evaluate, rising; none is as often as `eval_every` says.
    """

    marks: tuple[int, ...] = ()

    def next_evaluation(self, samples: int, epoch_samples: int, *, reached: bool) -> int:
        """Return samples since the first step at which to evaluate next."""
        usual = Plan.next_evaluation(self, samples, epoch_samples, reached=reached)
        if not self.marks:
            return usual
        return next((m for m in self.marks if m > samples), self.last_sample(epoch_samples))


class Player:
    """Plays recorded trainings through the product's loop, on one virtual clock.

    Args:
        name: What is played, for people.
        target: Accuracy to reach, in [0, 1].
        limits_w: The power limits that profiling tries, from the highest downward, in W; none where
            there are none.
        slice_s: How long each is tried, in s.
        settle_s: How long before that, in s.
        part: Which energy was recorded.
    """

    def __init__(
        self,
        name: str,
        target: float,
        limits_w: tuple[float, ...] = (),
        *,
        slice_s: float = 5.0,
        settle_s: float = 0.0,
        part: str = "gpu_j",
    ) -> None:
        self.name = name
        self.clock = Clock()
        self.spent_j = 0.0
        self.profiling_j = 0.0
        self.trainings: list[Training] = []
        self._target = target
        self._limits_w = limits_w
        self._slices = (slice_s, settle_s)
        self._meter = RecordedMeter(self, "gpu_j" if part == "gpu_j" else "cpu_j")
        self._known = Calibration()
        self._select: Select = selector(GpuOptions(), 1) if limits_w else (lambda _: 0.0)
        highest_w = max(limits_w, default=None)
        gpus = (Gpu(name, name, 0, highest_w, min(limits_w), highest_w),) if limits_w else ()
        self._start = TrialStart(target, 1.0, 0, self._meter.provenance, machine=Machine(gpus))

    def begin(
        self, setup: dict[str, object], curve: AccuracyTrace, costs: Costs, name: object = None
    ) -> Training:
        """Return a new trial, which has not trained yet.

        Args:
            setup: What is searched, by key.
            curve: The run that it plays.
            costs: What that costs.
            name: What a power profile holds for; None is the whole setup.
        """
        name = setup if name is None else name
        training = Training(len(self.trainings), setup, name, curve, costs)
        self.trainings.append(training)
        return training

    def train(
        self,
        training: Training,
        *,
        epochs: float,
        limit_w: float | None = None,
        until_j: float | None = None,
        stop_at_target: bool = True,
        rules: Rules | None = None,
        wrap: Callable[[Playback], Paradigm] = lambda playback: playback,
        marks: Sequence[float] = (),
    ) -> TrialResult:
        """Train until the target, the end, or a pause; count the energy used.

        Args:
            training: The trial, which begins or resumes.
            epochs: The most that it trains, in all.
            limit_w: Its power limit, in W; None profiles it, where it is not known yet.
            until_j: Training energy at which it pauses, in J; None does not pause.
            stop_at_target: End at the first evaluation at the target.
            rules: What may stop it.
            wrap: Changes what is played.
            marks: Epochs at which it is evaluated; none is each whole one.
        """
        before = training.result
        resumed = None
        if training.paused and training.journal.paused is not None and training.state is not None:
            resumed = ResumeState(training.journal.paused, training.state)
        result = run_trial(
            lambda: wrap(Playback(training.curve, training.costs, self.clock)),
            self._meter,
            MarkedPlan(
                self._target,
                epochs,
                eval_every=EPOCH_SAMPLES,
                patience=None,
                stop_at_target=stop_at_target,
                pause_at_j=until_j,
                marks=tuple(round(mark * EPOCH_SAMPLES) for mark in marks),
            ),
            self._start,
            training.journal if until_j is not None or resumed else JournalWriter(None),
            profiler=self._limit(training, limit_w),
            rules=rules,
            keep=None if until_j is None else training.keep,
            resumed=resumed,
        )
        training.result = result
        training.limit_w = self.clock.limit_w
        self._known = self._known.updated_with(result)
        self.spent_j += result.spent_j - (before.spent_j if before else 0.0)
        for each, sign in ((result, 1.0), (before, -1.0)):
            if each is not None:
                self.profiling_j += sign * each.booked("profiling").total_j
        return result

    def best_limit(self, name: object) -> float | None:
        """Return the limit that was found best for what a power profile holds for, in W."""
        points = self._known.profiles.get(digest(self._shape(name)))
        return self._select(points) if points else None

    def _limit(self, training: Training, limit_w: float | None) -> PowerProfiler | None:
        """Set the limit of a trial, or tell what will find it."""
        if not self._limits_w:
            return None
        wanted_w = limit_w if limit_w is not None else training.limit_w
        wanted_w = wanted_w if wanted_w is not None else self.best_limit(training.name)
        if wanted_w is not None:
            self._set_limit(wanted_w)
            return None
        slice_s, settle_s = self._slices
        return PowerProfiler(
            set_limit_w=self._set_limit,
            limits_w=self._limits_w,
            select=self._select,
            slice_s=slice_s,
            settle_s=settle_s,
            shape=self._shape(training.name),
            original_w=max(self._limits_w),
        )

    def _shape(self, name: object) -> dict[str, object]:
        return dict(shape_of_work(self.name, "recorded", 0, name))

    def _set_limit(self, limit_w: float) -> None:
        self.clock.limit_w = limit_w


class Session(Player):
    """One search on one problem.

    Args:
        problem: What is searched.
        seed: Drives the search, and which recorded runs it meets.
        slice_s: How long a power limit is tried, in s.
        settle_s: How long before that, in s.
    """

    def __init__(
        self, problem: Problem, seed: int, slice_s: float = 5.0, settle_s: float = 0.0
    ) -> None:
        recorded = problem.recorded
        super().__init__(
            problem.name,
            recorded.target,
            recorded.limits_w[::-1],
            slice_s=slice_s,
            settle_s=settle_s,
        )
        self.problem = problem
        self.seed = seed
        self._met: Counter[int] = Counter()

    def begin_size(self, size: int) -> Training:
        """Return a new trial with a batch size, on the next of its recorded runs.

        Which one depends on seed, workload, batch size, and how often it was trained before: so all
        methods meet the same noise.
        """
        recorded = self.problem.recorded
        runs = recorded.runs[size]
        draw = f"{self.seed}/{recorded.workload}/{size}/{self._met[size]}"
        self._met[size] += 1
        run = runs[random.Random(draw).randrange(len(runs))]
        return self.begin({"batch_size": size}, run, recorded.costs[size], size)

    def train_size(self, size: int, limit_w: float | None = None) -> Training:
        """Train a batch size to its end; see `Player.train`."""
        training = self.begin_size(size)
        self.train(training, epochs=self.problem.recorded.max_epochs, limit_w=limit_w)
        return training

    def setup(self, size: int) -> Setup:
        """Return a batch size at the limit that was found best; at the highest where none was."""
        limit_w = self.best_limit(size)
        return Setup(size, self.problem.recorded.limits_w[-1] if limit_w is None else limit_w)
