"""Where joules went: by use, by trial, by power limit, and by luck."""

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
    kind_color,
    kind_shape,
    log_scale,
    short,
    tooltip,
    trial_words,
)
from energyopt.report.html.theme import CHOSEN, KINDS, USE_COLORS

_FEW = 10  # trials, below which their bars would be too wide
_BAR_PX = 40


def uses_figure(uses: Mapping[Use, Energy]) -> Figure:
    """What the whole search was spent on: a bar each."""
    spent = {use: energy.total_j for use, energy in uses.items()}
    whole = sum(spent.values())
    rows: list[Row] = [
        {"use": USES[use], "j": part, "words": f"{joules(part)}, {100 * part / whole:.1f} %"}
        for use, part in spent.items()
    ]
    order = [row["use"] for row in rows]
    most = max((row["j"] for row in rows), default=1.0)
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("use:N", sort=order, title=None, axis=alt.Axis(labelLimit=240)),
        x=alt.X(
            "j:Q",
            title="energy",
            axis=joules_axis(5),
            scale=alt.Scale(domainMax=most * 1.25),
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
        least_px=520,
    )


def trials_figure(study: StudyRecord, target: float | None) -> Figure:
    """The same, stacked for each trial."""
    places = {use: at for at, use in enumerate(USES)}
    rows = [
        {"t": trial.number, "n": places[use], "j": short(energy.total_j)}
        for trial in study.trials
        for use, energy in trial_uses(trial, target).items()
    ]
    seen = {row["n"] for row in rows}
    order = [name for at, name in enumerate(USES.values()) if at in seen]
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
        least_px=480,
    )


def _use_color(order: Sequence[str], *, legend: bool) -> alt.Color:
    return alt.Color(
        "use:N",
        scale=alt.Scale(domain=list(order), range=[USE_COLORS[name] for name in order]),
        legend=alt.Legend(columns=2) if legend else None,
    )


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
    yield _power_figure(rows, "j", "energy", f"Energy of a step, {of}", trial)
    yield _power_figure(rows, "s", "time", f"Time of a step, {of}", trial)


def _power_figure(rows: list[Row], field: str, what: str, title: str, trial: int) -> Figure:
    looks = {"tried": CHOSEN[0], "chosen": CHOSEN[1]}
    colors, shapes = ([look[at] for look in looks.values()] for at in (0, 1))
    axis = joules_axis(5) if field == "j" else alt.Axis(labelExpr=SECONDS, tickCount=5)
    base = alt.Chart(data(rows)).encode(
        x=alt.X("w:Q", title="power limit, W", scale=alt.Scale(zero=False, padding=16)),
        y=alt.Y(f"{field}:Q", title=f"{what} of a step", scale=alt.Scale(zero=False), axis=axis),
        tooltip=tooltip(w="limit, W", energy="a step", time="takes", power="mean power"),
    )
    marks = base.mark_point(filled=True, size=110, opacity=1).encode(
        color=alt.Color("chosen:N", scale=alt.Scale(domain=list(looks), range=colors)),
        shape=alt.Shape("chosen:N", scale=alt.Scale(domain=list(looks), range=shapes)),
    )
    chart = alt.layer(base.mark_line(style="quiet", strokeWidth=1.5), marks)
    return Figure(
        f"power_{trial}_{what}",
        title,
        f"{title} at each power limit that was tried; the table says the same.",
        chart.properties(height=240),
    )


def noise_figure(setups: Sequence[Repeated]) -> Figure:
    """Each repetition of a setup, its geometric mean and interval."""
    rows, means = [], []
    for each in setups:
        name = f"{trial_words(each.trial)}{' again' if each.confirming else ''}"
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
    x, low = (
        alt.X(f"{end}:Q", title="energy to the target", axis=joules_axis(), scale=log_scale(16))
        for end in ("e", "low")
    )
    kinds = ["reached", "confirming"]
    points = alt.Chart(data(rows)).mark_point(filled=True, size=60, opacity=0.8)
    spans = alt.Chart(data(means)).mark_rule(strokeWidth=5, opacity=0.35, style="quiet")
    ticks = alt.Chart(data(means)).mark_tick(thickness=3, size=20, style="ink")
    chart = alt.layer(
        spans.encode(x=low, x2="high:Q", y=y, tooltip=tooltip(words="mean")),
        points.encode(
            x=x,
            y=y,
            color=kind_color(kinds),
            shape=kind_shape(kinds),
            tooltip=tooltip(setup="trial", energy="energy"),
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
