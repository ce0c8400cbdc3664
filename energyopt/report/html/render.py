"""Render a report as one HTML file that needs no network."""

from __future__ import annotations

import functools
import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from energyopt import __version__
from energyopt.core.curve import CurvePoint
from energyopt.core.metric import Monitor
from energyopt.core.units import accuracy, joules
from energyopt.report.html.figure import WIDTH, Figure, to_svg
from energyopt.report.html.sections import Ranked, Report
from energyopt.report.html.theme import SHOWN

_FOLDER = Path(__file__).resolve().parent
_UNIT = re.compile(r"(?<=\d) (?=%|[nµmkMGT]?(?:J|W|Wh|s|gCO2e)\b|trainings?\b)")
_RANKED = 12  # rows until the reader clicks "Show all"
_STEP, _STEPS = 0.001, 100  # of a target that is moved: of an accuracy, and in its range otherwise
_RANKED_STILL = 50  # rows where no script runs, so there is no button


def svg_of(figure: Figure) -> str:
    """Return a figure as the text of an SVG file."""
    return to_svg(figure.chart.properties(width=WIDTH))


def render(report: Report, pictures: Mapping[str, str]) -> str:
    """Return the page as HTML.

    Args:
        report: The report.
        pictures: Its figures as SVG, by name, shown where no script runs.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sentence"] = _sentence
    style, script = ((_FOLDER / name).read_text("utf-8") for name in ("page.css", "page.js"))
    return environment.get_template("page.html").render(
        report=report,
        version=__version__,
        command=report.answer.command,
        target=report.summary.target,
        target_text=None if report.summary.target is None else accuracy(report.summary.target),
        monitor=report.summary.monitor,
        ranked=_ranked(report),
        levels=_levels(report),
        # Only our own text is marked safe; the template or _json escapes text of a database.
        style=_safe(style),
        script=_safe(script),
        vega=_safe(_bundle()),
        data=_safe(_json(_data(report))),
        pictures={name: _data_url(svg) for name, svg in pictures.items()},
    )


def _sentence(text: str) -> Any:
    """Mark up a sentence: backticks become code, and no line breaks between number and unit."""
    from markupsafe import escape

    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return _safe(_UNIT.sub("\N{NO-BREAK SPACE}", safe))


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704  # callers pass only escaped or own text


@functools.cache
def _bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that loads nothing else."""
    import vl_convert

    text = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    return text.replace("</script", "<\\/script")


def _json(data: Any) -> str:
    """Encode JSON for a script element: no character can end the element or begin a comment."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _data_url(svg: str) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def _data(report: Report) -> dict[str, Any]:
    """Return the data of the page's script: numbers to compare, and as text to show."""
    monitor = report.summary.monitor
    return {
        "target": report.summary.target,
        "sign": 1 if report.summary.monitor.mode == "max" else -1,
        "share": report.summary.monitor.is_share,
        "levels": _levels(report),
        "shown": _RANKED,
        "config": SHOWN,
        "ranking": [
            {
                "trial": row.trial,
                "setup": row.setup,
                "mark": row.mark,
                "answer": row.is_answer,
                "otherwise": row.otherwise,
                "used": _used(row),
                "points": [
                    [_sortable(p.training_j), p.accuracy, *_point(p, monitor)] for p in row.rises
                ],
            }
            for row in report.ranking
        ],
        "figures": {
            figure.name: figure.chart.properties(width="container").to_dict()
            for figure in report.figures
        },
    }


def _sortable(energy_j: float) -> float:
    """Round to ten digits: enough to order two energies, in a smaller page than all digits."""
    return float(f"{energy_j:.10g}")


def _used(row: Ranked) -> str:
    return "-" if row.used_j is None else f"> {joules(row.used_j)}"


def _point(point: CurvePoint, monitor: Monitor) -> tuple[str, str, str]:
    return joules(point.training_j), monitor.text(point.accuracy), f"{point.epoch:.4g}"


def _levels(report: Report) -> dict[str, float] | None:
    """Return the range in which the target can be moved, its first value, and a step."""
    target, monitor = report.summary.target, report.summary.monitor
    values = [value for row in report.ranking for value in row.rises.accuracy]
    if monitor.is_share:
        values = [value for value in values if value > 0]
    if target is None or not values:
        return None
    low, high = min(*values, target), max(*values, target)
    step = 10.0 ** math.floor(math.log10((high - low) / _STEPS)) if high > low else _STEP
    if monitor.is_share:
        step, high = _STEP, min(1.0, high)
    low = math.floor(round(low / step, 9)) * step
    return {"low": float(f"{low:.12g}"), "high": high, "value": target, "step": step}


def _ranked(report: Report) -> list[dict[str, str]]:
    """Return the ranking at the study's target, shown until the script runs."""
    target = report.summary.target
    if target is None:
        return []
    hits = [(row, row.rises.first_at(target)) for row in report.ranking]
    monitor = report.summary.monitor
    hits.sort(key=partial(_rank_key, monitor))
    return [
        _ranked_row(monitor, rank, *hit) for rank, hit in enumerate(hits[:_RANKED_STILL], start=1)
    ]


def _rank_key(
    monitor: Monitor, ranked: tuple[Ranked, CurvePoint | None]
) -> tuple[int, float, float, int]:
    """Order the answer first, then as `at_target` does; what missed the target comes last."""
    row, hit = ranked
    if hit is None:
        return (2, 0.0, 0.0, row.trial)
    return (0 if row.is_answer else 1, hit.training_j, -monitor.score(hit.accuracy), row.trial)


def _ranked_row(monitor: Monitor, rank: int, row: Ranked, hit: CurvePoint | None) -> dict[str, str]:
    energy, value, epoch = (_used(row), "-", "-") if hit is None else _point(hit, monitor)
    return {
        "rank": "" if hit is None else str(rank),
        "setup": row.setup + (f" ({row.mark})" if row.mark else ""),
        "energy": energy,
        "value": value,
        "epoch": epoch,
        "trial": str(row.trial),
        "outcome": row.otherwise if hit is None else "reached",
    }
