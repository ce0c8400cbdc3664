"""What a shell asks while somebody types: commands, their options, studies, words of a training.

`energyopt completion SHELL` prints the shell's part, which runs `energyopt` with `_ARGCOMPLETE` set
at each press of the tab key. So this has to be quick (no torch, no Hydra, no Optuna), and silent
whatever is wrong. A database is only asked for the names of its studies.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from argcomplete import autocomplete
from argcomplete.completers import DirectoriesCompleter
from argcomplete.lexers import split_line

from energyopt.cli.commands import COMMAND_NAME, COMMANDS, is_command, others, parser_of
from energyopt.cli.completion_words import ConfigWords
from energyopt.config.yaml_comments import read_about
from energyopt.storage import DEFAULT_STORAGE
from energyopt.utils.paths import STORAGE_VARIABLE, conf_dir

ASKED = "_ARGCOMPLETE"
"""Set where a shell asks."""

_WAIT_S = 0.1  # for a database that another process writes
_JOB_FLAGS = {
    "-m": "search",
    "--cfg": "print the config: job, hydra or all",
    "--config-dir": "a folder of your own configs",
    "--config-name": "a config of it instead of ours",
    "--help": "explain",
    "--version": "say the version",
}
_DEVICES = {
    "auto": "the GPU if there is one",
    "cpu": "",
    "cuda": "an NVIDIA or AMD GPU",
    "mps": "an Apple GPU",
}


def answer() -> None:
    """Answer the shell and end the process."""
    with contextlib.suppress(Exception):  # no complaint may reach somebody who types
        line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
        _, begun, _, words, _ = split_line(line, point)
        before = words[1:]
        if before and COMMAND_NAME.fullmatch(before[0]) and is_command(before[0]):
            _command(before, begun)
        elif before and before[-1] == "--config-dir":
            _offer(len(words), None)
        elif before and before[0] == "help":
            _offer(len(words), dict.fromkeys((*COMMANDS, *others()), ""))
        else:
            _offer(len(words), _job(before, begun))
    os._exit(1)  # it was not answered: the shell then offers files


def studies_in(where: str) -> list[str]:
    """The names of the studies of a file; none of a server, which would have to be waited for.

    Args:
        where: A path or URL as `storage` takes it.
    """
    path = where.removeprefix("sqlite:///")
    if "://" in path or not Path(path).is_file():
        return []
    address = f"{Path(path).absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S)) as database:
        rows = database.execute("SELECT study_name FROM studies ORDER BY study_name").fetchall()
    return [name for (name,) in rows if isinstance(name, str) and name.isprintable()]


def _command(before: Sequence[str], begun: str) -> None:
    """Complete the words of a command, by its own parser."""
    parser = parser_of(before[0])
    if not begun.startswith("-") and _is_override(parser, before[1:]):
        _offer(len(before) + 1, _config_words(before, begun))
        return
    completers = {
        "study": lambda **_: studies_in(_storage(before)),
        "name": lambda **_: _experiments(),
        "config_dir": DirectoriesCompleter(),
        "folder": DirectoriesCompleter(),
    }
    for action in parser._actions:  # noqa: SLF001  # argparse has no other way to see them
        if action.dest in completers:
            action.completer = completers[action.dest]  # type: ignore[attr-defined]
    os.environ[ASKED] = "2"  # the command's name is its program
    autocomplete(parser, always_complete_options=False)


def _is_override(parser: argparse.ArgumentParser, before: Sequence[str]) -> bool:
    """Whether the next word sets a key: all that has a place of its own is there.

    Words and options may be mixed, which argparse's own reading of half a line does not know.
    """
    actions = parser._actions  # noqa: SLF001
    if all(action.dest != "overrides" for action in actions):
        return False
    valued = {word for each in actions if each.nargs is None for word in each.option_strings}
    placed = sum(not each.option_strings and each.dest != "overrides" for each in actions)
    typed = [
        word
        for at, word in enumerate(before)
        if not word.startswith("-") and not (at and before[at - 1] in valued)
    ]
    return len(typed) >= placed and not (before and before[-1] in valued)


def _offer(at: int, found: Mapping[str, str] | None) -> None:
    """Offer these words; None offers folders."""
    parser = argparse.ArgumentParser(add_help=False, prefix_chars="\0")
    word = parser.add_argument("word")
    word.completer = DirectoriesCompleter() if found is None else lambda **_: found  # type: ignore[attr-defined]
    os.environ[ASKED] = str(at)  # what stands before is read already
    autocomplete(parser)


def _job(before: Sequence[str], begun: str) -> dict[str, str]:
    if begun.startswith("-"):
        return dict(_JOB_FLAGS)
    found = _config_words(before, begun)
    if not before and "=" not in begun:
        found |= {name: parser_of(name).description or "" for name in COMMANDS}
        found |= {name: f"of the package {each.origin}" for name, each in others().items()}
    return found


def _config_words(before: Sequence[str], begun: str) -> dict[str, str]:
    chosen = _values_of("--config-dir", before)
    folders = [conf_dir(), *map(Path, chosen)]
    values = {
        "device": lambda: _DEVICES,
        "experiment": _experiments,
        "sampler": _samplers,
        "study": lambda: dict.fromkeys(studies_in(_storage(before)), ""),
    }
    return ConfigWords(folders, before, values).complete(begun)


def _storage(before: Sequence[str]) -> str:
    """The storage that the words so far name, or the usual one."""
    named = [*_values_of("--storage", before), *_values_of("storage", before)]
    return named[-1] if named else os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)


def _values_of(name: str, words: Sequence[str]) -> list[str]:
    """What follows a name, as the next word or after "="."""
    after = [word for at, word in enumerate(words) if at and words[at - 1] == name]
    return after + [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]


def _samplers() -> Mapping[str, str]:
    from energyopt.search.sampler_names import SAMPLERS

    return SAMPLERS


def _experiments() -> dict[str, str]:
    return {file.stem: read_about(file) for file in conf_dir().glob("experiment/*.yaml")}
