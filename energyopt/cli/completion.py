"""Shell completion of commands, their options, studies and overrides.

`energyopt completion SHELL` prints a script for the shell, which runs `energyopt` with
`_ARGCOMPLETE` set at each press of the tab key. So this module has to be fast (no torch, no Hydra,
no Optuna) and print nothing whatever fails. Of a database it reads only the names of the studies.
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

from energyopt.cli.commands import COMMAND_NAME, COMMANDS, is_command, other_commands, parser_of
from energyopt.cli.completion_words import ConfigWords
from energyopt.config.yaml_comments import read_about
from energyopt.storage import DEFAULT_STORAGE
from energyopt.utils.paths import STORAGE_VARIABLE, conf_dir

COMPLETION_VARIABLE = "_ARGCOMPLETE"
"""Environment variable that is set where a shell requests completions."""

_BUSY_TIMEOUT_S = 0.1  # for a database that another process is writing
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
    """Print the completions for the shell and end the process."""
    with contextlib.suppress(Exception):  # an error message would appear within the typed line
        line, cursor = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
        _, prefix, _, words, _ = split_line(line, cursor)
        preceding = words[1:]
        if preceding and COMMAND_NAME.fullmatch(preceding[0]) and is_command(preceding[0]):
            _complete_command(preceding, prefix)
        elif preceding and preceding[-1] == "--config-dir":
            _offer(len(words), None)
        elif preceding and preceding[0] == "help":
            _offer(len(words), dict.fromkeys((*COMMANDS, *other_commands()), ""))
        else:
            _offer(len(words), _job_candidates(preceding, prefix))
    os._exit(1)  # nothing was printed: the shell then offers files


def studies_in(storage: str) -> list[str]:
    """Return the names of the studies in a file; none for a server, which could be slow."""
    path = storage.removeprefix("sqlite:///")
    if "://" in path or not Path(path).is_file():
        return []
    address = f"{Path(path).absolute().as_uri()}?mode=ro"
    with contextlib.closing(
        sqlite3.connect(address, uri=True, timeout=_BUSY_TIMEOUT_S)
    ) as database:
        rows = database.execute("SELECT study_name FROM studies ORDER BY study_name").fetchall()
    return [name for (name,) in rows if isinstance(name, str) and name.isprintable()]


def _complete_command(preceding: Sequence[str], prefix: str) -> None:
    """Complete an argument of a command with the command's parser."""
    parser = parser_of(preceding[0])
    if not prefix.startswith("-") and _is_override(parser, preceding[1:]):
        _offer(len(preceding) + 1, _override_candidates(preceding, prefix))
        return
    completers = {
        "study": lambda **_: studies_in(_storage(preceding)),
        "studies": lambda **_: studies_in(_storage(preceding)),
        "name": lambda **_: _experiments(),
        "config_dir": DirectoriesCompleter(),
        "folder": DirectoriesCompleter(),
    }
    for action in parser._actions:  # noqa: SLF001  # argparse has no public list of them
        if action.dest in completers:
            action.completer = completers[action.dest]  # type: ignore[attr-defined]
    os.environ[COMPLETION_VARIABLE] = "2"  # words to skip: `energyopt` and the command
    autocomplete(parser, always_complete_options=False)


def _is_override(parser: argparse.ArgumentParser, preceding: Sequence[str]) -> bool:
    """Return True if the next argument is an override: all other positionals are given.

    Overrides and options may be mixed, which argparse does not support in an incomplete line.
    """
    actions = parser._actions  # noqa: SLF001
    if all(action.dest != "overrides" for action in actions):
        return False
    with_value = {
        flag for action in actions if action.nargs is None for flag in action.option_strings
    }
    n_positionals = sum(
        not action.option_strings and action.dest != "overrides" for action in actions
    )
    positionals = [
        word
        for i, word in enumerate(preceding)
        if not word.startswith("-") and not (i and preceding[i - 1] in with_value)
    ]
    return len(positionals) >= n_positionals and not (preceding and preceding[-1] in with_value)


def _offer(n_words: int, candidates: Mapping[str, str] | None) -> None:
    """Print candidates with descriptions after the complete words; None offers folders."""
    parser = argparse.ArgumentParser(add_help=False, prefix_chars="\0")
    action = parser.add_argument("word")
    completer = DirectoriesCompleter() if candidates is None else lambda **_: candidates
    action.completer = completer  # type: ignore[attr-defined]
    os.environ[COMPLETION_VARIABLE] = str(n_words)
    autocomplete(parser)


def _job_candidates(preceding: Sequence[str], prefix: str) -> dict[str, str]:
    if prefix.startswith("-"):
        return dict(_JOB_FLAGS)
    candidates = _override_candidates(preceding, prefix)
    if not preceding and "=" not in prefix:
        candidates |= {name: parser_of(name).description or "" for name in COMMANDS}
        candidates |= {
            name: f"of the package {command.origin}" for name, command in other_commands().items()
        }
    return candidates


def _override_candidates(preceding: Sequence[str], prefix: str) -> dict[str, str]:
    folders = [conf_dir(), *map(Path, _values_of("--config-dir", preceding))]
    values = {
        "device": lambda: _DEVICES,
        "experiment": _experiments,
        "sampler": _samplers,
        "study": lambda: dict.fromkeys(studies_in(_storage(preceding)), ""),
    }
    return ConfigWords(folders, preceding, values).complete(prefix)


def _storage(words: Sequence[str]) -> str:
    """Return the storage that the line names, or the default one."""
    storages = [*_values_of("--storage", words), *_values_of("storage", words)]
    return storages[-1] if storages else os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)


def _values_of(name: str, words: Sequence[str]) -> list[str]:
    """Return the values of an option or key, given as the next word or after "="."""
    next_words = [word for i, word in enumerate(words) if i and words[i - 1] == name]
    return next_words + [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]


def _samplers() -> Mapping[str, str]:
    from energyopt.search.sampler_names import SAMPLERS

    return SAMPLERS


def _experiments() -> dict[str, str]:
    return {file.stem: read_about(file) for file in conf_dir().glob("experiment/*.yaml")}
