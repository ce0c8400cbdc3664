"""Studies side by side: what they found, what it cost, and what does not compare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from energyopt.analysis.comparison import compared, energy_ratio
from energyopt.analysis.summary import summarize
from energyopt.core.estimate import Estimate
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import Provenance
from energyopt.errors import ConfigError
from energyopt.report.comparison_view import (
    check_format,
    check_meters,
    comparison_data,
    comparison_notes,
    comparison_view,
)
from energyopt.report.html.comparison_figure import write_comparison
from tests.report.test_tables import printed
from tests.toys import ESTIMATED, result, study, trial

COUNTER = Provenance("measured", "a counter", "1", "GPU board", "a GPU", "here", "5 %", 0.1)


def made(name: str, factor: float = 1, provenance: Provenance = ESTIMATED) -> StudyRecord:
    default = result([(100, 8 * factor, 0.95)], provenance=provenance)
    better = result([(100, 2 * factor, 0.95)], provenance=provenance)
    return study([trial(0, default, default=True), trial(1, better)], name=name)


ONE, OTHER, MEASURED = made("one"), made("other", 3), made("gpu", provenance=COUNTER)
SAVINGS = summarize(ONE).against_default
assert SAVINGS is not None
ONE_DEFAULT = SAVINGS.default.joules  # as the answer says it


def test_studies_stand_side_by_side():
    text = printed(comparison_view([compared(s.name, s, None) for s in (ONE, OTHER)]), 100)
    for line in (
        r"recommended       lr=0.02 ",
        f"default           {ONE_DEFAULT} ",
        r"reached           2 of 2 trials ",
        r"search energy     10 J ",
        r"hardware          Toy CPU ",
        r"joules are        estimated by cpu-time 4 W/core ",
    ):
        assert line in text
    assert "against one" in text


def test_the_first_study_is_what_the_others_are_compared_with():
    data = comparison_data([compared(s.name, s, None) for s in (ONE, OTHER)])
    ratios = [each["ratio_to_first"] for each in data["studies"]]
    assert ratios == pytest.approx([1, 3])
    low, high = data["studies"][1]["ratio_to_first_interval"]
    assert low < 3 < high
    assert data["notes"] == []


def test_joules_of_different_meters_are_refused_and_then_said():
    check_meters([ONE, OTHER])
    with pytest.raises(ConfigError, match=r"these joules do not compare: .*; give studies of one"):
        check_meters([ONE, MEASURED])
    rows = [compared(s.name, s, None) for s in (ONE, MEASURED)]
    (note,) = comparison_notes(rows)
    assert note.startswith("Mixed joules: estimated by cpu-time 4 W/core")
    assert "measured by a counter (GPU board)" in note
    assert comparison_data(rows)["mixed"]
    assert "Mixed joules" in printed(comparison_view(rows))


def test_energies_to_different_targets_have_no_ratio():
    rows = [compared("one", ONE, None), compared("easier", replace(ONE, target=0.5), None)]
    assert "so that no ratio is given" in comparison_notes(rows)[0]
    assert "against" not in printed(comparison_view(rows))
    assert all(each["ratio_to_first"] is None for each in comparison_data(rows)["studies"])


def test_a_study_that_missed_has_no_answer():
    rows = [compared("one", ONE, None), compared("none", study(), None)]
    assert "none reached it" in printed(comparison_view(rows))
    assert comparison_data(rows)["studies"][1]["ratio_to_first"] is None


def test_a_ratio_is_as_unsure_as_both_energies():
    sure, unsure = Estimate(4.0, 4.0, 4.0), Estimate(2.0, 1.0, 4.0)
    ratio = energy_ratio(sure, unsure)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2, 1, 4))
    both = energy_ratio(unsure, unsure)
    assert both.low < 0.5
    assert both.high > 2


def test_the_figure_is_written_in_each_format(tmp_path: Path):
    rows = [compared(s.name, s, None) for s in (ONE, MEASURED)]
    beginnings = {".svg": b"<svg", ".png": b"\x89PNG", ".html": b"<!DOCTYPE html>"}
    for suffix, beginning in beginnings.items():
        path = tmp_path / f"compared{suffix}"
        write_comparison(rows, comparison_notes(rows), path, force=False)
        assert path.read_bytes().lstrip().startswith(beginning)
    text = (tmp_path / "compared.svg").read_text()
    assert "energy to accuracy 0.9 (estimated, measured)" in text
    assert "Mixed joules" in text
    with pytest.raises(ConfigError, match=r"use one of \.svg, \.png, \.html"):
        check_format(tmp_path / "figure.pdf")
