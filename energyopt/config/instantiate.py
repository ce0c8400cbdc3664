"""From a config node to an object: the only place that instantiates.

What the node names is checked first: only code that may be named is run. A mistake is a sentence
that names the key.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from energyopt.config.trust import targets_in, trusted_target
from energyopt.errors import ConfigError, EnergyoptError

Injected = Mapping[str, Callable[[], Any]]
"""What a constructor gets where it names it, by name; made when it is asked for."""


class Instantiator:
    """Makes the objects of a config.

    Args:
        folders: Folders whose modules may be named.
        trusted: Packages whose code may be named beside.
        offers: What all constructors are offered.
    """

    def __init__(self, folders: tuple[Path, ...], trusted: Sequence[str], offers: Injected) -> None:
        self._folders = folders
        self._trusted = trusted
        self._offers = offers

    def find(self, target: str) -> Any:
        """Return the class or function of a `_target_`, without calling it.

        Raises:
            ConfigError: If it may not be named, or there is no such thing.
        """
        return trusted_target(target, self._folders, self._trusted)

    def make(self, key: str, node: Any, told: Injected | None = None) -> Any:
        """Instantiate a config node, offering what its target names.

        Args:
            key: Where the node is.
            node: The node.
            told: What is offered beside, or instead of, what all are.

        Raises:
            ConfigError: If it names no code, code that may not be named, or cannot be built.
        """
        options = plain(key, node)
        targets = list(targets_in(options))
        if not isinstance(options, dict) or "_target_" not in options:
            raise ConfigError(f"{key}={options} names no code to run: it needs a _target_")
        for target in targets:
            self.find(target)
        with _building(key, options):
            factory = instantiate(node, _convert_="all", _partial_=True)
            signature = inspect.signature(factory.func)
            if options.get("_partial_"):  # called later, by others: a wrong keyword is known now
                signature.bind_partial(*factory.args, **factory.keywords)
                return factory
        offered = {
            name: offer()
            for name, offer in {**self._offers, **(told or {})}.items()
            if name in signature.parameters and name not in factory.keywords
        }
        with _building(key, options):
            return factory(**offered)


@contextmanager
def _building(key: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turn what a constructor says of its arguments into a sentence that names the key."""
    try:
        yield
    except EnergyoptError:
        raise
    except Exception as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        given = {name: value for name, value in options.items() if not name.startswith("_")}
        raise ConfigError(
            f"{key} ({options['_target_']}) cannot be built with {given}: {message}"
        ) from error


@contextmanager
def saying(key: str) -> Iterator[None]:
    """Say of what a mistake is one."""
    try:
        yield
    except ConfigError as error:
        said = str(error)
        raise ConfigError(said if said.startswith(key) else f"{key}: {said}") from error


def plain(key: str, node: Any) -> Any:
    """A node as plain data, resolved.

    Raises:
        ConfigError: If something in it is missing, or it is no node.
    """
    try:
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        message = str(error).splitlines()[0]
        raise ConfigError(f"{key}: {message}; set it on the command line") from error
    except ValueError as error:  # not a config node
        raise ConfigError(f"{key}={node} is not a group of options") from error


def value(key: str, node: DictConfig, name: str) -> Any:
    """A value of a node as plain data.

    Raises:
        ConfigError: If it cannot be resolved.
    """
    try:
        found = node[name]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error
    return plain(key, found) if OmegaConf.is_config(found) else found


def make_sampler(
    node: dict[str, Any], offers: Mapping[str, Any], cfg: DictConfig, what: str = "sampler"
) -> Any:
    """Make an Optuna sampler from a node, or a schedule.

    Args:
        node: A `_target_` and its options.
        offers: What it gets of these where it names it; a None is no offer.
        cfg: The root config, for `trusted_targets`.
        what: What it is, for the message.

    Raises:
        ConfigError: If it may not be named, or cannot be built.
    """
    target = node["_target_"]
    trusted = list(cfg.get("trusted_targets") or [])
    made, *_ = [trusted_target(name, (Path.cwd(),), trusted) for name in targets_in(node)]
    try:
        named = inspect.signature(made).parameters
        offered = {
            key: offer for key, offer in offers.items() if key in named and offer is not None
        }
        options = {key: value for key, value in node.items() if key not in offered}
        return instantiate({**options, "_convert_": "all"}, _partial_=True)(**offered)
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(
            f"{what} {target} cannot be built: {str(cause).splitlines()[0]}"
        ) from error
