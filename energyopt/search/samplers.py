"""Samplers by name or config node, seeded so that a resumed study repeats no suggestion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.random import SeedSequence

from energyopt.errors import ConfigError
from energyopt.search.sampler_names import ALIASES, SAMPLERS


def sampler_node(spec: object) -> dict[str, Any]:
    """Return the config node of a sampler given by a short name or as a node itself.

    Raises:
        ConfigError: If it is neither.
    """
    if isinstance(spec, Mapping) and spec.get("_target_") == "grid":
        spec = "grid"
    if isinstance(spec, str):
        name = ALIASES.get(spec, spec)
        if name in SAMPLERS:
            return {"_target_": SAMPLERS[name]}
    elif isinstance(spec, Mapping) and isinstance(spec.get("_target_"), str):
        return {str(key): value for key, value in spec.items()}
    raise ConfigError(
        f"sampler={spec} is not known; choose {', '.join(SAMPLERS)}, or give your own as "
        "'sampler={_target_: optuna.samplers.TPESampler, n_startup_trials: 5}'"
    )


def continued_seed(seed: int | None, existing: int) -> int | None:
    """Return a new seed for a study with trials: the same one would suggest them again."""
    if seed is None or existing == 0:
        return seed
    return int(SeedSequence([seed, existing]).generate_state(1)[0])
