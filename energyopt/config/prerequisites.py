"""What a paradigm's config says of knowledge that it starts from: a `source`, a `teacher`.

Each is a node with the keys of a training of its own (`lr`, `batch_size`, `epochs`, `target`,
`seed`, `optimizer`, and a `task` or a `model`), or with a file of `weights`. A user's own paradigm
may have them, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from energyopt.errors import ConfigError

_NAMES = ("source", "teacher")
_KEYS = ("lr", "batch_size", "epochs", "target", "seed")
_GROUPS = ("task", "model", "optimizer")
_MORE = ("weights", "energy_j")


def nodes(paradigm: Any) -> dict[str, DictConfig]:
    """The nodes of a paradigm that say what it starts from, by name."""
    if not isinstance(paradigm, DictConfig):
        return {}
    given = {name: paradigm.get(name) for name in _NAMES}
    return {
        name: node
        for name, node in given.items()
        if isinstance(node, DictConfig) and "weights" in node
    }


def without(paradigm: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """A paradigm's own options, as plain data: what changes the work of its steps."""
    ours = {*names, "reuse"} if names else set()
    return {key: value for key, value in paradigm.items() if key not in ours}


def reuse(paradigm: DictConfig) -> float:
    """How many trainings use what a paradigm starts from.

    Raises:
        ConfigError: If that is no number of at least 1.
    """
    value = paradigm.get("reuse", 1)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 1 <= value < math.inf:
        raise ConfigError(f"paradigm.reuse={value}: a number of trainings of at least 1 is needed")
    return float(value)


def given_j(name: str, node: DictConfig) -> float:
    """Energy of a file of weights by the user's word, in J; 0 where nothing is said.

    Raises:
        ConfigError: If it is no energy, or there is no such file.
    """
    value = node.get("energy_j")
    if value is None:
        return 0.0
    key = f"paradigm.{name}.energy_j={value}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise ConfigError(f"{key}: a number of joules of at least 0 is needed, or null")
    if node.get("weights") is None:
        raise ConfigError(f"{key} is of a file of weights, and there is none; leave it null")
    return float(value)


def config_of(cfg: DictConfig, name: str, node: DictConfig) -> DictConfig:
    """The config of the training that a node asks for: the trial's, but for what it says.

    Groups move as they are written, so that the optimizer's `${lr}` is the node's own.

    Args:
        cfg: The trial's config.
        name: The node's name.
        node: The node.

    Raises:
        ConfigError: If the node has other keys than there are.
    """
    wrong = sorted(set(map(str, node)) - {*_KEYS, *_GROUPS, *_MORE})
    if wrong:
        raise ConfigError(
            f"paradigm.{name}.{wrong[0]}: there is no such key; there are "
            f"{', '.join((*_KEYS, *_GROUPS, *_MORE))}"
        )
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    said = raw["paradigm"][name]
    precision = cfg.paradigm.get("precision", "fp32")
    raw |= {group: said[group] for group in _GROUPS if said.get(group) is not None}
    read = node.get("weights") is not None  # and nothing is trained
    raw |= {key: node.get(key) for key in _KEYS if key in node or not read}
    raw["scheduler"] = {"_target_": "energyopt.schedulers.none", "_partial_": True}
    raw["paradigm"] = {
        "_target_": "energyopt.paradigms.multitask.Multitask",
        "precision": precision,
    }
    config: DictConfig = OmegaConf.create(raw)
    return config
