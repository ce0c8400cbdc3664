"""The seeds among the searched keys: a repetition with another seed is the same configuration."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any

_NAMES = frozenset({"seed", "seeds", "random_state", "seed_everything"})
"""Last parts of keys: ours, scikit-learn's and Lightning's."""


@cache
def is_seed(key: str) -> bool:
    """Return True if a searched key is a seed: "seed", "data.seed", "split_seed"."""
    name = key.lstrip("+").replace("/", ".").rpartition(".")[2].lower()
    return name in _NAMES or name.endswith(("_seed", "-seed"))


def without_seeds(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the searched values that make up a configuration."""
    return {key: value for key, value in params.items() if not is_seed(key)}


def configuration_key(params: Mapping[str, Any]) -> Hashable:
    """Return the identity of a configuration: all searched values but seeds."""
    return tuple(sorted((key, repr(value)) for key, value in without_seeds(params).items()))
