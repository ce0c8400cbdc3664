"""The identity and the name of a study of our own app, and the keys that it may not sweep."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from energyopt.config.monitor import configured_monitor
from energyopt.core.metric import ACCURACY
from energyopt.core.moved_code import MOVED, as_stored
from energyopt.core.study_record import Metric
from energyopt.errors import ConfigError
from energyopt.search.space import Space
from energyopt.search.sweep_keys import ROOT_KEYS
from energyopt.storage.identity import Identity

POWER_LIMIT = "hardware.power_limit_w"
"""The only key of the hardware that may be searched."""

# Keys that may differ between the runs of one study.
_NOT_IDENTIFYING = (
    *(name for name, key in ROOT_KEYS.items() if not key.is_identifying),
    *("trusted_targets", "report", "trial_timeout_s", "knowledge"),
    # Waiting at the start, and what is measured in addition to the training.
    *("hardware.lease_wait_s", "hardware.idle_s", "hardware.strict", "hardware.trace_s"),
)

# Keys added later, with their defaults: at its default a key leaves the identity of a study as it
# was before the key existed.
_ADDED_KEYS: Mapping[str, Any] = {
    "inference_s": None,
    "test_at_end": False,
    "monitor": None,
    "mode": None,
    "paradigm.targets": None,
    "paradigm.precision": "fp32",
    "paradigm.compile": False,
}

_WHOLE = "it belongs to the whole study"
_OTHERS_OF_THE_STUDY = (
    *("trial_timeout_s", "report", "stopping", "trusted_targets", "knowledge", "inference_s"),
    *("monitor", "mode", "test_at_end"),
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
    """Check that trials can be compared along all axes.

    Raises:
        ConfigError: Naming the axis and the reason.
    """
    for dimension in space.dimensions:
        group, _, package = dimension.key.partition("@")
        # task@paradigm.source.task and the like are options of the paradigm.
        root = (package if package.startswith("paradigm.") else group).partition(".")[0]
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
    """Return a study's identity, from the composed default config and the space.

    Args:
        cfg: The config of a job with only the fixed overrides, without the hydra node.
        space: The search space.
        metrics: The objectives.
        command: Flags that name the config folders.
        moved: The current path of code that studies name by an older one.
    """
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    for key in _NOT_IDENTIFYING:
        node, name = _node(config, key)
        node.pop(name, None)
    if configured_monitor(cfg) == ACCURACY:  # the same question as without the keys
        config |= {"monitor": None, "mode": None}
    for key, default in _ADDED_KEYS.items():
        node, name = _node(config, key)
        if name in node and node[name] == default:
            del node[name]
    config = as_stored(config, moved)
    return Identity(
        metrics=tuple(metrics),
        overrides=(*command, *(o for o in space.fixed if _is_identifying(o))),
        sweep=space.sweep,
        config=config,
        target=float(cfg.target),
        axes=space.axes,
    )


def _node(config: Any, key: str) -> tuple[dict[str, Any], str]:
    """Return the node that holds a key, or an empty one, and the key's last part."""
    *groups, name = key.split(".")
    for group in groups:
        config = config.get(group, {})
    return config, name


def _is_identifying(override: str) -> bool:
    key = override.lstrip("+").partition("=")[0]
    return key not in _NOT_IDENTIFYING and key.partition(".")[0] not in _NOT_IDENTIFYING


def name_study(choices: Mapping[str, str], identity: Identity) -> str:
    """Return a name made from the task, the model and a hash of the identity.

    Args:
        choices: Hydra's chosen option of each group.
        identity: The study's identity.
    """
    text = json.dumps([identity.config, sorted(identity.sweep)], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    is_swept = any(override.startswith("model=") for override in identity.sweep)
    model = "models" if is_swept else choices.get("model", "own")
    # An option may lie in a subfolder of its group: "nets/small".
    return re.sub(r"[^A-Za-z0-9._+-]", "-", f"{choices.get('task', 'own')}-{model}-{digest}")


def command_words(config: DictConfig) -> tuple[str, ...]:
    """Return the flags that name a multirun's config folders, if it uses other than ours."""
    flags = [
        f"--config-dir={source.path}"
        for source in config.hydra.runtime.config_sources
        if source.provider == "command-line" and source.schema == "file"
    ]
    if config.hydra.job.config_name != "config":
        flags += [f"--config-name={config.hydra.job.config_name}", "hydra.mode=RUN"]
    return tuple(flags)
