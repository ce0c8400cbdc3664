"""Config files as text: keys, values, and their comments.

They are read as lines and not as YAML: comments explain the keys, and parsing YAML is too slow for
shell completion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_KEY = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: +(?P<value>[^#]*?))?(?: +# ?(?P<comment>.*))?$")
_MORE = re.compile(r"^(?P<indent> {4,})# ?(?P<comment>.*)$")
_DEFAULT = re.compile(r"^ *- (?P<group>\w+): (?P<option>\w+)$", re.MULTILINE)
_NO_KEYS = ("defaults", "hydra")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a config.

    Attributes:
        name: Its name after those of its parents, joined by dots.
        value: Its value as written; empty if it has children.
        comment: The comment on its line.
        section: The comment above its section.
    """

    name: str
    value: str
    comment: str = ""
    section: str = ""


def read_keys(path: Path) -> list[Key]:
    """Read the keys that hold a value, in the order of the file; lists of defaults are left out."""
    return [key for key in _keys(path.read_text().splitlines()) if key.value]


def read_defaults(path: Path) -> Mapping[str, str]:
    """Read the default option of each group of a config."""
    return dict(_DEFAULT.findall(path.read_text()))


def read_about(path: Path) -> str:
    """Read the comment at the beginning of a file, as one line."""
    parts = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        parts.append(line.lstrip("# "))
    return " ".join(parts)


def _keys(lines: list[str]) -> Iterator[Key]:
    parents: list[tuple[int, str]] = []  # the keys above a line in the tree, with their indents
    section, after_blank = "", True
    for i, line in enumerate(lines):
        text = line.strip()
        if text.startswith("#") and i:
            if after_blank and not _MORE.match(line):
                section = text.lstrip("# ")
            after_blank = False
            continue
        after_blank = not text
        match = _KEY.match(line)
        if match is None:
            continue
        indent = len(match["indent"])
        parents = [parent for parent in parents if parent[0] < indent] + [(indent, match["key"])]
        if parents[0][1] in _NO_KEYS:
            continue
        name = ".".join(key for _, key in parents)
        comment = " ".join((match["comment"] or "", *_continued(lines[i + 1 :]))).strip()
        yield Key(name, (match["value"] or "").strip(), comment, section)


def _continued(lines: list[str]) -> Iterator[str]:
    """Yield the comment lines that continue the comment of a key, by their deeper indent."""
    for line in lines:
        match = _MORE.match(line)
        if match is None:
            return
        yield match["comment"].strip()
