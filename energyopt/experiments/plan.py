"""Plan of an experiment: its arms, each of which is a study, and how they are compared.

It is read from `conf/experiment/NAME.yaml`, or from `experiment/NAME.yaml` in `--config-dir`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from energyopt.errors import ConfigError
from energyopt.utils.paths import conf_dir

ExperimentKind = Literal["training", "recycled", "shared", "paradigms"]
"""The question of an experiment, which determines its summary."""

Splits = Literal["seed", "fixed"]
"""The splits of the data: one for each seed, or one that all seeds share."""

GROUP = "experiment"

# The roles of the arms in a comparison, by the kind of experiment.
_ROLES: Mapping[ExperimentKind, tuple[str, ...]] = {
    "training": ("cells",),
    "recycled": ("scratch", "pretrained", "random"),
    "shared": ("multitask", "singles"),
    "paradigms": ("cells",),
}
_OPTIONAL_ROLES = {"random"}  # head alone on a random trunk: plans from before have none
_EXPERIMENT_KEYS = {
    "kind",
    "about",
    "words",
    "splits",
    "seeds",
    "again",
    "default",
    "larger",
    "arms",
    "comparisons",
}
_ARM_KEYS = {"words", "splits", "grid", "needs", "larger"}
# A word that makes the data of a task depend on the seed: of a drawn task, its samples.
_VARYING_SPLIT = re.compile(r"^\+*task\.(split|sample|pair)_seed=\$\{seed\}$")
_COMPARISON_KEYS = {"note", "control"}  # in addition to the roles


@dataclass(frozen=True)
class Arm:
    """One study of an experiment: a grid of configurations, each trained with every seed.

    Attributes:
        name: Name of the arm.
        words: Overrides for all trainings of the arm.
        grid: Values by key.
        needs: Overrides that select a task; the arm is skipped if its data is missing.
    """

    name: str
    words: tuple[str, ...]
    grid: Mapping[str, tuple[Any, ...]]
    needs: tuple[str, ...] = ()

    @property
    def varies_splits(self) -> bool:
        """True if each seed has a split of the data of its own."""
        return any(_VARYING_SPLIT.search(word) for word in self.words)

    @property
    def n_setups(self) -> int:
        """Number of configurations in the grid."""
        return math.prod(len(values) for values in self.grid.values())


@dataclass(frozen=True)
class Comparison:
    """Arms that are compared with each other.

    Attributes:
        name: Name of the comparison.
        arms: Names of arms by their role; several in one role are trained separately.
        note: A description.
        control: True for a control, in which no saving is expected.
    """

    name: str
    arms: Mapping[str, tuple[str, ...]]
    note: str = ""
    control: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all compared arms."""
        return tuple(name for names in self.arms.values() for name in names)


@dataclass(frozen=True)
class Experiment:
    """Plan of an experiment.

    Choosing a configuration by its energy with some seeds biases that energy low, so the chosen
    ones are trained with other seeds and compared by those.

    Attributes:
        name: Name of the experiment.
        kind: Its question.
        about: Its question in a sentence.
        seeds: Seeds for every configuration of a grid, to choose the best ones.
        again: Other seeds, for the chosen configurations, to compare them.
        arms: The arms, in order.
        comparisons: The comparisons.
        default: The configuration of a grid that is energyopt's default; empty if there is none.
    """

    name: str
    kind: ExperimentKind
    about: str
    seeds: tuple[int, ...]
    again: tuple[int, ...]
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    default: Mapping[str, Any]

    @cached_property
    def arms_by_name(self) -> Mapping[str, Arm]:
        """The arms by their names."""
        return {arm.name: arm for arm in self.arms}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Experiment:
        """Read the output of `to_dict`."""
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
                name=comparison["name"],
                arms={role: tuple(names) for role, names in comparison["arms"].items()},
                note=comparison["note"],
                control=comparison["control"],
            )
            for comparison in data["comparisons"]
        )
        seeds = {key: tuple(data[key]) for key in ("seeds", "again")}
        return cls(**{**data, **seeds, "arms": arms, "comparisons": comparisons})


def _folders(config_dir: Path | None) -> list[Path]:
    """Return the folders with experiments, the user's first."""
    folders = [conf_dir()] if config_dir is None else [config_dir, conf_dir()]
    return [folder / GROUP for folder in folders]


def experiment_names(config_dir: Path | None = None) -> list[str]:
    """Return the names of all experiments, including those of the user."""
    return sorted({path.stem for folder in _folders(config_dir) for path in folder.glob("*.yaml")})


def read_experiment(
    name: str, config_dir: Path | None = None, *, large: bool = False, splits: Splits = "seed"
) -> Experiment:
    """Read the plan of an experiment.

    Args:
        name: Name of the experiment.
        config_dir: A folder of user configs.
        large: Use the larger workload, for a GPU.
        splits: "seed" for a split of the data for each seed, "fixed" for the same one for all.

    Raises:
        ConfigError: If there is no such experiment, or its file is invalid.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a folder; give that of your configs")
    names = experiment_names(config_dir)
    if name not in names:
        raise ConfigError(
            f"there is no experiment {name!r}; there are {', '.join(names)}, or your own in "
            f"DIR/{GROUP}/NAME.yaml with --config-dir DIR"
        )
    path = next(p for folder in _folders(config_dir) if (p := folder / f"{name}.yaml").is_file())
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be read as YAML: {reason}") from error
    return _Reader(name, path, splits).read(data, large=large)


class _Reader:
    """Builds an experiment from the plain data of a file; its errors name the file and the key."""

    def __init__(self, name: str, path: Path, splits: Splits) -> None:
        self._name = name
        self._path = path
        self._splits = splits

    def read(self, data: Any, *, large: bool) -> Experiment:
        data = self._check_mapping("the file", data, _EXPERIMENT_KEYS)
        kind = data.get("kind")
        kinds = get_args(ExperimentKind)
        if kind not in kinds:
            raise self._error(f"kind: {kind} is none of {', '.join(kinds)}")
        common = [*self._read_words(data), *self._read_larger(data, large)[0]]
        arms = tuple(
            self._read_arm(str(name), arm, common, large=large)
            for name, arm in self._check_mapping("arms", data.get("arms")).items()
        )
        seeds, new_seeds = (self._read_seeds(key, data) for key in ("seeds", "again"))
        if set(seeds) & set(new_seeds):
            raise self._error("again: seeds that chose a setup do not judge it; give others")
        arm_names = {arm.name for arm in arms}
        comparisons = self._check_mapping("comparisons", data.get("comparisons")).items()
        return Experiment(
            name=self._name,
            kind=kind,
            about=" ".join(str(data.get("about", "")).split()),
            seeds=seeds,
            again=new_seeds,
            arms=arms,
            comparisons=tuple(
                self._read_comparison(str(name), comparison, kind, arm_names)
                for name, comparison in comparisons
            ),
            default=data.get("default") or {},
        )

    def _read_arm(self, name: str, data: Any, common: Sequence[str], *, large: bool) -> Arm:
        data = self._check_mapping(f"arms.{name}", data, _ARM_KEYS)
        larger_overrides, larger_grid = self._read_larger(data, large)
        grid = self._check_mapping(f"arms.{name}.grid", data.get("grid")) | larger_grid
        for key, values in grid.items():
            if not isinstance(values, list) or not values:
                raise self._error(f"arms.{name}.grid.{key}: {values} is no list of values")
        if "seed" in grid:
            raise self._error(f"arms.{name}.grid.seed: seeds are those of the experiment")
        return Arm(
            name=name,
            words=(*common, *self._read_words(data), *larger_overrides),
            grid={str(key): tuple(values) for key, values in grid.items()},
            needs=tuple(self._read_overrides("needs", data)),
        )

    def _read_comparison(
        self, name: str, data: Any, kind: ExperimentKind, arm_names: set[str]
    ) -> Comparison:
        roles = _ROLES[kind]
        data = self._check_mapping(f"comparisons.{name}", data, {*roles, *_COMPARISON_KEYS})
        arms = {}
        for role in roles:
            value = data.get(role)
            if value is None and role in _OPTIONAL_ROLES:
                continue
            arms[role] = tuple(map(str, value if isinstance(value, list) else [value]))
            unknown = next((arm for arm in arms[role] if arm not in arm_names), None)
            if unknown is not None:
                raise self._error(
                    f"comparisons.{name}.{role}: {unknown} is none of the arms "
                    f"{', '.join(arm_names)}"
                )
        return Comparison(name, arms, str(data.get("note", "")), data.get("control") is True)

    def _read_larger(
        self, data: Mapping[str, Any], large: bool
    ) -> tuple[list[str], dict[str, Any]]:
        """Return overrides and grid of the larger workload; both empty unless `large`."""
        larger = self._check_mapping("larger", data.get("larger") or {}, {"words", "grid"})
        if not large:
            return [], {}
        return self._read_overrides("words", larger), dict(larger.get("grid") or {})

    def _read_seeds(self, key: str, data: Mapping[str, Any]) -> tuple[int, ...]:
        seeds = data.get(key)
        are_ints = isinstance(seeds, list) and all(type(seed) is int for seed in seeds)
        if not are_ints or not seeds or len(set(seeds)) < len(seeds):
            raise self._error(f"{key}: {seeds} is no list of different whole numbers")
        return tuple(seeds)

    def _read_words(self, data: Mapping[str, Any]) -> list[str]:
        """Return the overrides of the trainings, those of their splits included unless fixed."""
        splits = self._read_overrides("splits", data)
        return [*self._read_overrides("words", data), *(splits if self._splits == "seed" else ())]

    def _read_overrides(self, key: str, data: Mapping[str, Any]) -> list[str]:
        overrides = data.get(key) or []
        if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
            raise self._error(f"{key}: {overrides} is no list of key=value words")
        invalid = next((override for override in overrides if "=" not in override), None)
        if invalid is not None:
            raise self._error(f"{key}: {invalid} is no key=value word")
        return list(overrides)

    def _check_mapping(self, name: str, data: Any, keys: set[str] | None = None) -> dict[str, Any]:
        if not isinstance(data, dict) or not (data or name == "larger"):
            raise self._error(f"{name}: keys with values are needed")
        unknown = sorted(map(str, set(data) - (keys or set(data))))
        if unknown:
            allowed = ", ".join(sorted(keys or ()))
            raise self._error(f"{name}: there is no key {unknown[0]}; there are {allowed}")
        return data

    def _error(self, problem: str) -> ConfigError:
        return ConfigError(f"{self._path}: {problem}")
