"""Figures for Optuna's dashboard: plotly takes them, and they are those of the report."""

from __future__ import annotations

from base64 import b64decode
from typing import Any
from xml.etree import ElementTree as ET

import plotly.graph_objects as go
import pytest

from energyopt.analysis.summary import summarize
from energyopt.core.study_record import StudyRecord
from energyopt.report.dashboard.figures import figures
from energyopt.report.dashboard.overlay import study_note
from energyopt.report.html.sections import report
from tests.toys import result, study, trial


def toy(**params: Any) -> StudyRecord:
    setups: list[dict[str, Any]] = [
        {"lr": 0.1, "batch_size": 8, **params},
        {"lr": 0.01, "batch_size": 8, **params},
        {"lr": 0.1, "batch_size": 16, **params},
        {"lr": 0.01, "batch_size": 16, **params},
    ]
    return study(
        [
            trial(0, result([(100, 2, 0.5), (200, 4, 0.95)], evaluation_j=1.0), params=setups[0]),
            trial(1, result([(100, 1, 0.5)]), params=setups[1]),
            trial(2, result([(100, 3, 0.7)], end="stopped", reason="<b>x</b>"), params=setups[2]),
            trial(3, result([(100, 8, 0.9)], end="paused"), params=setups[3]),
            trial(4, result([(100, 2, 0.2)], end="failed"), params=setups[3]),
            trial(5),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("target", [0.9, None])
def test_they_are_those_of_the_report_in_its_order(target: float | None) -> None:
    record = study(toy().trials, target=target)
    drawn = figures(record)
    expected = [f"energyopt-{i:02}-{f.name}" for i, f in enumerate(report(record).figures)]
    assert list(drawn) == sorted(drawn) == expected
    assert expected[0] == "energyopt-00-front"
    for figure in drawn.values():
        go.Figure(figure)  # raises where it does not know a key
        assert "estimated by cpu-time" in figure["layout"]["title"]["text"]
        kind, _, picture = figure["layout"]["images"][0]["source"].partition(",")
        assert kind == "data:image/svg+xml;base64"
        svg = ET.fromstring(b64decode(picture))
        assert svg.tag.endswith("svg")
        assert "prefers-color-scheme" in "".join(svg.itertext())


def test_text_of_a_database_is_shown_as_it_is() -> None:
    evil = '<a href="https://evil.example">x</a>'
    drawn = figures(toy(**{evil: 1}))
    for figure in drawn.values():
        assert "<a href" not in figure["layout"]["title"]["text"]
        ET.fromstring(b64decode(figure["layout"]["images"][0]["source"].partition(",")[2]))
    assert evil not in study_note(summarize(toy(name=evil)))


def test_a_study_without_results_has_none_and_a_note() -> None:
    assert figures(study()) == {}
    assert "has no trials yet" in study_note(summarize(study()))
