"""Records come out of the database as they went in, also those of earlier versions."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace

import pytest

from energyopt.core.energy import Energies, Energy, UnreadEnergies
from energyopt.storage.tables import result_from_json, result_to_json
from tests.toys import result

WINDOWS = [Energy(1.0, 2.0, 3.0, None, (2.0,)), Energy(0.5, 1.0, None, None, (1.0,))]


def test_a_record_is_read_as_it_was_stored():
    stored = result([(100, 1, 0.5), (200, 1.5, float("nan")), (300, 2, 0.95)])
    stored = replace(stored, reason='a text with "evaluation": {"time_s": [ in it')
    read = result_from_json(result_to_json(stored))
    assert read is not None
    assert read.checkpoints.evaluation == stored.checkpoints.evaluation
    assert read.reason == stored.reason
    assert result_to_json(read) == result_to_json(stored)
    assert result_from_json(None) is None
    assert result_from_json("") is None


def test_a_record_with_a_row_for_each_evaluation_is_read():
    stored = result([(100, 1, 0.5), (200, 2, 0.95)])
    data = stored.to_dict()
    data["checkpoints"] = [
        {
            "samples": point.samples,
            "steps": point.steps,
            "epoch": point.epoch,
            "accuracy": point.accuracy,
            "loss": point.loss,
            "training": vars_of(point.training),
            "evaluation": vars_of(point.evaluation),
        }
        for point in stored.checkpoints
    ]
    assert result_from_json(json.dumps(data)) == stored


def vars_of(energy: Energy) -> dict[str, object]:
    return {name: getattr(energy, name) for name in Energy.__slots__}


def test_a_record_without_evaluations_is_read():
    stored = result([])
    assert result_from_json(result_to_json(stored)) == stored


def test_windows_that_are_not_read_yet_are_those_windows():
    windows = Energies.of(WINDOWS)
    text = json.dumps(windows.to_dict())
    assert copy.deepcopy(UnreadEnergies(text)) == windows
    assert pickle.loads(pickle.dumps(UnreadEnergies(text))) == windows
    assert windows == UnreadEnergies(text)
    assert hash(UnreadEnergies(text)) == hash(UnreadEnergies(text))
    assert UnreadEnergies(text).total_j == windows.total_j
    assert UnreadEnergies(text)[1] == WINDOWS[1]
    assert UnreadEnergies(text) != Energies()
    with pytest.raises(AttributeError, match="power_w"):
        _ = UnreadEnergies(text).power_w
