"""The trace of a trial's GPUs: begun with its first window, judged after its last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from energyopt.core.gpu_trace import TraceEvent
from energyopt.core.trial_result import TrialStart
from energyopt.errors import HardwareError
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.hardware.gpu_tracer import GpuTracer
from energyopt.hardware.trace_findings import (
    COMPANY,
    LIMIT_CHANGED,
    LIMIT_NOT_ENFORCED,
    TraceRules,
    events_of,
    limit_in_force_w,
    wrong_counters,
)
from energyopt.training.recorder import Recorder

ENDED = "trace_ended"
"""Flag of a trial whose trace ended before its training."""

_NVML_PERIOD_S = 0.1  # of NVML's energy counter: see `hardware.zeus`


def begin_trace(recorder: Recorder, gpus: GpuAllocation, start: TrialStart) -> None:
    """Follow the GPUs of a trial from now on, unless an enclosing training does, or none shall."""
    period_s = gpus.options.trace_s
    if not gpus.boards or not period_s or gpus.is_traced:
        return
    origin_s = max((sample.time_s for sample in recorder.trace), default=0.0)
    recorder.tracer = GpuTracer(gpus, period_s, _counter_s(start), recorder.add_sample, origin_s)
    gpus.is_traced = True
    recorder.tracer.start()


def end_trace(recorder: Recorder, gpus: GpuAllocation) -> None:
    """Stop following the GPUs."""
    if recorder.tracer is not None:
        recorder.tracer.stop()
        gpus.is_traced = False


@contextmanager
def traced(recorder: Recorder, gpus: GpuAllocation, start: TrialStart) -> Iterator[None]:
    """Follow the GPUs of a trial in the body of the context."""
    begin_trace(recorder, gpus, start)
    try:
        yield
    finally:
        end_trace(recorder, gpus)


def judge_trace(recorder: Recorder, gpus: GpuAllocation, start: TrialStart) -> None:
    """Stop the trace, and record what it shows.

    Raises:
        HardwareError: If a counter was wrong by more than the joules may be.
    """
    tracer = recorder.tracer
    if tracer is None:
        return
    end_trace(recorder, gpus)
    samples = tuple(tracer.samples)
    machine_gpus = start.machine.gpus if start.machine is not None else ()
    rules = TraceRules(
        _counter_s(start),
        gpus.options.power_ceiling,
        tuple(gpu.max_limit_w for gpu in machine_gpus),
    )
    events = _with_names(events_of(samples, rules), tuple(tracer.company))
    if tracer.problem is not None:
        now_s = samples[-1].time_s if samples else 0.0
        events += (TraceEvent(ENDED, 0, now_s, now_s, tracer.problem),)
    if not events:
        return
    conditions = recorder.conditions
    recorder.record_conditions(
        events=(*conditions.events, *events),
        flags=tuple(dict.fromkeys((*conditions.flags, *(event.flag for event in events)))),
    )
    if any(event.flag in (LIMIT_CHANGED, LIMIT_NOT_ENFORCED) for event in events):
        recorder.record_conditions(limit_w=limit_in_force_w(samples))
    wrong = wrong_counters(samples, events)
    if wrong and recorder.spent()[0].gpu_j is not None:
        raise HardwareError(_wrong_text(wrong, gpus))


def _counter_s(start: TrialStart) -> float:
    """Return the update period of the boards' counters, whatever meter the trial has."""
    return max(start.provenance.resolution_s, _NVML_PERIOD_S)


def _with_names(events: tuple[TraceEvent, ...], company: tuple[str, ...]) -> tuple[TraceEvent, ...]:
    """Name the other processes; the samples only count them."""
    names = ": " + ", ".join(company[:3]) if company else ""
    return tuple(
        replace(event, detail=f"{event.detail}{names}") if event.flag == COMPANY else event
        for event in events
    )


def _wrong_text(wrong: list[TraceEvent], gpus: GpuAllocation) -> str:
    words = {
        "counter_stood_still": "stood still",
        "counter_leapt": "leapt by more than the board can draw",
        "counter_went_back": "went back, so it was reset (driver reload)",
    }
    event = max(wrong, key=lambda event: event.wrong_j)
    return (
        f"the energy counter of {gpus.boards[event.gpu]} {words[event.flag]} from "
        f"{event.began_s:.3g} s to {event.ended_s:.3g} s of the trial ({event.detail}), so its "
        "joules are wrong; train again, and if it happens again choose another GPU, or update its "
        "driver"
    )
