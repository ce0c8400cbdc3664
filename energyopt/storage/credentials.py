"""Keep passwords of storage URLs out of command lines, files and messages."""

from __future__ import annotations

import re
from typing import Any

from energyopt.errors import ConfigError, StorageError

# A password may contain an @, and may be a query parameter.
_SECRET = re.compile(r"(://[^:/?#@]*:)(.+)(?=@)|([?&](?:pass|passwd|password|sslpassword)=)([^&]+)")


def refuse_password(url: str) -> None:
    """Refuse a password on the command line, which would be stored in each run's folder.

    Raises:
        StorageError: If the URL has one; the message says where to put it.
    """
    url = url.strip("'\"")
    if holds_password(url):
        raise StorageError(
            f"storage={masked(url)} has a password, which a command line leaves in files and "
            "process lists; put the URL into the environment variable ENERGYOPT_STORAGE instead"
        )


def holds_password(url: str) -> bool:
    """Return True if a URL has a literal password, not an interpolation (`${...}`)."""
    return any("${" not in (match[2] or match[4]) for match in _SECRET.finditer(url))


def masked(url: str) -> str:
    """Return the URL with `***` in place of its password."""
    return _SECRET.sub(lambda match: f"{match[1] or match[3]}***", url)


def refuse_kept_password(config: Any) -> None:
    """Refuse a password in a config file, which would be stored in each run's folder.

    Args:
        config: The config as plain data, not resolved: a password from the environment is allowed.

    Raises:
        ConfigError: If a storage URL has one; the message says where to put it.
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
