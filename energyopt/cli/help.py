"""What the main help says that is kept elsewhere: keys of a search, samplers, foreign commands.

Hydra prints `conf/hydra/help/energyopt.yaml`; a word in braces there is filled in here.
"""

from __future__ import annotations

from energyopt.cli.commands import others
from energyopt.config.yaml_comments import Key, read_keys
from energyopt.search.sampler_names import SAMPLERS
from energyopt.utils.paths import conf_dir

_SEARCH = "The search"  # how the part of the main config begins
_COLUMN = 23  # in which the text stands


def fill_in(text: str) -> str:
    """Return help with the words in braces filled in."""
    keys = [k for k in read_keys(conf_dir() / "config.yaml") if k.section.startswith(_SEARCH)]
    foreign = [f"{name:<{_COLUMN}}of the package {each.origin}" for name, each in others().items()]
    parts = {
        "{search_keys}\n": "".join(f"{_search_key(key)}\n" for key in keys),
        "{other_commands}\n": "".join(f"{line}\n" for line in foreign),
    }
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def _search_key(key: Key) -> str:
    value = "..." if "${" in key.value else key.value
    what = f"{', '.join(SAMPLERS)}, or {{_target_: ...}}" if key.name == "sampler" else key.comment
    word = f"{key.name}={value}"
    return f"{word:<{_COLUMN - 2}}  {what}"
