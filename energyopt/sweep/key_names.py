"""The keys of another app in messages that name those of our own."""

from __future__ import annotations

import re

_OWN_KEYS = re.compile(
    r"^(?P<first>study|storage|sampler)=|(?<=another )study=name|(?<=own )study=name"
    r"|(?<=give )(?P<storage>storage)=|(?<=: )(?P<limit>max_failure(?:s|_rate))(?==)"
)


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
