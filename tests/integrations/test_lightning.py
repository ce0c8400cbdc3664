"""Lightning's real trainer: windows, pauses, stops, and what is refused."""

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
from tests.integrations.small_trainers import BATCH, SAMPLES, lightning_fit
from tests.training.runs import enter_study, record

pytestmark = [
    pytest.mark.slow,  # `lightning` is installed for these alone
    pytest.mark.filterwarnings("default"),  # of the trainer
]


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    need_package("lightning")
    monkeypatch.chdir(tmp_path)
    yield
    end_open_run()


def callback(monitor: str | None = "val_loss", mode: Any = "min", **options: Any) -> Any:
    from energyopt.integrations.lightning import EnergyCallback

    return EnergyCallback(monitor, mode, **{"target": 1e-9, **options})


def curve(result: TrialResult) -> list[tuple[float, int | None, int | None, float]]:
    return [
        (point.epoch, point.samples, point.steps, point.accuracy) for point in result.checkpoints
    ]


def test_each_validation_is_a_point_and_the_sanity_check_is_none() -> None:
    energy = callback()
    trainer = lightning_fit(energy, epochs=3)
    points = curve(energy.result)
    assert [point[:3] for point in points] == [
        (n, n * SAMPLES, n * SAMPLES // BATCH) for n in (1, 2, 3)
    ]
    assert points[-1][3] == trainer.callback_metrics["val_loss"]


def test_a_metric_of_the_training_is_reported_by_the_epoch() -> None:
    energy = callback("train_loss")
    lightning_fit(energy, epochs=3)
    assert [point.epoch for point in energy.result.curve] == [1, 2, 3]


def test_validations_within_an_epoch_are_fractions_of_it() -> None:
    energy = callback()
    lightning_fit(energy, epochs=2, val_check_interval=0.5)
    assert [point.epoch for point in energy.result.curve] == [0.5, 1, 1.5, 2]


def test_epochs_without_a_validation_have_no_point() -> None:
    energy = callback()
    lightning_fit(energy, epochs=4, check_val_every_n_epoch=2, plateau=False)
    assert [point.epoch for point in energy.result.curve] == [2, 4]


def test_steps_instead_of_epochs() -> None:
    energy = callback()
    lightning_fit(energy, max_epochs=-1, max_steps=8)
    assert [point.epoch for point in energy.result.curve] == [1, 2]
    assert energy.result.start.epochs == 2


def test_it_ends_at_the_target(tmp_path: Path) -> None:
    energy = callback(target=100.0, stop_at_target=True)
    trainer = lightning_fit(energy)
    assert energy.result.end == "target"
    assert trainer.current_epoch == 1


def test_its_energies_are_logged(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    energy = callback(target=100.0)
    lightning_fit(energy, epochs=2, logger=CSVLogger(tmp_path))
    (path,) = tmp_path.glob("**/metrics.csv")
    assert {"energy/train_j", "energy/to_target_j"} <= set(
        path.read_text().split("\n")[0].split(",")
    )


@pytest.mark.parametrize(
    "options", [{}, {"val_check_interval": 0.5}, {"accumulate_grad_batches": 2}]
)
def test_a_paused_fit_resumes_as_if_it_had_not_paused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = callback()
    lightning_fit(whole, **options)
    for path in ("a", "b", "c"):
        (tmp_path / path).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    study = partial(enter_study, monkeypatch, tmp_path / "study", metric="val_loss", target=1e-9)
    study(pause_at_j=1e-9)
    with pytest.raises(RunPaused):
        lightning_fit(callback(), **options)
    end_open_run()
    assert record(tmp_path / "study").end == "paused"
    study(pause_at_j=1e-9, resume=True)
    with pytest.raises(RunPaused):
        lightning_fit(callback(), **options)
    end_open_run()
    study(resume=True)
    lightning_fit(callback(), **options)
    end_open_run()
    assert curve(record(tmp_path / "study")) == curve(whole.result)
    assert not (tmp_path / "study" / "paused").exists()


def test_a_metric_that_is_none_is_refused_with_the_near_one() -> None:
    with pytest.raises(ConfigError, match=r"monitor='val_los'.* did you mean 'val_loss'"):
        lightning_fit(callback("val_los"))


def test_a_fit_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_epochs=-1.* give max_epochs or max_steps"):
        lightning_fit(callback(), max_epochs=-1)


def test_a_paused_fit_that_begins_anew_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = partial(enter_study, monkeypatch, tmp_path, metric="val_loss", target=1e-9)
    study(pause_at_j=1e-9)
    with pytest.raises(RunPaused):
        lightning_fit(callback())
    end_open_run()
    study(resume=True)
    resumed = callback()
    with pytest.raises(ConfigError, match=r"ckpt_path=callback.ckpt_path"):
        lightning_fit(resumed, ckpt=False)


def test_what_ends_the_fit_ends_the_run() -> None:
    class TeaError(Exception):
        """An error of the user's."""

    def fail(*_: Any) -> None:
        raise TeaError("out of tea")

    energy = callback(on_report=fail)
    with pytest.raises(TeaError, match="out of tea"):
        lightning_fit(energy)
    assert (energy.result.end, energy.result.reason) == ("failed", "TeaError: out of tea")
