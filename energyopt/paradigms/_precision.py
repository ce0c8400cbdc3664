"""Number formats of the forward pass: the option `precision` of every paradigm."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from energyopt.errors import ConfigError

PrecisionName = Literal["fp32", "bf16", "amp"]
_DTYPES = {"bf16": torch.bfloat16, "amp": torch.float16}
_INITIAL_SCALE = 2.0**10  # torch's default, 2^16, overflows and so wastes the first steps


@dataclass(frozen=True, slots=True)
class Precision:
    """Number format of the forward pass; weights and optimizer stay in 32 bits.

    Args:
        name: "fp32"; "bf16" (autocast to bfloat16); "amp" (autocast to float16, gradients scaled).
        device: Device of the model.

    Raises:
        ConfigError: If the device does not support it.
    """

    name: PrecisionName
    device: torch.device

    def __post_init__(self) -> None:
        name, kind = self.name, self.device.type
        if name not in ("fp32", *_DTYPES):
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
        """Return the context to run a forward pass in."""
        dtype = _DTYPES.get(self.name)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def scaler(self) -> torch.amp.GradScaler | None:
        """Return a scaler against underflow of float16 gradients; None for other formats."""
        if self.name != "amp":
            return None
        return torch.amp.GradScaler(self.device.type, init_scale=_INITIAL_SCALE)
