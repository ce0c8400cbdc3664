"""Remove folders, hosts, users and passwords from a study before it is exported.

Folders and hosts are often named after their owners, and URLs hold passwords: another reader needs
none of that. A file keeps its name, a host becomes a number.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from energyopt.storage.credentials import masked

AWAY = ".../"
"""Replaces the folders of a path."""

# A path in a text, quoted or not; and one that is a whole text, or the value of an override.
_BEFORE = r"(?<![^\s'\"`=:(\[{,;<>|])"
_QUOTED = re.compile(r"(['\"`])(~?/[^'\"`]*[^'\"`/])/?\1")
_NAME = r"[^/\s'\"`,;:()\[\]{}<>|]+"
_BARE = re.compile(rf"(sqlite:///|file://|{_BEFORE})(~?/(?:{_NAME}/)*{_NAME})/?")
_WHOLE = re.compile(r"([-+~\w.@][-+~\w.@/]*=)?(['\"]?)(~?/[^\n]*?[^\n/'\"])/?(['\"]?)")
_OWNER = re.compile(r"(process \d+) of \S+ (?=\()")


class Anonymizer:
    """Replaces names of folders, hosts and users in plain data; equal names stay equal."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}
        self._names: Counter[str] = Counter()
        self._hosts: dict[str, str] = {}

    def data(self, value: Any) -> Any:
        """Return the data without such names."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        if isinstance(value, dict):
            return {key: self._member(key, item) for key, item in value.items()}
        return value

    def text(self, text: str, *, may_be_path: bool = True) -> str:
        """Return a text without such names.

        Args:
            text: A text that may hold paths, quoted or without blanks.
            may_be_path: The whole text, or what follows a key and =, may be a path.
        """
        if "/" not in text:
            return text
        text = _OWNER.sub(r"\1 of somebody ", masked(text) if "://" in text else text)
        whole = _WHOLE.fullmatch(text) if may_be_path else None
        if whole and whole[2] == whole[4]:
            return f"{whole[1] or ''}{whole[2]}{self._path(whole[3])}{whole[4]}"
        text = _QUOTED.sub(lambda match: f"{match[1]}{self._path(match[2])}{match[1]}", text)
        return _BARE.sub(lambda match: f"{match[1]}{self._path(match[2])}", text)

    def _member(self, key: str, value: Any) -> Any:
        if isinstance(value, str) and key == "host":
            return self._hosts.setdefault(value, f"host-{len(self._hosts) + 1}")
        if isinstance(value, str) and key == "reason":  # a sentence, which may begin with a path
            return self.text(value, may_be_path=False)
        return self.data(value)

    def _path(self, path: str) -> str:
        """Return the name of a path; different paths of the same name stay different."""
        if path not in self._paths:
            name = AWAY + path.rpartition("/")[2]
            n_used = self._names[name]
            self._names[name] += 1
            self._paths[path] = f"{name}#{n_used + 1}" if n_used else name
        return self._paths[path]


def may_be_same(anonymized: Any, value: Any) -> bool:
    """Return True if anonymized data could have come from `value`."""
    if isinstance(anonymized, str) and isinstance(value, str) and AWAY in anonymized:
        return re.sub(r"#\d+$", "", anonymized) == Anonymizer().text(value)
    return bool(anonymized == value)
