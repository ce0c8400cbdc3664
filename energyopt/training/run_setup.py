"""The parts of a `Run` before its first window: its question, its meter, its GPUs, its rules.

Inside of a study all of it comes from the `RunContext`; outside of one the machine's best meter is
chosen.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from typing import Any

from energyopt.core.energy import Energy
from energyopt.core.metric import ACCURACY, Mode, Monitor
from energyopt.core.number_checks import is_number
from energyopt.core.protocols import EnergyMeter, StoppingRule
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import Provenance, TrialStart
from energyopt.errors import ConfigError
from energyopt.hardware.auto import choose_meter, condition_flags
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.hardware.power_limit import PowerLimit
from energyopt.hardware.unused_gpu import unused_gpu_flags
from energyopt.stopping.rules import Rules
from energyopt.training.ranks import Ranks

_NO_OPTIONS = ("meter", "system")  # keys of `hardware` that do not concern GPUs
Meter = str | EnergyMeter
"""A meter, or the device whose best meter is chosen: "auto", "cpu", "cuda", "cuda:N" or "mps"."""


@dataclass(frozen=True, slots=True)
class Question:
    """The goal of a run.

    Attributes:
        monitor: The metric that it reports.
        target: Its value to reach.
        epochs: Maximum number of epochs; None until a loop declares it.
        stop_at_target: Whether the run ends at the target.
    """

    monitor: Monitor
    target: float
    epochs: float | None
    stop_at_target: bool


def question_of(
    context: RunContext,
    *,
    monitor: str | None,
    mode: Mode | None,
    target: float | None,
    epochs: float | None,
    stop_at_target: bool,
) -> Question:
    """Return what a run is asked, by its own words and those of its study.

    Raises:
        ConfigError: If they differ, or are not allowed.
    """
    for key, value in (("target", target), ("epochs", epochs)):
        if value is not None and not is_number(value):
            raise ConfigError(f"Run({key}={value!r}) is not allowed: a finite number is needed")
    if epochs is not None and epochs <= 0:
        raise ConfigError(f"Run(epochs={epochs!r}) is not allowed: a number above 0 is needed")
    if context.target is None:  # no study, or one that takes what its first run declares
        if target is None:
            raise ConfigError(
                "Run() does not say which value to reach; give its target, such as "
                'Run(monitor="val_loss", mode="min", target=0.35)'
            )
        declared = Monitor.stated(monitor, mode) or ACCURACY
        declared.check_target(target)
        return Question(declared, float(target), epochs or context.epochs, stop_at_target)
    pairs = {
        "monitor": (monitor, context.metric),
        "mode": (mode, context.mode),
        "target": (target, context.target),
    }
    for key, (own, studied) in pairs.items():
        if own is not None and own != studied:
            raise ConfigError(
                f"Run({key}={own!r}) differs from the study's {key}={studied!r}; leave it out of "
                "Run(), or search in another study"
            )
    return Question(
        context.monitor,
        context.target,
        epochs or context.epochs,
        stop_at_target or context.stop_at_target,
    )


@dataclass(frozen=True, slots=True)
class RunHardware:
    """The meter of a run, and the GPUs that it holds until it is closed.

    Attributes:
        meter: Meters each window.
        gpus: The GPUs; empty where none is metered.
        flags: Warnings about them, as short words.
        close: Releases the GPUs, and restores their power limit.
        is_own_meter: Whether the user built the meter, so that what it reads is not known.
        profiled_limit: The power limit to change while limits are tried; None if it is left alone.
    """

    meter: EnergyMeter
    gpus: GpuAllocation
    flags: tuple[str, ...]
    close: Callable[[], None]
    is_own_meter: bool = False
    profiled_limit: PowerLimit | None = None

    def start_of(self, question: Question, params: Mapping[str, Any]) -> TrialStart:
        """Return the record of the run's start."""
        seed = params.get("seed")
        return TrialStart(
            target=question.target,
            epochs=question.epochs or 0.0,
            seed=seed if isinstance(seed, int) else 0,
            provenance=self.meter.provenance,
            flags=tuple(dict.fromkeys((*self.flags, *self.gpus.flags))),
            machine=self.gpus.machine(),
            quality_periods=tuple(self.gpus.options.quality_periods),
            monitor=question.monitor,
        )


def uses_unmetered_gpu(gpus: GpuAllocation) -> bool:
    """Return whether torch used a CUDA device other than the metered GPUs."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    metered = {board.uuid.removeprefix("GPU-") for board in gpus.boards}
    used = (i for i in range(torch.cuda.device_count()) if torch.cuda.max_memory_allocated(i))
    return any(str(torch.cuda.get_device_properties(i).uuid) not in metered for i in used)


def open_hardware(
    context: RunContext,
    meter: Meter,
    params: Mapping[str, Any],
    *,
    on_wait: Callable[[str], None] | None = None,
    resumed_limit_w: float | None = None,
    ranks: Ranks | None = None,
) -> RunHardware:
    """Hold the GPUs of a run and build its meter; hold the CPU packages if it reads them.

    Args:
        context: Of the study; empty outside of one.
        meter: The user's; a study with a configured meter takes that.
        params: Searched values, for a meter whose constructor names them.
        on_wait: Called with a text while the GPUs are held by another process.
        resumed_limit_w: The limit that a resumed run had before its pause, in W; it keeps that
            where limits are profiled.
        ranks: Those of the training, whose GPUs rank 0 holds; None for one process.

    Raises:
        ConfigError: If it cannot be built as configured.
        HardwareError: If the energy of the device cannot be read, or its limit cannot be set.
    """
    with ExitStack() as stack:
        _check_meter(meter)
        if not isinstance(meter, str) and context.hardware is None:
            gpus = GpuAllocation(GpuOptions(), "cpu")
            stack.callback(gpus.close)
            gpus.hold_packages_for(meter, on_wait)
            return RunHardware(meter, gpus, (), stack.pop_all().close, is_own_meter=True)
        device = meter if isinstance(meter, str) and context.hardware is None else context.device
        gpus = _gpus(context, device, on_wait, ranks or Ranks())
        stack.callback(gpus.close)
        limit = stack.enter_context(gpus.limited())
        profiled_limit = limit if gpus.options.profiles else None
        if profiled_limit is not None and resumed_limit_w is not None:
            profiled_limit.set(resumed_limit_w)
        built = _built_meter(context, params, gpus)
        gpus.hold_packages_for(built, on_wait)
        gpus.check_limit_is_metered(built.provenance)
        unused = unused_gpu_flags(gpus.options, device, gpus.device)
        flags = (*condition_flags(built, gpus.device), *unused)
        return RunHardware(built, gpus, flags, stack.pop_all().close, profiled_limit=profiled_limit)
    raise AssertionError  # for mypy: a stack may swallow exceptions, this one does not


class UnreadMeter:
    """The meter of a rank whose joules another one reads: it reads the time only.

    Args:
        provenance: Where the joules come from that the other rank reads.
    """

    def __init__(self, provenance: Provenance) -> None:
        self.provenance = provenance
        self._began_s = 0.0

    def start(self) -> None:
        """Open a window."""
        self._began_s = time.perf_counter()

    def stop(self) -> Energy:
        """Close the window."""
        return Energy(time.perf_counter() - self._began_s)


def counts_ranks(meter: EnergyMeter) -> bool:
    """Return whether a meter counts one rank only, so that each rank needs its own.

    Others read boards or packages, which are counted once.
    """
    return bool(getattr(meter, "counts_own_processes", False))


def other_rank_hardware(
    context: RunContext, meter: Meter, params: Mapping[str, Any], provenance: Provenance | None
) -> RunHardware:
    """Return the hardware of a rank other than 0, which holds all GPUs.

    Args:
        context: Of the study; empty outside of one.
        meter: The user's.
        params: Searched values.
        provenance: Where rank 0's joules come from, if they are those of this rank, too; else None.

    Raises:
        ConfigError: If the meter cannot be built.
    """
    _check_meter(meter)
    gpus = GpuAllocation(GpuOptions(), "cpu")
    if provenance is not None:
        built: EnergyMeter = UnreadMeter(provenance)
    elif isinstance(meter, str) or context.hardware is not None:
        built = _built_meter(context, params, gpus)
    else:
        built = meter
    return RunHardware(built, gpus, (), gpus.close, is_own_meter=True)


def _check_meter(meter: object) -> None:
    if not isinstance(meter, str | EnergyMeter):
        raise ConfigError(
            f"Run(meter={meter!r}) is not allowed: a device such as cpu or cuda:1, or a meter "
            "with provenance, start() and stop() is needed"
        )


def _built_meter(
    context: RunContext, params: Mapping[str, Any], gpus: GpuAllocation
) -> EnergyMeter:
    """Build the configured meter, or the best one."""
    cpu = gpus.options.cpu
    node = (context.hardware or {}).get("meter")
    if node is None:
        return choose_meter(gpus.device, gpus.boards, cpu=cpu)
    injected = {**params, "device": gpus.device, "gpus": gpus.boards, "cpu": cpu}
    built: EnergyMeter = build_part(node, injected)
    return built


def rules_of(context: RunContext) -> Rules | None:
    """Return the study's stopping rules with its history; None without rules or history."""
    if context.history is None or not context.rules:
        return None
    rules: dict[str, StoppingRule] = {
        name: build_part(node, {}) for name, node in context.rules.items()
    }
    return Rules(rules, context.history)


def build_part(node: Mapping[str, Any], injected: Mapping[str, Any]) -> Any:
    """Build a part that the coordinator, which checks what a config may name, asks for.

    Args:
        node: Its `_target_` and options.
        injected: Arguments for a constructor that names them and is not given them.

    Raises:
        ConfigError: If it cannot be built.
    """
    options = {key: value for key, value in node.items() if not key.startswith("_")}
    module, _, name = str(node.get("_target_")).rpartition(".")
    try:
        make = getattr(importlib.import_module(module), name)
        named = inspect.signature(make).parameters
        extra = {key: value for key, value in injected.items() if key in named}
        return make(**{**extra, **options})
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{node.get('_target_')} cannot be built: {error}") from error


def _gpus(
    context: RunContext, device: str, on_wait: Callable[[str], None] | None, ranks: Ranks
) -> GpuAllocation:
    """Hold the GPUs of a run: those that its study leased for it, or as configured."""
    from energyopt.hardware.gpu_selection import claim

    resolved = _device(device, in_study=context.hardware is not None)
    options = _gpu_options(context)
    if context.leased_gpus:
        if len(context.leased_gpus) < ranks.size:
            raise ConfigError(
                f"this trial has {ranks.size} ranks, and its study leased "
                f"{len(context.leased_gpus)} of the GPUs for it; set hardware.gpus={ranks.size}"
            )
        return _leased(options, context.leased_gpus, resolved, ranks)
    is_auto = options.gpus == "auto" and resolved.startswith("cuda")
    is_fewer = isinstance(options.gpus, int) and options.gpus < ranks.size
    if ranks.size > 1 and (is_auto or is_fewer):  # cuda:LOCAL_RANK of each rank
        options = replace(options, gpus=list(range(ranks.size)))
    return claim(options, resolved, on_wait=on_wait, ranks=ranks.pids)


def _gpu_options(context: RunContext) -> GpuOptions:
    if context.hardware is None:
        return GpuOptions(gpus="auto", shared="flag")
    names = {field.name for field in fields(GpuOptions)}
    options = {key: value for key, value in context.hardware.items() if key not in _NO_OPTIONS}
    unknown = sorted(options.keys() - names)
    if unknown:
        raise ConfigError(f"hardware.{unknown[0]}: there is no such key")
    if context.calibration is not None:  # in a study, a GPU that is held must not fail a trial
        options["lease_wait_s"] = math.inf
    return GpuOptions(**options)


def _device(device: str, *, in_study: bool) -> str:
    """Return the device that trains; the CPU in a program that has not imported torch."""
    from energyopt.hardware.host import cuda_has_begun, resolve_device

    if "torch" not in sys.modules and device in ("auto", "cpu"):
        return "cpu"
    resolved = resolve_device(device)
    if resolved != "cuda" or in_study:
        return resolved
    if cuda_has_begun():  # the user's program has chosen
        import torch

        return f"cuda:{torch.cuda.current_device()}"
    return "cuda:0"  # leaves the program all that it sees


def _leased(options: GpuOptions, uuids: Sequence[str], device: str, ranks: Ranks) -> GpuAllocation:
    """Return the GPUs that the study holds for this run: they are not leased again."""
    from energyopt.hardware.nvml import all_boards, visible_boards

    boards = [board for board in visible_boards(all_boards()) if board.uuid in uuids]
    device = "cuda:0" if device == "cuda" else device
    gpus = GpuAllocation(options, device, boards, ranks=ranks.pids)
    gpus.prepare(repair=False)
    return gpus
