"""Figures of energy: by use, by trial, by power limit, and over repeated seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import altair as alt

from energyopt.analysis.energy_breakdown import USES, Use, trial_uses
from energyopt.analysis.seed_noise import Repeated
from energyopt.core.conditions import PowerProfile
from energyopt.core.energy import Energy
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import duration, joules, quantity
from energyopt.report.html.figure import (
    SECONDS,
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
from energyopt.report.html.theme import CHOSEN, KINDS, USE_COLORS

_FEW = 10  # trials; with fewer, automatic bars would be too wide
_BAR_PX = 40


def uses_figure(uses: Mapping[Use, Energy]) -> Figure:
    """Draw the energy of the whole search by use, a bar each."""
    use_j = {use: energy.total_j for use, energy in uses.items()}
    search_j = sum(use_j.values())
    rows: list[Row] = [
        {
            "use": USES[use],
            "j": energy_j,
            "words": f"{joules(energy_j)}, {100 * energy_j / search_j:.1f} %",
        }
        for use, energy_j in use_j.items()
    ]
    order = [row["use"] for row in rows]
    max_j = max((row["j"] for row in rows), default=1.0)
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("use:N", sort=order, title=None, axis=alt.Axis(labelLimit=240)),
        x=alt.X(
            "j:Q",
            title="energy",
            axis=joules_axis(5),
            scale=alt.Scale(domainMax=max_j * 1.25),
        ),
        tooltip=tooltip(use="for", words="energy"),
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
        min_width_px=520,
    )


def trials_figure(study: StudyRecord, target: float | None) -> Figure:
    """Draw the energy of each trial, stacked by use."""
    use_index = {use: index for index, use in enumerate(USES)}
    rows = [
        {"t": trial.number, "n": use_index[use], "j": short(energy.total_j)}
        for trial in study.trials
        for use, energy in trial_uses(trial, target).items()
    ]
    indices = {row["n"] for row in rows}
    order = [name for index, name in enumerate(USES.values()) if index in indices]
    base = alt.Chart(data(rows))
    bars = base.mark_bar(size=_BAR_PX) if len(study.trials) < _FEW else base.mark_bar()
    bars = bars.transform_calculate(
        use=f"{list(USES.values())!r}[datum.n]",
        words="replace(format(datum.j, '.3~s'), regexp('^([-0-9.]+)'), '$1 ') + 'J'",
    )
    chart = alt.layer(
        bars.encode(
            x=alt.X(
                "t:O", title="trial", axis=alt.Axis(labelAngle=0, labelOverlap=True, grid=False)
            ),
            y=alt.Y("j:Q", title="energy", axis=joules_axis(5)),
            color=_use_color(order, legend=True),
            order=alt.Order("n:Q"),
            tooltip=tooltip(t="trial", use="for", words="energy"),
        )
    ).properties(height=280)
    return Figure(
        "trials",
        "The same by trial",
        "Stacked bars: what each trial spent its energy on; the table of all trials says it.",
        chart,
        min_width_px=480,
    )


def _use_color(order: Sequence[str], *, legend: bool) -> alt.Color:
    return alt.Color(
        "use:N",
        scale=alt.Scale(domain=list(order), range=[USE_COLORS[name] for name in order]),
        legend=alt.Legend(columns=2) if legend else None,
    )


def power_figures(trial: int, profile: PowerProfile) -> Iterator[Figure]:
    """Draw energy and time of an optimizer step against the power limit."""
    rows = [
        {
            "w": point.limit_w,
            "j": point.step_j,
            "s": point.step_s,
            "energy": joules(point.step_j),
            "time": duration(point.step_s),
            "power": quantity(point.power_w, "W"),
            "chosen": "chosen" if point.limit_w == profile.chosen_w else "tried",
        }
        for point in profile.points
    ]
    batch = f"batch size {profile.shape.get('batch_size')} (trial {trial})"
    yield _power_figure(rows, "j", "energy", f"Energy of a step, {batch}", trial)
    yield _power_figure(rows, "s", "time", f"Time of a step, {batch}", trial)


def _power_figure(
    rows: list[Row], field: str, quantity_name: str, title: str, trial: int
) -> Figure:
    choices, (colors, shapes) = ["tried", "chosen"], zip(*CHOSEN, strict=True)
    axis = joules_axis(5) if field == "j" else alt.Axis(labelExpr=SECONDS, tickCount=5)
    base = alt.Chart(data(rows)).encode(
        x=alt.X("w:Q", title="power limit, W", scale=alt.Scale(zero=False, padding=16)),
        y=alt.Y(
            f"{field}:Q", title=f"{quantity_name} of a step", scale=alt.Scale(zero=False), axis=axis
        ),
        tooltip=tooltip(w="limit, W", energy="a step", time="takes", power="mean power"),
    )
    marks = base.mark_point(filled=True, size=110, opacity=1).encode(
        color=alt.Color("chosen:N", scale=alt.Scale(domain=choices, range=list(colors))),
        shape=alt.Shape("chosen:N", scale=alt.Scale(domain=choices, range=list(shapes))),
    )
    chart = alt.layer(base.mark_line(style="quiet", strokeWidth=1.5), marks)
    return Figure(
        f"power_{trial}_{quantity_name}",
        title,
        f"{title} at each power limit that was tried; the table says the same.",
        chart.properties(height=240),
    )


def noise_figure(setups: Sequence[Repeated]) -> Figure:
    """Draw the repetitions of each configuration, their geometric mean and its interval."""
    rows, means = [], []
    for repeated in setups:
        label = trial_label(repeated.trial.number, repeated.trial.default_mark)
        name = f"{label} again" if repeated.confirming else label
        kind = KINDS["confirming" if repeated.confirming else "reached"].name
        rows += [
            {"setup": name, "e": e, "kind": kind, "energy": joules(e)} for e in repeated.energies_j
        ]
        energy = repeated.energy
        if energy is not None and energy.low is not None and energy.high is not None:
            text = f"{joules(energy.mean)} ({joules(energy.low)} to {joules(energy.high)})"
            ends = {"low": energy.low, "high": energy.high}
            means.append({"setup": name, **ends, "e": energy.mean, "words": text})
    order = list(dict.fromkeys(str(row["setup"]) for row in rows))
    y = alt.Y("setup:N", sort=order, title="trial", axis=alt.Axis(labelLimit=160))
    x, low = (
        alt.X(f"{end}:Q", title="energy to the target", axis=joules_axis(), scale=log_scale(16))
        for end in ("e", "low")
    )
    points = alt.Chart(data(rows)).mark_point(filled=True, size=60, opacity=0.8)
    spans = alt.Chart(data(means)).mark_rule(strokeWidth=5, opacity=0.35, style="quiet")
    ticks = alt.Chart(data(means)).mark_tick(thickness=3, size=20, style="ink")
    chart = alt.layer(
        spans.encode(x=low, x2="high:Q", y=y, tooltip=tooltip(words="mean")),
        points.encode(
            x=x,
            y=y,
            tooltip=tooltip(setup="trial", energy="energy"),
            **kind_channels(["reached", "confirming"]),
        ),
        ticks.encode(x=x, y=y),
    ).properties(height=max(30 * len(order), 60))
    return Figure(
        "noise",
        "Repetitions",
        "Energy to the target of each repetition of a setup, with mean and 95 % interval; the "
        "table says the same.",
        chart,
    )
