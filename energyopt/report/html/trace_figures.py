"""Power over time inside single trials, with the power limit in force and what was flagged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from energyopt.analysis.summary import Summary
from energyopt.core.gpu_trace import TraceSample, by_gpu, thinned
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.units import quantity
from energyopt.report.html.figure import SECONDS, Figure, Row, data, short, tooltip, trial_label
from energyopt.report.html.tables import Column, Grid, make_grid, number_column

_MAX_TRIALS = 4  # in figures; the table has the events of all
_MAX_POINTS = 300  # of a GPU in a figure
_POWER, _LIMIT, _FLAGGED = "power", "power limit in force", "flagged"
_COLORS = ["#3f86cf", "#c96a12", "#d1495b"]
_DASHES = [[1, 0], [6, 4], [1, 0]]


def trace_figures(study: StudyRecord, summary: Summary) -> Iterator[Figure]:
    """Draw the traces of the recommended and the default setup, and of trials that are flagged."""
    best = summary.recommended
    flagged = {number for number, _ in summary.events}

    def rank(trial: TrialRecord) -> tuple[bool, ...]:
        is_best = best is not None and trial.number == best.trial
        return (not is_best, not trial.default, trial.number not in flagged)

    telling = [trial for trial in study.trials if not all(rank(trial))]
    traces = ((trial, samples_of(trial)) for trial in sorted(telling, key=rank))
    drawn = [(trial, samples) for trial, samples in traces if samples][:_MAX_TRIALS]
    for trial, samples in sorted(drawn, key=lambda pair: pair[0].number):
        yield trace_figure(trial, samples)


def samples_of(trial: TrialRecord) -> tuple[TraceSample, ...]:
    """Return the trace of a trial; empty without one, or if it is damaged."""
    try:
        return () if trial.result is None else trial.result.trace.samples()
    except ValueError:
        return ()


def trace_figure(trial: TrialRecord, samples: Sequence[TraceSample]) -> Figure:
    """Draw the power of each GPU of a trial over time."""
    boards = [thinned(board, _MAX_POINTS) for board in by_gpu(samples)]
    points = [sample for board in boards for sample in board]
    x = alt.X("t:Q", title="time in the trial", axis=alt.Axis(labelExpr=SECONDS, tickCount=8))
    channels: dict[str, Any] = {
        "color": _color(trial),
        "strokeDash": alt.StrokeDash(
            "kind:N",
            scale=alt.Scale(domain=_kinds(trial), range=_DASHES),
            legend=alt.Legend(columns=3, symbolType="stroke"),
        ),
        "detail": alt.Detail("gpu:N"),
        "tooltip": tooltip(gpu="GPU", words="at that time"),
    }
    lines = alt.Chart(data([*_lines(points)])).encode(
        x=x, y=alt.Y("w:Q", title="power, W", scale=alt.Scale(zero=True)), **channels
    )
    chart = alt.layer(
        *_marks(trial, x),
        lines.transform_filter(f"datum.kind == '{_POWER}'").mark_line(strokeWidth=1.5),
        lines.transform_filter(f"datum.kind == '{_LIMIT}'").mark_line(
            strokeWidth=2, interpolate="step-after"
        ),
    )
    label = trial_label(trial.number, trial.default_mark)
    return Figure(
        f"trace_{trial.number}",
        f"Power of trial {label} over time",
        f"Power of each GPU of trial {trial.number} over time, with the power limit in force; "
        "what was flagged is shaded, and listed in the table.",
        chart.properties(height=220),
        min_width_px=480,
    )


def _kinds(trial: TrialRecord) -> list[str]:
    """Return the names in the legend."""
    has_events = trial.result is not None and bool(trial.result.conditions.events)
    return [_POWER, _LIMIT, _FLAGGED] if has_events else [_POWER, _LIMIT]


def _color(trial: TrialRecord) -> alt.Color:
    scale = alt.Scale(domain=_kinds(trial), range=_COLORS)
    return alt.Color("kind:N", scale=scale, legend=alt.Legend(columns=3, symbolType="stroke"))


def _lines(samples: Sequence[TraceSample]) -> Iterator[Row]:
    for sample in samples:
        state = [f"{quantity(sample.power_w, 'W')}"]
        if sample.temperature_c is not None:
            state.append(f"{sample.temperature_c:g} degC")
        if sample.sm_clock_hz is not None:
            state.append(quantity(sample.sm_clock_hz, "Hz"))
        row = {"t": short(sample.time_s), "gpu": sample.gpu, "words": ", ".join(state)}
        if sample.power_w is not None:
            yield row | {"kind": _POWER, "w": short(sample.power_w)}
        if sample.limit_w is not None:
            words = f"limit {quantity(sample.limit_w, 'W')}"
            yield row | {"kind": _LIMIT, "w": short(sample.limit_w), "words": words}


def _marks(trial: TrialRecord, x: alt.X) -> list[alt.Chart]:
    """Return the shades of what was flagged."""
    events = trial.result.conditions.events if trial.result is not None else ()
    rows: list[Row] = [
        {
            "t": short(event.began_s),
            "end": short(event.ended_s),
            "gpu": event.gpu,
            "kind": _FLAGGED,
            "words": f"{event.flag}: {event.detail}",
        }
        for event in events
    ]
    if not rows:
        return []
    base = alt.Chart(data(rows)).encode(
        x=x,
        color=_color(trial),
        tooltip=tooltip(gpu="GPU", words="flagged"),
    )
    return [base.mark_rect(opacity=0.15).encode(x2="end:Q"), base.mark_rule(strokeWidth=1.5)]


def events_grid(summary: Summary) -> Grid:
    """Return what the traces of all trials show, and when."""
    columns = (
        number_column("trial", "trial", lambda pair: pair[0]),
        number_column("gpu", "GPU", lambda pair: pair[1].gpu),
        Column("flag", "flag", lambda pair: pair[1].flag),
        number_column("began_s", "from", lambda pair: pair[1].began_s, _seconds),
        number_column("ended_s", "to", lambda pair: pair[1].ended_s, _seconds),
        Column("detail", "what was read", lambda pair: pair[1].detail),
    )
    return make_grid(
        "events", "What was flagged within trials, and when.", columns, summary.events, shown=50
    )


def _seconds(time_s: float) -> str:
    return quantity(time_s, "s")
