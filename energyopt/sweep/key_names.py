"""The keys of another app in messages that name those of our own."""

from __future__ import annotations

import re

from energyopt.search.sweep_keys import COMMAND

_OWN_KEYS = re.compile(
    r"^(?P<first>study|storage|sampler)=|(?<=another )study=name|(?<=own )study=name"
    r"|(?<=give )(?P<storage>storage)=|(?<=: )(?P<limit>max_failure(?:s|_rate))(?==)"
)


_WORDS = re.compile(r"hydra\.sweeper\.(?P<name>[a-z_]+)|hydra/sweeper/(?P<group>[a-z]+)(?==)")


def in_keys_of(app: str | None, message: str) -> str:
    """Return a message with the keys of an app, as `hydra.sweeper.app` names it."""
    if app is None:
        return in_keys_of_other_app(message)
    return in_words_of_command(message) if app == COMMAND else message


def in_words_of_command(message: str) -> str:
    """Return a message about keys of `hydra.sweeper` with the words of `energyopt search`."""

    def word(match: re.Match[str]) -> str:
        name = match["name"] or match["group"]
        return "study" if name == "study_name" else name

    return _WORDS.sub(word, message)


def in_keys_of_other_app(message: str) -> str:
    """Return a message of the storage or of a sampler with the keys below `hydra.sweeper`.

    Only the beginning and our own advice are changed: the rest may quote the user's words.
    """

    def key(match: re.Match[str]) -> str:
        if match["limit"]:
            return f"hydra.sweeper.{match['limit']}"
        name = match["first"] or match["storage"]
        if name is None:
            return "hydra.sweeper.study_name"
        return f"hydra.sweeper.{'study_name' if name == 'study' else name}="

    return _OWN_KEYS.sub(key, message)
