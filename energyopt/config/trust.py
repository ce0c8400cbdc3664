"""The code that a config may name: a `_target_` is a program, so someone must trust it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import yaml

from energyopt.core.moved_code import MOVED, target_now
from energyopt.errors import ConfigError, EnergyoptError
from energyopt.search.sampler_names import NAMED_SAMPLERS
from energyopt.utils.paths import PACKAGE, conf_dir

# Of energyopt only the packages of options: the code that runs studies takes functions, files and
# commands as arguments, and would do for a config what the config itself may not.
_PART_PACKAGES = ("models", "tasks", "paradigms", "objectives", "schedulers", "stopping")
_PART = re.compile(r"energyopt\.(\w+)")
# What a training is, and how its energy is measured: no folders, no storage, no limits of power.
_TRAINING_KEYS = frozenset(
    {"task", "model", "paradigm", "optimizer", "scheduler", "objective", "hardware", "stopping"}
    | {"lr", "batch_size", "epochs", "target", "monitor", "mode", "seed", "device", "num_threads"}
    | {"max_samples", "eval_every", "inference_s", "test_at_end", "patience", "sampler"}
)
_NEVER_SEARCHED = frozenset({"hydra", "storage", "study", "knowledge", "report", "trusted_targets"})
_WORD = r"'?[\w.+-]*'?"
_PAIR = rf"{_WORD}\s*:\s*{_WORD}"
_PLAIN_VALUE = re.compile(
    rf"{_WORD}|\[\s*{_WORD}(\s*,\s*{_WORD})*\s*\]|\{{\s*{_PAIR}(\s*,\s*{_PAIR})*\s*\}}"
)
_LIBRARIES = ("torch.nn", "torch.optim", "optuna.samplers", "optuna.pruners")


@cache
def own_places() -> frozenset[str]:
    """Return the packages and modules of energyopt whose public names a config may give.

    These are the packages that hold only options, and the modules that our own configs and the
    table of samplers name. No other config folder is read: a user's configs cannot open more of
    our code.

    Raises:
        ConfigError: If a config of ours is not YAML.
    """
    targets = {sampler.target for sampler in NAMED_SAMPLERS.values()}
    for path in sorted(conf_dir().rglob("*.yaml")):
        text = path.read_text()
        if set(_PART.findall(text)) <= set(_PART_PACKAGES):
            continue  # it adds no target, and YAML is slow to read
        try:
            targets.update(targets_in(yaml.safe_load(text)))
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    modules = filter(None, map(_own_module, targets))
    return frozenset((*(f"energyopt.{part}" for part in _PART_PACKAGES), *modules))


def _own_module(target: str) -> str | None:
    """Return the module of energyopt that a public name of one of our configs lies in.

    Only a file counts: a package would open everything below it.
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
    checked, so that `torch.nn.functional.importlib.import_module` is refused as `importlib`. A
    method is never allowed: a config could call it on an object of its choice.

    Args:
        target: Dotted path of a class or function.
        folders: Folders whose modules are trusted: the current one and --config-dir.
        packages: Packages that the user trusts (`trusted_targets`).
        moved: The current path of code that a study may name by an older one.

    Raises:
        ConfigError: If it may not be named, or there is no such thing.
    """
    target = target_now(target, moved)
    _check_allowed(target, target, folders, packages)
    resolved = _locate(target)
    if not callable(resolved):
        raise ConfigError(f"_target_={target} is not a class or function that can be called")
    module = getattr(resolved, "__module__", None) or type(resolved).__module__
    _check_allowed(f"{module}.{getattr(resolved, '__qualname__', '?')}", target, folders, packages)
    return resolved


def names_code(override: str) -> bool:
    """Return True if an override can name code or a secret.

    Such an override from a database is not run until a user types it.
    """
    key, _, value = override.lstrip("+~").partition("=")
    other_folder = ".." in value and "." not in key.partition("@")[0]  # model=../../file
    return (
        other_folder
        or "_target_" in override
        or "${" in override
        or override.startswith("--")
        or key == "trusted_targets"
        or key.startswith(("hydra.", "hydra/"))
    )


def runs_untyped(override: str, searched: Collection[str] = ()) -> bool:
    """Return True if an override from a database may be run without being typed again.

    That is: a key that the study searched, or one of a training, in `_TRAINING_KEYS`, with a plain
    value: a number, a word such as the name of an option, or a list of these. Paths are none.

    Args:
        override: The override.
        searched: The keys that the study searched.
    """
    key, _, value = override.lstrip("+~").partition("=")
    if names_code(override):
        return False
    root = re.split(r"[.@/]", key, maxsplit=1)[0]
    if key in searched and root not in _NEVER_SEARCHED:
        return not value.strip("'\"").startswith(("/", "~"))
    if root not in _TRAINING_KEYS or (root == "hardware" and "power_limit" in key):
        return False
    return _PLAIN_VALUE.fullmatch(value) is not None


def targets_in(node: Any) -> Iterator[str]:
    """Yield all `_target_` values in plain config data."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from targets_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets_in(value)


def _check_allowed(
    name: str, target: str, folders: Sequence[Path], packages: Sequence[str]
) -> None:
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
        "public in torch.nn, torch.optim, optuna.samplers or optuna.pruners, nor in this folder; "
        f"if you trust it, add 'trusted_targets=[{top}]'"
    )


def _spec(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def _is_in(spec: ModuleSpec, folders: Sequence[Path]) -> bool:
    """Return True if a top-level module lies directly in one of the folders."""
    places = list(spec.submodule_search_locations or [])
    if (
        spec.has_location and spec.origin and not places
    ):  # the origin of a frozen module is not a path
        places = [spec.origin]
    parents = {Path(place).resolve().parent for place in places}
    return bool(parents) and parents <= {folder.resolve() for folder in folders}


def _locate(target: str) -> Callable[..., Any] | Any:
    parts = target.split(".")
    if not all(parts) or len(parts) == 1:
        raise ConfigError(f"_target_={target} is not module.name, such as my_net.build")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        resolved: Any = _imported(module_name, target)
        if resolved is None:
            continue  # this part names a class
        for part in parts[cut:]:
            if not hasattr(resolved, part):
                raise ConfigError(f"_target_={target}: {module_name} has no {part!r}")
            if inspect.isclass(resolved) and inspect.isfunction(
                inspect.getattr_static(resolved, part)
            ):
                raise ConfigError(
                    f"_target_={target} is a method of {resolved.__name__}; name a class, a "
                    "function of a module, or a class method"
                )
            resolved = getattr(resolved, part)
        return resolved
    raise ConfigError(f"_target_={target}: there is no module {parts[0]!r}")


def _imported(module_name: str, target: str) -> Any:
    """Return a module of that name, None if there is none."""
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if f"{module_name}.".startswith(f"{error.name}."):
            return None
        raise ConfigError(f"_target_={target}: {error}") from error
    except EnergyoptError:
        raise
    except SystemExit as error:
        raise ConfigError(
            f"_target_={target}: importing {module_name} ends the program (SystemExit: "
            f"{error.code}), as a script does that reads its own command line; put what it runs "
            'under `if __name__ == "__main__":`, and name a class or function of it'
        ) from error
    except Exception as error:
        raise ConfigError(
            f"_target_={target}: importing {module_name} raises {type(error).__name__}: {error}"
        ) from error
