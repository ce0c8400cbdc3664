"""Meaning and remedy of each warning flag; tables show only the flag."""

from __future__ import annotations

from collections.abc import Mapping

from energyopt.core.gpu_trace import TraceEvent
from energyopt.core.units import quantity
from energyopt.core.window_quality import (
    MAX_STEAL_SHARE,
    MAX_SWITCHES_HZ,
    MIN_CPU_S,
    SHORT_ESTIMATE,
)

_WINDOW = "the training behind the number (to the target, where it was reached)"
_TOO_SHORT = (
    f"{_WINDOW} took {{}} of its sensor's update periods, so its joules are {{}}; train longer (a "
    "larger task, more epochs, a higher target) or compare means over several seeds"
)
REMEDIES: Mapping[str, str] = {
    "gpu_meter_cpu_training": (
        "the meter reads a GPU, but the CPU trains: these are not the joules of the training; "
        "choose hardware=auto, or device=cuda (with a CUDA build of torch)"
    ),
    "estimate_misses_gpu": (
        "a GPU trains, but the estimate counts CPU time alone; choose hardware=auto"
    ),
    "torch_without_cuda": (
        "there is an NVIDIA GPU, but torch is a build without CUDA, so the CPU trains, and these "
        "are no joules of the GPU; install a CUDA build of torch, or write device=cpu"
    ),
    "cuda_unusable": (
        "there is an NVIDIA GPU, but torch sees none, so the CPU trains, and these are no joules "
        "of the GPU; see what `energyopt doctor` says of the driver, or write device=cpu"
    ),
    "no_power_limit": (
        "power limits may not be set, so none are tried and the present one stays; they take root, "
        "or CAP_SYS_ADMIN in a container, or zeusd (ZEUSD_SOCK_PATH)"
    ),
    "stale_power_limit": (
        "a run that was killed left the GPU's power limit changed, and it may not be put back; run "
        "`energyopt restore` with the rights that it had"
    ),
    "shared_gpu": (
        "another process computed on the GPU, whose joules are in these; choose a GPU of its own "
        "with hardware.gpus=..."
    ),
    "net_below_zero": (
        "the training drew less than the GPU at rest; what else ran when rest was measured?"
    ),
    "power_limit_changed": (
        "something else changed the GPU's power limit during the trial, so its joules are of "
        "several limits; end the tool that sets it (nvidia-smi -pl, DCGM, a scheduler), and train "
        "again"
    ),
    "power_limit_not_enforced": (
        "the GPU held another power limit than it was told, or than at the trial's begin: a BMC, a "
        "power supply or another board may cap it; see `energyopt doctor` and nvidia-smi -q -d "
        "POWER"
    ),
    "company_in_between": (
        "another process computed on the GPU for a part of the trial, and its joules are in these; "
        "keep others off the GPU, or choose one of its own with hardware.gpus=..."
    ),
    "counter_stood_still": (
        "the GPU's energy counter did not move for a while, so that joules may be missing; if it "
        "happens again, choose another GPU or update its driver"
    ),
    "counter_leapt": (
        "the GPU's energy counter counted more than the board can draw, so that joules are too "
        "many; if it happens again, choose another GPU or update its driver"
    ),
    "counter_went_back": (
        "the GPU's energy counter began again (driver reload, suspend); train again"
    ),
    "counter_disagrees": (
        "over a minute or more the GPU's energy counter differs from the integral of its power "
        "readings by more than 5 %; compare it with a meter at the plug before relying on either"
    ),
    "thermal_throttling": (
        "the GPU lowered its clocks because it was too hot, which changes time and joules of a "
        "step; improve its cooling, or set a lower hardware.power_limit_w"
    ),
    "power_brake": (
        "a signal from outside, such as of a power supply, lowered the GPU's clocks, which changes "
        "time and joules of a step; check the power supply of the machine"
    ),
    "trace_ended": (
        "the GPU could not be sampled to the end of the trial, so that less of it is checked"
    ),
    "company_unknown": (
        "the driver does not tell which processes compute on the GPU; make sure that there are no "
        "others, whose joules would be in these"
    ),
    "warm_start": (
        "the GPU began hotter than at the study's first trial, and leaks more so; raise "
        "hardware.cool_down_max_s"
    ),
    "power_profile_too_short": (
        "the training is too short to compare two power limits, each of which takes "
        "hardware.profile_settle_s + profile_slice_s (6 s with the defaults), and kept the limit "
        "in force; the study's next trial with this model and batch size continues; train longer, "
        "lower profile_slice_s (at the price of noise), or set hardware.power_limit_w"
    ),
    "power_profile_unfinished": (
        "the trial ended before all power limits were compared, so its joules are those of the "
        "best so far, and another may be better; the study's next trial with this model and batch "
        "size continues the profile"
    ),
    "partly_imputed": (
        "steps in which other power limits were tried count as training at the mean of the chosen "
        "limit, so that part of the joules is imputed, not read for those very steps; set "
        "hardware.power_limit_w to the chosen limit for a training that is measured throughout"
    ),
    "unlike_published": (
        "neither the GPU's default power limit nor its highest is one that its maker publishes for "
        "the system of this name (hardware.system.limits_w); it is another variant"
    ),
    "damaged_knowledge": (
        "the file of a source or teacher was changed on the disk, so that was trained again; check "
        "the disk of the folder knowledge"
    ),
    "cannot_pause": (
        "its paradigm cannot be paused (it has no state and load_state), or its Run was given no "
        "state (begin) and no checkpoint (report), so the trial trained to its end"
    ),
    "not_judged": (
        "the study did not answer a report of the trial in time, so no pruner could end it from "
        "there on: it trained to its end"
    ),
    "evaluation_in_training": (
        "the loop has no `with run.evaluation():`, so the energy of its validation counts as "
        "training"
    ),
    "imports_in_training": (
        "a child process still computed at begin(), or was spawned after it, so the energy of its "
        "imports may count as training; start loader workers before begin() and keep them "
        "(persistent_workers), or fork them"
    ),
    "prefetch_in_evaluation": (
        "child processes from before an evaluation computed during it for more than 2 % of the "
        "training time: loader workers that prefetch, whose energy counts as evaluation"
    ),
    "unmetered_gpu": (
        "the training used a GPU that its meter does not read, so its joules are missing; name "
        "the device, as in Run(meter='cuda:1')"
    ),
    "no_power_profile": (
        "hardware.power_limit_w=profile needs a loop that calls run.step(samples) in its epochs, "
        "and that says how many epochs it trains, more than one; the present power limit stays"
    ),
    "moved": (
        "the trial resumed on another GPU than it was paused on, so its joules are of two boards"
    ),
    "source_missed_target": (
        "the source's training missed its target, and is used as it is; raise "
        "paradigm.source.epochs, or lower paradigm.source.target"
    ),
    "teacher_missed_target": (
        "the teacher's training missed its target, and is used as it is; raise "
        "paradigm.teacher.epochs, or lower paradigm.teacher.target"
    ),
    "target_at_first_evaluation": (
        "the first evaluation was at the target already, so the energy to it says little; set a "
        "target that takes some training, or evaluate more often (eval_every)"
    ),
    "short_window": _TOO_SHORT.format("100 to 600", "good to about 2 %"),
    "poor_window": _TOO_SHORT.format("50 to 100", "good to a few percent"),
    "invalid_window": _TOO_SHORT.format("fewer than 50", "rough"),
    SHORT_ESTIMATE: (
        f"{_WINDOW} used less than {MIN_CPU_S:g} s of CPU time, so repeats of it differ "
        "much; choose a larger task or a higher target, or compare means over several seeds"
    ),
    "cpu_stolen": (
        f"the host of this virtual machine took more than {100 * MAX_STEAL_SHARE:g} % of its busy "
        "CPU time during the training, which makes an estimate by CPU time too high or too low; "
        "repeat it when the host is quieter"
    ),
    "cpu_crowded": (
        f"other processes put the training off its cores more than {MAX_SWITCHES_HZ:g} times a "
        "CPU-second, which makes an estimate by CPU time too high; repeat it on a quiet machine, "
        "or with fewer threads (num_threads) or jobs (n_jobs)"
    ),
}


def explain_flag(flag: str) -> str:
    """Return the meaning and remedy of a flag; a flag of user code is returned unchanged."""
    if flag in REMEDIES:
        return f"{flag}: {REMEDIES[flag]}"
    run, _, run_flag = flag.partition("_")
    if run in ("source", "teacher") and run_flag in REMEDIES:
        return f"{flag}: of the {run}'s training: {REMEDIES[run_flag]}"
    return flag


def event_text(event: TraceEvent) -> str:
    """Return what a trace shows, and when."""
    began, ended = (quantity(time_s, "s") for time_s in (event.began_s, event.ended_s))
    when = f"at {began}" if began == ended else f"from {began} to {ended}"
    return f"{event.flag} {when} ({event.detail})"
