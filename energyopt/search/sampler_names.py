"""The short names of samplers, in one table from which everything else is derived.

The Hydra plugin imports it at every start of every Hydra app, so it uses the standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NamedSampler:
    """A sampler with a short name.

    Attributes:
        target: Dotted path of its class.
        aliases: Other names of the sampler.
        ours: Whether it is a choice of `sampler=NAME`, for studies of energy and accuracy.
        others: Whether it is a choice of `hydra/sweeper/sampler=NAME`, for any Hydra app.
    """

    target: str
    aliases: tuple[str, ...] = ()
    ours: bool = True
    others: bool = True


# The names are those of hydra-optuna-sweeper, too, so its apps need not change any key.
NAMED_SAMPLERS: Mapping[str, NamedSampler] = {
    "joule": NamedSampler("energyopt.search.joule.JouleSampler"),
    "tpe": NamedSampler("optuna.samplers.TPESampler", aliases=("motpe",)),
    "nsga2": NamedSampler("optuna.samplers.NSGAIISampler", aliases=("nsgaii",)),
    "nsga3": NamedSampler("optuna.samplers.NSGAIIISampler", aliases=("nsgaiii",)),
    "gp": NamedSampler("optuna.samplers.GPSampler"),
    "random": NamedSampler("optuna.samplers.RandomSampler"),
    "qmc": NamedSampler("optuna.samplers.QMCSampler"),
    # All points are planned beforehand, so the sampler suggests nothing.
    "grid": NamedSampler("optuna.samplers.RandomSampler"),
    "cmaes": NamedSampler("optuna.samplers.CmaEsSampler", ours=False),  # for one objective
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
    """Yield the choices of `hydra/sweeper/sampler` with their nodes, under each of their names.

    A node has no defaults of its class: they would go to another class whose `_target_` a config
    puts there. Any option of the class can be set, on the command line as well.
    hydra-optuna-sweeper stores options of the same names, so either plugin must understand these.
    """
    for name, sampler in NAMED_SAMPLERS.items():
        if not sampler.others:
            continue
        node: dict[str, Any] = {"_target_": sampler.target, "seed": None}
        if name == "grid":  # our sweeper plans it; hydra-optuna-sweeper, if installed, reads this
            node = {"_target_": "optuna.samplers.GridSampler", "_partial_": True}
        for alias in (name, *sampler.aliases):
            yield alias, dict(node)
