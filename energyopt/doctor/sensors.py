"""Check which sensors this machine has, and how well they can be read."""

from __future__ import annotations

import itertools
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from energyopt.core.conditions import Gpu
from energyopt.core.protocols import EnergyMeter
from energyopt.core.units import count, quantity
from energyopt.doctor.checks import Checks, split_remedy
from energyopt.doctor.packages import examine_packages
from energyopt.doctor.records import Check, CpuHealth, GpuHealth, GpusHealth, Level
from energyopt.hardware.cuda_visible_devices import VARIABLE
from energyopt.hardware.driver_remedies import OTHER_GPU_REMEDY, SOC_REMEDY, is_jetson
from energyopt.hardware.estimate import CpuTimeMeter
from energyopt.hardware.host import cpu_model
from energyopt.hardware.lease import Lease, Owner
from energyopt.hardware.nvml import (
    Board,
    GpuProcess,
    Zeusd,
    all_boards,
    count_boards,
    driver_version,
    has_driver,
    visible_boards,
    zeusd,
)
from energyopt.hardware.power_limit_journal import changed_limits
from energyopt.hardware.zeus import AmdMeter, SocMeter
from energyopt.report.flags import REMEDIES

_POLL_S = 0.002  # fifty reads of a counter that moves every 100 ms
_MIN_CHANGES = 3
_WATTS_PER_CORE = 4.0
_LIMIT_TOLERANCE_W = 1.0  # drivers round
_LIMIT_REMEDY = "check `nvidia-smi`, and zeusd where ZEUSD_SOCK_PATH names one"

# NVIDIA GPUs -------------------------------------------------------------------------------


def examine_nvidia(seconds: float, *, probe: bool) -> GpusHealth:
    """Check each GPU, and watch its energy counter; with `probe` also set the limit in force."""
    checks = Checks()
    driver = checks.run("driver", has_driver)
    n_gpus = checks.run("driver", count_boards) if driver else 0
    if driver is False:
        checks.add("info", "driver", "none on this machine")
    elif n_gpus == 0:
        checks.add("info", "driver", "it lists no GPU")
    daemon = checks.run("zeusd", zeusd, remedy="have an administrator restart zeusd")
    if daemon is not None:
        checks.append(_check_daemon(daemon))
        if daemon.open_to_all and "gpu-control" in daemon.groups:
            checks.append(_warn_open_daemon(daemon))
    if not n_gpus:
        return GpusHealth(zeusd=daemon, checks=tuple(checks))
    if VARIABLE in os.environ:
        checks += _check_visible()
    options = _WatchOptions(seconds, probe)
    with ThreadPoolExecutor(n_gpus) as pool:  # drivers answer slowly
        try:
            gpus = tuple(pool.map(partial(_examine_gpu, options=options), range(n_gpus)))
        finally:
            options.cancelled.set()  # after Ctrl-C, too: the pool waits for its threads
    return GpusHealth(driver_version(), gpus, daemon, tuple(checks))


@dataclass(frozen=True, slots=True)
class _WatchOptions:
    """How GPUs are examined."""

    seconds: float  # for which their counters are watched
    probe: bool  # try whether their limits may be set
    cancelled: threading.Event = field(default_factory=threading.Event)


def _check_daemon(daemon: Zeusd) -> Check:
    text = f"{daemon.endpoint} answers, and does {', '.join(daemon.groups) or 'nothing for you'}"
    if "gpu-control" in daemon.groups:
        return Check("ok", "zeusd", text)
    remedy = "an administrator has to start it as root, with the group gpu-control"
    return Check("note", "zeusd", f"{text}: it sets no power limits", remedy)


def _warn_open_daemon(daemon: Zeusd) -> Check:
    if Path(daemon.endpoint).is_socket():
        text = f"every user of this machine may set power limits through {daemon.endpoint}"
        remedy = (
            f"an administrator has to chmod 660 {daemon.endpoint} and give it the group of those "
            "who may (chgrp)"
        )
    else:
        text = f"everybody who reaches {daemon.endpoint} may set power limits: it asks for no key"
        remedy = (
            "an administrator has to start it with --signing-key-path (ZEUSD_TOKEN is then a "
            "user's key), or with a socket of mode 660"
        )
    return Check("note", "zeusd", text, remedy)


def _check_visible() -> Sequence[Check]:
    checks = Checks()
    visible = checks.run("visible", lambda: visible_boards(all_boards()))
    if visible is not None:
        listing = ", ".join(f"{board} as cuda:{i}" for i, board in enumerate(visible))
        checks.add("info", "visible", f"{VARIABLE}={os.environ[VARIABLE]}: {listing}")
    return checks


def _examine_gpu(index: int, *, options: _WatchOptions) -> GpuHealth:
    """Examine a GPU, even if it does not answer."""
    checks = Checks()
    health = checks.run("driver", lambda: _examine_board(Board(index), options))
    return GpuHealth(index, checks=tuple(checks)) if health is None else health


def _examine_board(board: Board, options: _WatchOptions) -> GpuHealth:
    checks = Checks()
    owner = Lease(board.uuid).owner()
    use_checks = Checks()
    processes: Sequence[GpuProcess] | None = use_checks.run("in use", board.processes)
    use_checks += [] if use_checks else [_check_use(owner, processes)]
    is_idle = use_checks[0].level == "ok"
    movement = _check_energy(checks, board, options, is_idle=is_idle)
    gpu = board.record()
    may_limit = _check_limit(checks, board, gpu, probe=options.probe and owner is None)
    if owner is None:  # else the trial that holds it may have set its limit
        checks += _check_default_limit(gpu)
    temperature_c = board.temperature_c()
    temperature = "temperature not told" if temperature_c is None else f"{temperature_c:g} degC"
    persistence = {True: "on", False: "off", None: "not told"}[gpu.persistence]
    checks += use_checks
    checks.add("info", "state", f"{temperature}, persistence mode {persistence}")
    return GpuHealth(
        index=board.index,
        gpu=gpu,
        metered=movement is not None,
        period_s=movement.period_s if movement else None,
        power_w=movement.power_w if movement else None,
        idle=is_idle,
        may_limit=may_limit,
        temperature_c=temperature_c,
        lease=owner,
        processes=tuple(processes or ()),
        checks=tuple(checks),
    )


@dataclass(frozen=True, slots=True)
class _CounterMovement:
    """Changes of an energy counter; period and power are None if there were too few."""

    period_s: float | None  # median time between two changes
    power_w: float | None  # mean power between the first and the last
    read_s: float  # mean time between two reads


def _check_energy(
    checks: Checks, board: Board, options: _WatchOptions, *, is_idle: bool
) -> _CounterMovement | None:
    """Check if a GPU's energy is counted, and how finely; return None if it is not."""
    problem = board.meter_problem()
    if problem is not None:
        # A GPU that never had a counter is not broken.
        level: Level = "FAIL" if "cannot be read" in problem else "note"
        remedy = SOC_REMEDY if is_jetson(board.name) else OTHER_GPU_REMEDY
        checks.refuse("energy", f"not metered: {problem}", level=level, remedy=remedy)
        return None
    movement = checks.run("energy", lambda: _watch_counter(board, options), remedy=OTHER_GPU_REMEDY)
    if movement is None:
        return None
    if movement.period_s is None:
        text = f"counter readable, but no change seen in {options.seconds:g} s"
        checks.add("note", "energy", text, "watch it longer with --seconds=...")
        return movement
    often = f"every {quantity(movement.period_s, 's')}"
    # Shorter periods cannot be told from the reads themselves.
    if movement.period_s < 2 * movement.read_s:
        often = f"at each look ({often})"
    kind, power_w = "idle" if is_idle else "mean", quantity(movement.power_w, "W")
    power = f"{kind} power {power_w} over {options.seconds:g} s"
    power += "" if is_idle else " (not at rest)"
    checks.add("ok", "energy", f"counter moves {often}; {power}")
    return movement


def _watch_counter(board: Board, options: _WatchOptions) -> _CounterMovement:
    """Read an energy counter until time is up.

    Power is taken between the first and the last change: there the counter is current, so neither
    end adds an error of up to a period.
    """
    began_s = now_s = time.perf_counter()
    last_j, n_reads = board.counter_j(), 0
    changes: list[tuple[float, float]] = []
    while now_s < began_s + options.seconds and not options.cancelled.is_set():
        time.sleep(_POLL_S)
        now_j, now_s = board.counter_j(), time.perf_counter()
        n_reads += 1
        if now_j != last_j:
            changes.append((now_s, now_j))
            last_j = now_j
    read_s = (now_s - began_s) / max(1, n_reads)
    if len(changes) < _MIN_CHANGES:
        return _CounterMovement(None, None, read_s)
    (first_s, first_j), (last_s, last_j) = changes[0], changes[-1]
    # The median ignores the gaps in which this thread was suspended.
    period_s = statistics.median(b_s - a_s for (a_s, _), (b_s, _) in itertools.pairwise(changes))
    return _CounterMovement(period_s, (last_j - first_j) / (last_s - first_s), read_s)


def _check_limit(checks: Checks, board: Board, gpu: Gpu, *, probe: bool) -> bool | None:
    """Report a GPU's power limit; return True if it may be set, None if that was not tried."""
    if gpu.limit_w is None:
        checks.add("info", "power limit", "none (laptops and virtual GPUs have none)")
        return False
    now = f"{gpu.limit_w:g} W"
    if gpu.min_limit_w is not None and gpu.max_limit_w is not None:
        now += f" of {gpu.min_limit_w:g} to {gpu.max_limit_w:g} W"
    if gpu.default_limit_w is not None:
        now += f", default {gpu.default_limit_w:g} W"
    if gpu.requested_limit_w is not None and gpu.requested_limit_w - gpu.limit_w >= 1:
        now += f"; {gpu.requested_limit_w:g} W are set, but a BMC, a power supply or heat caps it"
    # Under a lease: setting the limit in force could undo what a trial sets at that moment.
    lease = Lease(board.uuid)
    if not probe or not checks.run("power limit", lease.take):
        checks.add("info", "power limit", f"{now}; not asked whether it may be set")
        return None
    try:
        problem = board.limit_problem()
    finally:
        lease.release()
    if problem is None:
        checks.add("ok", "power limit", f"{now}; may be set")
        return True
    reason, remedy = split_remedy(problem.removeprefix(f"the power limit of {board}").lstrip(": "))
    checks.add("note", "power limit", f"{now}; {reason}", remedy or _LIMIT_REMEDY)
    return False


def _check_default_limit(gpu: Gpu) -> Sequence[Check]:
    """Note a limit below the board's default, which every training there would have."""
    limit_w, default_w = gpu.limit_w, gpu.default_limit_w
    if limit_w is None or default_w is None or limit_w >= default_w - _LIMIT_TOLERANCE_W:
        return ()
    text = f"{limit_w:g} W is below the board's default of {default_w:g} W: trainings run at it"
    remedy = f"if it is not meant: sudo nvidia-smi -i {gpu.index} -pl {default_w:g}"
    if any(limit.uuid == gpu.uuid for limit in changed_limits()):
        remedy = "energyopt restore, because a run that was killed changed it"
    return (Check("note", "default limit", text, remedy),)


def _check_use(owner: Owner | None, processes: Sequence[GpuProcess] | None) -> Check:
    if processes is None:
        text, remedy = REMEDIES["company_unknown"].split("; ")
        return Check("note", "in use", text, remedy)
    running = ", ".join(map(str, processes))
    if owner is not None:
        return Check("note", "in use", f"held by {owner}" + (running and f"; runs {running}"))
    if running:
        remedy = "end them, choose another GPU with hardware.gpus=[...], or hardware.shared=flag"
        return Check("note", "in use", f"others compute on it: {running}", remedy)
    return Check("ok", "in use", "by no process")


# The processor, and other chips ------------------------------------------------------------


def examine_cpu(cfg: DictConfig) -> CpuHealth:
    """Check the counters of the processor, and of chips that are not NVIDIA's."""
    checks = Checks()
    model, cores = cpu_model(), os.cpu_count()
    checks.add("info", "processor", f"{model}, {count(cores or 0, 'logical core')}")
    packages = examine_packages()
    checks += packages.checks
    checks += _other_chips()
    estimate = checks.run("estimate", lambda: _estimating_meter(cfg).provenance.meter)
    if estimate is not None:
        checks.add("ok", "estimate", f"always there: {estimate} (hardware=estimate)")
    return CpuHealth(
        model,
        cores,
        tuple(str(zone.path) for zone in packages.packages),
        tuple(str(zone.path) for zone in packages.dram),
        readable=packages.readable,
        checks=tuple(checks),
    )


def _estimating_meter(cfg: DictConfig) -> CpuTimeMeter:
    key = "hardware.meter.watts_per_core"
    return CpuTimeMeter(OmegaConf.select(cfg, key, default=_WATTS_PER_CORE))


def _other_chips() -> Sequence[Check]:
    """Try the other chips that Zeus reads, if present: their paths are untested."""
    checks = Checks()
    soc = partial(SocMeter, "mps")
    chips: Sequence[tuple[str, bool, Callable[[], EnergyMeter], str]] = (
        ("Apple", sys.platform == "darwin" and platform.machine() == "arm64", soc, "soc"),
        ("Jetson", is_jetson(), soc, "soc"),
        ("AMD GPU", Path("/dev/kfd").exists(), AmdMeter, "amd"),
    )
    for name, is_present, make_meter, option in chips:
        meter = checks.run(name, make_meter) if is_present else None
        if meter is not None:
            provenance = meter.provenance
            checks.add("ok", name, f"{provenance.meter}: {provenance.scope} (hardware={option})")
    # Only the configured hardware, which is tried separately, may fail.
    return [replace(check, level="note") if check.level == "FAIL" else check for check in checks]
