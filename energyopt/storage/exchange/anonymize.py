"""What a study says of people and their machines, and does not say any more when it leaves.

Folders name their owners, hosts are named after them, URLs hold passwords: none of that is of use
to another reader. A file keeps its own name, a host becomes a number.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from energyopt.storage.credentials import masked

AWAY = ".../"
"""In the place of the folders of a path."""

# A path in a text, quoted or not; and one that is all of a text, or of a word's value.
_BEFORE = r"(?<![^\s'\"`=:(\[{,;<>|])"
_QUOTED = re.compile(r"(['\"`])(~?/[^'\"`]*[^'\"`/])/?\1")
_NAME = r"[^/\s'\"`,;:()\[\]{}<>|]+"
_BARE = re.compile(rf"(sqlite:///|file://|{_BEFORE})(~?/(?:{_NAME}/)*{_NAME})/?")
_WHOLE = re.compile(r"([-+~\w.@][-+~\w.@/]*=)?(['\"]?)(~?/[^\n]*?[^\n/'\"])/?(['\"]?)")
_OWNER = re.compile(r"(process \d+) of \S+ (?=\()")


class Anonymizer:
    """Takes names of folders, hosts and users out of plain data, the same ones in the same way."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}
        self._names: Counter[str] = Counter()
        self._hosts: dict[str, str] = {}

    def data(self, value: Any) -> Any:
        """The same data, without them."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        if isinstance(value, dict):
            return {key: self._member(key, item) for key, item in value.items()}
        return value

    def text(self, text: str, *, may_be_path: bool = True) -> str:
        """A text without them.

        Args:
            text: It may hold paths, quoted or without blanks.
            may_be_path: Whether all of it, or of what follows a key and =, may be one.
        """
        if "/" not in text:
            return text
        text = _OWNER.sub(r"\1 of somebody ", masked(text) if "://" in text else text)
        whole = _WHOLE.fullmatch(text) if may_be_path else None
        if whole and whole[2] == whole[4]:
            return f"{whole[1] or ''}{whole[2]}{self._path(whole[3])}{whole[4]}"
        text = _QUOTED.sub(lambda found: f"{found[1]}{self._path(found[2])}{found[1]}", text)
        return _BARE.sub(lambda found: f"{found[1]}{self._path(found[2])}", text)

    def _member(self, key: str, value: Any) -> Any:
        if isinstance(value, str) and key == "host":
            return self._hosts.setdefault(value, f"host-{len(self._hosts) + 1}")
        if isinstance(value, str) and key == "reason":  # a sentence, which may begin with a path
            return self.text(value, may_be_path=False)
        return self.data(value)

    def _path(self, path: str) -> str:
        """Its last part; two different ones of the same name stay different."""
        if path not in self._paths:
            name = AWAY + path.rpartition("/")[2]
            taken = self._names[name]
            self._names[name] += 1
            self._paths[path] = f"{name}#{taken + 1}" if taken else name
        return self._paths[path]


def may_be_same(unnamed: Any, value: Any) -> bool:
    """Whether data without names may be what other data said with them."""
    if isinstance(unnamed, str) and isinstance(value, str) and AWAY in unnamed:
        return re.sub(r"#\d+$", "", unnamed) == Anonymizer().text(value)
    return bool(unnamed == value)
