"""Hugging Face's real trainer: windows, pauses, stops, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError, RunPaused
from energyopt.training.run_process import end_open_run
from tests.conftest import need_package
from tests.integrations.small_trainers import BATCH, SAMPLES, transformers_train
from tests.training.runs import enter_study, record

pytestmark = [
    pytest.mark.slow,  # `transformers` is installed for these alone
    pytest.mark.filterwarnings("default"),  # of the trainer
]


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    need_package("transformers")
    monkeypatch.chdir(tmp_path)
    yield
    end_open_run()


def callback(monitor: str | None = "eval_loss", mode: Any = "min", **options: Any) -> Any:
    from energyopt.integrations.transformers import EnergyCallback

    return EnergyCallback(monitor, mode, **{"target": 1e-9, **options})


def curve(result: TrialResult) -> list[tuple[float, int | None, int | None, float]]:
    return [
        (point.epoch, point.samples, point.steps, point.accuracy) for point in result.checkpoints
    ]


@pytest.mark.parametrize("monitor", ["eval_loss", "loss"])
def test_each_evaluation_is_a_point(tmp_path: Path, monitor: str) -> None:
    energy = callback(monitor)
    trainer = transformers_train(energy, tmp_path / "out", epochs=3)
    points = curve(energy.result)
    assert [point[:3] for point in points] == [
        (n, n * SAMPLES, n * SAMPLES // BATCH) for n in (1, 2, 3)
    ]
    logged = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [point[3] for point in points] == logged
    assert "evaluation_in_training" not in energy.result.start.flags


def test_steps_between_evaluations_are_its_epochs(tmp_path: Path) -> None:
    energy = callback()
    transformers_train(energy, tmp_path / "out", epochs=2, eval_strategy="steps", eval_steps=3)
    points = [point[:3] for point in curve(energy.result)]
    assert points == [(1, 96, 3), (2, 192, 6), (3, 256, 8)]
    assert energy.result.start.epochs == 3


def test_it_ends_at_the_target_and_logs_its_energies(tmp_path: Path) -> None:
    energy = callback(target=100.0, stop_at_target=True)
    trainer = transformers_train(energy, tmp_path / "out")
    assert energy.result.end == "target"
    assert trainer.state.epoch == 1
    entries = [entry for entry in trainer.state.log_history if "energy/train_j" in entry]
    assert 0 < entries[0]["energy/to_target_j"] == entries[0]["energy/train_j"]


@pytest.mark.parametrize(
    "options",
    [
        {"save_strategy": "no"},
        {"save_strategy": "epoch", "save_total_limit": 1},
        {"eval_strategy": "steps", "eval_steps": 3},
        {"gradient_accumulation_steps": 2},
    ],
)
def test_a_paused_training_resumes_as_if_it_had_not_paused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = callback()
    transformers_train(whole, tmp_path / "whole", **options)
    folder = tmp_path / "study"
    folder.mkdir()
    study = partial(enter_study, monkeypatch, folder, metric="eval_loss", target=1e-9)
    for resume in (False, True):
        study(pause_at_j=1e-9, resume=resume)
        with pytest.raises(RunPaused):
            transformers_train(callback(), tmp_path / "out", **options)
        end_open_run()
        assert record(folder).end == "paused"
    study(resume=True)
    transformers_train(callback(), tmp_path / "out", **options)
    end_open_run()
    assert curve(record(folder)) == curve(whole.result)
    assert not (folder / "paused").exists()


def test_a_metric_that_is_none_is_refused_with_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"monitor='eval_los'.* did you mean 'eval_loss'"):
        transformers_train(callback("eval_los"), tmp_path / "out")


def test_a_training_that_evaluates_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"eval_strategy.* 'epoch' or 'steps'"):
        transformers_train(callback(), tmp_path / "out", eval_strategy="no")


def test_an_evaluation_before_the_training_is_no_point(tmp_path: Path) -> None:
    energy = callback()
    transformers_train(energy, tmp_path / "out", epochs=2, eval_on_start=True)
    assert [point[:3] for point in curve(energy.result)] == [(1, 128, 4), (2, 256, 8)]
