"""Measuring conditions of a trial's GPUs: temperature, idle power, other processes."""

from __future__ import annotations

import math
import time

from energyopt.core.calibration import Calibration, gpus_key
from energyopt.core.protocols import SupportsInference, SupportsTest
from energyopt.core.trial_result import TrialStart
from energyopt.errors import HardwareError
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.training.recorder import Recorder
from energyopt.training.tracing import judge_trace


def cool_down(
    recorder: Recorder, gpus: GpuAllocation, start: TrialStart, calibration: Calibration | None
) -> None:
    """Wait until the GPUs are as cool as they were at the study's first trial.

    A warmer chip leaks more current, so that the same work needs more energy.
    """
    if not gpus.boards or start.machine is None:
        return
    reference_c = calibration.reference_c.get(gpus_key(start.machine)) if calibration else None
    if reference_c is not None and gpus.options.cool_down_s > 0:
        with recorder.window("idle", "cooling down"):
            gpus.cool_down(reference_c)
        recorder.record_conditions(cool_down_s=recorder.last().time_s)
    recorder.record_conditions(
        temperature_before_c=gpus.temperature_c(), limit_w=start.machine.limit_w
    )


def measure_idle(
    recorder: Recorder, gpus: GpuAllocation, start: TrialStart, calibration: Calibration | None
) -> None:
    """Measure the idle power of the GPUs with open contexts, which draw more than closed ones."""
    if calibration is None or not gpus.boards or start.machine is None:
        return
    idle_w = calibration.idle_w.get(gpus_key(start.machine, limits=True))
    if idle_w is None and gpus.options.idle_s > 0:
        with recorder.window("idle", f"power at rest ({gpus.options.idle_s:g} s)"):
            time.sleep(gpus.options.idle_s)
        idle = recorder.last()
        if idle.gpu_j is not None:
            idle_w = idle.gpu_j / idle.time_s
    recorder.record_conditions(idle_w=idle_w)


def measure_inference(recorder: Recorder, paradigm: object, min_s: float) -> None:
    """Meter the energy of an answer of each model, if the paradigm supports inference.

    Args:
        recorder: Records the energy.
        paradigm: The trained paradigm.
        min_s: Minimum time of inference for each model, in s.
    """
    if not isinstance(paradigm, SupportsInference):
        return
    for name, infer in paradigm.inference().items():
        with recorder.window("inference", f"asking the {name}"):
            infer()  # only the first pass compiles and allocates
        answers = 0
        with recorder.window("inference"):
            until_s = time.monotonic() + min_s
            while not answers or time.monotonic() < until_s:
                answers += infer()
        recorder.inference_j_per_1000[name] = 1000 * recorder.last().total_j / answers


def measure_test(recorder: Recorder, paradigm: object) -> None:
    """Evaluate the model on the test split, if the paradigm has one; no search sees the value.

    Args:
        recorder: Records the energy, and the value if it is finite.
        paradigm: The trained paradigm.
    """
    if not isinstance(paradigm, SupportsTest):
        return
    with recorder.window("inference", "testing"):
        value = float(paradigm.test())
    recorder.test_value = value if math.isfinite(value) else None


def check_conditions(recorder: Recorder, gpus: GpuAllocation, start: TrialStart) -> None:
    """Check that only the trial used its GPUs, and that their energy is plausible.

    Raises:
        HardwareError: If another process used them, or the energy is implausible.
    """
    if not gpus.boards:
        return
    recorder.record_conditions(temperature_after_c=gpus.temperature_c())
    judge_trace(recorder, gpus, start)
    gpus.check_processes()
    flags = (*recorder.conditions.flags, *gpus.flags, *_net_flags(recorder))
    new_flags = tuple(flag for flag in dict.fromkeys(flags) if flag not in start.flags)
    recorder.record_conditions(flags=new_flags)
    energy, n_windows = recorder.spent()
    period_s = start.provenance.resolution_s
    problem = gpus.power_problem(energy, n_windows, period_s, recorder.conditions.idle_w)
    if problem is not None:
        raise HardwareError(problem)


def _net_flags(recorder: Recorder) -> tuple[str, ...]:
    """Return a warning if training drew less than idle power: one of the two is wrong."""
    idle_w = recorder.conditions.idle_w
    training = recorder.booked("training")
    is_below = idle_w is not None and (training.gpu_j or 0.0) < idle_w * training.time_s
    return ("net_below_zero",) if is_below else ()
