"""Words of a training that a shell completes: groups, options, keys, and some values.

    mod         model= model.
    model=c     model=char_transformer model=cnn model=cnn1d
    hardware.p  hardware.power_limit_w= ...

They are read from the config files, in milliseconds: Hydra would compose first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from energyopt.config.yaml_comments import Key, read_about, read_defaults, read_keys

# Keys of a group that are the same for each of its options.
_SHARED = {"hardware": "measuring", "stopping": "ending"}
_BOOLEANS = ("true", "false")
_GROUP = re.compile(r"[a-z_]+")


class ConfigWords:
    """Completes `key=value` words.

    Args:
        folders: Config folders, the main one first.
        words: What was typed before: options that it chooses decide which keys there are.
        values: Gives the values of a key that has known ones, each with what it is.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        words: Sequence[str],
        values: Mapping[str, Callable[[], Mapping[str, str]]],
    ) -> None:
        self._folders = [folder for folder in folders if folder.is_dir()]
        self._values = values
        self._root = folders[0] / "config.yaml"
        self._chosen = dict(read_defaults(self._root))
        for word in words:
            key, equals, value = word.partition("=")
            if equals and key in self._chosen:
                self._chosen[key] = value

    def complete(self, begun: str) -> dict[str, str]:
        """What a word may become, each with what it is.

        Args:
            begun: The word as far as it is typed; a `+` before it is kept.
        """
        plus = begun[: len(begun) - len(begun.lstrip("+"))]
        key, equals, _ = begun[len(plus) :].partition("=")
        found = self._of_key(key) if equals else self._keys(key)
        return {f"{plus}{word}": what for word, what in found.items()}

    def _of_key(self, key: str) -> dict[str, str]:
        if key in self._values:
            found = self._values[key]()
        elif key in self._chosen:
            found = {file.stem: read_about(file) for file in self._options(key)}
        else:
            known = {each.name: each.value for each in (*self._roots(), *self._below(key))}
            found = dict.fromkeys(_BOOLEANS if known.get(key) in _BOOLEANS else (), "")
        return {f"{key}={value}": what for value, what in found.items()}

    def _keys(self, begun: str) -> dict[str, str]:
        if "." in begun:
            return {f"{key.name}=": key.comment for key in self._below(begun)}
        found = {f"{group}=": f"now {option}" for group, option in self._chosen.items()}
        found |= {f"{key.name}=": key.comment for key in self._roots()}
        # Two words that begin alike: a shell goes on after the group's name, and asks again.
        found |= {f"{group}.": "its keys" for group in self._chosen if begun and self._below(group)}
        return found

    def _roots(self) -> list[Key]:
        return read_keys(self._root)

    def _below(self, begun: str) -> list[Key]:
        """The keys of the group that a word begins with, by the option that is chosen.

        Or those of a part of the main config, such as `report`.
        """
        group = begun.partition(".")[0]
        if group not in self._chosen:
            return [key for key in self._roots() if key.name.startswith(f"{group}.")]
        files = [self._folders[0] / f"{_SHARED[group]}.yaml"] if group in _SHARED else []
        files += [file for file in self._options(group) if file.stem == self._chosen[group]]
        found = {}
        for key in (key for file in files for key in read_keys(file)):
            name = key.name if key.name.startswith(f"{group}.") else f"{group}.{key.name}"
            last = name.rpartition(".")[2]
            if last != "_partial_" and (last, key.value) != ("rules", "{}"):
                found[name] = Key(name, key.value, key.comment)
        return [key for key in found.values() if not _made_already(key)]

    def _options(self, group: str) -> list[Path]:
        if not _GROUP.fullmatch(group):
            return []
        return sorted(file for folder in self._folders for file in folder.glob(f"{group}/*.yaml"))


def _made_already(key: Key) -> bool:
    return key.name.endswith("_target_") and key.value != "???"
