"""Options of our groups by name, for apps that do not compose our configs."""

from __future__ import annotations

import pytest

from energyopt.errors import ConfigError
from energyopt.sweep.group_options import hardware_options, stopping_options


def test_options_by_name_have_the_defaults_of_their_group() -> None:
    simulated = hardware_options("simulated")
    assert simulated["meter"]["_target_"].endswith("SimulatedMeter")
    assert simulated["gpus"] is None
    assert simulated["cool_down_s"] == 5
    assert hardware_options("auto")["gpus"] == "auto"
    assert stopping_options(None) == {"rules": {}, "schedule": "auto"}
    both = stopping_options(["dominance", "energy_cap"])
    assert list(both["rules"]) == ["dominance", "energy_cap"]
    assert both["schedule"] is None


def test_keys_replace_those_of_auto() -> None:
    options = hardware_options({"gpus": 2, "meter": {"_target_": "my.Meter"}})
    assert options["gpus"] == 2
    assert options["meter"] == {"_target_": "my.Meter"}


@pytest.mark.parametrize("name", ["nope", "../task/digits", 3])
def test_unknown_options_are_refused(name: object) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.hardware=.*: choose a100, amd, auto"):
        hardware_options(name)
