"""The figure of `energyopt compare`: energy to target of each study's answer and default."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from energyopt.analysis.comparison import ComparedStudy
from energyopt.core.units import accuracy
from energyopt.errors import ConfigError, StorageError
from energyopt.report.html.figure import (
    WIDTH,
    AnyChart,
    data,
    joules_axis,
    log_scale,
    look_channels,
    short,
    to_svg,
)
from energyopt.report.html.theme import PRINTED, series
from energyopt.utils.files import written_whole

_RECOMMENDED, _DEFAULT = "recommended, with its 95 % interval", "default"
_SCALE = 2.0  # of pixels in a PNG


def write_comparison(
    rows: Sequence[ComparedStudy], notes: Sequence[str], path: Path, *, force: bool
) -> None:
    """Write the figure of a comparison to a file atomically; its suffix chooses the format.

    Raises:
        ConfigError: If the file exists, or no study has an answer.
        StorageError: If it cannot be written.
    """
    chart = comparison_chart(rows, notes)
    try:
        with written_whole(path, force=force) as fresh:
            fresh.write_bytes(_rendered(chart, path.suffix.lower()))
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{path} cannot be written: {reason}; choose another path") from error


def comparison_chart(rows: Sequence[ComparedStudy], notes: Sequence[str]) -> AnyChart:
    """Return the chart: a line for each study, energies on a log axis."""
    points: list[dict[str, Any]] = []
    for row in rows:
        if row.answer is not None:
            energy = row.answer.energy
            high = energy.high if math.isfinite(energy.high) else energy.value
            ends = {"low": short(energy.low), "high": short(high)}
            points.append(_point(row, _RECOMMENDED, energy.value) | ends)
        if row.default_j is not None:
            points.append(_point(row, _DEFAULT, row.default_j))
    if not points:
        raise ConfigError("no trial of these studies reached its target: there is nothing to draw")
    y = alt.Y("study:N", title=None, sort=[row.label for row in rows])
    kinds = sorted({row.study.provenance.kind for row in rows if row.study.provenance})
    targets = dict.fromkeys(
        f"{row.study.monitor.name} {accuracy(row.target)}" for row in rows if row.target is not None
    )
    title = f"energy to {' / '.join(targets)} ({', '.join(kinds)})"
    x = alt.X("energy_j:Q", scale=log_scale(), axis=joules_axis(), title=title)
    base = alt.Chart(data(points))
    looks = series([_RECOMMENDED, _DEFAULT])
    spans = base.mark_rule(strokeWidth=2, style="quiet").encode(x=alt.X("low:Q"), x2="high:Q", y=y)
    marks = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=x, y=y, **look_channels(looks)
    )
    heading = alt.TitleParams("Energy to target by study", subtitle=list(notes))
    return alt.layer(spans, marks).properties(width=WIDTH - 200, height=alt.Step(34), title=heading)


def _point(row: ComparedStudy, kind: str, energy_j: float) -> dict[str, Any]:
    return {"study": row.label, "kind": kind, "energy_j": short(energy_j)}


def _rendered(chart: AnyChart, suffix: str) -> bytes:
    if suffix == ".svg":
        return to_svg(chart).encode()
    import vl_convert

    spec = chart.properties(config=PRINTED).to_dict()
    if suffix == ".png":
        return bytes(vl_convert.vegalite_to_png(spec, scale=_SCALE))
    return str(vl_convert.vegalite_to_html(spec, bundle=True)).encode()
