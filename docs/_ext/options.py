"""What a config option is: its YAML, read with its comments, and what its code says of it."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docstring_parser import DocstringStyle, parse

UNSET = "???"


@dataclass(frozen=True)
class Key:
    """A key of a config.

    Attributes:
        name: With the keys that it lies under, joined by dots.
        value: Its value as written.
        comment: What stands beside it.
        section: The comment that stands alone above it.
    """

    name: str
    value: str
    comment: str
    section: str = ""


def read_keys(path: Path) -> list[Key]:
    """Read the keys of a file in its order; lists of defaults are none."""
    text = path.read_text()
    root = yaml.compose(text)
    if root is None:
        return []
    lines = text.splitlines()
    return [
        Key(name, _plain(text, value), _comment(lines, value), _section(lines, line))
        for name, value, line in _leaves(root, "")
        if name.partition(".")[0] not in ("defaults", "hydra")
    ]


def about(path: Path) -> str:
    """The comment that a file begins with, in one line."""
    words = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        words.append(line.lstrip("# "))
    return " ".join(words)


def arguments(target: str) -> tuple[str, dict[str, str]]:
    """The first sentence of what `_target_` names, and what it says of each argument."""
    if not target.startswith("energyopt."):
        return "", {}
    module, _, name = target.rpartition(".")
    made: Any = getattr(importlib.import_module(module), name)
    doc = parse(inspect.getdoc(made) or "", DocstringStyle.GOOGLE)
    given = {
        each.arg_name: " ".join((each.description or "").split())
        for each in doc.params
        if each.args[0] == "param"
    }
    return doc.short_description or "", given


def _leaves(node: yaml.Node, prefix: str) -> list[tuple[str, yaml.Node, int]]:
    if not isinstance(node, yaml.MappingNode):
        return []
    found = []
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            found += _leaves(value, f"{name}.")
        else:
            found.append((name, value, key.start_mark.line))
    return found


def _plain(text: str, value: yaml.Node) -> str:
    written = text[value.start_mark.index : value.end_mark.index].strip()
    return " ".join(written.split())


def _comment(lines: list[str], value: yaml.Node) -> str:
    """What follows a value on its line, and goes on in lines that are further in than keys."""
    at = value.end_mark.line
    if at >= len(lines) or not lines[at][value.end_mark.column :].lstrip().startswith("#"):
        return ""
    column = lines[at].index("#", value.end_mark.column)
    words = [lines[at][column + 1 :].strip()]
    for line in lines[at + 1 :]:
        if not (line.lstrip().startswith("#") and line.index("#") >= column):
            break
        words.append(line.lstrip("# ").strip())
    return " ".join(words)


def _section(lines: list[str], line: int) -> str:
    """The nearest comment above that begins a block of keys."""
    for at in range(line - 1, 0, -1):
        if lines[at].lstrip().startswith("#") and not lines[at - 1].strip():
            words = []
            for each in lines[at:line]:
                if not each.lstrip().startswith("#"):
                    break
                words.append(each.lstrip("# ").strip())
            return " ".join(words)
    return ""
