"""Named systems: their published figures, and how they compare with the GPUs present."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from energyopt.core.conditions import Gpu

_TOLERANCE_W = 1.0  # drivers round


@dataclass(frozen=True, slots=True)
class System:
    """Published figures of a system. They are stored and compared; nothing is set by them.

    Attributes:
        name: Its name.
        source: Where the figures are published: titles and addresses.
        paper: The variant that Geissler et al. (arXiv:2401.01851) trained on.
        memory: Memory of that variant.
        limits_w: Maximum power by variant, in W; several where a variant comes with several.
            A variant is what NVML calls it; older drivers leave the leading "NVIDIA" out.
        machine_power: The published power of a whole machine instead of a limit, as text.
    """

    name: str
    source: Sequence[str]
    paper: str | None = None
    memory: str | None = None
    limits_w: Mapping[str, Sequence[float]] = field(default_factory=dict)
    machine_power: str | None = None

    def flags(self, gpus: Sequence[Gpu]) -> tuple[str, ...]:
        """Return a warning if a GPU has another limit than is published for its variant.

        Either its default or its highest limit has to be the published one: consumer cards
        allow a higher limit than their default.

        Args:
            gpus: The GPUs of the trial.
        """
        return () if all(map(self._is_published, gpus)) else ("unlike_published",)

    def _is_published(self, gpu: Gpu) -> bool:
        actual_w = [w for w in (gpu.default_limit_w, gpu.max_limit_w) if w is not None]
        published_w = [
            limit_w
            for variant, limits_w in self.limits_w.items()
            if gpu.name.endswith(variant)
            for limit_w in limits_w
        ]
        return not actual_w or any(
            abs(a - b) <= _TOLERANCE_W for a in actual_w for b in published_w
        )
