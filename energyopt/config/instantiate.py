"""From a config node to an object: the only module that instantiates.

The code that a node names is checked before it runs. An error is a sentence that names the key.
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
from energyopt.utils.missing_packages import describe_import_error
from energyopt.utils.text import did_you_mean, first_line

Injected = Mapping[str, Callable[[], Any]]
"""Constructor arguments by name; each is made only if a constructor has the parameter."""


class Instantiator:
    """Makes the objects of a config.

    Args:
        folders: Folders whose modules may be named.
        trusted: Packages whose code may be named as well.
        injected: Arguments for all constructors.
    """

    def __init__(
        self, folders: tuple[Path, ...], trusted: Sequence[str], injected: Injected
    ) -> None:
        self._folders = folders
        self._trusted = trusted
        self._injected = injected

    def find(self, target: str) -> Any:
        """Return the class or function of a `_target_`, without calling it.

        Raises:
            ConfigError: If it may not be named, or there is no such thing.
        """
        return trusted_target(target, self._folders, self._trusted)

    def make(self, key: str, node: Any, extra: Injected | None = None) -> Any:
        """Instantiate a config node, and inject the arguments that its target has.

        Args:
            key: Key of the node.
            node: The node.
            extra: More injected arguments; they replace those for all constructors.

        Raises:
            ConfigError: If it names no code, code that may not be named, or cannot be built.
        """
        options = plain(key, node)
        targets = list(targets_in(options))
        if not isinstance(options, dict) or "_target_" not in options:
            raise ConfigError(f"{key}={options} names no code to run: it needs a _target_")
        for target in targets:
            self.find(target)
        with _constructor_errors(key, options):
            factory = instantiate(node, _convert_="all", _partial_=True)
            signature = inspect.signature(factory.func)
            if options.get("_partial_"):  # called later, by others: check its keywords now
                signature.bind_partial(*factory.args, **factory.keywords)
                return factory
        arguments = {
            name: make()
            for name, make in {**self._injected, **(extra or {})}.items()
            if name in signature.parameters and name not in factory.keywords
        }
        with _constructor_errors(key, options):
            return factory(**arguments)


@contextmanager
def _constructor_errors(key: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turn any exception of a constructor into a ConfigError that names the key."""
    try:
        yield
    except EnergyoptError:
        raise
    except SystemExit as error:
        raise ConfigError(
            f"{key} ({options['_target_']}) ends the program when it is called (SystemExit: "
            f"{error.code}), as a script does that reads its own command line; name a class or "
            "function that takes its options as arguments"
        ) from error
    except Exception as error:
        arguments = {name: value for name, value in options.items() if not name.startswith("_")}
        raise ConfigError(
            f"{key} ({options['_target_']}) cannot be built with {arguments}: {first_line(error)}"
        ) from error


@contextmanager
def error_context(key: str) -> Iterator[None]:
    """Prefix ConfigErrors with the key that they are about."""
    try:
        yield
    except ConfigError as error:
        message = str(error)
        raise ConfigError(message if message.startswith(key) else f"{key}: {message}") from error


def plain(key: str, node: Any) -> Any:
    """Return a node as plain data, resolved.

    Raises:
        ConfigError: If a value is missing, or it is not a node.
    """
    try:
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {first_line(error)}; set it on the command line") from error
    except ValueError as error:  # not a config node
        raise ConfigError(f"{key}={node} is not a group of options") from error


def value(key: str, node: DictConfig, name: str) -> Any:
    """Return a value of a node as plain data.

    Raises:
        ConfigError: If it cannot be resolved.
    """
    try:
        content = node[name]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {first_line(error)}") from error
    return plain(key, content) if OmegaConf.is_config(content) else content


def make_sampler(
    node: dict[str, Any], injected: Mapping[str, Any], cfg: DictConfig, what: str = "sampler"
) -> Any:
    """Make an Optuna sampler from a node, or a schedule.

    Args:
        node: A `_target_` and its options.
        injected: Constructor arguments; only those that it has and that are not None are passed.
        cfg: The root config, for `trusted_targets`.
        what: Its kind, for the message.

    Raises:
        ConfigError: If it may not be named, or cannot be built.
    """
    target = node["_target_"]
    trusted = list(cfg.get("trusted_targets") or [])
    factory, *_ = [trusted_target(name, (Path.cwd(),), trusted) for name in targets_in(node)]
    try:
        parameters = inspect.signature(factory).parameters
        _refuse_unknown_options(what, node, parameters)
        arguments = {
            key: value for key, value in injected.items() if key in parameters and value is not None
        }
        options = {key: value for key, value in node.items() if key not in arguments}
        return instantiate({**options, "_convert_": "all"}, _partial_=True)(**arguments)
    except EnergyoptError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(f"{what} {target} cannot be built: {_why(cause)}") from error


def _why(cause: BaseException) -> str:
    """Return why a constructor failed, in a line; where a package is missing, what to type."""
    if isinstance(cause, ImportError):
        return describe_import_error(cause)
    return str(cause).partition("\n")[0] or type(cause).__name__


def _refuse_unknown_options(
    what: str, node: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]
) -> None:
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in node:
        if key not in parameters and not key.startswith("_"):
            hint = did_you_mean(key, parameters, f"{what}.")
            name = str(node["_target_"]).rpartition(".")[2]
            raise ConfigError(f"{what}.{key}: {name} has no such option; {hint}")
