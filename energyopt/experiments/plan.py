"""What an experiment is: arms that are studies, and how they are compared.

`conf/experiment/NAME.yaml` says it, or a file of the user's own in `--config-dir`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from energyopt.errors import ConfigError
from energyopt.utils.paths import conf_dir

Kind = Literal["training", "recycled", "shared", "paradigms"]
"""What an experiment asks, and so which summary answers it."""

GROUP = "experiment"

# What each kind compares: the roles of arms, and what more a comparison may say.
_ROLES: Mapping[Kind, tuple[str, ...]] = {
    "training": ("cells",),
    "recycled": ("scratch", "pretrained"),
    "shared": ("multitask", "singles"),
    "paradigms": ("cells",),
}
_KEYS = {"kind", "about", "words", "seeds", "again", "default", "larger", "arms", "comparisons"}
_ARM_KEYS = {"words", "grid", "needs", "larger"}
_TOLD = {"note", "control"}


@dataclass(frozen=True)
class Arm:
    """One study of an experiment: a grid of setups, each trained with each seed.

    Attributes:
        name: Its name.
        words: Overrides that all its trainings share.
        grid: Values by key.
        needs: Words of a task that may be missing: without it the arm is skipped.
    """

    name: str
    words: tuple[str, ...]
    grid: Mapping[str, tuple[Any, ...]]
    needs: tuple[str, ...] = ()

    @property
    def setups(self) -> int:
        """How many setups the grid has."""
        return math.prod(len(values) for values in self.grid.values())


@dataclass(frozen=True)
class Comparison:
    """Which arms are compared.

    Attributes:
        name: Its name.
        arms: Names of arms by their role; several in one role are separate trainings.
        note: What it is about, in words.
        control: Whether nothing is expected of it.
    """

    name: str
    arms: Mapping[str, tuple[str, ...]]
    note: str = ""
    control: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All its arms."""
        return tuple(name for names in self.arms.values() for name in names)


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes:
        name: Its name.
        kind: What it asks.
        about: The same in a sentence.
        seeds: With which each setup of a grid is trained, to choose.
        again: Other seeds, with which the chosen setups are trained, to compare.
        arms: Its arms, in order.
        comparisons: What is compared.
        default: The setup of a grid that is energyopt's default; empty if none is.
    """

    name: str
    kind: Kind
    about: str
    seeds: tuple[int, ...]
    again: tuple[int, ...]
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    default: Mapping[str, Any]

    @cached_property
    def by_name(self) -> Mapping[str, Arm]:
        """Its arms by their names."""
        return {arm.name: arm for arm in self.arms}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Experiment:
        """Read what `to_dict` wrote."""
        arms = tuple(
            Arm(
                name=arm["name"],
                words=tuple(arm["words"]),
                grid={key: tuple(values) for key, values in arm["grid"].items()},
                needs=tuple(arm["needs"]),
            )
            for arm in data["arms"]
        )
        comparisons = tuple(
            Comparison(
                name=each["name"],
                arms={role: tuple(names) for role, names in each["arms"].items()},
                note=each["note"],
                control=each["control"],
            )
            for each in data["comparisons"]
        )
        more = {"arms": arms, "comparisons": comparisons}
        seeds = {key: tuple(data[key]) for key in ("seeds", "again")}
        return cls(**{**data, **more, **seeds})


def places(config_dir: Path | None = None) -> list[Path]:
    """Folders in which experiments are looked for, the user's own first."""
    folders = [conf_dir()] if config_dir is None else [config_dir, conf_dir()]
    return [folder / GROUP for folder in folders]


def names_there(config_dir: Path | None = None) -> list[str]:
    """Names of the experiments that there are."""
    return sorted({file.stem for place in places(config_dir) for file in place.glob("*.yaml")})


def read_experiment(
    name: str, config_dir: Path | None = None, *, large: bool = False
) -> Experiment:
    """Read an experiment.

    Args:
        name: Its name.
        config_dir: A folder of the user's own configs.
        large: Whether it is to have the larger workload, for a GPU.

    Raises:
        ConfigError: If there is none, or its file says what it may not.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a folder; give that of your configs")
    there = names_there(config_dir)
    if name not in there:
        raise ConfigError(
            f"there is no experiment {name!r}; there are {', '.join(there)}, or your own in "
            f"DIR/{GROUP}/NAME.yaml with --config-dir DIR"
        )
    path = next(p for place in places(config_dir) if (p := place / f"{name}.yaml").is_file())
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        first = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be read as YAML: {first}") from error
    return _Reader(name, path).experiment(data, large=large)


class _Reader:
    """Makes an experiment of plain data, and names what is wrong with it.

    Args:
        name: The experiment's.
        path: Where the data comes from.
    """

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path

    def experiment(self, data: Any, *, large: bool) -> Experiment:
        data = self._mapping("the file", data, _KEYS)
        kind = data.get("kind")
        if kind not in get_args(Kind):
            raise self._wrong(f"kind: {kind} is none of {', '.join(get_args(Kind))}")
        common = [*self._words("words", data), *self._larger(data, large)[0]]
        arms = tuple(
            self._arm(str(name), arm, common, large=large)
            for name, arm in self._mapping("arms", data.get("arms")).items()
        )
        seeds, again = (self._seeds(key, data) for key in ("seeds", "again"))
        if set(seeds) & set(again):
            raise self._wrong("again: seeds that chose a setup do not judge it; give others")
        known = {arm.name for arm in arms}
        compared = self._mapping("comparisons", data.get("comparisons")).items()
        return Experiment(
            name=self._name,
            kind=kind,
            about=" ".join(str(data.get("about", "")).split()),
            seeds=seeds,
            again=again,
            arms=arms,
            comparisons=tuple(self._comparison(str(n), c, kind, known) for n, c in compared),
            default=data.get("default") or {},
        )

    def _arm(self, name: str, data: Any, common: Sequence[str], *, large: bool) -> Arm:
        data = self._mapping(f"arms.{name}", data, _ARM_KEYS)
        words, more = self._larger(data, large)
        grid = self._mapping(f"arms.{name}.grid", data.get("grid")) | more
        for key, values in grid.items():
            if not isinstance(values, list) or not values:
                raise self._wrong(f"arms.{name}.grid.{key}: {values} is no list of values")
        if "seed" in grid:
            raise self._wrong(f"arms.{name}.grid.seed: seeds are those of the experiment")
        return Arm(
            name=name,
            words=(*common, *self._words("words", data), *words),
            grid={str(key): tuple(values) for key, values in grid.items()},
            needs=tuple(self._words("needs", data)),
        )

    def _comparison(self, name: str, data: Any, kind: Kind, known: set[str]) -> Comparison:
        roles = _ROLES[kind]
        data = self._mapping(f"comparisons.{name}", data, {*roles, *_TOLD})
        arms = {}
        for role in roles:
            given = data.get(role)
            names = tuple(map(str, given if isinstance(given, list) else [given]))
            wrong = next((each for each in names if each not in known), None)
            if wrong is not None:
                raise self._wrong(
                    f"comparisons.{name}.{role}: {wrong} is none of the arms {', '.join(known)}"
                )
            arms[role] = names
        return Comparison(name, arms, str(data.get("note", "")), data.get("control") is True)

    def _larger(self, data: Mapping[str, Any], large: bool) -> tuple[list[str], dict[str, Any]]:
        """Words and grid of the larger workload; nothing where it is not asked for."""
        larger = self._mapping("larger", data.get("larger") or {}, {"words", "grid"})
        if not large:
            return [], {}
        return self._words("words", larger), dict(larger.get("grid") or {})

    def _seeds(self, key: str, data: Mapping[str, Any]) -> tuple[int, ...]:
        seeds = data.get(key)
        whole = isinstance(seeds, list) and all(type(seed) is int for seed in seeds)
        if not whole or not seeds or len(set(seeds)) < len(seeds):
            raise self._wrong(f"{key}: {seeds} is no list of different whole numbers")
        return tuple(seeds)

    def _words(self, key: str, data: Mapping[str, Any]) -> list[str]:
        words = data.get(key) or []
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise self._wrong(f"{key}: {words} is no list of key=value words")
        wrong = next((word for word in words if "=" not in word), None)
        if wrong is not None:
            raise self._wrong(f"{key}: {wrong} is no key=value word")
        return list(words)

    def _mapping(self, what: str, data: Any, keys: set[str] | None = None) -> dict[str, Any]:
        if not isinstance(data, dict) or not (data or what == "larger"):
            raise self._wrong(f"{what}: keys with values are needed")
        wrong = sorted(map(str, set(data) - (keys or set(data))))
        if wrong:
            allowed = ", ".join(sorted(keys or ()))
            raise self._wrong(f"{what}: there is no key {wrong[0]}; there are {allowed}")
        return data

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"{self._path}: {what}")
