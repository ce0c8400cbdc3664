"""Accuracy against training energy: all curves, where each ended, the front, the target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import altair as alt

from energyopt.analysis.curves import Drawn
from energyopt.analysis.pareto import FrontPoint, at_target
from energyopt.analysis.summary import fate
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import joules, setup
from energyopt.report.html.figure import (
    Figure,
    Row,
    data,
    joules_axis,
    kind_color,
    kind_shape,
    log_scale,
    short,
    tooltip,
    trial_words,
)
from energyopt.report.html.theme import KINDS

_MANY = 60  # trainings, from which on their marks are small

_SAID = ("trial", "setup", "energy", "accuracy", "epoch")

Training = tuple[TrialRecord, TrialResult]


def front_figure(
    study: StudyRecord, target: float | None, drawn: Drawn, front: Sequence[FrontPoint]
) -> Figure:
    """Accuracy against training energy: all curves, where each ended, the front, the target."""
    trials = [(trial, result) for trial, result in study.results if trial.number in drawn.curves]
    kinds = _kinds(study, trials, target)
    x = alt.X("e:Q", title="training energy so far", scale=log_scale(), axis=joules_axis())
    y = alt.Y("a:Q", title="validation accuracy", scale=alt.Scale(zero=False, nice=True))
    curves = [
        _curve_layer(trials, drawn, target, kinds).encode(x=x, y=y),
        *(layer.encode(x=x, y=y) for layer in _default_layers(trials, drawn)),
    ]
    points = [
        *(layer.encode(x=x, y=y) for layer in _front_layers(front)),
        _ends_layer(trials, drawn, target, kinds).encode(x=x, y=y),
        *(layer.encode(x=x, y=y) for layer in _confirmed_layers(study)),
    ]
    if target is None:
        chart = alt.layer(*curves, *points)
    else:
        # Below the points, which would else not be pointed at.
        chart = alt.layer(*curves, *_target_layers(front, x, y), *points)
        cheapest = next(iter(at_target(study, target)), None)
        at = (0.0, 0.0) if cheapest is None else (cheapest[2].training_j, cheapest[2].accuracy)
        values = {"target": target, "best_e": at[0], "best_a": at[1]}
        params = [alt.param(name=name, value=value) for name, value in values.items()]
        chart = chart.add_params(*params)
    words = (
        f"{len(drawn.curves)} curves of validation accuracy against training energy, their front "
        f"of {len(front)} points, and the target as a line. The tables below say the same."
    )
    chart = chart.properties(height=420)
    return Figure("front", "All trainings and their front", words, chart, log=True)


def _kinds(study: StudyRecord, trials: Sequence[Training], target: float | None) -> list[str]:
    """The kinds that there can be, whatever target is looked at."""
    if target is None:
        return ["curve"]
    found = {"reached", *(_otherwise(trial) for trial, _ in trials)}
    if study.confirmations:
        found.add("confirming")
    return [kind for kind in KINDS if kind in found]


def _otherwise(trial: TrialRecord) -> str:
    """What a trial is where it did not reach a target."""
    found = fate(trial, math.inf)
    return str(found) if found in KINDS else "open"


def _about(trial: TrialRecord, result: TrialResult, target: float | None) -> Row:
    """What tells which kind a trial is, at any target."""
    kind = "curve" if target is None else _otherwise(trial)
    return {"t": trial.number, "b": _best(result), "kind": KINDS[kind].name}


def _seen_from(chart: alt.Chart, target: float | None) -> alt.Chart:
    """With the kind of each trial as seen from the target that is looked at."""
    if target is None:
        return chart
    reached = KINDS["reached"].name
    return chart.transform_calculate(kind=f"datum.b >= target ? {reached!r} : datum.kind")


def _curve_layer(
    trials: Sequence[Training], drawn: Drawn, target: float | None, kinds: Sequence[str]
) -> alt.Chart:
    rows = [
        {"t": trial.number, "e": short(point.training_j), "a": point.accuracy}
        for trial, _ in trials
        for point in drawn.curves[trial.number]
    ]
    about = data([_about(trial, result, target) for trial, result in trials])
    look = alt.LookupData(data=about, key="t", fields=["b", "kind"])
    faint = max(0.1, min(0.6, _MANY / 2 / max(len(trials), 1)))  # the more, the fainter
    chart = alt.Chart(data(rows)).mark_line(strokeWidth=1.2, opacity=faint)
    chart = _seen_from(chart.transform_lookup(lookup="t", from_=look), target)
    return chart.encode(detail="t:N", color=kind_color(kinds))


def _ends_layer(
    trials: Sequence[Training], drawn: Drawn, target: float | None, kinds: Sequence[str]
) -> alt.Chart:
    """Where each curve ended."""
    rows = []
    for trial, result in trials:
        point = drawn.curves[trial.number][-1]
        rows.append(
            {
                **_about(trial, result, target),
                "e": short(point.training_j),
                "a": point.accuracy,
                "trial": trial_words(trial),
                "setup": setup(trial.params) or "the fixed setup",
                "energy": joules(point.training_j),
                "accuracy": f"{point.accuracy:.4f}, best {_best(result):.4f}",
                "epoch": f"{point.epoch:.4g}",
                "ended": f"{result.end}: {result.reason}" if result.reason else result.end,
            }
        )
    chart = alt.Chart(data(rows)).mark_point(
        filled=True, size=70 if len(trials) <= _MANY else 30, opacity=0.9
    )
    return _seen_from(chart, target).encode(
        color=kind_color(kinds),
        shape=kind_shape(kinds),
        tooltip=tooltip(*_SAID, "ended", kind="it"),
    )


def _confirmed_layers(study: StudyRecord) -> Iterator[alt.Chart]:
    rows = []
    for each in study.confirmations:
        if each.result is None or each.state != "complete" or not len(each.result.curve):
            continue
        point = each.result.hit or each.result.curve[len(each.result.curve) - 1]
        rows.append(
            {
                "e": short(point.training_j),
                "a": point.accuracy,
                "kind": KINDS["confirming"].name,
                "trial": f"{each.trial}, again with seed {each.seed}",
                "energy": joules(point.training_j),
                "accuracy": f"{point.accuracy:.4f}",
            }
        )
    if rows:
        look = KINDS["confirming"]
        chart = alt.Chart(data(rows)).mark_point(
            filled=True, size=60, opacity=0.9, shape=look.shape, color=look.color
        )
        yield chart.encode(tooltip=tooltip("trial", "energy", "accuracy", kind="it"))


def _front_layers(front: Sequence[FrontPoint]) -> Iterator[alt.Chart]:
    rows = [
        {
            "e": short(point.energy_j),
            "a": point.accuracy,
            "trial": f"{point.trial} (default)" if point.default else str(point.trial),
            "setup": setup(point.params) or "the fixed setup",
            "energy": joules(point.energy_j),
            "accuracy": f"{point.accuracy:.4f}",
            "epoch": f"{point.epoch:.4g}",
        }
        for point in front
    ]
    chart = alt.Chart(data(rows))
    yield chart.mark_line(interpolate="step-after", style="front")
    marks = chart.mark_point(filled=True, size=34, opacity=1, style="front-point", shape="circle")
    yield marks.encode(tooltip=tooltip(*_SAID))


def _default_layers(trials: Sequence[Training], drawn: Drawn) -> Iterator[alt.Chart]:
    """The default's curve, dashed, with its name where it begins."""
    default = next((trial for trial, _ in trials if trial.default), None)
    if default is not None:
        rows = [
            {"e": short(point.training_j), "a": point.accuracy}
            for point in drawn.curves[default.number]
        ]
        yield alt.Chart(data(rows)).mark_line(strokeWidth=2, strokeDash=[5, 3], style="quiet")
        yield alt.Chart(data(rows[:1])).mark_text(
            text="default", dy=-8, align="center", baseline="bottom", style="quiet-words"
        )


def _target_layers(front: Sequence[FrontPoint], x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    """The target, and a ring around the cheapest training at it: none where best_e is 0."""
    line = alt.Chart(data([{}])).transform_calculate(a="target")
    yield line.mark_rule(strokeDash=[6, 4], strokeWidth=1.5, style="ink").encode(y=y)
    yield line.mark_text(
        align="left",
        baseline="bottom",
        dx=6,
        dy=-4,
        text=alt.expr("'target ' + format(target, '.6~g')"),
        style="words",
    ).encode(x=alt.value(0), y=y)
    # Where there is none it lies unseen on a point that is there: scales ask for some place.
    unseen = front[0]
    ring = alt.Chart(data([{}])).transform_calculate(
        e=f"best_e > 0 ? best_e : {unseen.energy_j!r}",
        a=f"best_e > 0 ? best_a : {unseen.accuracy!r}",
    )
    yield ring.mark_point(
        size=220, strokeWidth=2, filled=False, opacity=alt.expr("best_e > 0 ? 1 : 0"), style="front"
    ).encode(x=x, y=y)


def _best(result: TrialResult) -> float:
    return max((a for a in result.curve.accuracy if math.isfinite(a)), default=0.0)
