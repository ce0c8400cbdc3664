"""Judge a trace: pure functions from samples to events.

A counter moves once a period, so nothing is judged over less than five of them.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from energyopt.core.gpu_trace import TraceEvent, TraceSample, by_gpu
from energyopt.core.units import quantity
from energyopt.hardware.board_sampler import POWER_BRAKE, THERMAL

LIMIT_CHANGED = "power_limit_changed"
LIMIT_NOT_ENFORCED = "power_limit_not_enforced"
COMPANY = "company_in_between"
STILL = "counter_stood_still"
LEAP = "counter_leapt"
WENT_BACK = "counter_went_back"
DISAGREES = "counter_disagrees"
HOT = "thermal_throttling"
BRAKED = "power_brake"

MIN_PERIODS = 5
"""Update periods of the counter over which a mean power is judged."""

LONG_S = 60.0
"""Length of the windows in which counter and power readings are compared, in s."""

AGREEMENT = 0.05
"""Part by which counter and integral of the power may differ over such a window: what the power
sensor itself may be off (Yang et al., SC'24, arXiv:2312.02741)."""

WRONG_SHARE = 0.05
"""Part of a trial's energy from which a wrong counter fails the trial."""

_LIMIT_W = 1.0  # boards round limits
_SIGMAS = 2.0

Samples = Sequence[TraceSample]


@dataclass(frozen=True, slots=True)
class TraceRules:
    """Bounds of what is plausible.

    Attributes:
        counter_s: Update period of the energy counter, in s.
        ceiling: Mean power above this multiple of the highest limit cannot be.
        highest_w: The highest limit that each GPU accepts, in W; None where it is not reported.
    """

    counter_s: float
    ceiling: float = 1.25
    highest_w: Sequence[float | None] = ()

    @property
    def min_s(self) -> float:
        """The shortest time over which a mean power is judged, in s."""
        return MIN_PERIODS * self.counter_s


def events_of(samples: Iterable[TraceSample], rules: TraceRules) -> tuple[TraceEvent, ...]:
    """Return what a trace shows, by GPU and time.

    Args:
        samples: Samples of one execution of a trial, in any order.
        rules: What is plausible.
    """
    events: list[TraceEvent] = []
    for board in by_gpu(samples):
        if len(board) > 1:
            events += _limit_events(board, rules)
            events += _counter_events(board, rules)
            events += _state_events(board)
    return tuple(sorted(events, key=lambda event: (event.gpu, event.began_s)))


def wrong_counters(
    samples: Iterable[TraceSample], events: Iterable[TraceEvent]
) -> list[TraceEvent]:
    """Return the events that make the joules of a GPU wrong by more than `WRONG_SHARE`."""
    wrong: list[TraceEvent] = []
    events = tuple(events)
    for gpu, board in enumerate(by_gpu(samples)):
        of_board = [event for event in events if event.gpu == gpu and event.wrong_j > 0]
        if not board or not of_board:
            continue
        read_j = board[-1].counter_j - board[0].counter_j
        if sum(event.wrong_j for event in of_board) > WRONG_SHARE * max(read_j, 0.0):
            wrong += of_board
    return wrong


def limit_in_force_w(samples: Iterable[TraceSample]) -> float | None:
    """Return the power limit that was in force since the trial last set one; None if it varied.

    Of several GPUs it is the lowest, as in `Machine.limit_w`.
    """
    lows: list[float] = []
    for board in by_gpu(samples):
        by_held = [list(group) for _, group in itertools.groupby(board, lambda s: s.held_w)]
        last_stretch = by_held[-1] if by_held else []
        limits_w = [sample.limit_w for sample in last_stretch if sample.limit_w is not None]
        if not limits_w:
            continue
        if max(limits_w) - min(limits_w) > _LIMIT_W:
            return None
        lows.append(limits_w[0])
    return min(lows, default=None)


# Limits ------------------------------------------------------------------------------------


def _limit_events(board: Samples, rules: TraceRules) -> Iterator[TraceEvent]:
    first = board[0]

    def was_changed(sample: TraceSample) -> bool:
        expected_w = first.requested_w if sample.held_w is None else sample.held_w
        return _differ(sample.requested_w, expected_w)

    def is_not_enforced(sample: TraceSample) -> bool:
        expected_w = first.limit_w if sample.held_w is None else sample.held_w
        return _differ(sample.limit_w, expected_w) and not was_changed(sample)

    for begin, end in _stretches(map(was_changed, board)):
        yield _event(board, begin, end, LIMIT_CHANGED, _limit_detail(board[begin:end], first))
    for begin, end in _stretches(map(is_not_enforced, board)):
        # A board takes a moment to follow the limit that it is told.
        if board[end - 1].time_s - board[begin].time_s >= rules.min_s:
            detail = _limit_detail(board[begin:end], first)
            yield _event(board, begin, end, LIMIT_NOT_ENFORCED, detail)


def _limit_detail(stretch: Samples, first: TraceSample) -> str:
    limits_w = [s.limit_w for s in stretch if s.limit_w is not None] or [0.0]
    low_w, high_w = min(limits_w), max(limits_w)
    in_force = f"{low_w:g} W" if high_w - low_w <= _LIMIT_W else f"{low_w:g} to {high_w:g} W"
    held_w = stretch[0].held_w
    if held_w is not None:
        return f"{in_force} in force, {held_w:g} W set by the trial"
    before_w = first.limit_w if first.limit_w is not None else first.requested_w
    return f"{in_force} in force, {before_w or 0:g} W at its beginning"


def _differ(one_w: float | None, other_w: float | None) -> bool:
    return one_w is not None and other_w is not None and abs(one_w - other_w) > _LIMIT_W


# The counter -------------------------------------------------------------------------------


def _counter_events(board: Samples, rules: TraceRules) -> Iterator[TraceEvent]:
    for sample, following in itertools.pairwise(board):
        counter_j = sample.counter_j
        if following.counter_j < counter_j:
            detail = f"from {counter_j:.6g} to {following.counter_j:.6g} J"
            yield TraceEvent(
                WENT_BACK, sample.gpu, sample.time_s, following.time_s, detail, counter_j
            )
            return  # nothing else of it can be judged
    yield from _still_events(board, rules)
    gpu = board[0].gpu
    highest_w = rules.highest_w[gpu] if gpu < len(rules.highest_w) else None
    if highest_w is not None:
        yield from _leap_events(board, rules, highest_w)
    yield from _disagreements(board)


def _still_events(board: Samples, rules: TraceRules) -> Iterator[TraceEvent]:
    """Yield where the counter did not move: a board that is on always draws power."""
    begin = 0
    for _, group in itertools.groupby(board, key=lambda sample: sample.counter_j):
        end = begin + len(list(group))
        time_s = board[end - 1].time_s - board[begin].time_s
        # It may have moved just before the first sample, and be about to after the last.
        if time_s >= rules.min_s:
            missing_j = _missing_j(board, begin, end)
            power_w = _usual_power_w(board[begin:end])
            drawn = "" if not power_w else f" while {quantity(power_w, 'W')} were drawn"
            detail = f"no energy counted in {quantity(time_s, 's')}{drawn}"
            yield TraceEvent(
                STILL, board[begin].gpu, board[begin].time_s, board[end - 1].time_s, detail,
                missing_j,
            )  # fmt: skip
        begin = end


def _missing_j(board: Samples, begin: int, end: int) -> float:
    """Return the energy that a counter did not count while it stood still, nor made up for then.

    By the power readings; where these are zero, too, by the mean power of the rest of the trial.
    """
    last = min(end, len(board) - 1)  # with what it counts next
    counted_j = board[last].counter_j - board[begin].counter_j
    drawn_j = _integral_j(board[begin : last + 1])
    if not _usual_power_w(board[begin:end]):
        still_s = board[end - 1].time_s - board[begin].time_s
        moving_s = board[-1].time_s - board[0].time_s - still_s
        moved_j = board[-1].counter_j - board[0].counter_j - counted_j
        mean_w = moved_j / moving_s if moving_s > 0 else 0.0
        drawn_j = mean_w * (board[last].time_s - board[begin].time_s)
        if not drawn_j:
            return math.inf  # a trial without any joules
    return max(0.0, (drawn_j or 0.0) - counted_j)


def _leap_events(board: Samples, rules: TraceRules, highest_w: float) -> Iterator[TraceEvent]:
    """Yield where the counter moved by more than the board can draw.

    Between two samples it may count the energy of one period more. What it counts after it stood
    still may be of all that time.
    """
    leaps: list[tuple[int, int]] = []
    begin = 0
    for end in range(1, len(board)):
        while begin + 1 < end and board[end].time_s - board[begin + 1].time_s >= rules.min_s:
            begin += 1
        first = begin
        while first and board[first - 1].counter_j == board[begin].counter_j:
            first -= 1
        energy_j, time_s = _difference(board, first, end)
        most_j = rules.ceiling * highest_w * (time_s + rules.counter_s)
        if time_s < rules.min_s or energy_j <= most_j:
            continue
        if leaps and first <= leaps[-1][1]:
            leaps[-1] = (leaps[-1][0], end)
        else:
            leaps.append((first, end))
    for first, end in leaps:
        energy_j, time_s = _difference(board, first, end)
        detail = (
            f"{quantity(energy_j, 'J')} in {quantity(time_s, 's')}, which is "
            f"{quantity(energy_j / time_s, 'W')} of a board that may draw {highest_w:g} W"
        )
        times_s = (board[first].time_s, board[end].time_s)
        yield TraceEvent(LEAP, board[0].gpu, *times_s, detail, energy_j - highest_w * time_s)


def _difference(board: Samples, first: int, last: int) -> tuple[float, float]:
    """Return the energy and the time between two samples."""
    energy_j = board[last].counter_j - board[first].counter_j
    return energy_j, board[last].time_s - board[first].time_s


def _disagreements(board: Samples) -> Iterator[TraceEvent]:
    """Yield long windows in which counter and power readings disagree.

    Beyond `AGREEMENT` two standard errors of the mean of the readings are allowed: boards that
    report instantaneous power are sampled, not integrated.
    """
    begin = 0
    for end in range(1, len(board)):
        window = board[begin : end + 1]
        time_s = board[end].time_s - board[begin].time_s
        rest_s = board[-1].time_s - board[end].time_s
        if time_s < LONG_S or 0 < rest_s < LONG_S:  # a shorter rest belongs to the last window
            continue
        begin = end
        drawn_j = _integral_j(window)
        if not drawn_j:
            continue
        counted_j = window[-1].counter_j - window[0].counter_j
        powers_w = [sample.power_w for sample in window if sample.power_w is not None]
        error = statistics.stdev(powers_w) / statistics.fmean(powers_w) / math.sqrt(len(powers_w))
        if abs(counted_j / drawn_j - 1) > AGREEMENT + _SIGMAS * error:
            detail = (
                f"{quantity(counted_j, 'J')} counted, {quantity(drawn_j, 'J')} by the power "
                f"readings ({counted_j / drawn_j:.2f})"
            )
            yield TraceEvent(DISAGREES, window[0].gpu, window[0].time_s, window[-1].time_s, detail)


def _integral_j(stretch: Samples) -> float | None:
    """Return the integral of the power readings, by trapezoids; None if one is missing."""
    total_j = 0.0
    for sample, following in itertools.pairwise(stretch):
        if sample.power_w is None or following.power_w is None:
            return None
        time_s = following.time_s - sample.time_s
        total_j += (sample.power_w + following.power_w) / 2 * time_s
    return total_j


def _usual_power_w(stretch: Samples) -> float | None:
    """Return the median of the power readings: those at the ends may be of before and after."""
    powers_w = [sample.power_w for sample in stretch if sample.power_w is not None]
    return statistics.median(powers_w) if powers_w else None


# Company and clocks ------------------------------------------------------------------------


def _state_events(board: Samples) -> Iterator[TraceEvent]:
    for begin, end in _stretches(bool(sample.others) for sample in board):
        most = max(sample.others or 0 for sample in board[begin:end])
        detail = "another process" if most == 1 else f"up to {most} other processes"
        yield _event(board, begin, end, COMPANY, f"{detail} computed on it")
    for flag, bits, text in (
        (HOT, THERMAL, "clocks lowered because of its temperature"),
        (BRAKED, POWER_BRAKE, "clocks lowered by a signal from outside"),
    ):
        lowered = [bool((sample.throttle or 0) & bits) for sample in board]
        for begin, end in _stretches(lowered):
            temperatures_c = [s.temperature_c for s in board[begin:end] if s.temperature_c]
            top = f", up to {max(temperatures_c):g} degC" if temperatures_c else ""
            yield _event(board, begin, end, flag, text + top)


def _stretches(holds: Iterable[bool]) -> Iterator[tuple[int, int]]:
    """Yield the begin and the end of each longest stretch of samples for which something holds."""
    begin = 0
    for holding, group in itertools.groupby(holds):
        end = begin + len(list(group))
        if holding:
            yield begin, end
        begin = end


def _event(board: Samples, begin: int, end: int, flag: str, detail: str) -> TraceEvent:
    """Return the event of a stretch: it began and ended between samples, so these are its ends."""
    began_s = board[max(begin - 1, 0)].time_s
    ended_s = board[min(end, len(board) - 1)].time_s
    return TraceEvent(flag, board[begin].gpu, began_s, ended_s, detail)
