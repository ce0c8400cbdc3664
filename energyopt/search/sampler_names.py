"""The short names of samplers, in one table from which everything else is derived.

The Hydra plugin imports it at every start of every Hydra app, so it uses the standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class NamedSampler:
    """A sampler with a short name.

    Attributes:
        target: Dotted path of its class.
        options: Keys of `hydra/sweeper/sampler=NAME`, with their defaults.
        aliases: Other names of the sampler.
        ours: Whether it is a choice of `sampler=NAME`, for studies of energy and accuracy.
        others: Whether it is a choice of `hydra/sweeper/sampler=NAME`, for any Hydra app.
    """

    target: str
    options: Mapping[str, Any] = field(default_factory=lambda: {"seed": None})
    aliases: tuple[str, ...] = ()
    ours: bool = True
    others: bool = True


_NSGA = {
    "seed": None,
    "population_size": 50,
    "mutation_prob": None,
    "crossover_prob": 0.9,
    "swapping_prob": 0.5,
}
# Options and aliases are those of hydra-optuna-sweeper, so its apps need not change any key.
NAMED_SAMPLERS: Mapping[str, NamedSampler] = {
    "joule": NamedSampler("energyopt.search.joule.JouleSampler"),
    "tpe": NamedSampler(
        "optuna.samplers.TPESampler",
        {"seed": None, "n_startup_trials": 10, "n_ei_candidates": 24},
        aliases=("motpe",),
    ),
    "nsga2": NamedSampler("optuna.samplers.NSGAIISampler", _NSGA, aliases=("nsgaii",)),
    "nsga3": NamedSampler("optuna.samplers.NSGAIIISampler", _NSGA, aliases=("nsgaiii",)),
    "gp": NamedSampler(
        "optuna.samplers.GPSampler",
        {"seed": None, "n_startup_trials": 10, "deterministic_objective": False},
    ),
    "random": NamedSampler("optuna.samplers.RandomSampler"),
    "qmc": NamedSampler(
        "optuna.samplers.QMCSampler",
        {
            "seed": None,
            "qmc_type": "sobol",
            "scramble": False,
            "warn_independent_sampling": True,
        },
    ),
    # All points are planned beforehand, so the sampler suggests nothing.
    "grid": NamedSampler("optuna.samplers.RandomSampler", {}),
    "cmaes": NamedSampler(
        "optuna.samplers.CmaEsSampler",
        {
            "seed": None,
            "sigma0": None,
            "n_startup_trials": 1,
            "warn_independent_sampling": True,
            "restart_strategy": None,
        },
        ours=False,  # for one objective
    ),
}

SAMPLERS: Mapping[str, str] = {
    name: sampler.target for name, sampler in NAMED_SAMPLERS.items() if sampler.ours
}
"""The class of each choice of `sampler=NAME`."""

ALIASES: Mapping[str, str] = {
    alias: name for name, sampler in NAMED_SAMPLERS.items() for alias in sampler.aliases
}
"""Other names of samplers, with the names that they stand for."""


def sampler_name(sampler: str | Mapping[str, Any]) -> str:
    """Return the short name of a sampler, or the path of a class that has none."""
    if isinstance(sampler, str):
        return sampler
    target = str(sampler["_target_"])
    return next((name for name, path in SAMPLERS.items() if path == target), target)


def sweeper_options() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the choices of `hydra/sweeper/sampler` with their nodes, under each of their names."""
    for name, sampler in NAMED_SAMPLERS.items():
        if not sampler.others:
            continue
        # The sweeper plans a grid itself: it recognises this name.
        target = name if name == "grid" else sampler.target
        for alias in (name, *sampler.aliases):
            yield alias, {"_target_": target, **sampler.options}
