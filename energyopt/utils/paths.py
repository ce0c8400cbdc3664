"""Paths of our own files, in a checkout and when installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of our modules."""

PLUGINS = PACKAGE / "_hydra"
"""Folder of the Hydra plugin in a checkout; Hydra finds an installed one by its name."""

STORAGE_VARIABLE = "ENERGYOPT_STORAGE"
"""Environment variable with the storage of studies; for URLs with a password."""


def conf_dir() -> Path:
    """Return the folder of our configs: in the package when installed, else the checkout's."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"
