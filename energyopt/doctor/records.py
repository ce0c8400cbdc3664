"""What `energyopt doctor` found, as records: its JSON is these, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from energyopt.core.conditions import Gpu
from energyopt.core.energy import Energy
from energyopt.core.trial_result import Provenance
from energyopt.hardware.lease import Owner
from energyopt.hardware.nvml import GpuProcess, Zeusd
from energyopt.hardware.power_limit_journal import StalePowerLimit

Level = Literal["ok", "info", "note", "FAIL"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        level: "ok"; "info", which is neither good nor bad; "note", which may matter; "FAIL",
            which is broken or keeps the configured hardware from being measured.
        name: What.
        says: What was found.
        remedy: What to do about it; never None for a "FAIL".
    """

    level: Level
    name: str
    says: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Configured:
    """The configured hardware, tried as a trial would.

    Attributes:
        overrides: The words that configure it.
        measurable: Whether a trial could be metered; None where another trial holds its GPUs.
        device: Where it would train; None if that is not known.
        provenance: Where the joules would come from; None if from nowhere.
        window: A short window that was really metered.
        gpus: The GPUs that it was metered on.
        flags: What a trial would be flagged with.
        checks: The same in words.
    """

    overrides: tuple[str, ...]
    measurable: bool | None
    device: str | None = None
    provenance: Provenance | None = None
    window: Energy | None = None
    gpus: tuple[Gpu, ...] = ()
    flags: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuHealth:
    """One NVIDIA GPU. What could not be asked is None.

    Attributes:
        index: Its number among all that NVML lists.
        gpu: What it is, with its limits and clocks; None if it does not answer.
        metered: Whether its energy can be told.
        period_s: Update period of its energy counter, measured, in s.
        power_w: Its mean power meanwhile, from the counter, in W.
        idle: Whether nobody held it or computed on it, so that this is its idle power.
        may_limit: Whether its power limit may be set.
        temperature_c: Its temperature, in degC.
        lease: Who holds it.
        processes: What computes on it.
        checks: The same in words.
    """

    index: int
    gpu: Gpu | None = None
    metered: bool = False
    period_s: float | None = None
    power_w: float | None = None
    idle: bool = False
    may_limit: bool | None = None
    temperature_c: float | None = None
    lease: Owner | None = None
    processes: tuple[GpuProcess, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class GpusHealth:
    """NVIDIA GPUs.

    Attributes:
        driver: Version of their driver; None without one.
        gpus: Each of them.
        zeusd: The daemon that sets limits for others; None without one.
        checks: What concerns all.
    """

    driver: str | None = None
    gpus: tuple[GpuHealth, ...] = ()
    zeusd: Zeusd | None = None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class CpuHealth:
    """The processor.

    Attributes:
        model: Its model.
        cores: Its logical cores.
        packages: RAPL zones of its packages, by path.
        dram: RAPL zones of its memory, by path.
        readable: Whether all packages can be read; False without any.
        checks: The same in words, with other chips that Zeus reads.
    """

    model: str
    cores: int | None
    packages: tuple[str, ...] = ()
    dram: tuple[str, ...] = ()
    readable: bool = False
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class SharedHealth:
    """What the users of this machine tell each other.

    Attributes:
        folder: Where.
        leases: Who holds which GPU, by UUID.
        limits: Power limits that were not put back by the run that changed them.
        checks: The same in words.
    """

    folder: str
    leases: Mapping[str, Owner] = field(default_factory=dict)
    limits: tuple[StalePowerLimit, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class StorageHealth:
    """Where studies are kept.

    Attributes:
        where: File or URL, without its password; None if it is neither.
        studies: How many there are; None if that cannot be told, or before the first.
        checks: The same in words.
    """

    where: str | None
    studies: int | None = None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """All that was found.

    Attributes:
        configured: The verdict.
        nvidia: NVIDIA GPUs.
        cpu: The processor, and what else there is.
        shared: Leases, and power limits left behind.
        storage: The study database.
        versions: Of energyopt and what it runs on.
    """

    configured: Configured
    nvidia: GpusHealth
    cpu: CpuHealth
    shared: SharedHealth
    storage: StorageHealth
    versions: Mapping[str, str]
