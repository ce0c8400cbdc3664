"""The nodes of a paradigm's config for models that it starts from: `source` and `teacher`.

Each node has the keys of a separate training (`lr`, `batch_size`, `epochs`, `target`, `seed`,
`optimizer`, and a `task` or a `model`), or a file of `weights`. A user's paradigm may have them as
well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from energyopt.core.key_rule import at_least
from energyopt.errors import ConfigError

_NAMES = ("source", "teacher")
_KEYS = ("lr", "batch_size", "epochs", "target", "seed")
_GROUPS = ("task", "model", "optimizer")
_MORE = ("weights", "energy_j")
_REUSE = at_least(1, "a number of trainings")
_ENERGY_J = at_least(0, "a number of joules")


def nodes(paradigm: Any) -> dict[str, DictConfig]:
    """Return the `source` and `teacher` nodes that a paradigm has, by name."""
    if not isinstance(paradigm, DictConfig):
        return {}
    candidates = {name: paradigm.get(name) for name in _NAMES}
    return {
        name: node
        for name, node in candidates.items()
        if isinstance(node, DictConfig) and "weights" in node
    }


def without(paradigm: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a paradigm that change the work of its steps, as plain data."""
    excluded = {*names, "reuse"} if names else set()
    return {key: value for key, value in paradigm.items() if key not in excluded}


def reuse(paradigm: DictConfig) -> float:
    """Return the number of trainings that share a paradigm's prerequisites.

    Raises:
        ConfigError: If it is not a number of at least 1.
    """
    value = paradigm.get("reuse", 1)
    if not _REUSE.permits(value):
        raise ConfigError(f"paradigm.reuse={value}: {_REUSE.says} is needed")
    return float(value)


def given_j(name: str, node: DictConfig) -> float:
    """Return the user-specified energy of a file of weights, in J; 0 without any.

    Raises:
        ConfigError: If it is not an energy, or there is no file.
    """
    value = node.get("energy_j")
    if value is None:
        return 0.0
    key = f"paradigm.{name}.energy_j={value}"
    if not _ENERGY_J.permits(value):
        raise ConfigError(f"{key}: {_ENERGY_J.says} is needed, or null")
    if node.get("weights") is None:
        raise ConfigError(f"{key} is of a file of weights, and there is none; leave it null")
    return float(value)


def config_of(cfg: DictConfig, name: str, node: DictConfig) -> DictConfig:
    """Return the config of a node's training: the trial's, with the node's keys.

    Groups are copied unresolved, so that the optimizer's `${lr}` is the node's.

    Args:
        cfg: The trial's config.
        name: The node's name.
        node: The node.

    Raises:
        ConfigError: If the node has an unknown key.
    """
    unknown = sorted(set(map(str, node)) - {*_KEYS, *_GROUPS, *_MORE})
    if unknown:
        raise ConfigError(
            f"paradigm.{name}.{unknown[0]}: there is no such key; there are "
            f"{', '.join((*_KEYS, *_GROUPS, *_MORE))}"
        )
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    groups = raw["paradigm"][name]
    precision = cfg.paradigm.get("precision", "fp32")
    raw |= {group: groups[group] for group in _GROUPS if groups.get(group) is not None}
    is_trained = node.get("weights") is None
    raw |= {key: node.get(key) for key in _KEYS if key in node or is_trained}
    raw["scheduler"] = {"_target_": "energyopt.schedulers.none", "_partial_": True}
    raw["paradigm"] = {
        "_target_": "energyopt.paradigms.multitask.Multitask",
        "precision": precision,
    }
    config: DictConfig = OmegaConf.create(raw)
    return config
