"""From the node `hardware` to the options of the GPUs."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from energyopt.config.instantiate import value
from energyopt.errors import ConfigError

if TYPE_CHECKING:
    from energyopt.hardware.gpu_options import GpuOptions

_OTHER_KEYS = ("meter", "system")


def gpu_options(node: DictConfig) -> GpuOptions:
    """Read the options of the GPUs.

    Args:
        node: The node `hardware`.

    Raises:
        ConfigError: If it has an unknown key.
    """
    from energyopt.hardware.gpu_options import GpuOptions

    keys = [key for key in map(str, node) if key not in _OTHER_KEYS]
    options = {key: value(f"hardware.{key}", node, key) for key in keys}
    names = {field.name for field in fields(GpuOptions)}
    unknown = sorted(options.keys() - names)
    if unknown:
        raise ConfigError(
            f"hardware.{unknown[0]}: there is no such key; there are meter, "
            f"{', '.join(sorted(names))}"
        )
    return GpuOptions(**options)
