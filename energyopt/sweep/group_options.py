"""Options of our config groups `hardware` and `stopping`, for the jobs of another app.

Such an app does not compose our configs, so the files of an option are read and merged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from energyopt.errors import ConfigError
from energyopt.utils.paths import conf_dir
from energyopt.utils.text import did_you_mean


def hardware_options(choice: object) -> dict[str, Any]:
    """Return the group `hardware` for `hydra.sweeper.hardware`.

    Args:
        choice: The name of an option, or keys of the group, which replace those of "auto".

    Raises:
        ConfigError: If it is neither.
    """
    if isinstance(choice, Mapping):
        return _merged("hardware", "hardware_defaults", ["auto"], choice)
    return _merged("hardware", "hardware_defaults", [choice])


def stopping_options(choice: object) -> dict[str, Any]:
    """Return the group `stopping` for `hydra.sweeper.stopping`: its rules and its schedule.

    Args:
        choice: The name of an option, or several names; None for what goes with the sampler.

    Raises:
        ConfigError: If it is something else.
    """
    is_list = isinstance(choice, Sequence) and not isinstance(choice, str)
    names: list[object] = list(choice) if is_list else [choice or "auto"]  # type: ignore[call-overload]
    return _merged("stopping", "stopping_defaults", names)


def _merged(
    group: str, base: str, names: Sequence[object], keys: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    defaults = OmegaConf.select(OmegaConf.load(conf_dir() / f"{base}.yaml"), group)
    options = [OmegaConf.load(_file(group, name)) for name in names]
    for key in keys or {}:
        if key not in defaults and key != "meter":
            keys_of_group = ["meter", *map(str, defaults)]
            hint = did_you_mean(str(key), keys_of_group, f"hydra.sweeper.{group}.")
            raise ConfigError(f"hydra.sweeper.{group}.{key}: there is no such key; {hint}")
    try:
        if keys and "meter" in keys:  # with no option of the default meter
            options.append(OmegaConf.create({"meter": None}))
        merged = OmegaConf.merge(defaults, *options, dict(keys or {}))
        plain: Any = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        text = str(error).splitlines()[0]
        raise ConfigError(f"hydra.sweeper.{group}: {text}; it needs keys of our own app") from error
    return dict(plain)


def _file(group: str, name: object) -> Path:
    folder = conf_dir() / group
    names = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in names:
        raise ConfigError(f"hydra.sweeper.{group}={name}: choose {', '.join(names)}")
    return folder / f"{name}.yaml"
