"""What the trials of a study have found out about its hardware, for the trials to come.

It travels to a job as one config value. Nothing in it is text of anybody's: numbers, under
digests of what they are about. What comes from a database is so never read as a config.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from energyopt.core.conditions import Machine, ProfilePoint
from energyopt.core.target_names import as_stored
from energyopt.core.trial_result import TrialResult

T = TypeVar("T")

_DIGEST_BYTES = 8
_MOST = 50


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known of a study's hardware.

    Attributes:
        profiles: Points of finished power profiles, by the digest of the shape of work.
        idle_w: Power at rest, in W, by the digest of the GPUs and their limits.
        reference_c: Temperature at the study's first trial, in degC, by the digest of the GPUs.
    """

    profiles: Mapping[str, tuple[ProfilePoint, ...]] = field(default_factory=dict)
    idle_w: Mapping[str, float] = field(default_factory=dict)
    reference_c: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Iterable[TrialResult]) -> Calibration:
        """Collect it from trials, in their order."""
        known = cls()
        for result in results:
            known = known.learn(result)
        return known

    def learn(self, result: TrialResult) -> Calibration:
        """Add what a trial found out; what was known stays."""
        machine, found = result.start.machine, result.conditions
        if machine is None or not machine.gpus:
            return self
        profiles, idle_w, reference_c = {}, {}, {}
        if found.profile is not None and found.profile.finished:
            profiles[digest(found.profile.shape)] = found.profile.points
        if found.idle_w is not None:
            idle_w[place(machine, limits=True)] = found.idle_w
        if found.temperature_before_c is not None:
            reference_c[place(machine)] = found.temperature_before_c
        return Calibration(
            _with(self.profiles, profiles),
            _with(self.idle_w, idle_w),
            _with(self.reference_c, reference_c),
        )

    def to_json(self) -> str:
        """As text of digests and numbers."""
        points = {
            key: [[at.limit_w, at.steps, at.step_j, at.step_s] for at in of]
            for key, of in self.profiles.items()
        }
        parts = {
            "profiles": points,
            "idle_w": dict(self.idle_w),
            "reference_c": dict(self.reference_c),
        }
        return json.dumps(parts, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        profiles = {
            key: tuple(ProfilePoint(*point) for point in points)
            for key, points in data["profiles"].items()
        }
        return cls(profiles, data["idle_w"], data["reference_c"])


def place(machine: Machine, *, limits: bool = False) -> str:
    """The digest of a trial's GPUs, with their power limits where these matter."""
    return digest([[gpu.uuid, gpu.limit_w if limits else None] for gpu in machine.gpus])


def digest(what: Any) -> str:
    """A short name of plain data that says the same for the same."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def shape_of_work(device: str, model: Any, batch_size: int, paradigm: Any) -> Mapping[str, Any]:
    """What a power profile holds for: nothing else changes what a step costs at a limit.

    Args:
        device: Model of the GPUs.
        model: The model's config.
        batch_size: Samples a step.
        paradigm: The paradigm's config, its precision included.
    """
    shape = {"device": device, "model": model, "batch_size": batch_size, "paradigm": paradigm}
    return {key: as_stored(part) for key, part in shape.items()}


def _with(known: Mapping[str, T], found: Mapping[str, T]) -> dict[str, T]:
    """What is known stays, what is new comes last; the newest entries keep a job's words short."""
    new = {key: value for key, value in found.items() if key not in known}
    return dict([*known.items(), *new.items()][-_MOST:])
