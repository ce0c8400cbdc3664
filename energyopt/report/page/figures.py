"""The figures of a report: one definition each, for the page and for a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from energyopt.conditions import PowerProfile
from energyopt.records import StudyRecord, TrialRecord, TrialResult
from energyopt.report.curves import Drawn
from energyopt.report.front import FrontPoint, at_target
from energyopt.report.heat_map import HeatMap, Mark
from energyopt.report.importance import Importances
from energyopt.report.noise import Repeated
from energyopt.report.page.looks import KINDS, ON_SHADES, SHADES, USE_COLORS
from energyopt.report.sentences import setting, setup
from energyopt.report.summary import fate
from energyopt.report.uses import USES, Use, trial_uses
from energyopt.units import duration, joules, quantity

WIDTH = 760
"""Of a figure as a file, in pixels."""

_SI = "~s"
_MANY = 60  # curves, from which on each is drawn more faintly

Row = dict[str, Any]
Training = tuple[TrialRecord, TrialResult]


@dataclass(frozen=True)
class Figure:
    """A figure of a report.

    Attributes:
        name: Of its file.
        title: What it is called.
        words: What it shows, for those who do not see it.
        chart: Of Vega-Lite, without a width.
        log: Whether its energies can be shown on a linear scale, too.
    """

    name: str
    title: str
    words: str
    chart: alt.LayerChart | alt.FacetChart
    log: bool = False


# Accuracy against energy ------------------------------------------------------------------------


def front_figure(
    study: StudyRecord, target: float | None, drawn: Drawn, front: Sequence[FrontPoint]
) -> Figure:
    """Accuracy against training energy: all curves, where each ended, the front, the target."""
    trials = [(trial, result) for trial, result in study.results if trial.number in drawn.curves]
    kinds = _kinds(study, trials, target)
    x = _energy_axis("e", "training energy so far, J")
    y = alt.Y("a:Q", title="validation accuracy", scale=alt.Scale(zero=False, nice=True))
    layers = [
        _curve_layer(trials, drawn, target, kinds).encode(x=x, y=y),
        *(layer.encode(x=x, y=y) for layer in _default_layers(trials, drawn)),
        *(layer.encode(x=x, y=y) for layer in _front_layers(front)),
        _ends_layer(trials, drawn, target, kinds).encode(x=x, y=y),
        *(layer.encode(x=x, y=y) for layer in _confirmed_layers(study)),
    ]
    if target is None:
        chart = alt.layer(*layers)
    else:
        cheapest = next(iter(at_target(study, target)), None)
        at = (0.0, 0.0) if cheapest is None else (cheapest[2].training_j, cheapest[2].accuracy)
        values = {"target": target, "best_e": at[0], "best_a": at[1]}
        params = [alt.param(name=name, value=value) for name, value in values.items()]
        chart = alt.layer(*layers, *_target_layers(x, y)).add_params(*params)
    words = (
        f"{len(drawn.curves)} curves of validation accuracy against training energy, their front "
        f"of {len(front)} points, and the target as a line. The tables below say the same."
    )
    chart = chart.properties(height=420)
    return Figure("front", "Accuracy against energy", words, chart, log=True)


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


def _energy_axis(field: str, title: str) -> alt.X:
    return alt.X(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(type="log", nice=False, padding=8),
        axis=alt.Axis(format=_SI, tickCount=6, labelOverlap=True),
    )


def _kind_color(kinds: Sequence[str]) -> alt.Color:
    names, colors = ([getattr(KINDS[kind], what) for kind in kinds] for what in ("name", "color"))
    return alt.Color("kind:N", scale=alt.Scale(domain=names, range=colors), legend=alt.Legend())


def _kind_shape(kinds: Sequence[str]) -> alt.Shape:
    names, shapes = ([getattr(KINDS[kind], what) for kind in kinds] for what in ("name", "shape"))
    return alt.Shape("kind:N", scale=alt.Scale(domain=names, range=shapes), legend=alt.Legend())


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
        {"t": trial.number, "e": _short(point.training_j), "a": point.accuracy}
        for trial, _ in trials
        for point in drawn.curves[trial.number]
    ]
    about = _data([_about(trial, result, target) for trial, result in trials])
    look = alt.LookupData(data=about, key="t", fields=["b", "kind"])
    faint = 0.5 if len(trials) <= _MANY else 0.2
    chart = alt.Chart(_data(rows)).mark_line(strokeWidth=1.2, opacity=faint)
    chart = _seen_from(chart.transform_lookup(lookup="t", from_=look), target)
    return chart.encode(detail="t:N", color=_kind_color(kinds))


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
                "e": _short(point.training_j),
                "a": point.accuracy,
                "trial": _name(trial),
                "setup": setup(trial.params) or "the fixed setup",
                "energy": joules(point.training_j),
                "accuracy": f"{point.accuracy:.4f}, best {_best(result):.4f}",
                "epoch": f"{point.epoch:.4g}",
                "ended": f"{result.end}: {result.reason}" if result.reason else result.end,
            }
        )
    names = ("trial", "setup", "kind", "energy", "accuracy", "epoch", "ended")
    chart = alt.Chart(_data(rows)).mark_point(
        filled=True, size=70 if len(trials) <= _MANY else 30, opacity=0.9
    )
    return _seen_from(chart, target).encode(
        color=_kind_color(kinds), shape=_kind_shape(kinds), tooltip=_tooltip(names)
    )


def _confirmed_layers(study: StudyRecord) -> Iterator[alt.Chart]:
    rows = []
    for each in study.confirmations:
        if each.result is None or each.state != "complete" or not len(each.result.curve):
            continue
        point = each.result.hit or each.result.curve[len(each.result.curve) - 1]
        rows.append(
            {
                "e": _short(point.training_j),
                "a": point.accuracy,
                "kind": KINDS["confirming"].name,
                "trial": f"{each.trial}, again with seed {each.seed}",
                "energy": joules(point.training_j),
                "accuracy": f"{point.accuracy:.4f}",
            }
        )
    if rows:
        look = KINDS["confirming"]
        chart = alt.Chart(_data(rows)).mark_point(
            filled=True, size=60, opacity=0.9, shape=look.shape, color=look.color
        )
        yield chart.encode(tooltip=_tooltip(("trial", "kind", "energy", "accuracy")))


def _front_layers(front: Sequence[FrontPoint]) -> Iterator[alt.Chart]:
    rows = [
        {
            "e": _short(point.energy_j),
            "a": point.accuracy,
            "trial": f"{point.trial} (default)" if point.default else str(point.trial),
            "setup": setup(point.params) or "the fixed setup",
            "energy": joules(point.energy_j),
            "accuracy": f"{point.accuracy:.4f}",
            "epoch": f"{point.epoch:.4g}",
        }
        for point in front
    ]
    chart = alt.Chart(_data(rows))
    yield chart.mark_line(interpolate="step-after", style="front")
    marks = chart.mark_point(filled=True, size=34, opacity=1, style="front-point", shape="circle")
    yield marks.encode(tooltip=_tooltip(("trial", "setup", "energy", "accuracy", "epoch")))


def _default_layers(trials: Sequence[Training], drawn: Drawn) -> Iterator[alt.Chart]:
    """The default's curve, dashed, with its name at the end."""
    default = next((trial for trial, _ in trials if trial.default), None)
    if default is not None:
        rows = [
            {"e": _short(point.training_j), "a": point.accuracy}
            for point in drawn.curves[default.number]
        ]
        line = alt.Chart(_data(rows)).mark_line(strokeWidth=2, strokeDash=[5, 3], style="quiet")
        yield line
        words = alt.Chart(_data(rows[-1:])).mark_text(
            text="default", dy=14, align="right", style="quiet-words"
        )
        yield words


def _tooltip(names: Sequence[str]) -> list[alt.Tooltip]:
    titles = {"kind": "it", "energy": "training energy"}
    return [alt.Tooltip(f"{name}:N", title=titles.get(name, name)) for name in names]


def _target_layers(x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    """The target, and a ring around the cheapest training at it."""
    line = alt.Chart(_data([{}])).transform_calculate(a="target")
    yield line.mark_rule(strokeDash=[6, 4], strokeWidth=1.5, style="ink").encode(y=y)
    yield line.mark_text(
        align="left",
        baseline="bottom",
        dx=6,
        dy=-4,
        text=alt.expr("'target ' + format(target, '.6~g')"),
        style="words",
    ).encode(x=alt.value(0), y=y)
    ring = alt.Chart(_data([{}])).transform_calculate(e="best_e", a="best_a")
    ring = ring.transform_filter("datum.e > 0")
    yield ring.mark_point(size=220, strokeWidth=2, opacity=1, filled=False, style="front").encode(
        x=x, y=y
    )


# Parameters -------------------------------------------------------------------------------------


def importance_figure(found: Importances) -> Figure:
    """Importances of the parameters for energy and for accuracy."""
    names = {"energy": "for energy to the target", "accuracy": "for accuracy"}
    rows = [
        {"key": key, "of": names[of], "share": shares[key], "words": f"{100 * shares[key]:.0f} %"}
        for of, shares in (("energy", found.energy), ("accuracy", found.accuracy))
        for key in shares
    ]
    shown = [names["energy"]] * bool(found.energy) + [names["accuracy"]] * bool(found.accuracy)
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("key:N", title=None, sort=list(found.parameters), axis=alt.Axis(labelLimit=200)),
        yOffset=alt.YOffset("of:N", sort=shown, scale=alt.Scale(paddingInner=0.15)),
        x=alt.X(
            "share:Q",
            title="importance (shares of 1)",
            scale=alt.Scale(domain=[0, 1.08]),
            axis=alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1]),
        ),
    )
    color = alt.Color(
        "of:N", scale=alt.Scale(domain=shown, range=["#c96a12", "#3f86cf"]), legend=alt.Legend()
    )
    tooltip = [
        alt.Tooltip("key:N", title="parameter"),
        alt.Tooltip("of:N", title="matters"),
        alt.Tooltip("words:N", title="importance"),
    ]
    bars = base.mark_bar(cornerRadiusEnd=2).encode(color=color, tooltip=tooltip)
    words = base.mark_text(align="left", dx=5, style="quiet-words").encode(text="words:N")
    height = 46 * max(len(found.parameters), 1)
    return Figure(
        "importance",
        "Which parameters matter",
        "Bars of the importance of each searched parameter for energy and for accuracy; the table "
        "says the same.",
        alt.layer(bars, words).properties(height=height),
    )


def heat_map_figure(found: HeatMap, target: float) -> Figure:
    """Energy to the target over two parameters; darker is dearer, and words say what was missed."""
    rows = [
        {
            "across": found.across.labels[cell.across],
            "down": found.down.labels[cell.down],
            "e": cell.energy_j,
            "words": joules(cell.energy_j) if cell.reached else f"> {joules(cell.spent_j)}",
            "note": "missed" if not cell.reached else "",
            "reached": f"{cell.reached} of {cell.trainings}",
            "trial": cell.trial,
        }
        for cell in found.cells
    ]
    energies = [cell.energy_j for cell in found.cells if cell.energy_j is not None]
    middle = math.sqrt(min(energies) * max(energies)) if energies else 1.0
    base = alt.Chart(_data(rows)).encode(
        x=alt.X(
            "across:O",
            title=found.across.key,
            sort=None,
            scale=alt.Scale(domain=list(found.across.labels)),
            axis=alt.Axis(labelAngle=0, labelOverlap=True, orient="bottom"),
        ),
        y=alt.Y(
            "down:O",
            title=found.down.key,
            sort=None,
            scale=alt.Scale(domain=list(reversed(found.down.labels))),
        ),
        tooltip=[
            alt.Tooltip("across:N", title=found.across.key),
            alt.Tooltip("down:N", title=found.down.key),
            alt.Tooltip("words:N", title=f"to {target:.6g}"),
            alt.Tooltip("reached:N", title="reached"),
            alt.Tooltip("trial:N", title="trial"),
        ],
    )
    shade = alt.Color("e:Q", legend=None, scale=alt.Scale(type="log", range=list(SHADES)))
    reached = base.transform_filter("datum.note == ''")
    missed = base.transform_filter("datum.note != ''")
    ink = alt.condition(f"datum.e > {middle!r}", alt.value(ON_SHADES[1]), alt.value(ON_SHADES[0]))
    chart = alt.layer(
        reached.mark_rect(cornerRadius=3).encode(color=shade),
        missed.mark_rect(cornerRadius=3, strokeDash=[4, 3], fillOpacity=0.35, style="empty"),
        reached.mark_text(fontSize=13, fontWeight=600).encode(text="words:N", color=ink),
        missed.mark_text(dy=-7, style="quiet-words").encode(text="words:N"),
        missed.mark_text(dy=9, style="quiet-words").encode(text="note:N"),
    ).properties(height=max(58 * len(found.down.labels), 120))
    return Figure(
        "heat_map",
        f"Energy to {target:.6g} over {found.across.key} and {found.down.key}",
        f"A cell for each {found.across.key} and {found.down.key} that was tried, with the least "
        "energy of its trainings, or what was spent where all missed; the table says the same.",
        chart,
    )


def strip_figure(key: str, marks: Sequence[Mark], target: float) -> Figure:
    """Energy to the target against one parameter; what missed it lies at what it used."""
    numbers = all(isinstance(m.value, int | float) and not isinstance(m.value, bool) for m in marks)
    rows = [
        {
            "value": mark.value if numbers else setting(mark.value),
            "e": mark.spent_j if mark.energy_j is None else mark.energy_j,
            "kind": KINDS["missed" if mark.energy_j is None else "reached"].name,
            "words": f"> {joules(mark.spent_j)}"
            if mark.energy_j is None
            else joules(mark.energy_j),
            "trial": mark.trial,
        }
        for mark in marks
    ]
    values = [float(mark.value) for mark in marks] if numbers else []
    log = bool(values) and min(values) > 0 and max(values) / min(values) > 10  # noqa: PLR2004
    scale = alt.Scale(type="log" if log else "linear", zero=False, nice=False, padding=12)
    x = (
        alt.X("value:Q", title=key, scale=scale, axis=alt.Axis(format="~g", tickCount=6))
        if numbers
        else alt.X("value:O", title=key, axis=alt.Axis(labelAngle=0))
    )
    y = alt.Y(
        "e:Q",
        title=f"energy to {target:.6g}, J",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(format=_SI, tickCount=5),
    )
    tooltip = [
        alt.Tooltip("trial:N"),
        alt.Tooltip("value:N", title=key),
        alt.Tooltip("words:N", title="energy"),
    ]
    kinds = ["reached", "missed"]
    chart = alt.layer(
        alt.Chart(_data(rows))
        .mark_point(filled=True, size=80, opacity=0.85)
        .encode(x=x, y=y, color=_kind_color(kinds), shape=_kind_shape(kinds), tooltip=tooltip)
    ).properties(height=300)
    return Figure(
        "strip",
        f"Energy to {target:.6g} against {key}",
        f"A point for each training: energy to the target against {key}.",
        chart,
    )


# Joules -----------------------------------------------------------------------------------------


def uses_figure(uses: Mapping[Use, Any]) -> Figure:
    """What the whole search was spent on: a bar each."""
    spent = {use: energy.total_j for use, energy in uses.items()}
    whole = sum(spent.values())
    rows = [
        {"use": USES[use], "j": part, "words": f"{joules(part)}, {100 * part / whole:.1f} %"}
        for use, part in spent.items()
    ]
    order = [row["use"] for row in rows]
    most = max((row["j"] for row in rows), default=1.0)
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("use:N", sort=order, title=None, axis=alt.Axis(labelLimit=240)),
        x=alt.X(
            "j:Q",
            title="energy, J",
            axis=alt.Axis(format=_SI, tickCount=5),
            scale=alt.Scale(domainMax=most * 1.3),
        ),
        tooltip=[alt.Tooltip("use:N", title="for"), alt.Tooltip("words:N", title="energy")],
    )
    color = _use_color(order, legend=False)
    chart = alt.layer(
        base.mark_bar(cornerRadiusEnd=2).encode(color=color),
        base.mark_text(align="left", dx=6, style="quiet-words").encode(text="words:N"),
    ).properties(height=34 * max(len(rows), 1))
    return Figure(
        "joules",
        "Where the joules of the search went",
        "A bar for each use of the energy of the whole search; the table says the same.",
        chart,
    )


def trials_figure(study: StudyRecord, target: float | None) -> Figure:
    """The same, stacked for each trial."""
    rows = [
        {"t": trial.number, "use": USES[use], "n": at, "j": _short(energy.total_j)}
        for trial in study.trials
        for at, (use, energy) in enumerate(trial_uses(trial, target).items())
    ]
    order = [name for name in USES.values() if any(row["use"] == name for row in rows)]
    chart = alt.layer(
        alt.Chart(_data(rows))
        .mark_bar()
        .transform_calculate(words="format(datum.j, '.3s') + 'J'")
        .encode(
            x=alt.X(
                "t:O", title="trial", axis=alt.Axis(labelAngle=0, labelOverlap=True, grid=False)
            ),
            y=alt.Y("j:Q", title="energy, J", axis=alt.Axis(format=_SI, tickCount=5)),
            color=_use_color(order, legend=True),
            order=alt.Order("n:Q"),
            tooltip=[
                alt.Tooltip("t:N", title="trial"),
                alt.Tooltip("use:N", title="for"),
                alt.Tooltip("words:N", title="energy"),
            ],
        )
    ).properties(height=280)
    return Figure(
        "trials",
        "The same by trial",
        "Stacked bars: what each trial spent its energy on; the table of all trainings says it.",
        chart,
    )


def _use_color(order: Sequence[str], *, legend: bool) -> alt.Color:
    return alt.Color(
        "use:N",
        scale=alt.Scale(domain=list(order), range=[USE_COLORS[name] for name in order]),
        legend=alt.Legend(columns=2) if legend else None,
    )


# Power ------------------------------------------------------------------------------------------


def power_figures(trial: int, profile: PowerProfile) -> Iterator[Figure]:
    """Energy of a step against the power limit, and its time."""
    rows = [
        {
            "w": at.limit_w,
            "j": at.step_j,
            "s": at.step_s,
            "energy": joules(at.step_j),
            "time": duration(at.step_s),
            "power": quantity(at.power_w, "W"),
            "chosen": "chosen" if at.limit_w == profile.chosen_w else "tried",
        }
        for at in profile.points
    ]
    of = f"batch size {profile.shape.get('batch_size')} (trial {trial})"
    for field, title, name in (
        ("j", "energy of a step, J", "energy"),
        ("s", "time of a step, s", "time"),
    ):
        base = alt.Chart(_data(rows)).encode(
            x=alt.X("w:Q", title="power limit, W", scale=alt.Scale(zero=False, padding=16)),
            y=alt.Y(
                f"{field}:Q",
                title=title,
                scale=alt.Scale(zero=False),
                axis=alt.Axis(format=_SI, tickCount=5),
            ),
            tooltip=[
                alt.Tooltip("w:N", title="limit, W"),
                alt.Tooltip("energy:N", title="a step"),
                alt.Tooltip("time:N", title="takes"),
                alt.Tooltip("power:N", title="mean power"),
            ],
        )
        domain = ["tried", "chosen"]
        marks = base.mark_point(filled=True, size=110, opacity=1).encode(
            color=alt.Color(
                "chosen:N", scale=alt.Scale(domain=domain, range=["#7a8490", "#0d8f7f"])
            ),
            shape=alt.Shape(
                "chosen:N", scale=alt.Scale(domain=domain, range=["circle", "diamond"])
            ),
        )
        chart = alt.layer(base.mark_line(style="quiet", strokeWidth=1.5), marks)
        yield Figure(
            f"power_{trial}_{name}",
            f"{'Energy' if field == 'j' else 'Time'} of a step, {of}",
            f"{title} at each power limit that was tried; the table says the same.",
            chart.properties(height=240),
        )


# Noise ------------------------------------------------------------------------------------------


def noise_figure(setups: Sequence[Repeated]) -> Figure:
    """Each repetition of a setup, its geometric mean and interval."""
    rows, means = [], []
    for each in setups:
        name = f"{_name(each.trial)}{' again' if each.confirming else ''}"
        kind = KINDS["confirming" if each.confirming else "reached"].name
        rows += [
            {"setup": name, "e": e, "kind": kind, "energy": joules(e)} for e in each.energies_j
        ]
        found = each.energy
        if found is not None and found.low is not None and found.high is not None:
            words = f"{joules(found.mean)} ({joules(found.low)} to {joules(found.high)})"
            means.append(
                {
                    "setup": name,
                    "low": found.low,
                    "high": found.high,
                    "e": found.mean,
                    "words": words,
                }
            )
    order = list(dict.fromkeys(str(row["setup"]) for row in rows))
    y = alt.Y("setup:N", sort=order, title="trial", axis=alt.Axis(labelLimit=160))
    x = alt.X(
        "e:Q",
        title="energy to the target, J",
        axis=alt.Axis(format=_SI, tickCount=6),
        scale=alt.Scale(type="log", nice=False, padding=16),
    )
    low = x.copy()
    low.shorthand = "low:Q"
    kinds = ["reached", "confirming"]
    chart = alt.layer(
        alt.Chart(_data(means))
        .mark_rule(strokeWidth=5, opacity=0.35, style="quiet")
        .encode(x=low, x2="high:Q", y=y, tooltip=[alt.Tooltip("words:N", title="mean")]),
        alt.Chart(_data(rows))
        .mark_point(filled=True, size=60, opacity=0.8)
        .encode(
            x=x,
            y=y,
            color=_kind_color(kinds),
            shape=_kind_shape(kinds),
            tooltip=[alt.Tooltip("setup:N", title="trial"), alt.Tooltip("energy:N")],
        ),
        alt.Chart(_data(means)).mark_tick(thickness=3, size=20, style="ink").encode(x=x, y=y),
    ).properties(height=max(30 * len(order), 60))
    return Figure(
        "noise",
        "Repetitions",
        "Energy to the target of each repetition of a setup, with mean and 95 % interval; the "
        "table says the same.",
        chart,
    )


def _data(rows: list[Row]) -> alt.InlineData:
    return alt.InlineData(values=rows)


def _name(trial: TrialRecord) -> str:
    return f"{trial.number} (default)" if trial.default else str(trial.number)


def _short(value: float) -> float:
    """Six digits: more than a figure shows, and a third of the file."""
    return float(f"{value:.6g}")


def _best(result: TrialResult) -> float:
    return max((a for a in result.curve.accuracy if math.isfinite(a)), default=0.0)
