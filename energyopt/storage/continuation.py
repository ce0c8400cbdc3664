"""Continue a study: compare what a run asks with what is stored, and store what was widened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study

from energyopt.search.equality import is_alike
from energyopt.storage.axes import AXES, axes_of, from_plain, ordered, refusal, to_plain
from energyopt.storage.identity import IDENTITY, Identity, check_same

APP_CONFIG = "energyopt_app_config"
"""Attribute of a study of another app: the config that its trials share."""


def check_continues(study: Study, stored: Mapping[str, Any], identity: Identity) -> None:
    """Check that a run asks what a study asks.

    Args:
        study: The study.
        stored: Its identity.
        identity: That of the run.

    Raises:
        StudyError: If it asks something else; the message lists all differences.
    """
    old, new = dict(stored), json.loads(json.dumps(identity.to_dict()))
    if identity.app_config is not None:  # of another app, with the keys of `Run` in `config`
        shared = study.user_attrs.get(APP_CONFIG)
        requested = json.loads(json.dumps(identity.app_config))
        if shared is None:  # of an older version, which kept the overrides only
            shared, requested = _as_fixed(stored, requested)
        old["config"] = _merged(old["config"], shared)
        new["config"] = _merged(new["config"], requested)
    axes = _refusals(study, stored, identity)
    check_same(study.study_name, old, new, axes=axes, name_key=identity.name_key)


def keep_question(study: Study, stored: Mapping[str, Any] | None, identity: Identity) -> None:
    """Store the search space and the config of a run, which continues the study."""
    question = {}
    if identity.axes:
        earlier = stored_axes(study)
        axes = {key: ordered(axis, earlier.get(key)) for key, axis in identity.axes.items()}
        question[AXES] = to_plain(axes)
    if identity.app_config is not None:
        question[APP_CONFIG] = dict(identity.app_config)
    for attribute, value in question.items():
        if study.user_attrs.get(attribute) != json.loads(json.dumps(value)):
            study.set_user_attr(attribute, value)
    if stored is not None and list(stored["sweep"]) != list(identity.sweep):
        study.set_user_attr(IDENTITY, {**stored, "sweep": list(identity.sweep)})


def stored_axes(study: Study) -> dict[str, BaseDistribution]:
    """Return the axes of the last run of a study; none of one of an older version."""
    return from_plain(study.user_attrs.get(AXES, {}))


def _merged(goal: Mapping[str, Any] | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of another app with what its `Run` declares."""
    goal = goal or {}
    declared = {f"hydra.sweeper.{key}" if key in config else key: goal[key] for key in goal}
    return {**declared, **config}


def _refusals(study: Study, stored: Mapping[str, Any], identity: Identity) -> dict[str, str | None]:
    """Return why each axis does not continue that of the study, or None."""
    trials = study.get_trials(deepcopy=False)
    axes = axes_of(trials) | stored_axes(study)
    swept = {word.lstrip("+").partition("=")[0] for word in stored["sweep"]}
    return {
        key: refusal(key, axes[key], axis, trials)
        for key, axis in identity.axes.items()
        if key in axes and key in swept
    }


def _as_fixed(
    stored: Mapping[str, Any], requested: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fixed overrides of a study by key, and what a config has there instead.

    Args:
        stored: The identity of the study.
        requested: The config of the run.
    """
    old, new = {}, {}
    for word in stored["overrides"]:
        key, _, text = word.lstrip("+").partition("=")
        value = _at(requested, key)
        if isinstance(value, Mapping) or value is None or "$" in text:
            continue  # an option of a group, or none that was compared
        if not is_alike(value, text.strip("'\"")) and json.dumps(value) != text:
            old[key], new[key] = text, value
    return old, new


def _at(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
