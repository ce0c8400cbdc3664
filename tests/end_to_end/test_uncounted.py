"""Trainings that count neither samples nor steps, and know no loss, are shown like all others."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from energyopt.analysis.curves import drawn_curves
from energyopt.analysis.energy_breakdown import trial_uses
from energyopt.analysis.pareto import at_target, curve_front
from energyopt.analysis.pretraining_value import trial_lines
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.report.export.front_file import render_front
from energyopt.report.html.sections import report
from energyopt.report.html.write import write_report
from energyopt.report.tables import curve_table
from tests.toys import result, study, trial, uncounted

CURVE = [(100, 2.0, 0.5), (200, 4.0, 0.92), (300, 8.0, 0.95)]


def made() -> StudyRecord:
    cheap = result([(100, 1.0, 0.4), (200, 3.0, 0.91)])
    return study([trial(0, uncounted(result(CURVE)), default=True), trial(1, uncounted(cheap))])


def shown(of: object) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(of)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


STEPS = st.lists(st.tuples(st.floats(0.25, 1e6), st.floats(0, 1)), max_size=8)


@given(STEPS, st.floats(0, 1))
def test_it_costs_what_it_would_if_it_counted(steps: list[tuple[float, float]], target: float):
    joules = [sum(step for step, _ in steps[: index + 1]) for index in range(len(steps))]
    counted = result(
        [(index + 1, j, of[1]) for index, (j, of) in enumerate(zip(joules, steps, strict=True))]
    )
    plain = uncounted(counted)
    assert plain.curve.training_j == counted.curve.training_j
    assert plain.curve.index == counted.curve.index
    hit, expected = plain.first_at(target), counted.first_at(target)
    assert (hit and hit.training_j) == (expected and expected.training_j)
    assert TrialResult.from_dict(json.loads(json.dumps(plain.to_dict()))) == plain
    assert trial_uses(trial(0, plain), target) == trial_uses(trial(0, counted), target)


def test_a_loss_that_is_not_known_is_no_divergence() -> None:
    nan = result([(100, 2, 0.5), (200, 4, 0.9)])
    nan = replace(nan, checkpoints=replace(nan.checkpoints, loss=(None, math.nan)))
    assert nan.curve.index == (0,)


def test_its_front_is_told_without_a_word_that_ends_it_there() -> None:
    record = made()
    front = curve_front(record)
    assert [(point.energy_j, point.samples, point.index) for point in front] == [
        (1.0, None, 0),
        (2.0, None, 0),
        (3.0, None, 1),
        (4.0, None, 1),
        (8.0, None, 2),
    ]
    assert not any("max_samples" in word for point in front for word in point.overrides)
    data = json.loads(render_front(front, record, "json"))
    assert [point["samples"] for point in data["points"]] == [None] * 5
    rows = list(csv.DictReader(io.StringIO(render_front(front, record, "csv"))))
    assert [row["samples"] for row in rows] == [""] * 5
    assert "None" not in render_front(front, record, "md")
    drawn = drawn_curves(record, 0.9, front, max_points=1)
    for point in front:
        assert point.index in {other.index for other in drawn.curves[point.trial]}
    assert [hit.index for _, _, hit in at_target(record, 0.9)] == [1, 1]


def test_its_curve_and_its_heads_are_shown_without_what_is_not_known() -> None:
    one = uncounted(result(CURVE))
    table = shown(curve_table(one))
    assert "None" not in table
    assert "0.9500" in table
    heads = {"digit": (0.5, 0.92, 0.95), "odd": (0.1, 0.2, 0.3)}
    both = replace(one, checkpoints=replace(one.checkpoints, heads=heads))
    assert trial_lines(both) == [
        "Head digit at 0.9 first after 4 J.",
        "Head odd missed its target 0.9.",
    ]


def test_it_is_reported(tmp_path: Path) -> None:
    page = write_report(report(made()), tmp_path / "page", force=False)
    assert ">None<" not in page.read_text()
