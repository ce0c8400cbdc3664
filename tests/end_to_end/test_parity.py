"""One training as a task of ours and in an app of its own: the same study."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from energyopt.core.study_record import TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.storage.reader import read_study
from tests.conftest import Program, pauses_in
from tests.end_to_end.test_other_apps import App

# What the task `digits`, the model `mlp` and the paradigm `scratch` do, as a plain loop. It warms
# up as they do: what a run costs before its first step enters the decisions of the search.
LOOP = """
import copy

import hydra
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import energyopt
from energyopt.tasks.digits import Digits


def warm_up(model, inputs, labels):
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()


@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    run = energyopt.Run(monitor="val_loss", mode="min", target=0.25)
    torch.set_num_threads(1)
    torch.manual_seed(cfg.seed)
    digits = Digits()
    inputs, labels = digits.train.inputs, digits.train.labels
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10),
    )
    warm_up(copy.deepcopy(model), inputs[: cfg.batch_size], labels[: cfg.batch_size])
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr)
    order = torch.Generator().manual_seed(cfg.seed)
    run.begin(model=model, optimizer=optimizer, order=order)
    for epoch in run.epochs(cfg.epochs):
        for batch in torch.randperm(len(inputs), generator=order).split(cfg.batch_size):
            optimizer.zero_grad()
            cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
        with run.evaluation(), torch.inference_mode():
            loss = cross_entropy(model(digits.validation.inputs), digits.validation.labels)
        run.report(loss)


if __name__ == "__main__":
    main()
"""

CONFIG = """
defaults:
  - _self_
  - override hydra/sweeper: energyopt
  - override hydra/sweeper/sampler: joule
  - override hydra/launcher: energyopt

hydra:
  sweep:
    dir: runs
  sweeper:
    sampler:
      seed: 1
    study_name: app
    storage: study.db
    hardware: simulated
    n_trials: 8
    params:
      lr: tag(log, interval(1e-4, 1e-1))
      batch_size: choice(16, 64)

lr: 1e-3
batch_size: 64
epochs: 8
seed: 1
"""

# An epoch is 1348 images: a loop of one's own reports after each, and has no `patience`.
TASK = (
    *("task=digits", "model=mlp", "monitor=val_loss", "mode=min", "target=0.25", "epochs=8"),
    *("eval_every=1348", "patience=null", "seed=1", "hardware=simulated"),
    *("lr=tag(log,interval(1e-4,1e-1))", "batch_size=choice(16,64)"),
    *("n_trials=8", "study=task", "storage=study.db"),
)


@pytest.mark.slow
def test_a_task_and_the_same_loop_in_another_app_make_the_same_study(tmp_path: Path) -> None:
    program = Program(Path(sys.executable), tmp_path)
    (tmp_path / "app.py").write_text(LOOP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    App(program).ok()
    paused_in_app = sum(pauses_in(tmp_path))
    program.ok("-m", *TASK)
    in_app, in_task = (read_study(str(tmp_path / "study.db"), name) for name in ("app", "task"))
    assert len(in_app.trials) == len(in_task.trials) == 8
    for of_app, of_task in zip(in_app.trials, in_task.trials, strict=True):
        assert of_app.params == of_task.params
        assert of_app.state == of_task.state
        assert of_app.default == of_task.default
        _check_equal(_result(of_app), _result(of_task))
    # Both paused and resumed the same trials.
    assert sum(pauses_in(tmp_path)) == 2 * paused_in_app > 2 * 8
    assert len({len(_result(trial).curve) for trial in in_app.trials}) > 1
    assert any(_result(trial).reached for trial in in_app.trials)


def _result(trial: TrialRecord) -> TrialResult:
    assert trial.result is not None
    return trial.result


def _check_equal(of_app: TrialResult, of_task: TrialResult) -> None:
    assert (of_app.end, of_app.reason) == (of_task.end, of_task.reason)
    assert of_app.curve.epoch == of_task.curve.epoch
    # The mean loss of the split is added up in another order.
    assert of_app.curve.accuracy == pytest.approx(of_task.curve.accuracy, rel=1e-5)
    # A Run has two training windows an epoch, before and after its report, and a task has one.
    assert of_app.curve.training_j == pytest.approx(of_task.curve.training_j, rel=0.02)
    assert of_app.spent_j == pytest.approx(of_task.spent_j, rel=0.02)
