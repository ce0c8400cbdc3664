"""From the node `objective` to an objective: a user's class, or a function of a record."""

from __future__ import annotations

import inspect
from typing import Any

from omegaconf import OmegaConf

from energyopt.config.instantiate import Instantiator, plain
from energyopt.core.protocols import Objective
from energyopt.errors import ConfigError
from energyopt.objectives import FunctionObjective

_RECORD = "result"
"""A function with a parameter of this name is called with each trial's record."""


def make_objective(instantiator: Instantiator, node: Any) -> Objective:
    """Make the objective of a study.

    A function of a trial's record is wrapped: the node's `metrics` (by default its own name, to be
    minimised) and `stops_at_target` stand in for the attributes of a class.

    Args:
        instantiator: Makes objects.
        node: The node `objective`.

    Raises:
        ConfigError: If it cannot be made, or is not an objective.
    """
    options = plain("objective", node)
    target = options.get("_target_") if isinstance(options, dict) else None
    function = instantiator.find(target) if isinstance(target, str) else None
    if inspect.isfunction(function) and _RECORD in inspect.signature(function).parameters:
        metrics = options.pop("metrics", None) or {function.__name__: "minimize"}
        stops_at_target = options.pop("stops_at_target", False)
        score = instantiator.make("objective", OmegaConf.create({**options, "_partial_": True}))
        return FunctionObjective(score, metrics, stops_at_target=stops_at_target)
    objective = instantiator.make("objective", node)
    if not isinstance(objective, Objective):
        raise ConfigError(
            f"objective._target_={target} makes a {type(objective).__name__}, which is no "
            "objective: it needs metrics, stops_at_target and __call__(result); a function of a "
            f"trial's record takes it as {_RECORD!r}"
        )
    return objective
