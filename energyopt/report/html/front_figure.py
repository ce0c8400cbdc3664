"""Figure of the metric against training energy: curves, their ends, Pareto front and target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import altair as alt

from energyopt.analysis.curves import Drawn
from energyopt.analysis.pareto import FrontPoint, at_target
from energyopt.core.metric import Monitor
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import joules
from energyopt.report.html.figure import (
    Figure,
    Row,
    data,
    joules_axis,
    kind_channels,
    log_scale,
    short,
    tooltip,
    trial_label,
)
from energyopt.report.html.theme import KINDS, trial_kind
from energyopt.report.sentences import axis_title, params_text

_MANY = 60  # training runs; with more the marks are small

_TrainedTrial = tuple[TrialRecord, TrialResult]


def front_figure(
    study: StudyRecord, target: float | None, drawn: Drawn, front: Sequence[FrontPoint]
) -> Figure:
    """Draw the metric against training energy: curves, their ends, the front and the target."""
    trials = [(trial, result) for trial, result in study.results if trial.number in drawn.curves]
    kinds, monitor = _kinds(study, trials, target), study.monitor
    x = alt.X("e:Q", title="training energy so far", scale=log_scale(), axis=joules_axis())
    y = alt.Y("a:Q", title=axis_title(monitor), scale=_metric_scale(monitor))
    curves = [
        _curve_layer(trials, drawn, target, kinds).encode(x=x, y=y),
        *(layer.encode(x=x, y=y) for layer in _default_layers(trials, drawn)),
    ]
    points = [
        *(layer.encode(x=x, y=y) for layer in _front_layers(front, monitor)),
        _ends_layer(trials, drawn, target, kinds).encode(x=x, y=y),
        *(layer.encode(x=x, y=y) for layer in _confirmed_layers(study)),
    ]
    if target is None:
        chart = alt.layer(*curves, *points)
    else:
        # Below the points: layers above would take the pointer from them.
        chart = alt.layer(*curves, *_target_layers(front, x, y), *points)
        cheapest = next(iter(at_target(study, target)), None)
        best_j, best_accuracy = (
            (0.0, 0.0) if cheapest is None else (cheapest[2].training_j, cheapest[2].accuracy)
        )
        values = {"target": target, "best_e": best_j, "best_a": best_accuracy}
        params = [alt.param(name=name, value=value) for name, value in values.items()]
        chart = chart.add_params(*params)
    description = (
        f"{len(drawn.curves)} curves of {monitor.label} against training energy, their front "
        f"of {len(front)} points, and the target as a line. The tables below say the same."
    )
    chart = chart.properties(height=420)
    return Figure("front", "All trainings and their front", description, chart, log=True)


def _kinds(study: StudyRecord, trials: Sequence[_TrainedTrial], target: float | None) -> list[str]:
    """Return the kinds that can occur at any target."""
    if target is None:
        return ["curve"]
    kinds = {"reached", *(_unreached_kind(trial, result) for trial, result in trials)}
    if study.confirmations:
        kinds.add("confirming")
    return [kind for kind in KINDS if kind in kinds]


def _unreached_kind(trial: TrialRecord, result: TrialResult) -> str:
    """Return the kind of a trial at a target it did not reach."""
    return trial_kind(trial, result.monitor.unreachable)


def _kind_fields(trial: TrialRecord, result: TrialResult, target: float | None) -> Row:
    """Return the fields from which `_kind_at_target` computes a trial's kind."""
    kind = "curve" if target is None else _unreached_kind(trial, result)
    return {"t": trial.number, "b": result.best_value, "kind": KINDS[kind].name}


def _kind_at_target(chart: alt.Chart, target: float | None, monitor: Monitor) -> alt.Chart:
    """Compute the kind of each trial at the page's current target."""
    if target is None:
        return chart
    reached, compared = KINDS["reached"].name, ">=" if monitor.mode == "max" else "<="
    return chart.transform_calculate(kind=f"datum.b {compared} target ? {reached!r} : datum.kind")


def _curve_layer(
    trials: Sequence[_TrainedTrial], drawn: Drawn, target: float | None, kinds: Sequence[str]
) -> alt.Chart:
    """Draw a line for each trial, coloured by its kind.

    The page repeats the keys of a row for each point, so they are short: trial t, energy e in J,
    accuracy a, and b, the best accuracy of the trial.
    """
    rows = [
        {"t": trial.number, "e": short(point.training_j), "a": point.accuracy}
        for trial, _ in trials
        for point in drawn.curves[trial.number]
    ]
    kind_data = data([_kind_fields(trial, result, target) for trial, result in trials])
    lookup = alt.LookupData(data=kind_data, key="t", fields=["b", "kind"])
    opacity = max(0.1, min(0.6, _MANY / 2 / max(len(trials), 1)))  # many lines would merge
    chart = alt.Chart(data(rows)).mark_line(strokeWidth=1.2, opacity=opacity)
    chart = chart.transform_lookup(lookup="t", from_=lookup)
    chart = _kind_at_target(chart, target, drawn.monitor)
    return chart.encode(detail="t:N", color=kind_channels(kinds)["color"])


def _ends_layer(
    trials: Sequence[_TrainedTrial], drawn: Drawn, target: float | None, kinds: Sequence[str]
) -> alt.Chart:
    """Return a layer with a mark at the end of each curve."""
    rows = []
    for trial, result in trials:
        point, monitor = drawn.curves[trial.number][-1], drawn.monitor
        best = monitor.text(point.accuracy if result.best_value is None else result.best_value)
        rows.append(
            {
                **_kind_fields(trial, result, target),
                **_position(point.training_j, point.accuracy, monitor),
                "trial": trial_label(trial.number, trial.default_mark),
                "setup": params_text(trial.params),
                "value": f"{monitor.text(point.accuracy)}, best {best}",
                "epoch": f"{point.epoch:.4g}",
                "ended": f"{result.end}: {result.reason}" if result.reason else result.end,
            }
        )
    chart = alt.Chart(data(rows)).mark_point(
        filled=True, size=70 if len(trials) <= _MANY else 30, opacity=0.9
    )
    return _kind_at_target(chart, target, drawn.monitor).encode(
        tooltip=_tooltip(drawn.monitor, ended="ended", kind="it"), **kind_channels(kinds)
    )


def _confirmed_layers(study: StudyRecord) -> Iterator[alt.Chart]:
    rows, monitor = [], study.monitor
    for confirmation in study.confirmations:
        result = confirmation.result
        if result is None or confirmation.state != "complete" or not len(result.curve):
            continue
        point = result.hit or result.curve[-1]
        rows.append(
            {
                **_position(point.training_j, point.accuracy, monitor),
                "kind": KINDS["confirming"].name,
                "trial": f"{confirmation.trial}, again with seed {confirmation.seed}",
            }
        )
    if rows:
        look = KINDS["confirming"]
        chart = alt.Chart(data(rows)).mark_point(
            filled=True, size=60, opacity=0.9, shape=look.shape, color=look.color
        )
        yield chart.encode(tooltip=tooltip("trial", "energy", value=monitor.name, kind="it"))


def _front_layers(front: Sequence[FrontPoint], monitor: Monitor) -> Iterator[alt.Chart]:
    rows = [
        {
            **_position(point.energy_j, point.accuracy, monitor),
            "trial": trial_label(point.trial, point.default_mark),
            "setup": params_text(point.params),
            "epoch": f"{point.epoch:.4g}",
        }
        for point in front
    ]
    chart = alt.Chart(data(rows))
    yield chart.mark_line(interpolate="step-after", style="front")
    marks = chart.mark_point(filled=True, size=34, opacity=1, style="front-point", shape="circle")
    yield marks.encode(tooltip=_tooltip(monitor))


def _default_layers(trials: Sequence[_TrainedTrial], drawn: Drawn) -> Iterator[alt.Chart]:
    """Yield the default configuration's curve, dashed, and its label at the first point."""
    default = next((trial for trial, _ in trials if trial.default), None)
    if default is not None:
        rows = [
            {"e": short(point.training_j), "a": point.accuracy}
            for point in drawn.curves[default.number]
        ]
        yield alt.Chart(data(rows)).mark_line(strokeWidth=2, strokeDash=[5, 3], style="quiet")
        yield alt.Chart(data(rows[:1])).mark_text(
            text=default.default_mark, dy=-8, align="center", baseline="bottom", style="quiet-words"
        )


def _target_layers(front: Sequence[FrontPoint], x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    """Yield the target line, and a ring around the cheapest run; best_e = 0 hides the ring."""
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
    # A hidden ring still takes part in the scales, so it lies on a point of the front.
    hidden = front[0]
    ring = alt.Chart(data([{}])).transform_calculate(
        e=f"best_e > 0 ? best_e : {hidden.energy_j!r}",
        a=f"best_e > 0 ? best_a : {hidden.accuracy!r}",
    )
    yield ring.mark_point(
        size=220, strokeWidth=2, filled=False, opacity=alt.expr("best_e > 0 ? 1 : 0"), style="front"
    ).encode(x=x, y=y)


def _metric_scale(monitor: Monitor) -> alt.Scale:
    scale = alt.Scale(zero=False, nice=True)
    if monitor.mode == "min":
        scale.reverse = True
    return scale


def _tooltip(monitor: Monitor, **more: str) -> list[alt.Tooltip]:
    return tooltip("trial", "setup", "energy", value=monitor.name, epoch="epoch", **more)


def _position(energy_j: float, value: float, monitor: Monitor) -> Row:
    """Return the place of a mark, and the same as text for its tooltip."""
    texts = {"energy": joules(energy_j), "value": monitor.text(value)}
    return {"e": short(energy_j), "a": value, **texts}
