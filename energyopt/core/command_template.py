"""A command with places for values: `python train.py --lr={lr}`.

`{{` and `}}` are the braces of the command itself, as in `awk '{{print $1}}'`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from energyopt.errors import ConfigError

_MARK = "-- "  # before the text of a command, where that of another app begins with "python"
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_KEY = re.compile(r"[A-Za-z_][\w.]*")
_BRACES = "write {{ and }} for braces of the command itself"


@dataclass(frozen=True, slots=True)
class CommandTemplate:
    """A command, one word after the other.

    Attributes:
        words: The program and its arguments, with `{key}` where a value belongs.
    """

    words: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys whose values it needs, in order.

        Raises:
            ConfigError: If a brace neither encloses a key nor is doubled.
        """
        keys: dict[str, None] = {}
        for word in self.words:
            for match in _PART.finditer(word):
                if match[0] in ("{{", "}}"):
                    continue
                if not _KEY.fullmatch(match[1] or ""):
                    raise ConfigError(
                        f"{match[0]} in the command's word {word!r} is no key of a search, such as "
                        f"{{lr}}; {_BRACES}"
                    )
                keys[match[1]] = None
        return tuple(keys)

    def filled(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the command with the values that there are."""

        def text(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0][0]
            return text_of(values[match[1]]) if match[1] in values else match[0]

        return tuple(_PART.sub(text, word) for word in self.words)

    def with_fixed(self, values: Mapping[str, Any]) -> CommandTemplate:
        """Return the command with some values filled in; its other places stay."""

        def text(match: re.Match[str]) -> str:
            if match[1] not in values:
                return match[0]
            return text_of(values[match[1]]).replace("{", "{{").replace("}", "}}")

        return CommandTemplate(tuple(_PART.sub(text, word) for word in self.words))

    def to_app(self) -> str:
        """Return the text that a study keeps as the command of its app."""
        return f"{_MARK}{json.dumps(self.words)}"

    @property
    def typed(self) -> str:
        """The command as it is typed into a shell."""
        return " ".join(map(shell_word, self.words))

    @classmethod
    def of_app(cls, app: object) -> Self | None:
        """Read what `to_app` wrote; None of the command of another app."""
        if not isinstance(app, str) or not app.startswith(_MARK):
            return None
        try:
            words = json.loads(app.removeprefix(_MARK))
            template = cls(tuple(map(str, words)) if isinstance(words, list) else ())
            _ = template.keys  # checks the braces
        except ValueError:
            return None
        return template if template.words else None


def training_command(
    app: str, overrides: Sequence[str], params: Mapping[str, Any], variable: str
) -> tuple[str, tuple[str, ...]]:
    """Return what a shell runs to train a configuration of another app: a program, and its words.

    Args:
        app: The command of the app, as a study keeps it.
        overrides: The overrides of the configuration, for a Hydra app.
        params: Its searched values, for a command.
        variable: The environment variable that gives a `Run` those without a place.
    """
    template = CommandTemplate.of_app(app)
    if template is None:
        return app, tuple(overrides)
    program, *words = template.filled(params)
    unplaced = {key: value for key, value in params.items() if key not in template.keys}
    text = shell_word(program)
    if unplaced:
        value = json.dumps({"params": unplaced}, separators=(",", ":"))
        text = f"{variable}={shlex.quote(value)} {text}"
    return text, tuple(words)


def refusal_to_train(name: str, app: str | None, params: Mapping[str, Any], variable: str) -> str:
    """Say why a training of another app's study is not run: a database may not name what runs.

    Args:
        name: The study's name.
        app: The command of the app, as the study keeps it.
        params: The searched values; empty if no training was chosen.
        variable: See `training_command`.
    """
    if CommandTemplate.of_app(app) is None:
        return f"study {name} is another app's; run that app to train it again"
    reason = f"study {name} is of a command, and nothing that a database names is run"
    if not params:
        return f"{reason}; `recommend {name}` shows the command to paste"
    program, words = training_command(str(app), (), params, variable)
    return f"{reason}; paste it: {' '.join([program, *map(shell_word, words)])}"


def shell_word(word: str) -> str:
    """Return a word quoted for a shell, on one line: bash and zsh read its line breaks."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + json.dumps(word)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


def text_of(value: Any) -> str:
    """Return a value as it is typed: true, null, 0.001, and a text as it is."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
