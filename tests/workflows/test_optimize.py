"""`energyopt.optimize`: what it refuses, and a study that it runs."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hydra.core.singleton import Singleton
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
    IntDistribution,
)

from energyopt.core.journal import read_result
from energyopt.errors import ConfigError, TrialError, TrialsFailedError
from energyopt.training.run import Run
from energyopt.training.run_process import call_task
from energyopt.workflows import function_task
from energyopt.workflows.function_task import FunctionTask, digest_of
from energyopt.workflows.optimize import _axis, _defaults, optimize
from tests.training.runs import enter_study, record

GOAL: dict[str, Any] = {"monitor": "loss", "mode": "min", "target": 0.35}
SPACE: Mapping[str, BaseDistribution] = {
    "rate": FloatDistribution(0.1, 1.0, log=True),
    "width": IntDistribution(2, 8, step=2),
}
LOCK = threading.Lock()
LARGE = bytes(2**20)
EPOCHS = 6
WATTS = 4  # of the estimate by CPU time


class Learner:
    """Its loss falls by chance, and a little with each epoch."""

    def __init__(self) -> None:
        self.loss = 1.0

    def state_dict(self) -> dict[str, float]:
        return {"loss": self.loss}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.loss = state["loss"]


def train(run: Run) -> None:
    """Train, and keep the CPU time that it took."""
    random.seed(3)
    learner = Learner()
    run.begin(learner=learner)
    for epoch in run.epochs(EPOCHS):
        began_s = time.process_time()
        while time.process_time() < began_s + 0.1:
            pass
        learner.loss *= 1 - run.params["rate"] * random.uniform(0.3, 0.6)
        if run.folder is not None:
            (run.folder / f"used_{epoch}").write_text(str(time.process_time() - began_s))
        run.report(learner.loss)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_function_is_searched_paused_and_resumed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(Singleton._instances)
    study = optimize(train, SPACE, **GOAL, n_trials=8, default={"rate": 0.3}, hardware="estimate")
    assert dict(Singleton._instances) == before
    assert len(study.trials) == 8
    assert study.trials[0].default
    assert study.trials[0].params == {"rate": 0.3, "width": 6}
    assert study.recommendation.energy_j > 0
    assert study.record.is_other_known

    folder = here / "studies" / study.name
    journals = folder.glob("*/progress.jsonl")
    numbers = {int(path.parent.name) for path in journals if '{"Pause"' in path.read_text()}
    assert numbers
    for trial in study.trials:
        assert trial.result is not None
        counted_j = WATTS * sum(
            float(path.read_text()) for path in folder.glob(f"{trial.number}/used_*")
        )
        assert trial.result.training_j == pytest.approx(counted_j, rel=0.05)
    for number in numbers:
        monkeypatch.chdir(here)
        alone = Run(**GOAL, params=study.trials[number].params)
        train(alone)
        resumed = read_result(folder / str(number))
        assert resumed is not None
        assert resumed.curve.accuracy == alone.result.curve.accuracy[: len(resumed.curve)]

    again = optimize(train, SPACE, **GOAL, n_trials=8, default={"rate": 0.3}, hardware="estimate")
    assert again.trials == study.trials  # nothing was missing


def fail(run: Run) -> None:
    run.begin()
    raise ValueError(f"no model of width {run.params['width']}")


def second_run(run: Run) -> None:
    run.begin()
    Run(**GOAL)


@pytest.mark.slow
def test_a_function_that_fails_is_an_error_with_its_traceback(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TrialsFailedError, match="no model of width 6"):
        optimize(fail, SPACE, **GOAL, n_trials=1, study_name="failing", epochs=2)
    printed = capfd.readouterr().out
    assert "in fail" in printed
    assert 'raise ValueError(f"no model' in printed


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (second_run, "another Run is open in this process"),
        (Run.begin, "it ended without a report"),
    ],
)
def test_a_job_that_breaks_the_rules_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch, function: Any, reason: str
) -> None:
    enter_study(monkeypatch, here, target=GOAL["target"])
    with suppress(TrialError):
        call_task(FunctionTask.of(function, GOAL), None)
    assert reason in record(here).reason


def uses_lock(run: Run) -> None:
    with LOCK:
        run.begin()


def uses_large(run: Run) -> None:
    run.begin(data=LARGE)


def test_a_function_that_cannot_be_sent_names_the_culprit(monkeypatch: pytest.MonkeyPatch) -> None:
    here = threading.Lock()
    monkeypatch.setattr(function_task, "MAX_BYTES", 2**19)
    monkeypatch.setattr(uses_large, "__module__", "__main__")  # by value, as from a notebook
    monkeypatch.setattr(uses_lock, "__module__", "__main__")
    with pytest.raises(
        ConfigError, match=r"uses_lock cannot be sent .* LOCK, which it uses, cannot"
    ):
        FunctionTask.of(uses_lock, GOAL)
    with pytest.raises(ConfigError, match="here, which it uses, cannot be pickled"):
        FunctionTask.of(lambda run: here.acquire(), GOAL)
    with pytest.raises(ConfigError, match=r"uses_large has 1 MB .*; LARGE takes 1 MB of them"):
        FunctionTask.of(uses_large, GOAL)
    with pytest.raises(ConfigError, match="a function of a run is needed"):
        FunctionTask.of("train", GOAL)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"monitor": ""}, "the name of the metric"),
        ({"mode": "less"}, "less"),
        ({"target": "low"}, "^target=low: a finite number is needed"),
        ({"n_trials": 0}, "^n_trials=0: "),
        ({"epoch": 3}, "^epoch: energyopt's sweeper has no such key; did you mean epochs"),
        ({"default": {"rat": 0.1}}, "default has rat, which is not searched; did you mean rate"),
        ({"sampler": "jule"}, "jule"),
        ({"storage": "postgresql://user@/x?a=b", "study_name": "a b"}, "study='a b' is not a name"),
        ({"space": {}}, "the space {} is empty"),
        ({"space": {"rate": (0.1, 1.0)}}, r"rate=\(0.1, 1.0\) is no distribution"),
        ({"space": {"hydra": SPACE["rate"]}}, "'hydra' cannot be searched"),
    ],
)
def test_arguments_that_are_not_allowed_are_named(
    here: Path, given_: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError if "a b" not in str(given_) else Exception, match=message):
        optimize(train, **{"space": SPACE, **GOAL, **given_})
    assert not (here / "studies").exists()


@given(
    low=st.integers(1, 50), n_steps=st.integers(0, 20), step=st.integers(1, 5), log=st.booleans()
)
def test_the_default_is_in_the_middle_of_the_space(
    low: int, n_steps: int, step: int, log: bool
) -> None:
    high = low + n_steps * step
    axis = IntDistribution(low, high, log=log, step=1 if log else step)
    middle = _defaults({"n": axis}, {})["n"]
    assert axis._contains(axis.to_internal_repr(middle))
    below, above = (middle / low, high / middle) if log else (middle - low, high - middle)
    assert abs(below - above) <= (2 if log else step)
    assert _axis("n", axis)["high"] == high


def test_the_digest_is_of_the_code_without_its_comments() -> None:
    def one(run: Run) -> None:
        run.begin()  # a comment

    first = digest_of(one)

    def one(run: Run) -> None:  # type: ignore[no-redef]
        run.begin()

    assert digest_of(one) == first != digest_of(train)
    assert digest_of(len) == "unknown"  # type: ignore[arg-type]
