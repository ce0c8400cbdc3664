"""Hydra as our command sets it up, for tests: its config loader, and what it composes."""

from __future__ import annotations

import copy
import sys
from functools import cache
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from energyopt.utils.paths import PLUGINS, conf_dir


@cache
def config_loader(folder: Path | None = None) -> ConfigLoaderImpl:
    """Hydra's loader of our configs, with the options that our plugin registers.

    Args:
        folder: Searched in addition to ours, as with --config-dir.
    """
    if str(PLUGINS) not in sys.path:
        sys.path.append(str(PLUGINS))
    from hydra.core.plugins import Plugins

    Plugins.instance()
    setup_globals()
    path = create_config_search_path(str(conf_dir()))
    if folder is not None:
        path.prepend("command-line", f"file://{folder}", SearchPathQuery("schema"))
    return ConfigLoaderImpl(path)


def multirun(*words: str, folder: Path | None = None) -> DictConfig:
    """The config of a multirun itself, from its fixed words."""
    return copy.deepcopy(_compose(RunMode.MULTIRUN, words, folder))


def composed(*words: str, folder: Path | None = None) -> DictConfig:
    """The config of a job, without its hydra node."""
    config = copy.deepcopy(_compose(RunMode.RUN, words, folder))
    with open_dict(config):
        del config["hydra"]
    return config


@cache
def _compose(mode: RunMode, words: tuple[str, ...], folder: Path | None) -> DictConfig:
    config = config_loader(folder).load_configuration("config", list(words), mode)
    config._set_flag("readonly", False)
    return config
