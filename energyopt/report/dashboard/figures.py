"""The figures of a report as pictures for Optuna's dashboard, which shows those of plotly.js.

They are the report's own, in its order. Text of a database is within the picture; the title, in
which plotly.js interprets some HTML tags, is escaped.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from energyopt.core.study_record import StudyRecord
from energyopt.report.html import render
from energyopt.report.html.figure import WIDTH, to_svg
from energyopt.report.html.sections import report
from energyopt.report.html.theme import FONT, SHOWN
from energyopt.report.sentences import source_text

Figure = Mapping[str, Any]

_INK = "#7a8490"  # readable on white and on black
_TITLE_PX = 60


def figures(study: StudyRecord) -> dict[str, Figure]:
    """Return the figures of a study, by their id on the page, which sorts them."""
    if not study.results:
        return {}
    provenance = study.provenance
    source = "" if provenance is None else source_text(provenance)
    return {
        f"energyopt-{index:02}-{re.sub('[^a-z0-9_]', '-', figure.name)}": _picture(
            figure.title, source, to_svg(figure.chart.properties(width=WIDTH), SHOWN)
        )
        for index, figure in enumerate(report(study).figures)
    }


def _picture(title: str, source: str, svg: str) -> Figure:
    """Return a figure of plotly.js that is nothing but a picture."""
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    width, height = map(float, size.groups()) if size else (WIDTH, WIDTH / 2)
    picture = b64encode(svg.replace(">", f"><style>{_colors()}</style>", 1).encode()).decode()
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "sizex": 1, "sizey": 1}
    no_axis = {"visible": False, "fixedrange": True}
    text = f"{html.escape(title)}<br><sub>{html.escape(source)}</sub>"
    return {
        "data": [],
        "layout": {
            "images": [{"source": f"data:image/svg+xml;base64,{picture}", **place}],
            "title": {"text": text, "font": {"size": 15}, "x": 0.01, "xanchor": "left"},
            "font": {"family": FONT, "color": _INK},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": no_axis,
            "yaxis": no_axis,
            "margin": {"t": _TITLE_PX, "r": 0, "b": 0, "l": 0},
            "height": round(_TITLE_PX + height * max(1.0, 900 / width)),
        },
    }


def _colors() -> str:
    """Return the page's colours, light and dark, with its paper as the ground of a picture."""
    page = (Path(render.__file__).parent / "page.css").read_text("utf-8")
    return page.partition("* {")[0] + "svg { background: var(--sheet); }"
