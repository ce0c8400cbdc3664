"""In which numbers a step computes: the axis `precision` of every paradigm."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from energyopt.errors import ConfigError

Name = Literal["fp32", "bf16", "amp"]
_FORMATS = {"bf16": torch.bfloat16, "amp": torch.float16}
_FIRST_SCALE = 2.0**10  # torch's own, 2^16, overflows in the first steps and wastes them


@dataclass(frozen=True, slots=True)
class Precision:
    """How the forward pass computes; weights and optimizer stay in 32 bits.

    Args:
        name: "fp32"; "bf16" (autocast to bfloat16); "amp" (autocast to float16, gradients scaled).
        device: Where.

    Raises:
        ConfigError: If the device cannot.
    """

    name: Name
    device: torch.device

    def __post_init__(self) -> None:
        name, kind = self.name, self.device.type
        if name not in ("fp32", *_FORMATS):
            raise ConfigError(f"paradigm.precision={name} is unknown: choose fp32, bf16 or amp")
        if name == "amp" and kind != "cuda":
            raise ConfigError(
                f"paradigm.precision=amp (float16 with scaled gradients) is for CUDA, and this "
                f"trains on {kind}: choose bf16 or fp32"
            )
        if name == "bf16" and kind == "cuda" and not torch.cuda.is_bf16_supported():
            raise ConfigError(
                "paradigm.precision=bf16: this GPU has no bfloat16: choose amp or fp32"
            )

    def cast(self) -> AbstractContextManager[object]:
        """What a forward pass runs in."""
        dtype = _FORMATS.get(self.name)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def scaler(self) -> torch.amp.GradScaler | None:
        """What keeps gradients of float16 from vanishing; None where none is needed."""
        if self.name != "amp":
            return None
        return torch.amp.GradScaler(self.device.type, init_scale=_FIRST_SCALE)
