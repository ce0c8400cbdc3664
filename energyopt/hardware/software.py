"""With what code a trial was made: versions of packages, and the commit of the user's own."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_PACKAGES = ("energyopt", "torch", "zeus", "nvidia-ml-py", "numpy", "optuna", "hydra-core")
_PATIENCE_S = 5.0


@cache
def package_versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that make a trial's numbers."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def commit(folder: Path) -> str | None:
    """Git commit of a folder's code, with "-dirty" if tracked files differ from it.

    Args:
        folder: Where to look; its repository may begin above it.

    Returns:
        None outside a repository, or without git.
    """
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    # Tags are left out: the name must be a commit.
    words += ["--exclude=*"]
    try:
        done = subprocess.run(  # noqa: S603  # no shell; git as the user's PATH has it
            words, capture_output=True, text=True, timeout=_PATIENCE_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
