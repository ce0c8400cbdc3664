"""Commands with `--json` print what the schema describes, and nothing else."""

from __future__ import annotations

import copy
import gc
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from energyopt.analysis.comparison import compared
from energyopt.analysis.pareto import curve_front
from energyopt.analysis.summary import summarize
from energyopt.cli import commands
from energyopt.core.study_record import Metric, StudyRecord
from energyopt.report import json_data
from energyopt.report.comparison_view import comparison_data
from energyopt.report.json_text import json_text, schema
from energyopt.storage.exchange.plain import PlainStudy
from energyopt.storage.exchange.reader import record_from
from tests.conftest import ROOT
from tests.plain_studies import plain_studies
from tests.toys import result, study, trial

EXPORT = f"{ROOT}/studies/digits/export"
LOSS = (Metric("loss", "minimize"),)
LOOSE = ("recommend", "advised")  # keys may be added there without a word


def closed(node: Any) -> Any:
    """The schema with an end to its keys: what a command prints must be described."""
    if isinstance(node, dict):
        if "properties" in node:
            node["additionalProperties"] = False
        for name, child in node.items():
            if name not in LOOSE:
                closed(child)
    elif isinstance(node, list):
        for child in node:
            closed(child)
    return node


SCHEMA = closed(copy.deepcopy(schema()))


def check(command: str, text: str) -> Mapping[str, Any]:
    """Check that a text is one JSON object as the schema describes that command, and read it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    data: Mapping[str, Any] = json.loads(text, parse_constant=refuse)
    validator = jsonschema.Draft202012Validator(
        {**SCHEMA, "oneOf": [{"$ref": f"#/$defs/{command}"}]}
    )
    error = jsonschema.exceptions.best_match(validator.iter_errors(data))
    assert error is None, f"{error.json_path}: {error.message}" if error else ""
    return data


def test_the_schema_is_one_and_each_key_is_described():
    jsonschema.Draft202012Validator.check_schema(schema())
    nodes = [schema()]
    while nodes:
        node = nodes.pop()
        for name, key in node.get("properties", {}).items():
            assert "description" in key or "$ref" in key, name
        nodes += [each for each in node.values() if isinstance(each, dict)]
        nodes += [each for v in node.values() if isinstance(v, list) for each in v
                  if isinstance(each, dict)]  # fmt: skip


@pytest.fixture
def _collecting() -> Iterator[None]:
    """Commands turn the garbage collection of their process off."""
    yield
    gc.enable()


@pytest.mark.usefixtures("_collecting")
@pytest.mark.parametrize(
    "words",
    [
        ("show", EXPORT),
        ("show", EXPORT, "--target", "1"),
        ("trials", EXPORT, "--filter", "missed"),
        ("pareto", EXPORT),
        ("pareto", EXPORT, "--points", "final", "--target", "0.97"),
        ("recommend", EXPORT),
        ("compare", EXPORT, EXPORT),
    ],
)
def test_a_command_prints_one_object_and_nothing_else(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    commands.run([*words, "--json"])
    printed = capsys.readouterr()
    data = check(words[0], printed.out)
    assert printed.err == ""
    assert data["command"] == words[0]


def test_what_doctor_finds_is_described(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        commands.run(["doctor", "--json", "--seconds", "0.01", "--no-probe"])
    check("doctor", capsys.readouterr().out)


def test_a_file_is_written_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    commands.run(["pareto", EXPORT, "--json", "--out", str(tmp_path / "front.csv")])
    printed = capsys.readouterr()
    points = check("pareto", printed.out)["points"]
    assert f"{len(points)} points" in printed.err
    assert (tmp_path / "front.csv").exists()


def test_a_run_of_no_study_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    stored = next((ROOT / "tests/stored").rglob("progress.jsonl"))
    shutil.copy(stored, tmp_path)
    commands.run(["show", str(tmp_path), "--json"])
    assert check("show", capsys.readouterr().out)["study"] is None


ODD = {
    "empty": study(),
    "of another app": study(
        [trial(0, state="complete", values=(0.5,)), trial(1, state="complete", values=(math.inf,))],
        target=None,
        metrics=LOSS,
    ),
    "diverged": study([trial(0, result([(100, 2, math.nan)], end="diverged", reason="NaN"))]),
    "failed and open": study(
        [trial(0, state="failed"), trial(1, state="running"), trial(2, state="waiting")]
    ),
    "one that reached": study([trial(0, result([(100, 2, 0.95)]), default=True, params={})]),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_studies_are_described_too(name: str):
    odd = ODD[name]
    check("show", json_text("show", json_data.show_data(odd, summarize(odd))))
    front = json_data.front_data(curve_front(odd), odd, "odd")
    check("pareto", json_text("pareto", front))
    rows = [compared(label, each, None) for label, each in (("a", odd), ("b", odd))]
    check("compare", json_text("compare", comparison_data(rows)))


@settings(max_examples=15)
@given(plain_studies())
def test_trials_and_studies_of_any_kind_are_described(plain: PlainStudy):
    record = record_from(plain, Path())
    rows = [json_data.trial_data(record, each, record.target) for each in record.trials]
    head = json_data.head_data(record, record.target)
    check("trials", json_text("trials", {**head, "trials": rows}))
    check("studies", json_text("studies", json_data.studies_data([record])))


def test_estimates_say_so_and_what_is_not_known_is_null():
    record = study([trial(0, result([(100, 2, 0.5)])), trial(1, state="failed")])
    missed, failed = (json_data.trial_data(record, each, 0.9) for each in record.trials)
    assert missed["provenance"] == "estimated"
    assert missed["energy_to_target_j"] is None
    assert missed["training_j"] == 2
    assert failed["provenance"] is failed["metric"] is failed["spent_j"] is None


def test_the_answer_is_the_recommended_configuration():
    record: StudyRecord = study(
        [trial(n, result([(100, energy_j, 0.95)])) for n, energy_j in enumerate((9, 2, 5))]
    )
    data = json_data.show_data(record, summarize(record))
    assert data["answer"]["trial"] == 1
    low, high = data["answer"]["energy_interval_j"]
    assert low < data["answer"]["energy_j"] < high
    other = replace(record, trials=record.trials[:0])
    assert json_data.show_data(other, summarize(other))["answer"] is None
