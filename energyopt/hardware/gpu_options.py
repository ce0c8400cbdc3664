"""Options for the GPUs of a trial: the keys of `hardware` other than the meter."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from energyopt.core.number_checks import is_number, is_whole_number
from energyopt.core.window_quality import QUALITY_PERIODS
from energyopt.errors import ConfigError

PROFILE = "profile"
"""Value of `power_limit_w` that searches for the best limit."""


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """The configuration of a trial's GPUs; invalid values are refused, naming their key.

    Attributes:
        gpus: The GPUs that a trial holds: "auto" the one that trains, if one does; a number of
            free ones; a list of indices (as CUDA counts) and UUIDs; None for none.
        gpu_name: Regular expression for whole words of their name: "A100" matches no A1000,
            "RTX 3090$" no RTX 3090 Ti.
        cpu: Meter the CPU packages and DRAM (RAPL), too, and count their energy.
        power_limit_w: None leaves the limit alone; a number sets it; "profile" finds the best.
        max_power_limit_w: The highest limit that may be set, searched or profiled, in W; None
            leaves it to the board.
        power_policy: Criterion of the best limit: least "energy", least "time", least
            "zeus_cost" (both, weighted by `power_eta`), or the lowest limit within
            "max_slowdown".
        power_eta: Weight of energy against time in "zeus_cost", in [0, 1].
        power_slowdown: Longest time of a step that "max_slowdown" allows, as a multiple of that
            at the highest limit.
        power_step_w: Distance between profiled limits, in W.
        profile_slice_s: Metered training time at each limit, in s. Readings of the energy
            counter are stable from 5 s (ML.ENERGY, "Thermally Stable Profiling", 2026).
        profile_settle_s: Training time before that, in s: clocks follow a new limit with a
            delay.
        strict: Refuse to run where limits may not be set, instead of profiling nothing.
        shared: "refuse" a GPU on which other processes compute, or "flag" the trial.
        lease_wait_s: How long a start waits for a GPU that is held, in s. Trials of a study that
            has begun wait as long as it takes.
        cool_down_s: Shortest pause between trials of a study on a GPU, in s.
        cool_down_max_s: Longest pause, in s.
        cool_down_c: The pause ends this much above the study's first temperature, in K.
        idle_s: How long idle power is measured, once per study, GPU and limit, in s.
        power_floor: Mean power below this share of idle power is implausible.
        power_ceiling: Mean power above this multiple of the highest limit is implausible. A
            limit is no hard cap: in the traces of Zeus (You et al., NSDI 2023) an A40 averaged
            up to 1.21 times a limit of 100 W.
        trace_s: Time between samples of the GPUs during a trial, in s; 0 takes none.
        quality_periods: Update periods of the sensor from which a window's quality is poor,
            short and good.
    """

    gpus: str | int | Sequence[int | str] | None = None
    gpu_name: str | None = None
    cpu: bool = False
    power_limit_w: float | Literal["profile"] | None = None
    max_power_limit_w: float | None = None
    power_policy: Literal["energy", "time", "zeus_cost", "max_slowdown"] = "energy"
    power_eta: float = 0.5
    power_slowdown: float = 1.1
    power_step_w: float = 25.0
    profile_slice_s: float = 5.0
    profile_settle_s: float = 1.0
    strict: bool = False
    shared: Literal["refuse", "flag"] = "refuse"
    lease_wait_s: float = 60.0
    cool_down_s: float = 5.0
    cool_down_max_s: float = 60.0
    cool_down_c: float = 3.0
    idle_s: float = 30.0
    power_floor: float = 0.5
    power_ceiling: float = 1.25
    trace_s: float = 1.0
    quality_periods: Sequence[float] = QUALITY_PERIODS

    def __post_init__(self) -> None:
        self._check_gpus()
        self._check_name()
        self._check_limit()
        self._check_choice("power_policy", ("energy", "time", "zeus_cost", "max_slowdown"))
        self._check_choice("shared", ("refuse", "flag"))
        for key in ("cpu", "strict"):
            self._check(key, isinstance(getattr(self, key), bool), "true or false")
        wait_s = self.lease_wait_s
        fits = wait_s == math.inf or (is_number(wait_s) and wait_s >= 0)
        self._check("lease_wait_s", fits, "a number of at least 0")
        for key, low, high in (
            ("power_eta", 0.0, 1.0),
            ("power_slowdown", 1.0, math.inf),
            ("power_step_w", 1.0, math.inf),
            ("profile_slice_s", 0.001, math.inf),
            ("profile_settle_s", 0.0, math.inf),
            ("cool_down_s", 0.0, math.inf),
            ("cool_down_max_s", 0.0, math.inf),
            ("cool_down_c", 0.0, math.inf),
            ("idle_s", 0.0, math.inf),
            ("trace_s", 0.0, 3600.0),
            ("power_floor", 0.0, 1.0),
            ("power_ceiling", 1.0, math.inf),
        ):
            value = getattr(self, key)
            upper = "" if math.isinf(high) else f" and at most {high:g}"
            fits = is_number(value) and low <= value <= high
            self._check(key, fits, f"a number of at least {low:g}{upper}")
        periods = self.quality_periods
        is_rising = (
            isinstance(periods, Sequence)
            and len(periods) == len(QUALITY_PERIODS)
            and all(map(is_number, periods))
            and list(periods) == sorted(periods)
        )
        self._check("quality_periods", is_rising, "three rising numbers, such as [50, 100, 600],")

    @property
    def profiles(self) -> bool:
        """True if a trial searches for the best limit."""
        return self.power_limit_w == PROFILE

    def fits(self, name: str) -> bool:
        """Return True if a GPU of this name is acceptable."""
        whole_words = rf"(?<!\w)(?:{self.gpu_name})(?!\w)"
        return self.gpu_name is None or bool(re.search(whole_words, name))

    def _check_gpus(self) -> None:
        gpus = self.gpus
        if isinstance(gpus, Sequence) and not isinstance(gpus, str):
            are_gpus = all(isinstance(gpu, str) or is_whole_number(gpu) for gpu in gpus)
            fits = are_gpus and len(set(gpus)) == len(gpus) > 0
        else:
            fits = gpus in (None, "auto") or is_whole_number(gpus, 1)
        allowed = "auto, a number of GPUs, a list such as [0, 1] or [GPU-8f2c...], or null"
        self._check("gpus", fits, allowed)

    def _check_name(self) -> None:
        try:
            self.fits("")
        except re.error:
            self._check("gpu_name", False, "a part of a name, such as H100, or null")

    def _check_limit(self) -> None:
        limit_w = self.power_limit_w
        fits = limit_w in (None, PROFILE) or (is_number(limit_w) and limit_w > 0)
        self._check("power_limit_w", fits, "null, a number of W, or profile")
        cap_w = self.max_power_limit_w
        fits = cap_w is None or (is_number(cap_w) and cap_w > 0)
        self._check("max_power_limit_w", fits, "null or a number of W above 0")
        if cap_w is not None and isinstance(limit_w, int | float):
            allowed = f"at most hardware.max_power_limit_w={cap_w:g}"
            self._check("power_limit_w", limit_w <= cap_w, allowed)

    def _check_choice(self, key: str, choices: Sequence[str]) -> None:
        self._check(key, getattr(self, key) in choices, f"one of {', '.join(choices)}")

    def _check(self, key: str, fits: bool, allowed: str) -> None:
        if not fits:
            raise ConfigError(
                f"hardware.{key}={getattr(self, key)} is not allowed: {allowed} is needed"
            )
