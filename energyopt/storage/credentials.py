"""Keep passwords of storage URLs out of command lines, files and messages."""

from __future__ import annotations

import re
from typing import Any

from energyopt.errors import ConfigError, StorageError

# Also one that holds an @ itself, and one that is given as a parameter.
_SECRET = re.compile(r"(://[^:/?#@]*:)(.+)(?=@)|([?&](?:pass|passwd|password|sslpassword)=)([^&]+)")


def refuse_password(url: str) -> None:
    """Refuse a password on the command line: it would be written into each run's folder.

    Raises:
        StorageError: Saying where to put it.
    """
    url = url.strip("'\"")
    if holds_password(url):
        raise StorageError(
            f"storage={masked(url)} has a password, which a command line leaves in files and "
            "process lists; put the URL into the environment variable ENERGYOPT_STORAGE instead"
        )


def holds_password(url: str) -> bool:
    """Whether a URL has a password of its own, not one fetched from elsewhere (`${...}`)."""
    return any("${" not in (found[2] or found[4]) for found in _SECRET.finditer(url))


def masked(url: str) -> str:
    """The URL without its password."""
    return _SECRET.sub(lambda found: f"{found[1] or found[3]}***", url)


def refuse_kept_password(config: Any) -> None:
    """Refuse a storage URL whose password a config file says: each run's folder would keep it.

    Args:
        config: The config as plain data, not resolved: what the environment says is no matter.

    Raises:
        ConfigError: Saying where to put it.
    """
    for key in ("storage", "hydra.sweeper.storage"):
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str) and holds_password(value):
            raise ConfigError(
                f"{key}={masked(value)} of a config file has a password, which each run would copy "
                "into its folder; put the URL into the environment variable ENERGYOPT_STORAGE "
                f"and say {key}: ${{oc.env:ENERGYOPT_STORAGE}}"
            )
