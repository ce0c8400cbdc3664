"""A search of a user's app for code that reports by a `Run`, before a job runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from energyopt.config.trust import targets_in

_PACKAGE = "energyopt"
_OTHERS = (_PACKAGE, "hydra_plugins", "hydra", "optuna")  # ours, or changed by us
_MOST_FILES = 2000
_NOT_THE_USERS = {"site-packages", "node_modules", "__pycache__"}


def may_report(
    function: Callable[..., Any], config: DictConfig, modules: Iterable[ModuleType] | None = None
) -> bool:
    """Return False if no loaded module, no file next to the app and no config names energyopt.

    A job may import what reports only once it runs, so files count as well; of a folder with more
    than 2,000 of them nothing is known.

    Args:
        function: The function that a job runs.
        config: The app's, in which a `_target_` may be a callback of ours.
        modules: The loaded modules; None for those of this process.
    """
    if any(map(_is_ours, targets_in(_without_hydra(config)))):
        return True
    loaded = list(sys.modules.values()) if modules is None else modules
    code = getattr(function, "__code__", None)
    if code is None or any(map(_uses_energyopt, loaded)):
        return True
    for number, path in enumerate(_sources(Path(code.co_filename).parent)):
        if number == _MOST_FILES or _PACKAGE.encode() in path.read_bytes():
            return True
    return False


def _without_hydra(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return {key: value for key, value in plain.items() if key != "hydra"}


def _uses_energyopt(module: ModuleType) -> bool:
    """Return True if a module of others holds the package, or something of it."""
    name = getattr(module, "__name__", None) or ""
    if name.partition(".")[0] in _OTHERS:
        return False
    values = list(getattr(module, "__dict__", {}).values())
    return any(map(_is_of_us, values))


def _is_of_us(value: object) -> bool:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    return isinstance(name, str) and _is_ours(name)


def _is_ours(path: str) -> bool:
    """Return True if a dotted path begins with the package."""
    return path.partition(".")[0] == _PACKAGE


def _sources(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f not in _NOT_THE_USERS and not f.startswith(".")]
        yield from (Path(parent, name) for name in files if name.endswith(".py"))
