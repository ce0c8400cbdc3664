"""Find a part of the user's own, and build it as a training would, for the checks of its kind."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args

from omegaconf import OmegaConf

from energyopt.config.instantiate import make_sampler
from energyopt.config.trial_factory import GROUPS, TrialFactory
from energyopt.config.trust import trusted_target
from energyopt.config.yaml_comments import read_defaults, read_keys
from energyopt.core.metric import Monitor
from energyopt.errors import ConfigError
from energyopt.jobs.app_config import compose_here, folders_here
from energyopt.utils.paths import conf_dir
from energyopt.utils.text import near_word

Kind = Literal["paradigm", "task", "model", "meter", "objective", "rule", "schedule"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# The members by which a kind is recognised, and which the message about an unknown kind lists.
_MEMBERS: Mapping[Kind, tuple[str, ...]] = {
    "paradigm": ("epoch_samples", "train", "evaluate"),
    "task": ("train", "validation", "test", "input_shape", "num_classes"),
    "meter": ("provenance", "start", "stop"),
    "objective": ("metrics", "stops_at_target"),
    "rule": ("decide",),
    "schedule": ("next_step",),
}
# Parameters that only constructors of a kind have; the first kind that matches is taken.
_PARAMETERS: Mapping[Kind, frozenset[str]] = {
    "paradigm": frozenset({"task", "model", "make_model", "optimizer", "scheduler"}),
    "model": frozenset({"input_shape", "num_classes"}),
    "objective": frozenset({"result"}),
}
_NODES: Mapping[Kind, str] = {
    "paradigm": "paradigm",
    "task": "task",
    "model": "model",
    "meter": "hardware.meter",
    "objective": "objective",
    "rule": "stopping.rules.own",
    "schedule": "stopping.schedule",
}
_CHOICES: Mapping[Kind, tuple[str, ...]] = {
    "meter": ("hardware=own",),
    "rule": ("stopping=none",),
    "schedule": ("stopping=none",),
}
# The contract compares trainings bit by bit, which not every GPU kernel allows; a device= that the
# user gives comes later and replaces it.
_TRAINS = ("hardware=estimate", "device=cpu")
# The constructor is given these anyway, as a training gives them.
_INJECTED = (
    "lr",
    "batch_size",
    "epochs",
    "target",
    "monitor",
    "mode",
    "seed",
    "num_threads",
    "device",
)
_FOR_HYDRA = frozenset({*GROUPS, *_INJECTED, "trusted_targets", "hydra"})


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """The part to check.

    Attributes:
        target: Dotted path of a class, or of a function that makes the part.
        overrides: Arguments of its constructor, and overrides of the config.
        kind: What it is; None recognises it.
        config_dir: A folder of the user's own configs.
    """

    target: str
    overrides: tuple[str, ...] = ()
    kind: Kind | None = None
    config_dir: Path | None = None


class OwnPart:
    """A part of the user's own that can be built again and again, as a training would build it.

    Args:
        request: What to check.

    Attributes:
        target: Dotted path of its class or function.
        kind: What it is.

    Raises:
        ConfigError: If the target may not be named, cannot be built, or is no part.
    """

    target: str
    kind: Kind

    def __init__(self, request: CheckRequest) -> None:
        self.target = request.target
        self._request = request
        self._folders = folders_here(request.config_dir)
        sys.path.extend(str(f) for f in self._folders if str(f) not in sys.path)
        self._constructor = self._find()
        self.kind = request.kind or kind_of(self._constructor) or self._kind_of_built()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Release the GPUs."""
        if "_shared" in self.__dict__:
            self._shared.__exit__()

    @property
    def parameters(self) -> frozenset[str]:
        """The names of its constructor's parameters."""
        return frozenset(_parameters(self._constructor))

    @cached_property
    def config(self) -> Any:
        """The composed config of a training with this part."""
        return compose_here(self._overrides, self._request.config_dir)

    @property
    def task(self) -> Any:
        """The task of that training, loaded once."""
        return self._shared.task

    @property
    def monitor(self) -> Monitor:
        """The metric of that training."""
        return self._shared.monitor

    def make(self, seed: int = 0) -> Any:
        """Return the part, built anew.

        Args:
            seed: Seed of a paradigm.

        Raises:
            ConfigError: If it cannot be built.
        """
        if self.kind == "schedule":
            node: Any = OmegaConf.to_container(self.config.stopping.schedule, resolve=True)
            return make_sampler(node, {"seed": seed}, self.config, "stopping.schedule")
        factory = self._factory(seed)
        match self.kind:
            case "paradigm":
                factory.build_without_pretraining()
                return factory.make_paradigm()
            case "rule":
                return factory.rules["own"]
            case kind:
                return getattr(factory, kind)

    @cached_property
    def _shared(self) -> TrialFactory:
        """Holds the GPUs and the data that all parts share."""
        return TrialFactory(self.config, self._folders)

    def _factory(self, seed: int) -> TrialFactory:
        config = self.config.copy()
        config.seed = seed
        factory = TrialFactory(config, self._folders)
        if self.kind in ("paradigm", "model", "task", "meter"):  # others know no device
            factory.gpus = self._shared.gpus
        if self.kind in ("paradigm", "model"):
            factory.task = self.task
        return factory

    def _find(self) -> Any:
        words = [word for word in self._request.overrides if word.startswith("trusted_targets=")]
        trusted = list(compose_here(words, self._request.config_dir).trusted_targets)
        try:
            return trusted_target(self.target, self._folders, trusted)
        except ConfigError as error:
            raise ConfigError(str(error).removeprefix("_target_=")) from error.__cause__

    @property
    def _overrides(self) -> tuple[str, ...]:
        node = _NODES[self.kind]
        chosen = _CHOICES.get(self.kind, (f"{self.kind}=own",))
        if self.kind == "schedule":
            chosen = (*chosen, f"{node}={{_target_:{self.target}}}")
        else:
            chosen = (*chosen, f"++{node}._target_={self.target}")
        if self.kind != "meter":
            chosen = (*_TRAINS, *chosen)
        return (*chosen, *own_arguments(self._constructor, node, self._request.overrides))

    def _kind_of_built(self) -> Kind:
        """Build the part, for its kind: a task gets the same arguments as any other."""
        with OwnPart(replace(self._request, kind="task")) as part:
            built = part.make()
        kind = kind_of(built)
        if kind is None:
            kinds = "; ".join(f"{name}: {', '.join(has)}" for name, has in _MEMBERS.items())
            raise ConfigError(
                f"{self.target} returns {built!r:.80}, which is none of the parts that energyopt "
                f"takes, by what they have ({kinds}); name one, or say what it is with --kind"
            )
        return kind


def kind_of(part: Any) -> Kind | None:
    """Return the kind of a part, a class or a function that makes one; None if it does not show."""
    if inspect.isfunction(part):
        return _kind_by_parameters(part)
    members = set(dir(part)) | set(getattr(part, "__annotations__", ()))
    if not _is_module(part) or "evaluate" in members:
        has = {kind: len(members & set(names)) for kind, names in _MEMBERS.items()}
        if not callable(getattr(part, "train", None)):  # the training split of a task
            has["paradigm"] = 0
        best = max(_MEMBERS, key=lambda kind: has[kind])
        if has[best]:
            return best
    if _is_module(part):
        return "model"
    return _kind_by_parameters(part) if inspect.isclass(part) else None


def own_arguments(constructor: Any, node: str, words: Iterable[str]) -> tuple[str, ...]:
    """Return overrides in which arguments of a constructor have the key of its node.

    Args:
        constructor: The class or function.
        node: Key of its node, such as "paradigm".
        words: Overrides; `momentum=0.9` stands for `++paradigm.momentum=0.9`.

    Raises:
        ConfigError: If a word is neither an argument nor a key of the config.
    """
    parameters = _parameters(constructor)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = [name for name, p in parameters.items() if p.kind in (p.KEYWORD_ONLY, _POSITIONAL)]
    keys = _root_keys()
    overrides = []
    for word in words:
        key, equals, _ = word.partition("=")
        head = key.partition(".")[0].partition("@")[0]
        if not equals or head.startswith(("+", "~", "-")) or head in _FOR_HYDRA:
            overrides.append(word)
        elif head in named or (takes_any and head not in keys):
            overrides.append(f"++{node}.{word}")
        elif head in keys:
            overrides.append(word)
        else:
            raise ConfigError(_unknown_key(constructor.__name__, head, named, keys))
    return tuple(overrides)


_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


def _unknown_key(name: str, key: str, arguments: Sequence[str], keys: Sequence[str]) -> str:
    near = near_word(key, [*arguments, *keys])
    hint = f"did you mean {near}? " if near else ""
    takes = ", ".join(arguments) or "no arguments"
    return (
        f"{key}: neither an argument of {name} nor a key of the config; {hint}{name} takes "
        f"{takes}, and `energyopt --help` lists the keys"
    )


def _root_keys() -> list[str]:
    file = conf_dir() / "config.yaml"
    return [*{key.name.partition(".")[0] for key in read_keys(file)}, *read_defaults(file)]


def _kind_by_parameters(constructor: Any) -> Kind | None:
    parameters = _parameters(constructor).keys()
    return next((kind for kind, names in _PARAMETERS.items() if parameters & names), None)


def _parameters(constructor: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(constructor).parameters
    except (TypeError, ValueError):  # some classes written in C have none
        return {}


def _is_module(part: Any) -> bool:
    """Return True for a network, or a class of networks."""
    classes = inspect.getmro(part if inspect.isclass(part) else type(part))
    return "torch.nn.modules.module.Module" in {f"{c.__module__}.{c.__name__}" for c in classes}
