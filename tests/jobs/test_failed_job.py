"""A job's exception is in its log, and arrives with its reason and its lines of code."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import DictConfig

from energyopt.errors import TrialError
from energyopt.jobs.failed_job import carried, recorded
from energyopt.utils.failure import failure_of


class HoldingError(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("holds a lambda")
        self.hold = lambda: None


class SlottedError(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The file into which Hydra logs a job."""
    handler = logging.FileHandler(tmp_path / "job.log")
    logging.getLogger().addHandler(handler)
    yield tmp_path / "job.log"
    logging.getLogger().removeHandler(handler)
    handler.close()


def raised(error: BaseException) -> Exception:
    """Return what a job raises whose function raises."""

    def fail(_: DictConfig) -> None:
        raise error

    try:
        recorded(fail)(DictConfig({}))
    except Exception as caught:
        return caught
    raise AssertionError("nothing was raised")


def after_pickling(error: Exception) -> Any:
    return pickle.loads(pickle.dumps(error))


def test_an_exception_arrives_with_its_cause_and_its_lines(log: Path) -> None:
    def fail(_: DictConfig) -> None:
        try:
            dict[str, int]()["lr"]
        except KeyError as error:
            raise ValueError("odd") from error

    with pytest.raises(ValueError, match="odd") as caught:
        recorded(fail)(DictConfig({}))
    arrived = after_pickling(caught.value)
    assert type(arrived) is ValueError
    failure = failure_of(arrived)
    assert failure.reason == "ValueError: odd; because of KeyError: 'lr'"
    assert '()["lr"]' in failure.traceback
    assert "energyopt/jobs" not in failure.traceback
    logged = log.read_text()
    assert "the job failed: ValueError: odd" in logged
    assert failure.traceback in logged


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (HoldingError(), "HoldingError: holds a lambda"),
        (SlottedError("stiff"), "SlottedError: stiff"),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=repr,
)
def test_one_that_cannot_travel_is_told_by_one_that_can(error: BaseException, text: str) -> None:
    arrived = after_pickling(raised(error))
    assert type(arrived) is TrialError
    assert str(arrived) == failure_of(arrived).reason == text
    assert "raise error" in failure_of(arrived).traceback


def test_an_exit_without_a_complaint_is_not_logged(log: Path) -> None:
    reason = failure_of(raised(SystemExit(0))).reason
    assert reason == "the job called sys.exit(0), and returned nothing"
    assert log.read_text() == ""


def test_a_pruned_trial_stays_one_and_is_no_failure_in_the_log(log: Path) -> None:
    assert type(after_pickling(raised(optuna.TrialPruned("slow")))) is optuna.TrialPruned
    assert log.read_text() == ""


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, GeneratorExit])
def test_an_interrupt_is_nobodys_failure(interrupt: type[BaseException]) -> None:
    def fail(_: DictConfig) -> None:
        raise interrupt

    with pytest.raises(interrupt):
        recorded(fail)(DictConfig({}))


def test_it_is_logged_and_printed_once(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = raised(ValueError("odd"))
    again = carried(error, prints=True)
    assert again is error
    assert capsys.readouterr().err == ""
    assert log.read_text().count("the job failed") == 1
    carried(ValueError("new"), prints=True)
    assert "ValueError: new" in capsys.readouterr().err


def test_a_function_keeps_its_name_and_its_value() -> None:
    def double(cfg: DictConfig) -> int:
        return 2 * int(cfg.x)

    call: Callable[[DictConfig], int] = recorded(double)
    assert call(DictConfig({"x": 2})) == 4
    assert call.__name__ == "double"
