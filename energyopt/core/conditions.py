"""Records of the hardware around a trial: its GPUs, their idle power, their limits.

Frozen records, as in `trial_result`; a value that the driver does not report is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from energyopt.core.gpu_trace import TraceEvent


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU at the start of a trial. A value that the driver does not report is None.

    Attributes:
        name: Its model, such as "NVIDIA H100 80GB HBM3".
        uuid: Its unique identifier.
        index: Its number among the machine's GPUs.
        limit_w: Power limit in force, in W.
        min_limit_w: The lowest that can be set, in W.
        max_limit_w: The highest, in W.
        default_limit_w: The vendor's, in W.
        persistence: Whether the driver, with its counters, stays loaded without users.
        sm_clock_hz: Clock of the cores at that moment, in Hz.
        max_sm_clock_hz: The fastest, in Hz.
        memory_clock_hz: Clock of the memory at that moment, in Hz.
        requested_limit_w: Power limit that the driver was asked for, in W; something else, such
            as a power supply, may force a lower one.
    """

    name: str
    uuid: str
    index: int
    limit_w: float | None = None
    min_limit_w: float | None = None
    max_limit_w: float | None = None
    default_limit_w: float | None = None
    persistence: bool | None = None
    sm_clock_hz: float | None = None
    max_sm_clock_hz: float | None = None
    memory_clock_hz: float | None = None
    requested_limit_w: float | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """Hardware and software of a trial.

    Attributes:
        gpus: The GPUs that the trial held.
        driver: Version of their driver; None without any.
        packages: Versions of the packages that affect its numbers.
        commit: Git commit of the code in the current folder, with "-dirty" if it was changed;
            None outside a repository.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None

    @property
    def limit_w(self) -> float | None:
        """The lowest power limit in force, in W; None if none is reported."""
        return min((gpu.limit_w for gpu in self.gpus if gpu.limit_w is not None), default=None)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Machine:
        """Read one from plain data."""
        return cls(**{**data, "gpus": tuple(Gpu(**gpu) for gpu in data["gpus"])})


@dataclass(frozen=True, slots=True)
class ProfilePoint:
    """Cost of a training step at one power limit.

    Attributes:
        limit_w: The limit of each GPU, in W.
        steps: Optimizer steps that were measured.
        step_j: Energy of a step, in J.
        step_s: Time of a step, in s.
        at_s: Middle of its measurement, in s of training since that began; None if not recorded.
    """

    limit_w: float
    steps: int
    step_j: float
    step_s: float
    at_s: float | None = None

    @property
    def power_w(self) -> float:
        """Mean power, in W."""
        return self.step_j / self.step_s


@dataclass(frozen=True, slots=True)
class PowerProfile:
    """Cost of a training step of one workload at several power limits.

    Attributes:
        shape: The workload: device, model, batch size, and the paradigm with its precision.
        points: The limits that were tried, from the highest downward, on the warm board: see
            `measured` and `drift`.
        chosen_w: The limit that the policy chose, in W.
        finished: Whether all limits were tried; else the trial ended first, and `chosen_w` is the
            best so far.
        policy: The policy that chose it: `power_policy`.
        measured: The measurements as they were read, in their order, repeated ones included, those
            of earlier trials that were continued first. Empty in records from before there was
            a correction.
        drift: Energy of a step at a limit at its last measurement, as a multiple of that at its
            first one: what the warming of the board changed, and `points` are corrected for.
    """

    shape: Mapping[str, Any]
    points: tuple[ProfilePoint, ...]
    chosen_w: float
    finished: bool = True
    policy: str = "energy"
    measured: tuple[ProfilePoint, ...] = ()
    drift: float = 1.0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PowerProfile:
        """Read one from plain data."""
        points = {
            key: tuple(ProfilePoint(**point) for point in data.get(key, ()))
            for key in ("points", "measured")
        }
        return cls(**{**data, **points})


@dataclass(frozen=True, slots=True)
class CpuDisturbance:
    """CPU time that others took from a training, until it first reached its target.

    Attributes:
        cpu_s: CPU time of the trial's processes, in s.
        switches: Their involuntary context switches.
        busy_s: CPU time of the machine that anything took, steal included, in s.
        steal_s: The part of it that the host of a virtual machine took, in s.
    """

    cpu_s: float
    switches: int
    busy_s: float | None = None
    steal_s: float | None = None

    @property
    def switches_hz(self) -> float | None:
        """Involuntary context switches per second of CPU time; None before any."""
        return self.switches / self.cpu_s if self.cpu_s > 0 else None

    @property
    def steal_share(self) -> float | None:
        """Share of the machine's busy CPU time that was stolen; None where unknown."""
        return self.steal_s / self.busy_s if self.busy_s and self.steal_s is not None else None

    def __add__(self, later: CpuDisturbance) -> CpuDisturbance:
        return CpuDisturbance(
            self.cpu_s + later.cpu_s,
            self.switches + later.switches,
            _sum(self.busy_s, later.busy_s),
            _sum(self.steal_s, later.steal_s),
        )

    def __sub__(self, earlier: CpuDisturbance) -> CpuDisturbance:
        return CpuDisturbance(
            self.cpu_s - earlier.cpu_s,
            self.switches - earlier.switches,
            _difference(self.busy_s, earlier.busy_s),
            _difference(self.steal_s, earlier.steal_s),
        )


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _difference(a: float | None, b: float | None) -> float | None:
    """Return a difference of a counter, which some kernels let fall back a little."""
    return None if a is None or b is None else max(a - b, 0.0)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Measurements around a trial's training; None if not measured.

    Attributes:
        temperature_before_c: Temperature of the hottest GPU before the first window, in degC.
        temperature_after_c: Temperature of the hottest GPU after the last window, in degC.
        cool_down_s: Time that the trial waited for its GPUs to cool down, in s.
        idle_w: Idle power of its GPUs, with their contexts open, in W.
        limit_w: Power limit in force on each GPU for the rest of the training, in W; None also if
            it was not the same throughout.
        profile: The power profile, if this trial measured one.
        flags: Warnings during the trial, as short words.
        epoch_j: Energy of an epoch at that limit, in J, if the trial paused before its first
            evaluation.
        disturbance: CPU time that others took from it; None for joules from a sensor, and in
            records from older versions.
        events: What the trace of its GPUs shows, and when.
    """

    temperature_before_c: float | None = None
    temperature_after_c: float | None = None
    cool_down_s: float = 0.0
    idle_w: float | None = None
    limit_w: float | None = None
    profile: PowerProfile | None = None
    flags: tuple[str, ...] = ()
    epoch_j: float | None = None
    disturbance: CpuDisturbance | None = None
    events: tuple[TraceEvent, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conditions:
        """Read them from plain data."""
        profile = data["profile"] and PowerProfile.from_dict(data["profile"])
        disturbance = data.get("disturbance") and CpuDisturbance(**data["disturbance"])
        changed = {
            "profile": profile,
            "flags": tuple(data["flags"]),
            "disturbance": disturbance,
            "events": tuple(TraceEvent(**event) for event in data.get("events", ())),
        }
        return cls(**{**data, **changed})


NOT_MEASURED = Conditions()
"""Conditions of a trial without GPUs, or without measurements."""
