"""Readers of configs for hydra-optuna-sweeper, which return our keys.

Its samplers, its `search_space` (version 1.1) and Optuna's storages, given as nodes. What cannot be
taken is refused in a sentence that names the line to change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig

from energyopt.config.overrides import value_and_text
from energyopt.core.number_checks import is_number
from energyopt.errors import ConfigError
from energyopt.search.sampler_names import sweeper_options
from energyopt.utils.text import did_you_mean

_GROUP = "hydra/sweeper/sampler"
_REPLACING = ("hydra.sweeper.sampler", "hydra.sweeper.sampler._target_")  # typed as well
_TPE = "optuna.samplers.TPESampler"
_TYPES = ("float", "int", "categorical")
_AXIS_KEYS = ("type", "low", "high", "step", "log", "choices")
_IN_MEMORY = ("sqlite:", "sqlite:///:memory:")
_DATABASES = "studies are kept in SQLite files and in PostgreSQL"
_INSTEAD = "write a file, such as storage: study.db, or null for one in the sweep's folder"


def moved_sampler(spec: Any, key: str) -> Any:
    """Return a sampler's node or name with the names that it has today.

    Args:
        spec: A name, or a node; anything else is returned as it is.
        key: Its key.

    Raises:
        ConfigError: If Hydra has built it already, or a grid has options.
    """
    if hasattr(spec, "infer_relative_search_space"):
        raise ConfigError(
            f"{key} is a {type(spec).__name__} already, as hydra/sweeper=optuna builds it: write "
            "`override hydra/sweeper: energyopt` in the defaults list"
        )
    if not isinstance(spec, Mapping):
        is_name = isinstance(spec, str) and key.startswith("hydra.")
        return _named_sampler(spec, key) if is_name else spec
    node = {str(name): value for name, value in spec.items() if name != "_partial_"}
    name = str(node.get("_target_")).rpartition(".")[2]
    if name in ("MOTPESampler", "raise_motpe_removed"):  # TPESampler has learnt it
        node["_target_"] = _TPE
    if node.get("_target_") == _TPE and "n_ehvi_candidates" in node:
        node.setdefault("n_ei_candidates", node.pop("n_ehvi_candidates"))
    if node.get("_target_") == "grid" or (name == "GridSampler" and "search_space" not in node):
        return _grid(node, key)
    return node


def _named_sampler(name: str, key: str) -> Any:
    options = dict(sweeper_options())
    if name not in options:
        hint = did_you_mean(name, options)
        raise ConfigError(f"{key}={name} is not known; {hint} (a node with a _target_ also works)")
    return moved_sampler(options[name], key)


def check_typed_sampler(config: DictConfig, sampler: Any) -> None:
    """Check that the sampler of the command line is the one that is used.

    A `_target_` in the app's own config comes after the options of groups, so it replaces that of
    the option that was typed.

    Args:
        config: The config of the multirun.
        sampler: The sampler that is used.

    Raises:
        ConfigError: If a config has replaced it; the message names the line.
    """
    words = [str(word).lstrip("+").partition("=") for word in config.hydra.overrides.hydra]
    values = {key: value for key, _, value in words}
    typed = dict(sweeper_options()).get(values.get(_GROUP, ""))
    if typed is None or not values.keys().isdisjoint(_REPLACING):
        return
    target = sampler.get("_target_") if isinstance(sampler, Mapping) else sampler
    if target != moved_sampler(typed, "")["_target_"]:
        raise ConfigError(
            f"{_GROUP} was given on the command line, but a config sets hydra.sweeper.sampler."
            f"_target_={target}, which replaces it: delete that line"
        )


def _grid(node: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the node of the grid; a seed means nothing, as all points are trained in order."""
    for option in node:
        if option not in ("_target_", "seed"):
            raise ConfigError(
                f"{key}.{option}: a grid has no such option, it trains all points in "
                "order; delete the line"
            )
    return {"_target_": "grid"}


def params_of(search_space: Mapping[str, Any]) -> dict[str, str]:
    """Return the axes of a `search_space` as the texts that `params` has.

    Raises:
        ConfigError: If an axis is incomplete or contradicts itself.
    """
    return {
        str(key): _axis(f"hydra.sweeper.search_space.{key}", v) for key, v in search_space.items()
    }


def _axis(key: str, axis: Any) -> str:
    if isinstance(axis, str):
        return axis
    if not isinstance(axis, Mapping):
        raise ConfigError(f"{key}={axis}: {{type: float, low: 0, high: 1}} or the like is needed")
    for name in axis:
        if name not in _AXIS_KEYS:
            hint = did_you_mean(str(name), _AXIS_KEYS, f"{key}.")
            raise ConfigError(f"{key}.{name}: there is no such key; {hint}")
    kind = getattr(axis.get("type"), "name", str(axis.get("type")))
    if kind not in _TYPES:
        raise ConfigError(f"{key}.type={kind}: choose {', '.join(_TYPES)}")
    return _choice(key, axis) if kind == "categorical" else _numbers(key, axis, kind)


def _choice(key: str, axis: Mapping[str, Any]) -> str:
    choices = axis.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ConfigError(f"{key}.choices={choices}: a list of choices is needed")
    texts = [value_and_text(key, choice)[1] for choice in choices]
    return ",".join(texts) if len(texts) > 1 else f"choice({texts[0]})"


def _numbers(key: str, axis: Mapping[str, Any], kind: str) -> str:
    low, high, step = (_number(f"{key}.{name}", axis, kind) for name in ("low", "high", "step"))
    if low is None or high is None:
        raise ConfigError(f"{key} needs {'low' if low is None else 'high'}: a number")
    is_log = bool(axis.get("log"))
    if step is None or (kind == "int" and step == 1):
        ends = f"interval({low},{high})" if kind == "float" else f"int(interval({low},{high}))"
        return f"tag(log, {ends})" if is_log else ends
    if is_log:
        raise ConfigError(f"{key} has both log and step={step}: delete one of the two lines")
    if step <= 0 or high < low:
        raise ConfigError(f"{key}: low={low}, high={high}, step={step} leaves nothing to choose")
    # The last value is in it; the end of Hydra's range is not.
    start, end, width = (Decimal(str(number)) for number in (low, high, step))
    stop = start + (math.floor((end - start) / width) + 1) * width
    return f"range({low},{int(stop) if kind == 'int' else float(stop)},{step})"


def _number(key: str, axis: Mapping[str, Any], kind: str) -> int | float | None:
    value = axis.get(key.rpartition(".")[2])
    if value is None:
        return None
    if not is_number(value) or (kind == "int" and value != int(value)):
        what = "whole number" if kind == "int" else "number"
        raise ConfigError(f"{key}={value}: a {what} is needed")
    return int(value) if kind == "int" else float(value)


def storage_of(storage: Any, key: str) -> str | None:
    """Return a storage as a file or a URL; None for a file in the sweep's folder.

    A storage in memory is one of those: hydra-optuna-sweeper keeps a study in memory where nothing
    is said, and this is what we do there.

    Args:
        storage: A file, a URL, or a node of Optuna's.
        key: Its key.

    Raises:
        ConfigError: If it is of another kind.
    """
    if storage is None:
        return None
    if isinstance(storage, PurePath):
        return str(storage)
    if isinstance(storage, Mapping):
        return _storage_of_node(storage, key)
    if not isinstance(storage, str) or not storage.strip() or storage.lstrip().startswith("{"):
        raise ConfigError(f"{key}={storage!r}: {_DATABASES}; {_INSTEAD}")
    is_moved = key != "storage"  # our own app's key has a default, which a null would hide
    return None if is_moved and storage.rstrip("/") in _IN_MEMORY else storage


def _storage_of_node(node: Mapping[str, Any], key: str) -> str | None:
    target = node.get("_target_")
    name = str(target).rpartition(".")[2]
    options = {
        str(option): value
        for option, value in node.items()
        if not str(option).startswith("_") and value not in (None, False, {})
    }
    if name == "InMemoryStorage":
        return None
    if name != "RDBStorage":
        raise ConfigError(f"{key}._target_={target} is not supported: {_DATABASES}; {_INSTEAD}")
    url = options.pop("url", None)
    if options:
        raise ConfigError(
            f"{key}.{min(options)}: energyopt opens the database and keeps its own "
            "heartbeats; delete the line"
        )
    if not isinstance(url, str):
        raise ConfigError(f"{key}.url={url}: the URL of a database is needed")
    return url
