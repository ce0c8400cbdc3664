"""Generated parts of the main help: the keys of a search, samplers and foreign commands.

Hydra prints `conf/hydra/help/energyopt.yaml`; this module replaces the placeholders in braces.
"""

from __future__ import annotations

from energyopt.cli.commands import other_commands
from energyopt.config.yaml_comments import Key, read_keys
from energyopt.search.sampler_names import SAMPLERS
from energyopt.utils.paths import conf_dir

_SEARCH = "The search"  # beginning of the section's heading in the main config
_COLUMN = 23  # at which the descriptions begin


def fill_in(text: str) -> str:
    """Return the help with its placeholders replaced."""
    keys = [k for k in read_keys(conf_dir() / "config.yaml") if k.section.startswith(_SEARCH)]
    foreign = [
        f"{name:<{_COLUMN}}of the package {command.origin}"
        for name, command in other_commands().items()
    ]
    parts = {
        "{search_keys}\n": "".join(f"{_key_line(key)}\n" for key in keys),
        "{other_commands}\n": "".join(f"{line}\n" for line in foreign),
    }
    for placeholder, part in parts.items():
        text = text.replace(placeholder, part)
    return text


def _key_line(key: Key) -> str:
    value = "..." if "${" in key.value else key.value
    description = (
        f"{', '.join(SAMPLERS)}, or {{_target_: ...}}" if key.name == "sampler" else key.comment
    )
    override = f"{key.name}={value}"
    return f"{override:<{_COLUMN - 2}}  {description}"
