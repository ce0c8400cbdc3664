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
"""Info is neither good nor bad, a note may matter; what fails is broken, or keeps the configured
hardware from being measured."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check."""

    level: Level
    name: str
    says: str
    remedy: str | None = None  # never None for a "FAIL"


@dataclass(frozen=True, slots=True)
class Configured:
    """The configured hardware, tried as a trial would."""

    overrides: tuple[str, ...]
    measurable: bool | None  # None if another trial holds its GPUs
    device: str | None = None  # that it would train on; None if unknown
    provenance: Provenance | None = None  # None without a meter
    window: Energy | None = None  # that was metered
    gpus: tuple[Gpu, ...] = ()  # that it was metered on
    flags: tuple[str, ...] = ()  # that a trial would get
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuHealth:
    """One NVIDIA GPU. Values that could not be read are None."""

    index: int  # among all that NVML lists
    gpu: Gpu | None = None
    metered: bool = False  # its energy can be metered
    period_s: float | None = None  # of updates of its energy counter, measured
    power_w: float | None = None  # mean power meanwhile, from the counter
    idle: bool = False  # it was neither held nor computed on, so this is its idle power
    may_limit: bool | None = None  # its power limit may be set
    temperature_c: float | None = None
    lease: Owner | None = None
    processes: tuple[GpuProcess, ...] = ()  # that compute on it
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class GpusHealth:
    """NVIDIA GPUs."""

    driver: str | None = None  # its version
    gpus: tuple[GpuHealth, ...] = ()
    zeusd: Zeusd | None = None  # the daemon that sets limits for users without the permission
    checks: tuple[Check, ...] = ()  # that concern all GPUs


@dataclass(frozen=True, slots=True)
class CpuHealth:
    """The processor, with the RAPL zones of its packages and its memory, by path."""

    model: str
    cores: int | None  # logical ones
    packages: tuple[str, ...] = ()
    dram: tuple[str, ...] = ()
    readable: bool = False  # there are packages, and all can be metered
    checks: tuple[Check, ...] = ()  # including those of other chips that Zeus reads


@dataclass(frozen=True, slots=True)
class SharedHealth:
    """The folder of leases and power limit journals that all users share."""

    folder: str
    leases: Mapping[str, Owner] = field(default_factory=dict)  # by UUID of the GPU
    limits: tuple[StalePowerLimit, ...] = ()  # that the run that changed them has not restored
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class StorageHealth:
    """The storage of studies."""

    where: str | None  # file or URL, without its password; None if it is invalid
    studies: int | None = None  # their number; None if unknown, or without a database
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """All results; `configured` is the verdict."""

    configured: Configured
    nvidia: GpusHealth
    cpu: CpuHealth
    shared: SharedHealth
    storage: StorageHealth
    versions: Mapping[str, str]
