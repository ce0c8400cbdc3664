"""Figures for Optuna's dashboard: plotly takes them, and they say what the record says."""

from __future__ import annotations

import json
from typing import Any

import plotly.graph_objects as go
import pytest

from energyopt.analysis.summary import summarize
from energyopt.core.study_record import StudyRecord
from energyopt.report.dashboard.figures import figures
from energyopt.report.dashboard.overlay import study_note
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


def traces_of(name: str, record: StudyRecord) -> list[dict[str, Any]]:
    return [dict(trace) for trace in figures(record)[name]["data"]]


@pytest.mark.parametrize("target", [0.9, None])
def test_plotly_takes_them(target: float | None) -> None:
    drawn = figures(study(toy().trials, target=target))
    names = ["front", "ledger", "ledger-by-trial", "heat-map", "hypervolume"]
    expected = [f"energyopt-{index}-{name}" for index, name in enumerate(names, start=1)]
    assert list(drawn) == [name for name in expected if target or "heat" not in name]
    for figure in drawn.values():
        go.Figure(figure)  # raises where it does not know a key
        assert "estimated by cpu-time" in figure["layout"]["title"]["text"]
        json.dumps(figure, allow_nan=False)


def test_the_front_tells_kinds_apart_and_holds_its_points() -> None:
    traces = traces_of("energyopt-1-front", toy())
    ends = {trace["name"]: trace for trace in traces if trace["mode"] == "markers"}
    assert set(ends) == {"reached the target", "missed it", "stopped early"}
    assert ends["missed it"]["x"] == [1.0]
    assert len({trace["marker"]["symbol"] for trace in ends.values()}) == 3
    (front,) = (trace for trace in traces if trace["name"] == "front")
    assert list(zip(front["x"], front["y"], strict=True)) == [(1, 0.5), (3, 0.7), (4, 0.95)]


def test_the_ledger_adds_up_to_the_search_energy() -> None:
    (bars,) = traces_of("energyopt-2-ledger", toy())
    assert sum(bars["x"]) == toy().search_energy_j
    stacked = traces_of("energyopt-3-ledger-by-trial", toy())
    assert sum(sum(trace["y"]) for trace in stacked) == toy().search_energy_j


def test_the_heat_map_leaves_a_cell_that_missed_empty_and_says_so() -> None:
    figure = figures(toy())["energyopt-4-heat-map"]
    assert figure["data"][0]["z"] == [[None, 4.0], [8.0, None]]
    at = [(each["x"], each["y"], each["text"]) for each in figure["layout"]["annotations"]]
    assert at == [(0, 0, "missed"), (1, 1, "missed")]
    one = study([trial(0, result([(100, 2, 0.95)]))])
    assert "energyopt-4-heat-map" not in figures(one)


def test_text_of_a_database_is_shown_as_it_is() -> None:
    evil = '<a href="https://evil.example">x</a>'
    made = json.dumps(figures(toy(name=evil)))
    assert "<a href" not in made
    assert "<b>x" not in made.replace("<br>", "")
    assert evil not in study_note(summarize(toy(name=evil)))


def test_a_study_without_results_has_none_and_a_note() -> None:
    assert figures(study()) == {}
    assert "has no trials yet" in study_note(summarize(study()))
