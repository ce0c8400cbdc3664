"""Named systems: what their makers publish of them, beside what is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from energyopt.core.conditions import Gpu

_SAME_W = 1.0  # drivers round


@dataclass(frozen=True, slots=True)
class System:
    """What is published of a system. It is carried and compared; nothing is set by it.

    Attributes:
        name: Its name.
        source: Where the figures are published: titles and addresses.
        paper: The variant that Geissler et al. (arXiv:2401.01851) trained on.
        memory: Memory of that variant.
        limits_w: Maximum power by variant, in W; several where a variant comes with several.
            A variant is what NVML calls it; older drivers leave the leading "NVIDIA" out.
        machine_power: What is published of a whole machine instead of a limit, in words.
    """

    name: str
    source: Sequence[str]
    paper: str | None = None
    memory: str | None = None
    limits_w: Mapping[str, Sequence[float]] = field(default_factory=dict)
    machine_power: str | None = None

    def flags(self, gpus: Sequence[Gpu]) -> tuple[str, ...]:
        """A warning if a GPU has another limit than is published for its variant.

        Either its vendor's default or its highest limit has to be the published one: cards for
        players take more than they are sold with.

        Args:
            gpus: As they are found.
        """
        return () if all(map(self._is_published, gpus)) else ("unlike_published",)

    def _is_published(self, gpu: Gpu) -> bool:
        told = [w for w in (gpu.default_limit_w, gpu.max_limit_w) if w is not None]
        published = [
            limit_w
            for variant, limits_w in self.limits_w.items()
            if gpu.name.endswith(variant)
            for limit_w in limits_w
        ]
        return not told or any(abs(a - b) <= _SAME_W for a in told for b in published)
