"""The metric of a config: what its root keys, its task and its paradigm state."""

from __future__ import annotations

from typing import Any

import pytest

from energyopt.config.monitor import monitor_of
from energyopt.config.trial_factory import TrialFactory
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.run_context import RunContext
from energyopt.errors import ConfigError
from tests.composing import composed

LOSS = Monitor("val_loss", "min")


class Plain:
    """States nothing."""


class Regression:
    """States what it evaluates."""

    monitor = LOSS


class Misspelt:
    """States it as a text."""

    monitor = "val_loss"


class Late:
    """States it only once it is built."""

    @property
    def monitor(self) -> Monitor:
        return LOSS


def found(*words: str, task: type = Plain, paradigm: type = Plain) -> Monitor:
    classes: dict[str, Any] = {"a.Task": task, "a.Paradigm": paradigm}
    own = ("task=own", "task._target_=a.Task", "paradigm=own", "paradigm._target_=a.Paradigm")
    return monitor_of(composed(*own, *words), classes.__getitem__)


def test_it_is_the_accuracy_where_nothing_is_stated():
    assert found() == TrialFactory(composed()).monitor == ACCURACY


def test_a_task_or_a_paradigm_states_its_own():
    assert found("target=3", task=Regression) == LOSS
    assert found("target=3", paradigm=Regression) == LOSS
    assert found("target=3", task=Regression, paradigm=Misspelt) == LOSS


def test_the_root_keys_state_it_for_code_that_does_not():
    assert found("monitor=val_loss", "mode=min", "target=-3") == LOSS
    assert found("monitor=val_loss", "mode=min", "target=3", task=Regression) == LOSS
    assert found("monitor=accuracy") == ACCURACY


def test_two_statements_that_differ_are_refused():
    with pytest.raises(ConfigError, match=r"^monitor=rmse mode=min is not what .*=val_loss mode=m"):
        found("monitor=rmse", "mode=min", task=Regression)


@pytest.mark.parametrize("paradigm", [Misspelt, Late])
def test_a_statement_is_a_monitor_and_an_attribute_of_the_class(paradigm: type):
    with pytest.raises(ConfigError, match=r"^paradigm\._target_=a\.Paradigm has monitor="):
        found(paradigm=paradigm)


def test_a_trial_has_the_metric_of_its_study():
    of_study = RunContext(metric="val_loss", mode="min", target=0.9)
    with pytest.raises(ConfigError, match=r"^this trial has monitor=accuracy mode=max, and its st"):
        _ = TrialFactory(composed(), context=of_study).monitor
    assert TrialFactory(composed(), context=RunContext(target=0.9)).monitor == ACCURACY
