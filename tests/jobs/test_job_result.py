"""Whatever a job returns or raises becomes an outcome that the study can keep."""

from __future__ import annotations

import errno
from decimal import Decimal
from fractions import Fraction

import numpy as np
import optuna
import pytest
import torch
from omegaconf import OmegaConf

from energyopt.core.study_record import Metric, Outcome
from energyopt.errors import ConfigError, DamagedFileError, DiskFullError, HardwareError
from energyopt.jobs.job_result import (
    failed,
    outcome_of_error,
    outcome_of_value,
    traceback_of_job,
)
from energyopt.utils.failure import Failure, attach
from tests.toys import METRICS, result

ONE, TWO = METRICS[:1], METRICS
INF, NAN = float("inf"), float("nan")


class Floating:
    def __float__(self) -> float:
        return 0.5


class Refusing:
    def __float__(self) -> float:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("returned", "values"),
    [
        (1.5, (1.5,)),
        (3, (3.0,)),
        (-0.0, (0.0,)),
        (Fraction(1, 4), (0.25,)),
        (np.float32(0.5), (0.5,)),
        (np.int64(2), (2.0,)),
        (np.array(0.5), (0.5,)),
        (np.array([0.5]), (0.5,)),
        (torch.tensor(0.5), (0.5,)),
        (torch.tensor([0.5], requires_grad=True), (0.5,)),
        ([1.5], (1.5,)),
        ((1, 2.5), (1.0, 2.5)),
        ([torch.tensor(1), np.float64(2.5)], (1.0, 2.5)),
        (np.array([1, 2.5]), (1.0, 2.5)),
        (torch.tensor([1, 2.5]), (1.0, 2.5)),
        (OmegaConf.create([1, 2.5]), (1.0, 2.5)),
        ("0.5", (0.5,)),
        (" 1e-3 ", (0.001,)),
        (Decimal("0.5"), (0.5,)),
        (Floating(), (0.5,)),
        (True, (1.0,)),
        (np.array([[0.5]]), (0.5,)),
        ([np.array([0.5])], (0.5,)),
        ([torch.tensor([1.0]), np.array([[2.5]])], (1.0, 2.5)),
        (("1", Decimal("2.5")), (1.0, 2.5)),
        (INF, (INF,)),
        (-INF, (-INF,)),
        ("inf", (INF,)),
        (np.float32(INF), (INF,)),
        (torch.tensor([1, INF]), (1.0, INF)),
        ((1, -INF), (1.0, -INF)),
        ({"objectives": 1.5}, (1.5,)),
        ({"objectives": [1, 2.5], "constraints": {}, "attributes": {}}, (1.0, 2.5)),
        ({"objectives": [1, 2.5], "constraints": None, "attributes": None}, (1.0, 2.5)),
        (OmegaConf.create({"objectives": [1, 2.5]}), (1.0, 2.5)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_numbers_of_any_kind_complete_a_trial(returned, values):
    outcome = outcome_of_value(returned, METRICS[: len(values)])
    assert outcome == Outcome("complete", values)
    assert all(type(value) is float for value in outcome.values)


@pytest.mark.parametrize(
    ("returned", "metrics", "reason"),
    [
        (None, ONE, "the job returned None; 1 number expected"),
        ("much", ONE, "the job returned 'much'; 1 number expected"),
        (b"a", ONE, "the job returned b'a'; 1 number expected"),
        (Refusing(), ONE, "1 number expected"),
        ("0.5", TWO, "the job returned '0.5'; 2 numbers expected"),
        (1j, ONE, "the job returned 1j; 1 number expected"),
        (10**400, ONE, "1 number expected"),
        ([], ONE, "the job returned []; 1 number expected"),
        ([1, 2], ONE, "the job returned [1, 2]; 1 number expected"),
        (0.5, TWO, "the job returned 0.5; 2 numbers expected"),
        ([1, "b"], TWO, "the job returned [1, 'b']; 2 numbers expected"),
        ([[1], [2]], TWO, "the job returned [[1], [2]]; 2 numbers expected"),
        (np.eye(2), TWO, "2 numbers expected"),
        ({1, 2}, TWO, "the job returned {1, 2}; 2 numbers expected"),
        ([0] * 999, TWO, "...; 2 numbers expected"),
        (NAN, ONE, "the job returned nan; NaN cannot be compared, so return inf for"),
        ("nan", ONE, "the job returned 'nan'; NaN cannot be compared"),
        (torch.tensor(NAN), ONE, "NaN cannot be compared"),
        ([INF, NAN], TWO, "the job returned [inf, nan]; NaN cannot be compared"),
        ({}, ONE, "the job returned a mapping with the keys ; objectives is needed"),
        ({"loss": 1}, ONE, "the job returned a mapping with the keys loss; objectives is needed"),
        ({"objectives": 1, "extra": 2}, ONE, "with the keys objectives, extra; "),
        ({"objectives": 1, 2: 3}, ONE, "with the keys objectives, 2; "),
        ({"objectives": None}, ONE, "the job returned None; 1 number expected"),
        ({"objectives": 1, "constraints": "a"}, ONE, "the constraints 'a'; numbers expected"),
        ({"objectives": 1, "constraints": 3}, ONE, "the constraints 3; numbers expected"),
        ({"objectives": 1, "constraints": [None]}, ONE, "the constraints [None]; numbers"),
        ({"objectives": 1, "constraints": {"a": NAN}}, ONE, "the constraints {'a': nan}; numbers"),
        ({"objectives": 1, "attributes": 5}, ONE, "the attributes 5; plain data expected"),
        ({"objectives": 1, "attributes": "ab"}, ONE, "the attributes 'ab'; plain data expected"),
        ({"objectives": 1, "attributes": {"a": object}}, ONE, "plain data expected"),
        ({"objectives": 1, "attributes": {(1, 2): 3}}, ONE, "plain data expected"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_rubbish_fails_the_trial_and_says_what_it_was(returned, metrics, reason):
    outcome = outcome_of_value(returned, metrics)
    assert outcome.state == "failed"
    assert outcome.values == ()
    assert reason in outcome.reason
    assert len(outcome.reason) < 200


def test_constraints_by_name_or_by_number():
    given = {"objectives": 1, "constraints": {"memory": np.float32(0.5), "time": -1}}
    assert outcome_of_value(given, ONE).constraints == {"memory": 0.5, "time": -1.0}
    given = {"objectives": 1, "constraints": [0.5, torch.tensor(-1)]}
    assert outcome_of_value(given, ONE).constraints == {"0": 0.5, "1": -1.0}


def test_attributes_become_plain_data():
    given = {
        "objectives": 1,
        "attributes": {"a": np.float64(0.5), "b": torch.tensor([1, 2]), "c": (1, None), 4: "ä"},
    }
    assert outcome_of_value(given, ONE).attributes == {
        "a": 0.5,
        "b": [1, 2],
        "c": [1, None],
        "4": "ä",
    }


def test_our_own_outcome_passes_as_it_is():
    outcome = Outcome("pruned", reason="slow")
    assert outcome_of_value(outcome, TWO) is outcome


def test_the_number_of_objectives_is_that_of_the_metrics():
    three = (*TWO, Metric("time_s", "minimize"))
    assert outcome_of_value([1, 2, 3], three).values == (1.0, 2.0, 3.0)
    assert "3 numbers expected" in outcome_of_value([1, 2], three).reason


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (optuna.TrialPruned("too slow"), "pruned", "too slow"),
        (optuna.TrialPruned(), "pruned", "pruned by the job"),
        (ConfigError("lr=0 is not allowed"), "failed", "lr=0 is not allowed"),
        (HardwareError("no sensor:\nchmod it"), "failed", "no sensor: chmod it"),
        (ValueError("odd"), "failed", "ValueError: odd"),
        (ValueError("\n  first\nsecond"), "failed", "ValueError: first; second"),
        (KeyError("x"), "failed", "KeyError: 'x'"),
        (MemoryError(), "failed", "MemoryError"),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (
            RuntimeError("Job 7 with path x\nhas not produced any output (state: OUT_OF_MEMORY)"),
            "failed",
            "the job of the trial ended without an answer (OUT_OF_MEMORY)",
        ),
        (
            RuntimeError("A worker died.\n\nThe exit codes of the workers are {SIGSEGV(-11)}"),
            "failed",
            "the job of the trial ended without an answer (SIGSEGV(-11))",
        ),
    ],
    ids=repr,
)
def test_what_a_job_raises_is_its_outcome(error, state, reason):
    outcome = outcome_of_error(error)
    assert (outcome.state, outcome.reason, outcome.values) == (state, reason, ())


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "no space", "x.pt"), DamagedFileError("x.pt was changed")]
)
def test_what_the_machine_ended_has_not_failed(error):
    with pytest.raises((DiskFullError, DamagedFileError), match=r"x\.pt"):
        outcome_of_error(error)


def test_a_failed_trial_keeps_what_its_journal_kept():
    broken = result([(100, 2, 0.7)], end="failed")
    assert failed("killed", broken) == Outcome("failed", reason="killed", result=broken)


def test_a_full_disk_after_a_training_has_a_traceback_and_ends_nothing() -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    attach(error, Failure("full", "the lines of the job"))
    assert traceback_of_job(error) == "the lines of the job"
    assert traceback_of_job(optuna.TrialPruned()) == ""
