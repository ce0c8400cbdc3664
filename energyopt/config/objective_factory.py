"""From the node `objective` to an objective: a class of one's own, or a function of a record."""

from __future__ import annotations

import inspect
from typing import Any

from omegaconf import OmegaConf

from energyopt.config.instantiate import Instantiator, plain
from energyopt.core.protocols import Objective
from energyopt.errors import ConfigError
from energyopt.objectives import FunctionObjective

_RECORD = "result"
"""A function that takes a parameter of this name is called with each trial's record."""


def make_objective(maker: Instantiator, node: Any) -> Objective:
    """Make the objective of a study.

    A function of a trial's record is wrapped: `metrics` (its own name, to be minimised, if there
    are none) and `stops_at_target` beside its `_target_` are what a class would say itself.

    Args:
        maker: Makes objects.
        node: The config's.

    Raises:
        ConfigError: If it cannot be made, or is no objective.
    """
    options = plain("objective", node)
    target = options.get("_target_") if isinstance(options, dict) else None
    function = maker.find(target) if isinstance(target, str) else None
    if inspect.isfunction(function) and _RECORD in inspect.signature(function).parameters:
        metrics = options.pop("metrics", None) or {function.__name__: "minimize"}
        stops = options.pop("stops_at_target", False)
        score = maker.make("objective", OmegaConf.create({**options, "_partial_": True}))
        return FunctionObjective(score, metrics, stops_at_target=stops)
    made = maker.make("objective", node)
    if not isinstance(made, Objective):
        raise ConfigError(
            f"objective._target_={target} makes a {type(made).__name__}, which is no objective: it "
            "needs metrics, stops_at_target and __call__(result); a function of a trial's record "
            f"takes it as {_RECORD!r}"
        )
    return made
