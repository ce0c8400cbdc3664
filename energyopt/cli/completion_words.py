"""Overrides that a shell completes: config groups, their options, keys, and some values.

    mod         model= model.
    model=c     model=char_transformer model=cnn model=cnn1d
    hardware.p  hardware.power_limit_w= ...

They are read from the config files, which takes milliseconds; composing with Hydra is slower.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from energyopt.config.yaml_comments import Key, read_about, read_defaults, read_keys

# Files with the keys that all options of a group share.
_SHARED_FILES = {"hardware": "hardware_defaults", "stopping": "stopping_defaults"}
_BOOLEANS = ("true", "false")
_GROUP = re.compile(r"[a-z_]+")


class ConfigWords:
    """Completes `key=value` overrides.

    Args:
        folders: Config folders, the main one first.
        overrides: The preceding overrides: the options they choose decide which keys exist.
        values: Functions by key that return its possible values with their descriptions.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        overrides: Sequence[str],
        values: Mapping[str, Callable[[], Mapping[str, str]]],
    ) -> None:
        self._folders = [folder for folder in folders if folder.is_dir()]
        self._values = values
        self._root = folders[0] / "config.yaml"
        self._chosen = dict(read_defaults(self._root))
        for override in overrides:
            key, equals, value = override.partition("=")
            if equals and key in self._chosen:
                self._chosen[key] = value

    def complete(self, prefix: str) -> dict[str, str]:
        """Return the overrides that begin with a prefix, such as `+mod`, with descriptions."""
        plus = prefix[: len(prefix) - len(prefix.lstrip("+"))]
        key, equals, _ = prefix[len(plus) :].partition("=")
        candidates = self._values_of(key) if equals else self._keys(key)
        return {f"{plus}{override}": text for override, text in candidates.items()}

    def _values_of(self, key: str) -> dict[str, str]:
        candidates: Mapping[str, str]
        if key in self._values:
            candidates = self._values[key]()
        elif key in self._chosen:
            candidates = {file.stem: read_about(file) for file in self._options(key)}
        else:
            defaults = {k.name: k.value for k in (*self._root_keys(), *self._group_keys(key))}
            candidates = dict.fromkeys(_BOOLEANS if defaults.get(key) in _BOOLEANS else (), "")
        return {f"{key}={value}": text for value, text in candidates.items()}

    def _keys(self, prefix: str) -> dict[str, str]:
        if "." in prefix:
            return {f"{key.name}=": key.comment for key in self._group_keys(prefix)}
        candidates = {f"{group}=": f"now {option}" for group, option in self._chosen.items()}
        candidates |= {f"{key.name}=": key.comment for key in self._root_keys()}
        # With two candidates, `model=` and `model.`, the shell stops after `model` and lists both.
        candidates |= {
            f"{group}.": "its keys" for group in self._chosen if prefix and self._group_keys(group)
        }
        return candidates

    def _root_keys(self) -> list[Key]:
        return read_keys(self._root)

    def _group_keys(self, prefix: str) -> list[Key]:
        """Return the keys of the group before the first dot, for its chosen option.

        For a section of the main config, such as `report`, return the keys of that section.
        """
        group = prefix.partition(".")[0]
        if group not in self._chosen:
            return [key for key in self._root_keys() if key.name.startswith(f"{group}.")]
        files = (
            [self._folders[0] / f"{_SHARED_FILES[group]}.yaml"] if group in _SHARED_FILES else []
        )
        files += [file for file in self._options(group) if file.stem == self._chosen[group]]
        keys = {}
        for key in (key for file in files for key in read_keys(file)):
            name = key.name if key.name.startswith(f"{group}.") else f"{group}.{key.name}"
            last = name.rpartition(".")[2]
            if last != "_partial_" and (last, key.value) != ("rules", "{}"):
                keys[name] = Key(name, key.value, key.comment)
        return [key for key in keys.values() if not _is_fixed_target(key)]

    def _options(self, group: str) -> list[Path]:
        if not _GROUP.fullmatch(group):
            return []
        return sorted(file for folder in self._folders for file in folder.glob(f"{group}/*.yaml"))


def _is_fixed_target(key: Key) -> bool:
    """Return True for a `_target_` that the option sets; `???` is for the user to fill in."""
    return key.name.endswith("_target_") and key.value != "???"
