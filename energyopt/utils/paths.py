"""Where our own files lie, in a checkout and when installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of our modules."""

PLUGINS = PACKAGE / "_hydra"
"""Folder of the Hydra plugin in a checkout; an installed one is found by its name."""

STORAGE_VARIABLE = "ENERGYOPT_STORAGE"
"""Names the storage of studies; the place for a URL with a password."""


def conf_dir() -> Path:
    """The folder of our configs: beside the modules when installed, else the checkout's."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"
