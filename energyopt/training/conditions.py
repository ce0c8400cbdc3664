"""What is done about a trial's GPUs before and after its training."""

from __future__ import annotations

import time

from energyopt.core.calibration import Calibration, place
from energyopt.core.protocols import SupportsInference
from energyopt.core.trial_result import TrialStart
from energyopt.errors import HardwareError
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.training.recorder import Recorder


def cool_down(
    recorder: Recorder, rig: GpuAllocation, start: TrialStart, known: Calibration | None
) -> None:
    """Let GPUs that have just trained become as cool as they were at the study's first trial."""
    if not rig.boards or start.machine is None:
        return
    reference_c = known.reference_c.get(place(start.machine)) if known else None
    if reference_c is not None and rig.options.cool_down_s > 0:
        with recorder.window("idle", "cooling down"):
            rig.cool_down(reference_c)
        recorder.note(cool_down_s=recorder.last().time_s)
    recorder.note(temperature_before_c=rig.temperature_c(), limit_w=start.machine.limit_w)


def measure_rest(
    recorder: Recorder, rig: GpuAllocation, start: TrialStart, known: Calibration | None
) -> None:
    """Learn what the GPUs draw at rest, now that their contexts are open."""
    if known is None or not rig.boards or start.machine is None:
        return
    idle_w = known.idle_w.get(place(start.machine, limits=True))
    if idle_w is None and rig.options.idle_s > 0:
        with recorder.window("idle", f"power at rest ({rig.options.idle_s:g} s)"):
            time.sleep(rig.options.idle_s)
        rested = recorder.last()
        if rested.gpu_j is not None:
            idle_w = rested.gpu_j / rested.time_s
    recorder.note(idle_w=idle_w)


def measure_inference(recorder: Recorder, paradigm: object, least_s: float) -> None:
    """Meter what an answer of each model costs, if the paradigm's models can be asked.

    Args:
        recorder: Where it is booked.
        paradigm: What was trained.
        least_s: How long each model is asked, at least, in s.
    """
    if not isinstance(paradigm, SupportsInference):
        return
    for name, ask in paradigm.inference().items():
        with recorder.window("inference", f"asking the {name}"):
            ask()  # what the first pass pays alone
        answers = 0
        with recorder.window("inference"):
            until_s = time.monotonic() + least_s
            while not answers or time.monotonic() < until_s:
                answers += ask()
        recorder.inference_j_per_1000[name] = 1000 * recorder.last().total_j / answers


def look_back(recorder: Recorder, rig: GpuAllocation, start: TrialStart) -> None:
    """Check that the GPUs were the trial's alone, and that their joules can be.

    Raises:
        HardwareError: If not.
    """
    if not rig.boards:
        return
    recorder.note(temperature_after_c=rig.temperature_c())
    rig.check_processes()
    flags = (*recorder.conditions.flags, *rig.flags, *_net_flags(recorder))
    new = tuple(flag for flag in dict.fromkeys(flags) if flag not in start.flags)
    recorder.note(flags=new)
    spent, windows = recorder.spent()
    period_s = start.provenance.resolution_s
    wrong = rig.power_problem(spent, windows, period_s, recorder.conditions.idle_w)
    if wrong is not None:
        raise HardwareError(wrong)


def _net_flags(recorder: Recorder) -> tuple[str, ...]:
    """A warning where training drew less than rest: one of the two was not what it seemed."""
    idle_w = recorder.conditions.idle_w
    trained = recorder.booked("training")
    below = idle_w is not None and (trained.gpu_j or 0.0) < idle_w * trained.time_s
    return ("net_below_zero",) if below else ()
