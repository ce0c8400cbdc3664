"""What a study of our own app asks: its identity, its name, and what it may not sweep."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from energyopt.core.study_record import Metric
from energyopt.core.target_names import MOVED, as_stored
from energyopt.errors import ConfigError
from energyopt.search.space import Space
from energyopt.search.sweep_keys import ROOT_KEYS
from energyopt.storage.identity import Identity

POWER_LIMIT = "hardware.power_limit_w"
"""The one key of the hardware that may be searched."""

# May differ between the runs of one study.
_NOT_ASKED = (
    *(name for name, key in ROOT_KEYS.items() if not key.asked),
    *("trusted_targets", "report", "trial_timeout_s", "knowledge"),
    # How a start waits, and what is measured beside the training.
    *("hardware.lease_wait_s", "hardware.idle_s", "hardware.strict"),
)

# Keys that came later, with what they say where nothing is said: a study of before asks the same.
_SINCE: Mapping[str, Any] = {
    "inference_s": None,
    "paradigm.targets": None,
    "paradigm.precision": "fp32",
    "paradigm.compile": False,
}

_WHOLE = "it belongs to the whole study"
_OTHERS_OF_THE_STUDY = (
    *("trial_timeout_s", "report", "stopping", "trusted_targets", "knowledge", "inference_s"),
)
_UNSWEEPABLE: Mapping[str, str] = {
    **dict.fromkeys((*ROOT_KEYS, *_OTHERS_OF_THE_STUDY), _WHOLE),
    "target": "one curve answers every target: see `pareto STUDY --target`",
    "objective": "values of two objectives cannot be compared",
    "task": "accuracies of two tasks cannot be compared",
    "hardware": "joules of two meters do not mix",
    "eval_every": "the energy to target would be read at different grains",
    "device": "joules of two devices do not mix",
}


def refuse_unsweepable(space: Space, *, grid: bool) -> None:
    """Refuse axes that would compare what cannot be compared.

    Raises:
        ConfigError: Naming the axis and the reason.
    """
    for dimension in space.dimensions:
        group, _, place = dimension.key.partition("@")
        # task@paradigm.source.task and its like are options of the paradigm.
        root = (place if place.startswith("paradigm.") else group).partition(".")[0]
        root = root.partition("/")[0]
        if root == "hydra":
            raise ConfigError(f"{dimension.key} cannot be swept: {_WHOLE}")
        if root in _UNSWEEPABLE and dimension.key != POWER_LIMIT:
            raise ConfigError(f"{dimension.key} cannot be swept: {_UNSWEEPABLE[root]}")
        if root == "seed" and not grid:
            raise ConfigError(
                "seed cannot be swept except with sampler=grid: a sampler would pick lucky seeds; "
                "all trials train with the same one"
            )


def identify(
    cfg: DictConfig,
    space: Space,
    metrics: Sequence[Metric],
    command: Sequence[str] = (),
    moved: Mapping[str, str] = MOVED,
) -> Identity:
    """What a study asks, from the composed default config and the space.

    Args:
        cfg: The config of a job with the fixed words alone, without the hydra node.
        space: What is searched.
        metrics: The objectives.
        command: Words that say where the configs are.
        moved: Where code is now that studies name as it was called before.
    """
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    for key in _NOT_ASKED:
        node, name = _node(config, key)
        node.pop(name, None)
    for key, default in _SINCE.items():
        node, name = _node(config, key)
        if name in node and node[name] == default:
            del node[name]
    config = as_stored(config, moved)
    return Identity(
        metrics=tuple(metrics),
        overrides=(*command, *(word for word in space.fixed if not _is_not_asked(word))),
        sweep=space.sweep,
        config=config,
        target=float(cfg.target),
    )


def _node(config: Any, key: str) -> tuple[dict[str, Any], str]:
    """Where a key is, and its last part; an empty place where there is none."""
    *groups, name = key.split(".")
    for group in groups:
        config = config.get(group, {})
    return config, name


def _is_not_asked(word: str) -> bool:
    key = word.lstrip("+").partition("=")[0]
    return key in _NOT_ASKED or key.partition(".")[0] in _NOT_ASKED


def name_study(choices: Mapping[str, str], identity: Identity) -> str:
    """A name made from the task, the model and a hash of what is asked.

    Args:
        choices: Hydra's chosen option of each group.
        identity: What is asked.
    """
    asked = json.dumps([identity.config, sorted(identity.sweep)], sort_keys=True, default=str)
    digest = hashlib.sha256(asked.encode()).hexdigest()[:8]
    swept = [word for word in identity.sweep if word.startswith("model=")]
    model = "models" if swept else choices.get("model", "own")
    # An option may lie in a subfolder of its group: "nets/small".
    return re.sub(r"[^A-Za-z0-9._+-]", "-", f"{choices.get('task', 'own')}-{model}-{digest}")


def command_words(config: DictConfig) -> tuple[str, ...]:
    """The flags that say where a multirun's configs are, if they are not ours alone."""
    words = [
        f"--config-dir={source.path}"
        for source in config.hydra.runtime.config_sources
        if source.provider == "command-line" and source.schema == "file"
    ]
    if config.hydra.job.config_name != "config":
        words += [f"--config-name={config.hydra.job.config_name}", "hydra.mode=RUN"]
    return tuple(words)
