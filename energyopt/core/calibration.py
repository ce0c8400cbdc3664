"""Hardware measurements of a study's trials, passed on to its later trials.

They travel to a job as one value. It contains only numbers, keyed by hashes, so no string from the
database can reach Hydra's parser.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from energyopt.core.conditions import Machine, ProfilePoint
from energyopt.core.moved_code import as_stored
from energyopt.core.trial_result import TrialResult

T = TypeVar("T")

_DIGEST_BYTES = 8
_MAX_ENTRIES = 50


@dataclass(frozen=True, slots=True)
class Calibration:
    """Hardware measurements of a study.

    Attributes:
        profiles: Points of finished power profiles, by the digest of the workload.
        idle_w: Power at rest, in W, by the digest of the GPUs and their limits.
        reference_c: Temperature at the study's first trial, in degC, by the digest of the GPUs.
    """

    profiles: Mapping[str, tuple[ProfilePoint, ...]] = field(default_factory=dict)
    idle_w: Mapping[str, float] = field(default_factory=dict)
    reference_c: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Iterable[TrialResult]) -> Calibration:
        """Collect the measurements of trials, in their order."""
        calibration = cls()
        for result in results:
            calibration = calibration.updated_with(result)
        return calibration

    def updated_with(self, result: TrialResult) -> Calibration:
        """Return a calibration with a trial's measurements added; existing ones stay."""
        machine, conditions = result.start.machine, result.conditions
        if machine is None or not machine.gpus:
            return self
        profiles, idle_w, reference_c = {}, {}, {}
        if conditions.profile is not None and conditions.profile.finished:
            profiles[digest(conditions.profile.shape)] = conditions.profile.points
        if conditions.idle_w is not None:
            idle_w[gpus_key(machine, limits=True)] = conditions.idle_w
        if conditions.temperature_before_c is not None:
            reference_c[gpus_key(machine)] = conditions.temperature_before_c
        return Calibration(
            _extended(self.profiles, profiles),
            _extended(self.idle_w, idle_w),
            _extended(self.reference_c, reference_c),
        )

    def to_json(self) -> str:
        """Return the calibration as JSON of digests and numbers."""
        points = {
            key: [[point.limit_w, point.steps, point.step_j, point.step_s] for point in profile]
            for key, profile in self.profiles.items()
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


def gpus_key(machine: Machine, *, limits: bool = False) -> str:
    """Return the digest of a trial's GPUs, with their power limits if these matter."""
    return digest([[gpu.uuid, gpu.limit_w if limits else None] for gpu in machine.gpus])


def digest(what: Any) -> str:
    """Return a short hash of plain data; equal data has equal hashes."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def shape_of_work(device: str, model: Any, batch_size: int, paradigm: Any) -> Mapping[str, Any]:
    """Return all that determines the cost of a step at a power limit: a profile's workload.

    Args:
        device: Model of the GPUs.
        model: The model's config.
        batch_size: Samples a step.
        paradigm: The paradigm's config, its precision included.
    """
    shape = {"device": device, "model": model, "batch_size": batch_size, "paradigm": paradigm}
    return {key: as_stored(part) for key, part in shape.items()}


def _extended(existing: Mapping[str, T], measured: Mapping[str, T]) -> dict[str, T]:
    """Append the new entries to the existing ones; only the last are kept, to limit the size."""
    new = {key: value for key, value in measured.items() if key not in existing}
    return dict([*existing.items(), *new.items()][-_MAX_ENTRIES:])
