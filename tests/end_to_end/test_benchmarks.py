"""The benchmarks run, print what they are for, and end with a code; their times are no test's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import REAL, integral
from benchmarks.real import Search, Step, judged, words_of
from energyopt.core.study_record import StudyRecord, TrialRecord
from tests import fake_nvml
from tests.composing import composed
from tests.conftest import ROOT, Ran
from tests.fake_nvml import FakeNvml

PARTS = ["machine", "study", "power", "trace", "repeats", "batches", "counter"]


def benchmark(name: str, *words: object) -> Ran:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / name, *map(str, words)],
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def report(folder: Path) -> tuple[str, dict[str, Any]]:
    (text,), (data,) = folder.glob("*.md"), folder.glob("*.json")
    assert text.stem == data.stem == "rehearsal-fake-h200"
    return text.read_text(), json.loads(data.read_text())


@pytest.mark.slow
@pytest.mark.usefixtures("nvml_library")
def test_metering_prints_what_each_meter_adds_and_what_an_estimate_imports():
    ran = benchmark("metering.py", "--windows", 2, "--epochs", 1, "--repeat", 1)
    assert ran.code in (0, 1), ran.text
    meters = ("estimate", "simulated", "NVML, 1 GPU", "NVML, 4 GPUs", "RAPL", "GPU + RAPL")
    for name in (*meters, "Run in a user's loop"):
        assert f" {name} " in ran.text
    assert "goal: at most 1% of an epoch of 1 s over the fakes:" in ran.text
    assert re.search(r"a trace takes \d+ us and \d+ calls of NVML a sample of a GPU", ran.text)
    assert "importing all of energyopt.hardware imports none" in ran.text
    assert "goal: what meters GPUs stays out: met" in ran.text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_report_prints_how_long_a_page_takes():
    ran = benchmark("report.py", "--quick")
    assert ran.code == 0, ran.text
    assert re.search(r"20 trials: written in [\d.]+ s, [\d.]+ MB", ran.text)
    assert re.search(r"opened in [\d.]+ s", ran.text)


@pytest.mark.slow
def test_scale_prints_what_grows_with_a_study():
    ran = benchmark("scale.py", "--quick")
    assert ran.code in (0, 1), ran.text
    for sampler in ("random", "tpe"):
        assert re.search(rf"^  {sampler} +60 ", ran.out, re.MULTILINE)
    assert "taking up a study of    60 trials:" in ran.out
    assert "SQLite, one coordinator, n_jobs=2:" in ran.out
    assert "  PostgreSQL" in ran.out
    for words in ("show scale", "pareto scale", "studies"):
        assert f"  energyopt {words} " in ran.out
    assert re.search("goal: at most 3 s each: (met|missed)", ran.out)


@pytest.mark.slow
@pytest.mark.usefixtures("nvml_library")
def test_a_rehearsal_says_so_and_has_all_parts(tmp_path: Path):
    ran = benchmark("gpu.py", "--rehearse", "--out", tmp_path)
    assert ran.code == 0, ran.text
    text, data = report(tmp_path)
    assert text.startswith("# REHEARSAL ON A PRETEND GPU: NOTHING WAS MEASURED\n")
    assert data["rehearsal"] is True
    assert list(data["parts"]) == PARTS
    assert {part["status"] for part in data["parts"].values()} == {"done"}
    assert "energyopt 0.1.0, study gpu" in text  # the study's own words


@pytest.mark.slow
def test_a_part_that_fails_does_not_lose_the_others_and_nothing_is_set(
    gpu_box: FakeNvml, tmp_path: Path
):
    gpu_box.fail("nvmlDeviceGetPowerUsage", fake_nvml.NOT_SUPPORTED)
    out = tmp_path / "out"
    ran = benchmark("gpu.py", "--out", out, "--parts", "machine,power,counter")
    assert ran.code == 1, ran.text
    text, data = report(out)
    assert "REHEARSAL" in text.splitlines()[0]  # whatever was typed
    statuses = {key: part["status"] for key, part in data["parts"].items()}
    assert statuses == {"machine": "done", "power": "FAILED", "counter": "done"}
    assert "tells no power" in text
    assert gpu_box.changes() == []


@pytest.mark.slow
def test_parts_that_no_time_is_left_for_are_named(gpu_box: FakeNvml, tmp_path: Path):
    out = tmp_path / "out"
    ran = benchmark("gpu.py", "--out", out, "--parts", "machine", "--budget-s", 0)
    assert ran.code == 1
    assert "no time was left" in report(out)[0]


def test_without_a_gpu_there_is_nothing_to_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ran = benchmark("gpu.py", "--out", tmp_path / "out")
    assert ran.code == 2
    assert ran.err.startswith("gpu.py: ")
    assert not (tmp_path / "out").exists()


def test_sampled_power_is_integrated_by_trapezoids_and_held_at_the_ends():
    ramp = [(1.0, 0.0), (2.0, 10.0), (3.0, 10.0)]
    assert integral(ramp, 1.5, 3.0) == pytest.approx(3.75 + 10)
    assert integral(ramp, 0.0, 4.0) == pytest.approx(0 + 5 + 10 + 10)


def test_what_a_real_gpu_will_train_can_be_composed_and_fits_ten_minutes():
    for words in (REAL.study, REAL.workload):
        composed("device=cuda:0", "hardware=nvidia", "hardware.gpus=[0]", *words)
    assert sum(REAL.planned_s.values()) <= 540


@pytest.mark.slow
def test_real_searches_are_compared_side_by_side():
    words = ("--seeds", 1, "--trials", 2, "--again", 1, "--hardware", "simulated")
    ran = benchmark("real.py", *words, "--words", "model=mlp", "epochs=4", "target=0.8")
    assert ran.code == 0, ran.text
    assert "Joules: simulated by optimizer steps" in ran.out
    for method in ("joule", "tpe:stopping=none"):
        assert re.search(rf"^seed 0, {method}: [\d.]+ J in ", ran.out, re.MULTILINE)
    assert re.search(r"^tpe:stopping=none( +[\d.]+x \([\d.]+-[\d.]+\)){4}$", ran.out, re.MULTILINE)


def test_a_method_has_words_of_its_own():
    assert words_of("joule") == ["sampler=joule"]
    method = "tpe:stopping=[energy_cap,dominance],n_trials=40"
    assert words_of(method) == ["sampler=tpe", "stopping=[energy_cap,dominance]", "n_trials=40"]


def test_a_search_is_good_once_its_recommendation_is_and_stays_so():
    ours = searched((1.0, None), (2.0, 0), (5.0, 1), (9.0, 1))
    other = searched((4.0, 0), (6.0, 1), (8.0, 0))
    found = judged({"joule": ours, "tpe": other}, {("lr=0.1",): 12.5, ("lr=0.2",): 10.0})
    assert found["joule"].good_j == (5.0, 5.0, 5.0, 2.0)
    assert found["joule"].final == 1.0
    assert found["tpe"].good_j == (8.0, 8.0, 8.0, 4.0)  # at least: it never was
    assert found["tpe"].never == (True, True, True, False)
    assert found["tpe"].final == 1.25


def test_our_search_that_was_never_good_counts_as_the_dearest():
    searches = {"joule": searched((1.0, 0)), "tpe": searched((7.0, 1))}
    found = judged(searches, {("lr=0.1",): 12.5, ("lr=0.2",): 10.0})
    assert found["joule"].good_j == (7.0, 7.0, 7.0, 1.0)


def searched(*steps: tuple[float, int | None]) -> Search:
    setups = (("lr=0.1", "seed=3"), ("lr=0.2",))
    trials = tuple(TrialRecord(index, "complete", {}, words) for index, words in enumerate(setups))
    study = StudyRecord("real", (), (), (), 0.95, trials)
    return Search(study, tuple(Step(*step) for step in steps), 1.0, 1.0)
