"""`retrain --out`: a model that cannot be kept is refused before it is trained."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.errors import ConfigError
from energyopt.workflows.retrain import RetrainRequest, retrain

LOOP = """
from energyopt import TrainStep

class Unsaved:
    epoch_samples = 8

    def train(self, samples):
        open("trained", "w").close()
        return TrainStep(samples, 1, 1.0)

    def evaluate(self):
        return 1.0
"""
OWN = ("paradigm=own", "paradigm._target_=retrained_loop.Unsaved")


def test_a_paradigm_without_save_is_refused_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "retrained_loop.py").write_text(LOOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    trial = TrialRecord(0, "complete", {}, ())
    study = StudyRecord("own", (), ("hardware=simulated", "epochs=1", *OWN), (), 0.9, (trial,))
    console = Console(file=io.StringIO())
    with pytest.raises(ConfigError, match=r"--out: Unsaved has no save\(path\), so its model"):
        retrain(study, RetrainRequest(OWN, trial=0, out=Path("model.safetensors")), console)
    assert not (tmp_path / "trained").exists()
    retrain(study, RetrainRequest(OWN, trial=0), console)
    assert (tmp_path / "trained").exists()
