"""Keep passwords of storage URLs out of command lines, files, messages and environments.

Where a URL comes from the environment, this program works with the masked one (`withheld`), and
asks for the other (`revealed`) only to connect: after the parent of the trials is forked.
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import Any
from urllib.parse import unquote

from energyopt.errors import ConfigError, StorageError
from energyopt.utils.environment import close_memory, replace_variables
from energyopt.utils.paths import STORAGE_VARIABLE

_MASK = "***"

# A password may contain an @, and may be a query parameter; so may an option after the database.
_SECRET = re.compile(
    r"(://[^:/?#@]*:)([^?]+(?=@[^?@]*/[^?@]*\?\w+=)|.+(?=@))"
    r"|([?&](?:pass|passwd|password|sslpassword)=)([^&]+)"
)
_OF_CREDENTIALS = re.compile("PASS|PWD|SECRET|TOKEN|KEY", re.IGNORECASE)  # names of variables


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
    return _SECRET.sub(lambda match: f"{match[1] or match[3]}{_MASK}", url)


# Descriptors of nameless files with the URLs, by masked URL: no object of this process holds them,
# so that they are not in the memory of a fork.
_files: dict[str, int] = {}
_named: list[str] = []  # what ENERGYOPT_STORAGE names, masked


def withhold_storage() -> None:
    """Take the password of ENERGYOPT_STORAGE out of the environment of this process."""
    url = os.environ.get(STORAGE_VARIABLE)
    if url is not None:
        _named[:] = [withheld(url)]


def named_storage() -> str | None:
    """Return what ENERGYOPT_STORAGE named when this program began, masked; None without it."""
    return next(iter(_named), None)


def withheld(url: str) -> str:
    """Return a storage's URL without its password, which leaves the environment of this process.

    A variable that holds the password as that of a URL, or alone under a name such as PGPASSWORD,
    holds *** instead from then on.
    """
    secrets = _passwords(url)
    masks = {name: _without(secrets, name, value) for name, value in os.environ.items()}
    names = {name for name, mask in masks.items() if mask != os.environ[name]}
    names |= {STORAGE_VARIABLE} & masks.keys()
    replace_variables({name: masks[name] for name in names})
    if secrets:
        close_memory()
        _files[masked(url)] = _hidden_file(url)
    return masked(url)


def revealed(url: str) -> str:
    """Return a URL with the password that `withheld` has taken; others as they are."""
    descriptor = _files.get(url)
    if descriptor is None:
        return url
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


def forget_storage() -> None:
    """Forget what `withheld` has taken: in a fork, and where a training needs no storage."""
    for descriptor in _files.values():
        os.close(descriptor)
    _files.clear()


os.register_at_fork(after_in_child=forget_storage)


def _passwords(url: str) -> set[str]:
    """Return the passwords of a URL, as they are written there and as they are meant."""
    written = {match[2] or match[4] for match in _SECRET.finditer(url)} - {_MASK}
    return written | {unquote(password) for password in written}


def _without(secrets: set[str], name: str, value: str) -> str:
    """Return the value of a variable without a password that it holds alone or in a URL."""
    if value in secrets and _OF_CREDENTIALS.search(name):  # a short one may be a word or number
        return _MASK
    return masked(value) if secrets & _passwords(value) else value


def _hidden_file(text: str) -> int:
    """Return a descriptor of a file without a name; programs that are started do not get it."""
    try:
        descriptor = os.memfd_create("storage")
    except (AttributeError, OSError):  # no Linux, an old kernel, or seccomp
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.write(descriptor, text.encode())
    return descriptor


def refuse_kept_password(config: Any) -> None:
    """Refuse a password in a config file, which would be stored in each run's folder.

    Args:
        config: The config as plain data, not resolved: a password from the environment is allowed.

    Raises:
        ConfigError: If a storage URL has one; the message says where to put it.
    """
    variables = _at(config, "hydra.job.env_set")
    names = variables if isinstance(variables, dict) else ()
    storages = ("storage", "hydra.sweeper.storage")
    nodes = (f"{storage}.url" for storage in storages)  # a node of Optuna's has a url
    for key in (*storages, *nodes, *(f"hydra.job.env_set.{name}" for name in names)):
        value = _at(config, key)
        if isinstance(value, str) and holds_password(value):
            raise ConfigError(
                f"{key}={masked(value)} of a config file has a password, which each run would copy "
                "into its folder; put the URL into the environment variable ENERGYOPT_STORAGE "
                f"and say {key}: ${{oc.env:ENERGYOPT_STORAGE}}"
            )


def _at(config: Any, key: str) -> Any:
    """Return the value at a key of plain data; None without one."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config
