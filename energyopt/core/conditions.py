"""What is known of the hardware around a trial: its GPUs, what they drew at rest, their limits.

Frozen records, as in `trial_result`; what a driver does not tell is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as a trial found it. What a driver does not tell is None.

    Attributes:
        name: Its model, such as "NVIDIA H100 80GB HBM3".
        uuid: What tells it from all others.
        index: Its number among the machine's GPUs.
        limit_w: Power limit in force, as read back, in W.
        min_limit_w: The lowest that can be set, in W.
        max_limit_w: The highest, in W.
        default_limit_w: The vendor's, in W.
        persistence: Whether the driver stays loaded without users; its counters then do, too.
        sm_clock_hz: Clock of the cores at that moment, in Hz.
        max_sm_clock_hz: The fastest, in Hz.
        memory_clock_hz: Clock of the memory at that moment, in Hz.
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


@dataclass(frozen=True, slots=True)
class Machine:
    """What a trial ran on and with.

    Attributes:
        gpus: The GPUs that it held.
        driver: Version of their driver; None without any.
        packages: Versions of the packages that make its numbers.
        commit: Git commit of the code in the current folder, with "-dirty" if it was changed;
            None outside a repository.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None

    @property
    def limit_w(self) -> float | None:
        """The lowest power limit in force, in W; None where none is told."""
        return min((gpu.limit_w for gpu in self.gpus if gpu.limit_w is not None), default=None)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Machine:
        """Read one from plain data."""
        return cls(**{**data, "gpus": tuple(Gpu(**gpu) for gpu in data["gpus"])})


@dataclass(frozen=True, slots=True)
class ProfilePoint:
    """What training costs at one power limit.

    Attributes:
        limit_w: The limit of each GPU, in W.
        steps: Optimizer steps that were measured.
        step_j: Energy of a step, in J.
        step_s: Time of a step, in s.
    """

    limit_w: float
    steps: int
    step_j: float
    step_s: float

    @property
    def power_w(self) -> float:
        """Mean power, in W."""
        return self.step_j / self.step_s


@dataclass(frozen=True, slots=True)
class PowerProfile:
    """What training one shape of work costs at several power limits.

    Attributes:
        shape: What it holds for: device, model, batch size, and the paradigm with its precision.
        points: The limits that were tried, from the highest downward.
        chosen_w: The one that the policy chose, in W.
        finished: Whether all that should be tried was; else the trial ended first.
        policy: By what it was chosen: `power_policy`.
    """

    shape: Mapping[str, Any]
    points: tuple[ProfilePoint, ...]
    chosen_w: float
    finished: bool = True
    policy: str = "energy"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PowerProfile:
        """Read one from plain data."""
        return cls(**{**data, "points": tuple(ProfilePoint(**at) for at in data["points"])})


@dataclass(frozen=True, slots=True)
class Conditions:
    """What was measured around a trial's training. What was not is None.

    Attributes:
        temperature_before_c: Of the hottest GPU before the first window, in degC.
        temperature_after_c: The same after the last, in degC.
        cool_down_s: How long the trial waited for its GPUs to cool down, in s.
        idle_w: What its GPUs draw at rest, with their contexts open, in W.
        limit_w: Power limit of each GPU for the rest of the training, as read back, in W.
        profile: What several limits cost, where this trial tried them.
        flags: Warnings that showed during the trial, as short words.
        epoch_j: Energy of an epoch at that limit, where a trial paused before its first
            evaluation, in J.
    """

    temperature_before_c: float | None = None
    temperature_after_c: float | None = None
    cool_down_s: float = 0.0
    idle_w: float | None = None
    limit_w: float | None = None
    profile: PowerProfile | None = None
    flags: tuple[str, ...] = ()
    epoch_j: float | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conditions:
        """Read them from plain data."""
        profile = data["profile"] and PowerProfile.from_dict(data["profile"])
        return cls(**{**data, "profile": profile, "flags": tuple(data["flags"])})


NOT_MEASURED = Conditions()
"""Of a trial without GPUs, or of which nothing more is known."""
