"""The words of `energyopt search WORDS -- COMMAND`: what is searched, and how."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from energyopt.config.overrides import override_for, value_and_text
from energyopt.core.command_template import CommandTemplate, text_of
from energyopt.errors import ConfigError
from energyopt.jobs.command import CommandTask
from energyopt.search.sampler_names import ALIASES, SAMPLERS
from energyopt.search.sweep_keys import COMMAND, ROOT_KEYS
from energyopt.storage import DEFAULT_STORAGE
from energyopt.storage.identity import check_name
from energyopt.sweep.group_options import hardware_options
from energyopt.utils.paths import STORAGE_VARIABLE
from energyopt.utils.text import did_you_mean

_OWN_WORDS = ("monitor", "mode", "target", "epochs", "stopping", "max_failure_rate")
_KEYS: Mapping[str, str] = {
    **{root: f"hydra.sweeper.{key.name}" for root, key in ROOT_KEYS.items() if root != "reuse"},
    **{name: f"hydra.sweeper.{name}" for name in _OWN_WORDS},
    "trial_timeout_s": "hydra.launcher.timeout_s",
    "seed": "hydra.sweeper.sampler.seed",
}
"""The key of Hydra that a word sets."""

RUN_PARAMS = "run_params"
"""The word that lets searched keys have no place in the command."""

WORDS = (*_KEYS, "hardware", RUN_PARAMS)
"""The words that are no values of the command."""

_SAMPLER, _HARDWARE, _DEFAULT = "sampler", "hardware", "default."
_SCRIPTS = {".py": "python", ".sh": "bash"}


@dataclass(frozen=True, slots=True)
class CommandSearch:
    """A search over the values of a command.

    Attributes:
        arguments: The arguments of Hydra for it.
        task: The function of its jobs.
    """

    arguments: tuple[str, ...]
    task: CommandTask


@dataclass(frozen=True, slots=True)
class _Words:
    """Overrides by key: searches, defaults of what they search, values, and words of a search."""

    searched: Mapping[str, Override]
    default: Mapping[str, Override]
    values: Mapping[str, Override]
    options: Mapping[str, Override]


def read_words(words: Sequence[str], command: Sequence[str]) -> CommandSearch:
    """Return the search that a command line asks for.

    Args:
        words: The words before "--".
        command: Those behind it.

    Raises:
        ConfigError: If they cannot be a search; nothing has run then.
        StudyError: If the name of the study is not allowed.
    """
    template = CommandTemplate(tuple(command))
    keys = template.keys
    sorted_words = _sorted(OverridesParser.create().parse_overrides(list(words)), keys)
    _check_command(command)
    options = dict(sorted_words.options)
    reads_params = _text(options.pop(RUN_PARAMS, None)) == "true"
    _check_places(sorted_words, keys, reads_params=reads_params)
    _check_words(sorted_words)
    task = CommandTask(template, _plain(sorted_words.values), _plain(sorted_words.default))
    name = _text(options.pop("study", None)) or _name(words, command)
    check_name(name)
    searched = (f"+{key}={_text_typed(o)}" for key, o in sorted_words.searched.items())
    return CommandSearch((*_hydra_words(name, options), *searched), task)


def _sorted(overrides: Iterable[Override], keys: Sequence[str]) -> _Words:
    searched: dict[str, Override] = {}
    default: dict[str, Override] = {}
    values: dict[str, Override] = {}
    options: dict[str, Override] = {}
    for override in overrides:
        key = override.key_or_group
        if override.is_delete():
            raise ConfigError(f"~{key}: a search of a command has nothing to delete; leave it out")
        kind = options
        if override.is_sweep_override():
            kind = searched
        elif key.startswith(_DEFAULT):
            key, kind = key.removeprefix(_DEFAULT), default
        elif key in keys:
            kind = values
            if key in WORDS:  # such as seed=3 with --seed={seed}: it is both
                options[key] = override
        if key in kind:
            raise ConfigError(f"{key} is given twice: {override.input_line}; leave one out")
        kind[key] = override
    return _Words(searched, default, values, options)


def _check_places(words: _Words, keys: Sequence[str], *, reads_params: bool) -> None:
    """Check that each place has a value, and each value a place."""
    if not words.searched:
        raise ConfigError(
            "nothing to search: give at least one key a range or choices, such as "
            "'lr=tag(log,interval(1e-4,1e-1))'"
        )
    for key in keys:
        if key not in words.searched and key not in words.values:
            raise ConfigError(
                f"{{{key}}} is in the command, but {key} is not searched: search it, as in "
                f"'{key}=choice(1,2)', or give it a value, as in {key}=1; write {{{{ and }}}} for "
                "braces of the command itself"
            )
    for key in words.searched:
        if key not in keys and not reads_params:
            raise ConfigError(
                f"{key} is searched, but the command has no {{{key}}}: write it where the value "
                f"belongs, as in --{key}={{{key}}}, or add {RUN_PARAMS}=true if the program reads "
                f'run.params["{key}"]'
            )


def _check_words(words: _Words) -> None:
    """Check that no word contradicts what is searched, or is unknown."""
    for key in words.searched.keys() & words.values.keys():
        raise ConfigError(
            f"{key} is searched and has the value {_text(words.values[key])}; where the search "
            f"begins is default.{key}=..."
        )
    for key in words.default:
        if key not in words.searched:
            raise ConfigError(f"default.{key} is given, but {key} is not searched")
    for key in words.options:
        if key not in WORDS and not key.startswith((f"{_HARDWARE}.", f"{_SAMPLER}.")):
            raise ConfigError(
                f"{key}: the command has no {{{key}}}, and a search has no such word; "
                f"{did_you_mean(key, WORDS)}"
            )


def _hydra_words(name: str, options: dict[str, Override]) -> list[str]:
    sampler = _text(options.pop(_SAMPLER, None)) or "joule"
    names = [*SAMPLERS, *ALIASES]
    if sampler not in names:
        raise ConfigError(f"sampler={sampler}: choose {', '.join(names)}")
    words = [
        *("-m", "hydra/sweeper=energyopt", f"hydra/sweeper/sampler={sampler}"),
        *("hydra/launcher=energyopt", "hydra.job.name=energyopt"),
        f"hydra.sweeper.app={COMMAND}",
        override_for("hydra.sweeper.study_name", name),
        override_for("hydra.sweep.dir", f"studies/{name}"),
    ]
    if "storage" not in options:
        words.append(f"hydra.sweeper.storage=${{oc.env:{STORAGE_VARIABLE},{DEFAULT_STORAGE}}}")
    if "seed" not in options and sampler != "grid":
        words.append("hydra.sweeper.sampler.seed=0")
    words += _hardware(options)
    for key, override in options.items():
        name_of_hydra = _KEYS.get(key, f"hydra.sweeper.{key}")
        prefix = "" if key in _KEYS else "+"  # an option of the sampler's class
        words.append(f"{prefix}{name_of_hydra}={_text_typed(override)}")
    return words


def _hardware(options: dict[str, Override]) -> list[str]:
    """Take the words of the hardware. Returns the override of all of them."""
    named = options.pop(_HARDWARE, None)
    dotted = {key: o for key, o in options.items() if key.startswith(f"{_HARDWARE}.")}
    key_of_hydra = f"hydra.sweeper.{_HARDWARE}"
    if not dotted:
        return [] if named is None else [f"{key_of_hydra}={_text_typed(named)}"]
    keys = dict(hardware_options("auto" if named is None else _text(named)))
    for key in dotted:
        name = key.removeprefix(f"{_HARDWARE}.")
        if name not in keys:
            raise ConfigError(f"{key}: there is no such key; {did_you_mean(name, keys)}")
        keys[name] = _value(options.pop(key))
    return [f"{key_of_hydra}={_grammar(keys)}"]


def _grammar(value: Any) -> str:
    """Return plain data in the grammar of Hydra's overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_grammar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_grammar, value)) + "]"
    return value_and_text("", value)[1]


def _check_command(command: Sequence[str]) -> None:
    """Check that the program of a command can be found, if it is known.

    Raises:
        ConfigError: If it cannot; the message says why.
    """
    program = command[0] if command else ""
    if not program:
        raise ConfigError(
            "no command: write it behind --, as in python -m energyopt search "
            "'lr=tag(log,interval(1e-4,1e-1))' -- python train.py --lr={lr}"
        )
    is_sentence = len(command) == 1 and " " in program and not Path(program).is_file()
    if not is_sentence and ("{" in program or shutil.which(program) is not None):
        return
    runner, is_here = _SCRIPTS.get(Path(program).suffix), Path(program).is_file()
    if is_here and runner is not None:
        remedy = f"write {runner} {program}"
    elif is_here:
        path = program if "/" in program else f"./{program}"
        remedy = f"write {path}, and make it executable with chmod +x {program}"
    elif is_sentence:
        remedy = "leave out the quotes around it, or write bash -c '...'"
    elif "/" in program:
        remedy = "there is no such file"
    else:
        remedy = "it is in no folder of PATH; a program of this folder begins with ./"
    raise ConfigError(f"the command {program!r} cannot be run: {remedy}")


def _name(words: Sequence[str], command: Sequence[str]) -> str:
    """Return the name of a study: that of the program's file, and a hash of what is asked."""
    searched = sorted(word for word in words if "(" in word or word.partition("=")[0] not in WORDS)
    digest = hashlib.sha256(json.dumps([searched, list(command)]).encode()).hexdigest()[:8]
    files = [Path(word) for word in command if Path(word).suffix in _SCRIPTS and "{" not in word]
    stem = files[0].stem if files else Path(command[0]).name
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', stem).strip('-') or 'command'}-{digest}"


def _plain(overrides: Mapping[str, Override]) -> dict[str, Any]:
    return {key: _value(override) for key, override in overrides.items()}


def _value(override: Override) -> Any:
    """Return the value of a word, as it is given to the command."""
    value = override.value()
    return value if isinstance(value, list | dict) else value_and_text("", value)[0]


def _text_typed(override: Override) -> str:
    """Return what is behind the "=", for Hydra to read again."""
    return (override.input_line or "").partition("=")[2]


def _text(override: Override | None) -> str:
    return "" if override is None else text_of(_value(override))
