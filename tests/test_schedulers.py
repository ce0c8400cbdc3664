"""The learning rate starts, peaks and ends where it should, and survives a step too many."""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from energyopt.errors import ConfigError
from energyopt.schedulers import cosine, none, one_cycle

ROOT = Path(__file__).parents[1]
SCHEDULERS = [cosine, one_cycle]
every_scheduler = pytest.mark.parametrize("schedule", SCHEDULERS)


def optimizer_with(*rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0, momentum=0.9)


def rates_of(
    schedule: Callable[..., Any], steps: int, total_steps: int, lr: float = 0.5, **options: float
) -> list[float]:
    """The rate that each optimizer step uses."""
    optimizer = optimizer_with(lr)
    scheduler = schedule(optimizer, total_steps, **options)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_none_leaves_the_rate_alone():
    optimizer = optimizer_with(0.1)
    assert none(optimizer, 10) is None
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_cosine_falls_from_the_rate_to_nearly_zero():
    rates = rates_of(cosine, 100, 100)
    assert rates[0] == 0.5
    assert rates[50] == pytest.approx(0.25)
    assert all(a > b for a, b in itertools.pairwise(rates))
    assert 0 < rates[-1] < 0.001


def test_cosine_can_warm_up_and_end_above_zero():
    rates = rates_of(cosine, 101, 100, warmup=0.1, final_factor=0.2)
    assert rates[0] == pytest.approx(0.5 / 11)
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == rates[10] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.1)


def test_one_cycle_rises_to_the_rate_and_falls():
    rates = rates_of(one_cycle, 101, 100)
    assert rates[0] == pytest.approx(0.5 * 0.04)
    assert max(rates) == rates[30] == pytest.approx(0.5)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)


@every_scheduler
@pytest.mark.parametrize("total_steps", [1, 2, 3, 10, 97])
def test_rate_stays_at_its_end_beyond_the_last_step(schedule, total_steps):
    rates = rates_of(schedule, total_steps + 20, total_steps, final_factor=0.1)
    assert all(0 < rate <= 0.5 for rate in rates[:total_steps])
    assert rates[total_steps:] == pytest.approx([0.05] * 20)


@every_scheduler
def test_every_group_runs_below_its_own_rate(schedule):
    optimizer = optimizer_with(1.0, 0.01)
    scheduler = schedule(optimizer, 20)
    peaks = [0.0, 0.0]
    for _ in range(20):
        peaks = [max(a, g["lr"]) for a, g in zip(peaks, optimizer.param_groups, strict=True)]
        optimizer.step()
        scheduler.step()
    assert peaks == pytest.approx([1.0, 0.01])


@every_scheduler
def test_momentum_is_left_alone(schedule):
    optimizer = optimizer_with(0.1)
    scheduler = schedule(optimizer, 5)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["momentum"] == 0.9


@every_scheduler
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_steps": 0}, r"total_steps=0 is no training"),
        ({"warmup": 1.0}, r"scheduler\.warmup=1\.0 is outside \[0, 1\)"),
        ({"warmup": -0.1}, r"scheduler\.warmup=-0\.1"),
        ({"warmup": float("nan")}, r"scheduler\.warmup=nan"),
        ({"final_factor": 1.5}, r"scheduler\.final_factor=1\.5 is outside \[0, 1\]"),
    ],
)
def test_impossible_options_are_config_errors(schedule, options, message):
    with pytest.raises(ConfigError, match=message):
        schedule(optimizer_with(0.1), **({"total_steps": 10} | options))


def test_one_cycle_refuses_a_start_above_the_peak():
    with pytest.raises(ConfigError, match=r"initial_factor=2"):
        one_cycle(optimizer_with(0.1), 10, initial_factor=2)


def load(path: Path) -> tuple[Callable[..., Any], dict[str, Any]]:
    config: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(config, dict)
    module, _, name = config.pop("_target_").rpartition(".")
    assert config.pop("_partial_") is True
    return getattr(importlib.import_module(module), name), config


@pytest.mark.parametrize(
    "path", sorted((ROOT / "conf/scheduler").glob("*.yaml")), ids=lambda p: p.stem
)
def test_yaml_offers_every_option_with_the_default_of_the_function(path):
    function, config = load(path)
    assert function.__name__ == path.stem
    parameters = inspect.signature(function).parameters
    defaults = {key: p.default for key, p in parameters.items()}
    assert [defaults.pop(key) for key in ("optimizer", "total_steps")] == [inspect._empty] * 2
    assert config == defaults


@pytest.mark.parametrize(
    "path", sorted((ROOT / "conf/optimizer").glob("*.yaml")), ids=lambda p: p.stem
)
def test_optimizer_yaml_builds_and_takes_the_root_rate(path):
    function, config = load(path)
    assert config.pop("lr") == "${lr}"
    optimizer = function([torch.zeros(1, requires_grad=True)], lr=0.25, **config)
    scheduler = one_cycle(optimizer, 4)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["initial_lr"] == 0.25
