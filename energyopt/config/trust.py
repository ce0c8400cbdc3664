"""Which code a config may name: a `_target_` is a program, so it needs somebody's word."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import yaml

from energyopt.core.target_names import MOVED, target_now
from energyopt.errors import ConfigError
from energyopt.search.sampler_names import NAMED_SAMPLERS
from energyopt.utils.paths import PACKAGE, conf_dir

# Of energyopt the places of options alone: what runs studies takes functions, files and words of
# others as arguments, and would do for a config what the config may not.
_PART_PACKAGES = ("models", "tasks", "paradigms", "objectives", "schedulers", "stopping")
_PART = re.compile(r"energyopt\.(\w+)")
_LIBRARIES = ("torch.nn", "torch.optim", "optuna.samplers")


@cache
def own_places() -> frozenset[str]:
    """Return the packages and modules of energyopt whose public names a config may give.

    These are the packages that hold nothing but options, and the modules that our own configs and
    the table of samplers name. No other config folder is asked: a user's configs vouch for no code
    of ours.

    Raises:
        ConfigError: If a file of ours is no YAML.
    """
    targets = {sampler.target for sampler in NAMED_SAMPLERS.values()}
    for path in sorted(conf_dir().rglob("*.yaml")):
        text = path.read_text()
        if set(_PART.findall(text)) <= set(_PART_PACKAGES):
            continue  # it can add nothing, and YAML is slow to read
        try:
            targets.update(targets_in(yaml.safe_load(text)))
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    modules = filter(None, map(_own_module, targets))
    return frozenset((*(f"energyopt.{part}" for part in _PART_PACKAGES), *modules))


def _own_module(target: str) -> str | None:
    """Return the module of energyopt that a public name of one of our configs lies in.

    Only a file counts: a package would vouch for all that lies below it.
    """
    top, *parts = target.split(".")
    if top != "energyopt" or any(part.startswith("_") for part in parts):
        return None
    for end in range(1, len(parts)):
        if PACKAGE.joinpath(*parts[:end]).with_suffix(".py").is_file():
            return ".".join((top, *parts[:end]))
    return None


def trusted_target(
    target: str,
    folders: Sequence[Path],
    packages: Sequence[str],
    moved: Mapping[str, str] = MOVED,
) -> Any:
    """Resolve a `_target_`, if it may be named.

    Allowed: public names of our own options (`own_places`) and of a few libraries; modules in the
    given folders; and the given packages. Both the name and the object that it resolves to are
    checked, so that `torch.nn.functional.importlib.import_module` is refused as what it is. A
    method is never found: with the object that it asks for it would be a call of the config's own
    choice.

    Args:
        target: Dotted path of a class or function.
        folders: Whose own modules are trusted: the current folder, and --config-dir.
        packages: What the user trusts by name (`trusted_targets`).
        moved: Where code is now that a study may name as it was called before.

    Raises:
        ConfigError: If it may not be named, or there is no such thing.
    """
    target = target_now(target, moved)
    _check(target, target, folders, packages)
    found = _locate(target)
    if not callable(found):
        raise ConfigError(f"_target_={target} is not a class or function that can be called")
    module = getattr(found, "__module__", None) or type(found).__module__
    _check(f"{module}.{getattr(found, '__qualname__', '?')}", target, folders, packages)
    return found


def names_code(word: str) -> bool:
    """Whether a command-line word can lead to code, or to a secret, that it names.

    Such a word from a database is not run until somebody types it.
    """
    key, _, value = word.lstrip("+~").partition("=")
    other_folder = ".." in value and "." not in key.partition("@")[0]  # model=../../file
    return (
        other_folder
        or "_target_" in word
        or "${" in word
        or word.startswith("--")
        or key == "trusted_targets"
        or key.startswith(("hydra.", "hydra/"))
    )


def targets_in(node: Any) -> Iterator[str]:
    """All `_target_` values in plain config data."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from targets_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets_in(value)


def _check(name: str, target: str, folders: Sequence[Path], packages: Sequence[str]) -> None:
    private = name == target and any(part.startswith("_") for part in name.split("."))
    trusted = packages if private else (*own_places(), *_LIBRARIES, *packages)
    if any(name == prefix or name.startswith(f"{prefix}.") for prefix in trusted):
        return
    top = name.partition(".")[0]
    spec = _spec(top)
    if spec is None and name == target:
        raise ConfigError(
            f"_target_={target}: there is no module {top!r} in this folder or among the installed "
            "packages"
        )
    if top == "energyopt":  # also where the current folder is a checkout of it
        raise ConfigError(
            f"_target_={target} is no option of energyopt: a config may name its models, tasks, "
            "paradigms, objectives, schedulers, stopping rules, schedules and meters"
        )
    if spec is not None and _is_in(spec, folders):
        return
    raise ConfigError(
        f"_target_={target} names code of {top!r}, which is neither an option of energyopt, nor "
        "public in torch.nn, torch.optim or optuna.samplers, nor in this folder; if you trust it, "
        f"add 'trusted_targets=[{top}]'"
    )


def _spec(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def _is_in(spec: ModuleSpec, folders: Sequence[Path]) -> bool:
    """Whether a top-level module lies directly in one of the folders."""
    places = list(spec.submodule_search_locations or [])
    if spec.has_location and spec.origin and not places:  # a frozen module's origin is no path
        places = [spec.origin]
    parents = {Path(place).resolve().parent for place in places}
    return bool(parents) and parents <= {folder.resolve() for folder in folders}


def _locate(target: str) -> Callable[..., Any] | Any:
    parts = target.split(".")
    if not all(parts) or len(parts) == 1:
        raise ConfigError(f"_target_={target} is not module.name, such as my_net.build")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if f"{module_name}.".startswith(f"{error.name}."):
                continue  # that was the part which names a class
            raise ConfigError(f"_target_={target}: {error}") from error
        for part in parts[cut:]:
            if not hasattr(found, part):
                raise ConfigError(f"_target_={target}: {module_name} has no {part!r}")
            if inspect.isclass(found) and inspect.isfunction(inspect.getattr_static(found, part)):
                raise ConfigError(
                    f"_target_={target} is a method of {found.__name__}; name a class, a function "
                    "of a module, or a class method"
                )
            found = getattr(found, part)
        return found
    raise ConfigError(f"_target_={target}: there is no module {parts[0]!r}")
