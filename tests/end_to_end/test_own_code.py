"""Models, training loops, meters and configs of one's own, through the real command line."""

from __future__ import annotations

import pytest

from energyopt.core.metric import Monitor
from energyopt.core.study_record import Metric
from energyopt.storage.reader import read_study
from tests.conftest import (
    OWN_MODEL,
    TINY,
    Program,
    trials_of,
)

OWN_PARADIGM = """
from energyopt import TrainStep

class Pretend:
    epoch_samples = 100

    def __init__(self, lr):
        self.lr, self.seen = lr, 0

    def train(self, samples):
        self.seen += samples
        sum(i * i for i in range(20_000))
        return TrainStep(samples, 1, 1 / self.seen)

    def evaluate(self):
        return min(1.0, self.seen * self.lr / 100)
"""


def test_a_model_of_ones_own_in_a_file_of_this_folder(energyopt: Program) -> None:
    (energyopt.folder / "my_net.py").write_text(OWN_MODEL)
    overrides = ("model=own", "model._target_=my_net.build")
    energyopt.ok(*TINY, *overrides)
    sweep = ("-m", *TINY, *overrides, "+model.hidden=choice(8,13)", "sampler=grid", "study=own")
    ran = energyopt.ok(*sweep)
    assert "trial 1: failed: model (my_net.build) cannot be built" in ran.text
    assert "thirteen is unlucky" in ran.text
    assert [row["state"] for row in trials_of(energyopt, "own")] == ["COMPLETE", "FAIL"]


@pytest.mark.slow
def test_a_training_loop_of_ones_own(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(OWN_PARADIGM)
    overrides = ("paradigm=own", "paradigm._target_=mine.Pretend", "+paradigm.lr=${lr}")
    ran = energyopt.ok("-m", *overrides, "lr=interval(0.05,0.5)", "hardware=estimate", "n_trials=3",
                       "target=0.3", "study=p")  # fmt: skip
    assert "J to 0.3 validation accuracy" in ran.text


OWN_LOSS = """
import math
from energyopt import Monitor, TrainStep

class Pretend:
    epoch_samples = 100
    monitor = Monitor("val_loss", "min")

    def __init__(self, lr):
        self.lr, self.seen = lr, 0

    def train(self, samples):
        self.seen += samples
        return TrainStep(samples, 1, 1 / self.seen)

    def evaluate(self):
        return math.nan if self.lr > 0.3 and self.seen > 50 else 40 / (self.seen * self.lr)
"""


@pytest.mark.slow
def test_a_loss_of_ones_own_is_minimised_and_may_diverge(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(OWN_LOSS)
    own = ("paradigm=own", "paradigm._target_=mine.Pretend", "+paradigm.lr=${lr}")
    words = ("-m", *own, "lr=0.2,0.5,0.05", "sampler=grid", "stopping=none", "epochs=4",
             "hardware=simulated", "target=1.5", "study=loss")  # fmt: skip
    energyopt.ok(*words)
    study = read_study(str(energyopt.folder / "studies/energyopt.db"), "loss")
    assert study.metrics[1] == Metric("val_loss", "minimize")
    assert study.monitor == Monitor("val_loss", "min")
    reached, diverged, missed = (trial.result for trial in study.trials)
    assert reached is not None
    assert diverged is not None
    assert missed is not None
    assert (reached.reached, reached.best_value) == (True, 0.5)
    assert (diverged.end, diverged.best_value) == ("diverged", 1.6)
    assert (missed.end, missed.reached, missed.best_value) == ("epochs", False, 2.0)
    assert [trial.values[1] for trial in study.trials] == [0.5, 1.6, 2.0]
    assert [trial.feasible for trial in study.trials] == [True, False, False]
    again = energyopt(*words, "monitor=rmse", "mode=min")
    assert "monitor=rmse mode=min is not what this task and paradigm evaluate" in again.text


@pytest.mark.slow
def test_configs_of_ones_own_in_a_folder(energyopt: Program) -> None:
    conf = energyopt.folder / "conf"
    (conf / "model").mkdir(parents=True)
    (conf / "far_net.py").write_text(OWN_MODEL)
    (conf / "model" / "mine.yaml").write_text("_target_: far_net.build\nhidden: 4\n")
    (conf / "night.yaml").write_text(
        "defaults:\n  - config\n  - override task: wine\n  - override model: mine\n"
        "  - override hardware: simulated\n  - _self_\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
        "      lr: tag(log,interval(1e-3,1e-1))\n"
        "epochs: 3\nn_trials: 2\nstudy: night\n"
    )
    energyopt.ok("--config-dir", "conf", *TINY, "model=mine")
    ran = energyopt.ok("--config-dir", "conf", "--config-name", "night")
    assert "[2/2]" in ran.text


@pytest.mark.slow
def test_code_that_nobody_vouches_for_is_not_run(energyopt: Program) -> None:
    for target in ("os.system", "pathlib.Path.write_text", "joblib.load"):
        ran = energyopt(*TINY, "model=own", f"model._target_={target}")
        assert ran.code == 2
        assert "if you trust it, add 'trusted_targets=[" in ran.text


OWN_METER = """
import time
from energyopt.core.trial_result import Energy, Provenance

class Plug:
    def __init__(self, device):
        self.provenance = Provenance("measured", "a plug", "1", "node", device, "here", "none")

    def start(self):
        self.began = time.perf_counter()

    def stop(self):
        time_s = time.perf_counter() - self.began
        return Energy(time_s, cpu_j=100 * time_s)
"""


@pytest.mark.slow
def test_a_meter_of_ones_own(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(OWN_METER)
    ran = energyopt.ok(*TINY, "hardware=own", "hardware.meter._target_=mine.Plug")
    assert "MEASURED by a plug" in ran.text


OWN_SCORE = """
def carbon_g(result, g_per_kwh=400.0):
    return result.spent_j / 3.6e6 * g_per_kwh
"""


@pytest.mark.slow
def test_an_objective_of_ones_own(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(OWN_SCORE)
    study = ("-m", *TINY, "lr=interval(0.05,0.1)", "n_trials=1")
    overrides = ("objective=own", "objective._target_=mine.carbon_g", "+objective.g_per_kwh=30")
    assert "mind" not in energyopt.ok(*study, *overrides, "study=own").text
    old = ("objective=function", "objective.function._target_=mine.carbon_g")
    ran = energyopt.ok(*study, *old, "study=old")
    assert "warning: objective=function is deprecated" in ran.text
    assert "write objective=own objective._target_=" in ran.text
