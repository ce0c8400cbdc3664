"""Parse a page: files to write, commands to type, and their output.

A block of `console` has commands after `$ `, with what they printed below them. A block of Python
or YAML whose first line is a comment with a file's name is that file; Hydra wants its `@package`
before that. Blocks of `sh` are commands without their output, and `#` before what is none.

python -m tests.snippets PAGE runs a page and writes what its commands print into it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?:# @package \w+\n)?# ([\w/-]+\.(?:py|yaml))\b")
_PROMPT = "$ "
_WIDTH = "88"


@dataclass(frozen=True)
class File:
    """A file to write.

    Attributes:
        name: Its path in the folder.
        text: What is in it.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command to type.

    Attributes:
        typed: As the page has it, on one line or several.
        shown: What it printed, as the page has it.
    """

    typed: str
    shown: str = ""

    @property
    def words(self) -> list[str]:
        return shlex.split(self.typed.replace("\\\n", " "))

    @property
    def energyopt(self) -> list[str] | None:
        """The arguments of `python -m energyopt`; None for another command."""
        words = self.words
        return words[3:] if words[:3] == ["python", "-m", "energyopt"] else None


def blocks(text: str, language: str) -> list[str]:
    """The blocks of a language."""
    return [body for name, body in _BLOCK.findall(text) if name == language]


def typed(text: str, language: str) -> list[Command]:
    """The commands of blocks that show no output."""
    lines = [line for block in blocks(text, language) for line in block.splitlines()]
    return [Command(line) for line in lines if line[:1] != "#"]


def files(text: str) -> list[File]:
    """The files that a page shows, each by the name in its first line."""
    found = [(_NAME.match(body), body) for name, body in _BLOCK.findall(text) if name != "console"]
    return [File(name[1], body) for name, body in found if name]


def commands(text: str) -> list[Command]:
    """The commands of blocks that show output, in order."""
    return [command for block in blocks(text, "console") for command in _commands(block)]


def _commands(block: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        end = next(index for index, line in enumerate(lines) if not line.endswith("\\"))
        yield Command("\n".join(lines[: end + 1]), "\n".join(lines[end + 1 :]))


def openings(shown: str) -> list[str]:
    """How lines begin, up to the first number: what does not change from run to run.

    Progress, tables and continued lines are left out: how many there are changes, too.
    """
    begun = (re.split(r"[\d*\[]|lr=", line)[0].rstrip() for line in shown.splitlines())
    return [text for text in begun if re.match(r"[A-Z]?[a-z]+\W+\w+", text)]


def refresh(page: Path) -> None:
    """Run a page in an empty folder, and write what its commands print into it."""
    text = page.read_text()
    with tempfile.TemporaryDirectory() as name:
        for file in files(text):
            path = Path(name) / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text)
        for command in commands(text):
            words = [sys.executable if word == "python" else word for word in command.words]
            env = os.environ | {"COLUMNS": _WIDTH, "NO_COLOR": "1"}
            env.pop("ENERGYOPT_STORAGE", None)
            ran = subprocess.run(
                words, cwd=name, env=env, capture_output=True, text=True, check=True
            )
            lines = [line.rstrip() for line in ran.stdout.strip("\n").splitlines()]
            old = f"{_PROMPT}{command.typed}\n" + (f"{command.shown}\n" if command.shown else "")
            new = "\n".join([f"{_PROMPT}{command.typed}", *lines]) + "\n"
            assert text.count(old) == 1, command.typed
            text = text.replace(old, new)
    page.write_text(text)


if __name__ == "__main__":
    refresh(Path(sys.argv[1]))
