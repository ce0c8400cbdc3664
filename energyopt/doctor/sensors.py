"""Which sensors there are, and how well each can be read."""

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
from energyopt.doctor.checks import Checks, split
from energyopt.doctor.records import Check, CpuHealth, GpuHealth, GpusHealth, Level
from energyopt.hardware.cuda_visible_devices import VARIABLE
from energyopt.hardware.estimate import CpuTimeMeter
from energyopt.hardware.host import cpu_model, user_name
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
from energyopt.hardware.zeus import AmdMeter, SocMeter, rapl_packages
from energyopt.report.flags import REMEDIES

_POLL_S = 0.002
_FEWEST_CHANGES = 3
_WATTS_PER_CORE = 4.0
_NO_LIMIT = "check `nvidia-smi`, and zeusd where ZEUSD_SOCK_PATH names one"
_OTHER_GPU = "choose another GPU with hardware.gpus=[...], or hardware=estimate"

# NVIDIA GPUs -------------------------------------------------------------------------------


def examine_nvidia(seconds: float, *, probe: bool) -> GpusHealth:
    """Ask each GPU what can be told of it, and watch its energy counter.

    Args:
        seconds: How long, in s.
        probe: Ask whether its power limit may be set, too, by setting the one in force.
    """
    checks = Checks()
    driver = checks.ask("driver", has_driver)
    number = checks.ask("driver", count_boards) if driver else 0
    if driver is False:
        checks.add("info", "driver", "none on this machine")
    elif number == 0:
        checks.add("info", "driver", "it lists no GPU")
    daemon = checks.ask("zeusd", zeusd, remedy="have an administrator restart zeusd")
    if daemon is not None:
        checks.append(_daemon(daemon))
        if daemon.open_to_all and "gpu-control" in daemon.groups:
            checks.append(_open(daemon))
    if not number:
        return GpusHealth(zeusd=daemon, checks=tuple(checks))
    if VARIABLE in os.environ:
        checks += _visible()
    look = _Look(seconds, probe)
    with ThreadPoolExecutor(number) as pool:  # a driver takes its time to answer for each
        try:
            gpus = tuple(pool.map(partial(_one, look=look), range(number)))
        finally:
            look.over.set()  # after Ctrl-C, too: the pool waits for its threads
    return GpusHealth(driver_version(), gpus, daemon, tuple(checks))


@dataclass(frozen=True, slots=True)
class _Look:
    """How GPUs are looked at.

    Attributes:
        seconds: How long their counters are watched, in s.
        probe: Whether it is asked if their limits may be set.
        over: Set when nobody waits for the answer any more.
    """

    seconds: float
    probe: bool
    over: threading.Event = field(default_factory=threading.Event)


def _daemon(daemon: Zeusd) -> Check:
    says = f"{daemon.endpoint} answers, and does {', '.join(daemon.groups) or 'nothing for you'}"
    if "gpu-control" in daemon.groups:
        return Check("ok", "zeusd", says)
    remedy = "an administrator has to start it as root, with the group gpu-control"
    return Check("note", "zeusd", f"{says}: it sets no power limits", remedy)


def _open(daemon: Zeusd) -> Check:
    if Path(daemon.endpoint).is_socket():
        says = f"every user of this machine may set power limits through {daemon.endpoint}"
        remedy = (
            f"an administrator has to chmod 660 {daemon.endpoint} and give it the group of those "
            "who may (chgrp)"
        )
    else:
        says = f"everybody who reaches {daemon.endpoint} may set power limits: it asks for no key"
        remedy = (
            "an administrator has to start it with --signing-key-path (ZEUSD_TOKEN is then a "
            "user's key), or with a socket of mode 660"
        )
    return Check("note", "zeusd", says, remedy)


def _visible() -> Sequence[Check]:
    checks = Checks()
    visible = checks.ask("visible", lambda: visible_boards(all_boards()))
    if visible is not None:
        named = ", ".join(f"{board} as cuda:{i}" for i, board in enumerate(visible))
        checks.add("info", "visible", f"{VARIABLE}={os.environ[VARIABLE]}: {named}")
    return checks


def _one(index: int, *, look: _Look) -> GpuHealth:
    """What is known of a GPU, also where it does not answer."""
    checks = Checks()
    found = checks.ask("driver", lambda: _gpu(Board(index), look))
    return GpuHealth(index, checks=tuple(checks)) if found is None else found


def _gpu(board: Board, look: _Look) -> GpuHealth:
    checks = Checks()
    owner = Lease(board.uuid).owner()
    uses = Checks()
    told: Sequence[GpuProcess] | None = uses.ask("in use", board.processes)
    uses += [] if uses else [_use(owner, told)]
    idle = uses[0].level == "ok"
    watched = _energy(checks, board, look, idle=idle)
    gpu = board.record()
    may_limit = _limit(checks, board, gpu, probe=look.probe and owner is None)
    temperature_c = board.temperature_c()
    warmth = "temperature not told" if temperature_c is None else f"{temperature_c:g} degC"
    persistence = {True: "on", False: "off", None: "not told"}[gpu.persistence]
    checks += uses
    checks.add("info", "state", f"{warmth}, persistence mode {persistence}")
    return GpuHealth(
        index=board.index,
        gpu=gpu,
        metered=watched is not None,
        period_s=watched.period_s if watched else None,
        power_w=watched.power_w if watched else None,
        idle=idle,
        may_limit=may_limit,
        temperature_c=temperature_c,
        lease=owner,
        processes=tuple(told or ()),
        checks=tuple(checks),
    )


@dataclass(frozen=True, slots=True)
class _Watched:
    """How an energy counter moved.

    Attributes:
        period_s: Median time between its changes, in s; None where there were too few.
        power_w: Mean power between the first and the last, in W; None likewise.
        look_s: Mean time between two looks, in s.
    """

    period_s: float | None
    power_w: float | None
    look_s: float


def _energy(checks: Checks, board: Board, look: _Look, *, idle: bool) -> _Watched | None:
    """Say whether a GPU's energy is counted, and how finely; None if it is not."""
    why_not = board.meter_problem()
    if why_not is not None:
        # A GPU that never had a counter is not broken.
        level: Level = "FAIL" if "cannot be read" in why_not else "note"
        checks.refuse("energy", f"not metered: {why_not}", level=level, remedy=_OTHER_GPU)
        return None
    watched = checks.ask("energy", lambda: _watch(board, look), remedy=_OTHER_GPU)
    if watched is None:
        return None
    if watched.period_s is None:
        says = f"counter readable, but no change seen in {look.seconds:g} s"
        checks.add("note", "energy", says, "watch it longer with --seconds=...")
        return watched
    often = f"every {quantity(watched.period_s, 's')}"
    if watched.period_s < 2 * watched.look_s:
        often = f"at each look ({often})"
    kind, power_w = "idle" if idle else "mean", quantity(watched.power_w, "W")
    power = f"{kind} power {power_w} over {look.seconds:g} s"
    power += "" if idle else " (not at rest)"
    checks.add("ok", "energy", f"counter moves {often}; {power}")
    return watched


def _watch(board: Board, look: _Look) -> _Watched:
    """Look at an energy counter until time is up."""
    began_s = now_s = time.perf_counter()
    last_j, looks = board.counter_j(), 0
    changes: list[tuple[float, float]] = []
    while now_s < began_s + look.seconds and not look.over.is_set():
        time.sleep(_POLL_S)
        now_j, now_s = board.counter_j(), time.perf_counter()
        looks += 1
        if now_j != last_j:
            changes.append((now_s, now_j))
            last_j = now_j
    look_s = (now_s - began_s) / max(1, looks)
    if len(changes) < _FEWEST_CHANGES:
        return _Watched(None, None, look_s)
    (first_s, first_j), (last_s, last_j) = changes[0], changes[-1]
    gaps_s = [after_s - before_s for (before_s, _), (after_s, _) in itertools.pairwise(changes)]
    return _Watched(statistics.median(gaps_s), (last_j - first_j) / (last_s - first_s), look_s)


def _limit(checks: Checks, board: Board, gpu: Gpu, *, probe: bool) -> bool | None:
    """Say how a GPU is limited, and whether that may be changed; None if it was not asked."""
    if gpu.limit_w is None:
        checks.add("info", "power limit", "none (laptops and virtual GPUs have none)")
        return False
    now = f"{gpu.limit_w:g} W"
    if gpu.min_limit_w is not None and gpu.max_limit_w is not None:
        now += f" of {gpu.min_limit_w:g} to {gpu.max_limit_w:g} W"
    if gpu.default_limit_w is not None:
        now += f", default {gpu.default_limit_w:g} W"
    # Under a lease: setting the limit in force would undo what a trial sets at that moment.
    lease = Lease(board.uuid)
    if not probe or not checks.ask("power limit", lease.take):
        checks.add("info", "power limit", f"{now}; not asked whether it may be set")
        return None
    try:
        refusal = board.limit_problem()
    finally:
        lease.release()
    if refusal is None:
        checks.add("ok", "power limit", f"{now}; may be set")
        return True
    says, remedy = split(refusal.removeprefix(f"the power limit of {board}").lstrip(": "))
    checks.add("note", "power limit", f"{now}; {says}", remedy or _NO_LIMIT)
    return False


def _use(owner: Owner | None, processes: Sequence[GpuProcess] | None) -> Check:
    if processes is None:
        says, remedy = REMEDIES["company_unknown"].split("; ")
        return Check("note", "in use", says, remedy)
    running = ", ".join(map(str, processes))
    if owner is not None:
        return Check("note", "in use", f"held by {owner}" + (running and f"; runs {running}"))
    if running:
        remedy = "end them, choose another GPU with hardware.gpus=[...], or hardware.shared=flag"
        return Check("note", "in use", f"others compute on it: {running}", remedy)
    return Check("ok", "in use", "by nobody")


# The processor, and other chips ------------------------------------------------------------


def examine_cpu(cfg: DictConfig) -> CpuHealth:
    """Look for the counters of the processor, and of chips that are not NVIDIA's.

    Args:
        cfg: The composed config, for the constant of the estimate.
    """
    checks = Checks()
    model, cores = cpu_model(), os.cpu_count()
    checks.add("info", "processor", f"{model}, {count(cores or 0, 'logical core')}")
    zones = checks.ask("RAPL", _zones)
    packages, dram = zones or ([], [])
    unreadable = [zone for zone in packages if not os.access(zone / "energy_uj", os.R_OK)]
    if unreadable:
        files = " ".join(f"{unreadable[0].parent}/{below}/energy_uj" for below in ("*", "*/*"))
        checks.add(
            "note",
            "RAPL",
            f"{unreadable[0]}/energy_uj may not be read by {user_name()}",
            f"sudo chmod a+r {files} (until the next boot), run as root, or choose "
            "hardware=estimate",
        )
    elif packages:
        beside = f" and {len(dram)} of DRAM" if dram else ", none of DRAM"
        checks.add("ok", "RAPL", f"{count(len(packages), 'package counter')}{beside}, readable")
    elif zones is not None:
        checks.add("info", "RAPL", "no counters (virtual machines and many ARM hosts have none)")
    checks += _other_chips()
    estimate = checks.ask("estimate", lambda: _estimate(cfg).provenance.meter)
    if estimate is not None:
        checks.add("ok", "estimate", f"always there: {estimate} (hardware=estimate)")
    return CpuHealth(
        model,
        cores,
        tuple(map(str, packages)),
        tuple(map(str, dram)),
        readable=bool(packages) and not unreadable,
        checks=tuple(checks),
    )


def _estimate(cfg: DictConfig) -> CpuTimeMeter:
    key = "hardware.meter.watts_per_core"
    return CpuTimeMeter(OmegaConf.select(cfg, key, default=_WATTS_PER_CORE))


def _zones() -> tuple[list[Path], list[Path]]:
    """The RAPL zones of packages, and those of the memory below them."""
    packages = rapl_packages()
    below = [name for package in packages for name in sorted(package.glob("*:*/name"))]
    return packages, [name.parent for name in below if name.read_text().strip() == "dram"]


def _other_chips() -> Sequence[Check]:
    """Chips that Zeus reads, where there are such: tried, since their paths are untested."""
    checks = Checks()
    soc = partial(SocMeter, "mps")
    chips: Sequence[tuple[str, bool, Callable[[], EnergyMeter], str]] = (
        ("Apple", sys.platform == "darwin" and platform.machine() == "arm64", soc, "soc"),
        ("Jetson", Path("/etc/nv_tegra_release").exists(), soc, "soc"),
        ("AMD GPU", Path("/dev/kfd").exists(), AmdMeter, "amd"),
    )
    for name, there, make, option in chips:
        meter = checks.ask(name, make) if there else None
        if meter is not None:
            provenance = meter.provenance
            says = f"{provenance.meter}: {provenance.scope} (hardware={option})"
            checks.add("ok", name, says)
    # Red is what the configured hardware needs, and that is tried by itself.
    return [replace(each, level="note") if each.level == "FAIL" else each for each in checks]
