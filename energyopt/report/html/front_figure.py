"""Figure of the metric against training energy: curves, front, target, and what is saved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from energyopt.analysis.curves import Drawn
from energyopt.analysis.pareto import FrontPoint
from energyopt.analysis.seed_noise import seed_band
from energyopt.analysis.summary import Summary
from energyopt.core.metric import Monitor
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import joules
from energyopt.report.html.figure import (
    Figure,
    Row,
    data,
    energy_title,
    kind_channels,
    log_joules,
    log_scale,
    short,
    tooltip,
    trial_label,
)
from energyopt.report.html.metric_axis import MetricAxis
from energyopt.report.html.theme import KINDS, trial_kind
from energyopt.report.sentences import params_text

_MANY = 60  # training runs; with more the marks are small
_GAP_PX = 18  # between the target and the line of what is saved

_TrainedTrial = tuple[TrialRecord, TrialResult]


def front_figure(study: StudyRecord, summary: Summary, drawn: Drawn) -> Figure:
    """Draw the metric against training energy.

    Args:
        study: The study, or a sample of its trials.
        summary: Summary of the whole study.
        drawn: The curves to draw.
    """
    target, front, monitor = summary.target, summary.front, study.monitor
    trials = [(trial, result) for trial, result in study.results if trial.number in drawn.curves]
    kinds = _kinds(trials, target)
    at_least = [] if target is None else [target]
    axis = MetricAxis.of(drawn, [*at_least, *(point.accuracy for point in front)])
    energies = [point.training_j for curve in drawn.curves.values() for point in curve]
    title = energy_title("training energy so far", study)
    x = alt.X("e:Q", title=title, scale=log_scale(), axis=log_joules(energies))
    y = axis.channel()
    layers = [
        _curve_layer(trials, drawn, target, kinds, axis),
        *_default_layers(trials, drawn, axis),
        *(_target_layers(summary, axis) if target is not None else ()),
        *_front_layers(front, axis),
        _ends_layer(trials, drawn, target, kinds, axis),
        *(_answer_layers(study, summary, axis, target) if target is not None else ()),
    ]
    chart = alt.layer(*(_at(layer, x, y) for layer in layers))
    chart = chart.properties(height=420, usermeta={"error": axis.is_error})
    if target is not None:
        best = summary.recommended
        place = (0.0, 0.0) if best is None else (best.energy_j, best.accuracy)
        values = dict(zip(("target", "best_e", "best_a"), (target, *place), strict=True))
        chart = chart.add_params(*(alt.param(name=k, value=v) for k, v in values.items()))
    description = (
        f"{len(drawn.curves)} curves of {monitor.label} against training energy, their front "
        f"of {len(front)} points, and the target as a line. The tables below say the same."
    )
    name = "Error" if axis.is_error else monitor.title
    return Figure("front", f"{name} against energy", description, chart, log=True)


def _at(layer: alt.Chart, x: alt.X, y: alt.Y) -> alt.Chart:
    """Place a layer by its fields e and a, unless it has places of its own."""
    encoding = layer.to_dict().get("encoding", {})
    missing: dict[str, Any] = {k: v for k, v in (("x", x), ("y", y)) if k not in encoding}
    return layer.encode(**missing)


def _kinds(trials: Sequence[_TrainedTrial], target: float | None) -> list[str]:
    """Return the kinds that can occur at any target."""
    if target is None:
        return ["curve"]
    kinds = {"reached", *(_unreached_kind(trial, result) for trial, result in trials)}
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
    trials: Sequence[_TrainedTrial],
    drawn: Drawn,
    target: float | None,
    kinds: Sequence[str],
    axis: MetricAxis,
) -> alt.Chart:
    """Draw a line for each trial, coloured by its kind.

    The page repeats the keys of a row for each point, so they are short: trial t, energy e in J,
    what is drawn of the metric a, and b, its best value in the trial.
    """
    rows = [
        {"t": trial.number, "e": short(point.training_j), "a": axis.place(point.accuracy)}
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
    trials: Sequence[_TrainedTrial],
    drawn: Drawn,
    target: float | None,
    kinds: Sequence[str],
    axis: MetricAxis,
) -> alt.Chart:
    """Return a layer with a mark at the end of each curve."""
    rows = []
    for trial, result in trials:
        point, monitor = drawn.curves[trial.number][-1], drawn.monitor
        best = monitor.text(point.accuracy if result.best_value is None else result.best_value)
        rows.append(
            {
                **_kind_fields(trial, result, target),
                **_position(point.training_j, point.accuracy, axis),
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


def _front_layers(front: Sequence[FrontPoint], axis: MetricAxis) -> Iterator[alt.Chart]:
    rows = [
        {
            **_position(point.energy_j, point.accuracy, axis),
            "trial": trial_label(point.trial, point.default_mark),
            "setup": params_text(point.params),
            "epoch": f"{point.epoch:.4g}",
        }
        for point in front
    ]
    chart = alt.Chart(data(rows))
    yield chart.mark_line(interpolate="step-after", style="front")
    marks = chart.mark_point(filled=True, size=34, opacity=1, style="front-point", shape="circle")
    yield marks.encode(tooltip=_tooltip(axis.monitor))
    label = alt.Chart(data(rows[-1:])).mark_text(
        text="front", align="right", dx=-4, dy=-9 if axis.better_is_up else 13, style="words"
    )
    yield label


def _default_layers(
    trials: Sequence[_TrainedTrial], drawn: Drawn, axis: MetricAxis
) -> Iterator[alt.Chart]:
    """Yield the default configuration's curve, dashed, and its label at the first point."""
    default = next((trial for trial, _ in trials if trial.default), None)
    if default is not None:
        rows = [
            {"e": short(point.training_j), "a": axis.place(point.accuracy)}
            for point in drawn.curves[default.number]
        ]
        line = alt.Chart(data(rows)).mark_line(strokeWidth=2, strokeDash=[5, 3], style="default")
        yield line
        label = alt.Chart(data(rows[:1])).mark_text(
            text=default.default_mark, dy=-8, align="left", baseline="bottom", style="default-words"
        )
        yield label


def _target_layers(summary: Summary, axis: MetricAxis) -> Iterator[alt.Chart]:
    """Yield the target line, and a ring around the best run at it; best_e = 0 hides the ring."""
    line = alt.Chart(data([{}])).transform_calculate(a=axis.expr("target"))
    across = {"x": alt.value(0), "x2": alt.value("width")}
    yield line.mark_rule(strokeDash=[6, 4], strokeWidth=1.5, style="ink").encode(**across)
    yield line.mark_text(
        align="left",
        baseline="bottom" if axis.better_is_up else "top",
        dx=6,
        dy=-4 if axis.better_is_up else 5,
        text=alt.expr(f"'target {summary.monitor.name} ' + format(target, '.6~g')"),
        style="words",
    ).encode(x=alt.value(0))
    # A hidden ring still takes part in the scales, so it lies on a point of the front.
    hidden = summary.front[0]
    ring = alt.Chart(data([{}])).transform_calculate(
        e=f"best_e > 0 ? best_e : {hidden.energy_j!r}",
        a=f"best_e > 0 ? {axis.expr('best_a')} : {axis.place(hidden.accuracy)!r}",
    )
    visible = alt.expr("best_e > 0 ? 1 : 0")
    yield ring.mark_point(size=220, strokeWidth=2.5, filled=False, opacity=visible, style="answer")


def _answer_layers(
    study: StudyRecord, summary: Summary, axis: MetricAxis, target: float
) -> Iterator[alt.Chart]:
    """Yield what is recommended, the default, the spread of their seeds, and what is saved.

    All but the spread is of the study's target alone, so it hides when that is moved.
    """
    best, default = summary.recommended, summary.default
    if best is None:
        return
    for point, style in ((default, "default"), (best, "answer")):
        if point is not None:
            yield from _band_layer(study, point, axis, target, style)
    visible = alt.expr(f"abs(target - {target!r}) < 1e-9 ? 1 : 0")
    side = -1 if axis.better_is_up else 1  # where curves that reached the target are
    level = {"a": axis.place(target)}
    label = alt.Chart(data([{**level, "e": short(best.energy_j)}]))
    words: dict[str, Any] = {"opacity": visible, "style": "answer-words"}
    yield label.mark_text(text="recommended", align="right", dx=-8, dy=side * _GAP_PX, **words)
    savings = summary.against_default
    if default is None or savings is None or default.trial == best.trial:
        return
    ratio = savings.ratio.value
    factor, word = (1 / ratio, "less") if ratio < 1 else (ratio, "more")
    ends = {"e": short(best.energy_j), "end": short(default.energy_j)}
    middle = {"e": short(math.sqrt(best.energy_j * default.energy_j))}
    text = f"{factor:.2g}x {word} energy than the default"
    gap = alt.Chart(data([{**level, **ends}]))
    line: dict[str, Any] = {
        "opacity": visible, "style": "answer", "yOffset": side * _GAP_PX
    }  # fmt: skip
    yield gap.mark_rule(strokeWidth=2, **line).encode(x2="end:Q")
    tip = "triangle-left" if ratio < 1 else "triangle-right"
    yield gap.mark_point(shape=tip, size=60, filled=True, **line)
    yield alt.Chart(data([{**level, **middle}])).mark_text(
        text=text, dy=side * (_GAP_PX + 11), **words
    )


def _band_layer(
    study: StudyRecord, point: FrontPoint, axis: MetricAxis, target: float, style: str
) -> Iterator[alt.Chart]:
    """Yield the energies between which all trainings of a configuration reached each value."""
    rows = [
        {"a": axis.place(value), "e": short(low_j), "end": short(high_j)}
        for value, low_j, high_j in seed_band(study, point.params, target)
    ]
    if rows:
        chart = alt.Chart(data(rows)).mark_area(orient="horizontal", opacity=0.18, style=style)
        yield chart.encode(x2="end:Q")


def _tooltip(monitor: Monitor, **more: str) -> list[alt.Tooltip]:
    return tooltip("trial", "setup", "energy", value=monitor.name, epoch="epoch", **more)


def _position(energy_j: float, value: float, axis: MetricAxis) -> Row:
    """Return the place of a mark, and the same as text for its tooltip."""
    texts = {"energy": joules(energy_j), "value": axis.monitor.text(value)}
    return {"e": short(energy_j), "a": axis.place(value), **texts}
