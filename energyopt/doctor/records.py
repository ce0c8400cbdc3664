"""Records of `energyopt doctor`; its JSON output has their fields."""

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
    """Result of one check.

    Attributes:
        level: "ok"; "info", which is neither good nor bad; "note", which may matter; "FAIL",
            which is broken or keeps the configured hardware from being measured.
        name: Name of the check.
        says: The result, as text.
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
        overrides: The overrides that configure it.
        measurable: True if a trial can be metered; None if another trial holds its GPUs.
        device: The device that it would train on; None if unknown.
        provenance: Source of the energy values; None without a meter.
        window: Energy of a short window that was metered.
        gpus: The GPUs that it was metered on.
        flags: Flags that a trial would get.
        checks: The results as lines of text.
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
    """One NVIDIA GPU. Values that could not be read are None.

    Attributes:
        index: Its number among all that NVML lists.
        gpu: Its identity, limits and clocks; None if it does not answer.
        metered: True if its energy can be metered.
        period_s: Update period of its energy counter, measured, in s.
        power_w: Its mean power meanwhile, from the counter, in W.
        idle: True if it was neither held nor computed on, so that this is its idle power.
        may_limit: True if its power limit may be set.
        temperature_c: Its temperature, in degC.
        lease: Its holder.
        processes: The processes that compute on it.
        checks: The results as lines of text.
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
        gpus: The GPUs.
        zeusd: The daemon that sets limits for users without the permission; None without one.
        checks: Results that concern all GPUs.
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
        readable: True if there are packages and all can be read.
        checks: The results as lines of text, including other chips that Zeus reads.
    """

    model: str
    cores: int | None
    packages: tuple[str, ...] = ()
    dram: tuple[str, ...] = ()
    readable: bool = False
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class SharedHealth:
    """The folder of leases and power limit journals that all users share.

    Attributes:
        folder: Its path.
        leases: Holders of GPUs, by UUID.
        limits: Power limits that the run that changed them has not restored.
        checks: The results as lines of text.
    """

    folder: str
    leases: Mapping[str, Owner] = field(default_factory=dict)
    limits: tuple[StalePowerLimit, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class StorageHealth:
    """The storage of studies.

    Attributes:
        where: File or URL, without its password; None if it is invalid.
        studies: Number of studies; None if unknown, or without a database.
        checks: The results as lines of text.
    """

    where: str | None
    studies: int | None = None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """All results.

    Attributes:
        configured: The configured hardware: the verdict.
        nvidia: NVIDIA GPUs.
        cpu: The processor, and other chips.
        shared: Leases, and power limits that killed runs changed.
        storage: The study database.
        versions: Versions of energyopt and of the software that it runs on.
    """

    configured: Configured
    nvidia: GpusHealth
    cpu: CpuHealth
    shared: SharedHealth
    storage: StorageHealth
    versions: Mapping[str, str]
