"""Hardware measurements of a study's trials, passed on to its later trials.

They travel to a job as one value. It contains only numbers, keyed by hashes, so no string from the
database can reach Hydra's parser.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
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
        unfinished: Measurements of unfinished ones, by the digest of workload and GPUs.
        idle_w: Power at rest, in W, by the digest of the GPUs and their limits.
        reference_c: Temperature at the study's first trial, in degC, by the digest of the GPUs.
    """

    profiles: Mapping[str, tuple[ProfilePoint, ...]] = field(default_factory=dict)
    idle_w: Mapping[str, float] = field(default_factory=dict)
    reference_c: Mapping[str, float] = field(default_factory=dict)
    unfinished: Mapping[str, tuple[ProfilePoint, ...]] = field(default_factory=dict)

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
        profile, unfinished = conditions.profile, dict(self.unfinished)
        if profile is not None and profile.finished:
            profiles[digest(profile.shape)] = profile.points
        elif profile is not None:
            key = unfinished_key(profile.shape, [gpu.uuid for gpu in machine.gpus])
            # Of trials that continued it at the same time, the one that got further counts.
            unfinished[key] = max(unfinished.get(key, ()), profile.measured, key=len)
        if conditions.idle_w is not None:
            idle_w[gpus_key(machine, limits=True)] = conditions.idle_w
        if conditions.temperature_before_c is not None:
            reference_c[gpus_key(machine)] = conditions.temperature_before_c
        return Calibration(
            _extended(self.profiles, profiles),
            _extended(self.idle_w, idle_w),
            _extended(self.reference_c, reference_c),
            dict([*unfinished.items()][-_MAX_ENTRIES:]),
        )

    def to_json(self) -> str:
        """Return the calibration as JSON of digests and numbers."""
        parts = {
            "profiles": _plain(self.profiles),
            "idle_w": dict(self.idle_w),
            "reference_c": dict(self.reference_c),
            "unfinished": _plain(self.unfinished),
        }
        return json.dumps(parts, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        profiles, unfinished = (
            {
                key: tuple(ProfilePoint(*point) for point in points)
                for key, points in data[part].items()
            }
            for part in ("profiles", "unfinished")
        )
        return cls(profiles, data["idle_w"], data["reference_c"], unfinished)


def gpus_key(machine: Machine, *, limits: bool = False) -> str:
    """Return the digest of a trial's GPUs, with their power limits if these matter."""
    return digest([[gpu.uuid, gpu.limit_w if limits else None] for gpu in machine.gpus])


def unfinished_key(shape: Mapping[str, Any], uuids: Sequence[str]) -> str:
    """Return the digest of an unfinished profile: of its workload, and of its very GPUs.

    The sensors of two boards differ by some percent, so their measurements are not mixed.
    """
    return digest([digest(shape), list(uuids)])


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


def _plain(profiles: Mapping[str, Sequence[ProfilePoint]]) -> dict[str, list[list[float]]]:
    """Return the points of profiles as numbers, without those that are not known."""
    return {
        key: [[number for number in astuple(point) if number is not None] for point in points]
        for key, points in profiles.items()
    }


def _extended(existing: Mapping[str, T], measured: Mapping[str, T]) -> dict[str, T]:
    """Append the new entries to the existing ones; only the last are kept, to limit the size."""
    new = {key: value for key, value in measured.items() if key not in existing}
    return dict([*existing.items(), *new.items()][-_MAX_ENTRIES:])
