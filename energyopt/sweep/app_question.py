"""The question of another app's study: its config, but for what changes no training."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, SCMode

from energyopt.search.equality import plain

SECRETS = frozenset(
    {
        *("password", "passwd", "secret", "token", "auth_token", "access_token", "api_token"),
        *("api_key", "apikey", "secret_key", "access_key", "credentials"),
    }
)
"""Last parts of keys that are neither stored nor compared: another one asks nothing else."""

OUTPUTS = frozenset(
    {
        *("output_dir", "out_dir", "log_dir", "logs_dir", "save_dir", "results_dir", "run_dir"),
        *("work_dir", "tmp_dir", "cache_dir"),
    }
)
"""Last parts of keys that say where files are written."""

WORDS = frozenset(
    {
        *("verbose", "verbosity", "quiet", "log_level", "loglevel", "log_every_n_steps"),
        *("progress_bar", "enable_progress_bar", "run_name", "experiment_name", "exp_name"),
        *("tags", "notes"),
    }
)
"""Last parts of keys that say what is printed, and what runs are called."""

TRACKERS = frozenset(
    {"logger", "loggers", "logging", "wandb", "mlflow", "tensorboard", "neptune", "comet", "aim"}
)
"""Parts of keys with which the options of an experiment tracker begin."""


def is_harmless(key: str) -> bool:
    """Return True if a key with another value asks the same question."""
    parts = key.lstrip("+~").replace("/", ".").lower().split(".")
    name = parts[-1].partition("@")[0]
    if parts[0] == "hydra" or any(part.partition("@")[0] in TRACKERS for part in parts):
        return True
    return name in SECRETS or name in OUTPUTS or name in WORDS


def question_of(config: DictConfig, swept: Collection[str]) -> dict[str, Any]:
    """Return the config that the trials of another app share, as plain data.

    Interpolations stay as they are written: one of an environment variable may be a secret, one of
    the time differs each time.

    Args:
        config: The config of the default configuration.
        swept: The searched keys.
    """
    data: Any = OmegaConf.to_container(
        config, resolve=False, enum_to_str=True, structured_config_mode=SCMode.DICT
    )
    left_out = {key.partition("@")[2] or key.partition("@")[0] for key in swept}
    return _kept("", data, {key.replace("/", ".") for key in left_out})


def _kept(prefix: str, data: Mapping[Any, Any], swept: Collection[str]) -> dict[str, Any]:
    shared = {}
    for name, value in data.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        if key in swept or is_harmless(key):
            continue
        shared[str(plain(name))] = (
            _kept(key, value, swept) if isinstance(value, Mapping) else _storable(plain(value))
        )
    return shared


def _storable(value: Any) -> Any:
    """Return a value that JSON has a word for: NaN would differ from itself."""
    if isinstance(value, Mapping):
        return {key: _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
