from __future__ import annotations

import csv
import io
import json
import math
import shlex
from pathlib import Path

import pytest

from energyopt.analysis.pareto import curve_front, final_front
from energyopt.core.study_record import StudyRecord
from energyopt.errors import ConfigError, StorageError
from energyopt.report.export.front_file import format_of, render_front, write_front
from tests.toys import ESTIMATED, result, study, trial

OF = "accuracy against training energy, over all checkpoints of 2 trials"


def toy() -> StudyRecord:
    return study(
        [
            trial(0, result([(100, 2, 0.5)]), params={"lr": 0.01}),
            trial(1, result([(100, 4, 1 / 3), (200, 8, 0.95)]), params={"lr": 0.1, "width": 8}),
        ],
        overrides=("task=my task",),
    )


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_one_row_a_point():
    first, second = rows_of(render_front(curve_front(toy()), toy(), "csv"))
    assert first == {
        "energy_j": "2.0",
        "accuracy": "0.5",
        "time_s": "1.0",
        "samples": "100",
        "epoch": "1.0",
        "provenance": "estimated",
        "meter": "cpu-time 4 W/core",
        "meter_version": ESTIMATED.version,
        "scope": "CPU package",
        "device": "Toy CPU",
        "flags": "",
        "trial": "0",
        "params_lr": "0.01",
        "params_width": "",
        "overrides": "'task=my task' lr=0.01 max_samples=100",
        "front_of": OF,
    }
    assert second["params_width"] == "8"


def test_overrides_survive_the_shell():
    _, second = rows_of(render_front(curve_front(toy()), toy(), "csv"))
    assert tuple(shlex.split(second["overrides"])) == curve_front(toy())[1].overrides


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-cmd", "@SUM(A1)", "\t=1"])
def test_csv_cells_are_no_formulas(text: str):
    odd = study(
        [trial(0, result([(100, 2, 0.5)]), params={"name": text, text: 1}, overrides=(text,))]
    )
    (row,) = rows_of(render_front(curve_front(odd), odd, "csv"))
    assert row["params_name"] == f"'{text}"


def test_csv_numbers_stay_numbers():
    odd = study([trial(0, result([(100, 2, 0.5)]), params={"shift": -0.5, "text": "-0.5"})])
    (row,) = rows_of(render_front(curve_front(odd), odd, "csv"))
    assert row["params_shift"] == row["params_text"] == "-0.5"


def test_json_says_what_it_is_a_front_of():
    data = json.loads(render_front(curve_front(toy()), toy(), "json"))
    points = data.pop("points")
    books = data.pop("books")
    assert books["by_purpose_j"] == {"training": 10}
    assert books["by_fate_j"] == {"reached": 8, "missed": 2}
    assert books["break_even"] == {
        "trainings": None,
        "against": "the default setup",
        "interval": [None, None],
        "confidence": 0.95,
        "basis": None,
        "reason": "the default setup was not trained in this study",
    }
    answer = data.pop("answer")
    assert (answer["trial"], answer["basis"]) == (1, "only")
    assert data == {
        "front_of": OF,
        "study": "toy",
        "target": 0.9,
        "unit": {"energy": "J", "time": "s", "accuracy": "1"},
        "accuracy": "validation",
        "search_energy_j": 10.0,
    }
    assert [point["energy_j"] for point in points] == [2, 8]
    assert points[1]["params"] == {"lr": 0.1, "width": 8}
    assert points[1]["provenance"] == "estimated"


def test_every_row_says_with_what_and_under_which_conditions_it_was_metered():
    doubtful = study([trial(0, result([(100, 2, 0.95)], flags=("shared_gpu", "throttled")))])
    for points in (curve_front(doubtful), final_front(doubtful)):
        (row,) = rows_of(render_front(points, doubtful, "csv"))
        (point,) = json.loads(render_front(points, doubtful, "json"))["points"]
        assert row["meter_version"] == point["meter_version"] == ESTIMATED.version
        assert row["flags"] == "shared_gpu throttled"
        assert point["flags"] == ["shared_gpu", "throttled"]


def test_json_holds_any_parameter():
    params = {"none": None, "flag": True, "inf": math.inf, "list": [1, 2]}
    odd = study([trial(0, result([(100, 2, 0.5)]), params=params)])
    (point,) = json.loads(render_front(curve_front(odd), odd, "json"))["points"]
    assert point["params"] == {"none": None, "flag": True, "inf": "inf", "list": "[1, 2]"}


def test_markdown_has_a_sentence_and_a_table():
    text = render_front(final_front(toy()), toy(), "md")
    sentence, _, header, _, row = text.splitlines()
    assert "of 1 feasible trial. Validation accuracy" in sentence
    assert "Target: 0.9." in sentence
    assert header.startswith("| energy\\_j | accuracy |")
    assert row.startswith("| 8 | 0.95 | 4 | 200 | 2 | estimated |")
    assert row.endswith("| 0.1 | 8 | `'task=my task' lr=0.1 width=8` |")


def test_markdown_escapes_what_would_break_the_table():
    params = {"a|b": "<b>*x*", "none": None}
    odd = study([trial(0, result([(100, 2, 0.5)]), params=params, overrides=("a|b=`x`",))])
    row = render_front(curve_front(odd), odd, "md").splitlines()[-1]
    assert "| \\<b\\>\\*x\\* |  |" in row
    assert "`` 'a\\|b=`x`' max_samples=100" in row


def test_an_empty_front_says_so():
    empty = study(target=None)
    assert rows_of(render_front((), empty, "csv")) == []
    assert json.loads(render_front((), empty, "json"))["front_of"] == "no points"
    assert render_front((), empty, "md").startswith("Front of study `toy`: no points.")


@pytest.mark.parametrize("suffix", [".csv", ".json", ".md", ".CSV"])
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str):
    path = tmp_path / f"front{suffix}"
    write_front(curve_front(toy()), toy(), path)
    text = path.read_bytes().decode()
    assert text == render_front(curve_front(toy()), toy(), format_of(path))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["front.xlsx", "front"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match=r"use one of \.csv, \.json, \.md"):
        write_front((), toy(), tmp_path / name)


def test_a_file_is_replaced_only_by_force(tmp_path: Path):
    path = tmp_path / "front.csv"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="--force"):
        write_front(curve_front(toy()), toy(), path)
    assert path.read_text() == "mine"
    write_front(curve_front(toy()), toy(), path, force=True)
    assert path.read_text().startswith("energy_j,")


def test_a_folder_that_is_not_there_is_made(tmp_path: Path):
    write_front(curve_front(toy()), toy(), tmp_path / "a" / "b" / "front.csv")
    assert (tmp_path / "a" / "b" / "front.csv").read_text().startswith("energy_j,")


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        write_front((), toy(), tmp_path / "file" / "front.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    folder = tmp_path / "front.csv"
    folder.mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_front((), toy(), folder, force=True)
    assert list(tmp_path.iterdir()) == [folder]
