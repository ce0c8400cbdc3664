"""A report as one HTML file that needs no network."""

from __future__ import annotations

import functools
import json
import math
import re
import shlex
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from energyopt import __version__
from energyopt.core.curve import CurvePoint
from energyopt.core.units import accuracy, joules
from energyopt.report.console import COMMAND
from energyopt.report.html.figure import WIDTH, Figure, to_svg
from energyopt.report.html.sections import Ranked, Report
from energyopt.report.html.theme import SHOWN

_FOLDER = Path(__file__).resolve().parent
_UNIT = re.compile(r"(?<=\d) (?=%|[nµmkMGT]?(?:J|W|Wh|s|gCO2e)\b|trainings?\b)")
_RANKED = 12  # rows before one asks for more
_RANKED_STILL = 50  # where there is no script to ask


def svg_of(figure: Figure) -> str:
    """A figure as a file."""
    return to_svg(figure.chart.properties(width=WIDTH))


def render(made: Report, pictures: Mapping[str, str]) -> str:
    """Write the page.

    Args:
        made: The report.
        pictures: Its figures as SVG, by name, for where no script runs.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = _words
    style, script = ((_FOLDER / name).read_text("utf-8") for name in ("page.css", "page.js"))
    return environment.get_template("page.html").render(
        made=made,
        version=__version__,
        command=f"{COMMAND} {shlex.join(made.answer.overrides)}",
        target=made.summary.target,
        target_words=None if made.summary.target is None else accuracy(made.summary.target),
        ranked=_ranked(made),
        levels=_levels(made),
        # Ours alone is marked safe; what a database says is escaped by the template or by _json.
        style=_safe(style),
        script=_safe(script),
        vega=_safe(_bundle()),
        data=_safe(_json(_data(made))),
        pictures={name: _address(svg) for name, svg in pictures.items()},
    )


def _words(text: str) -> Any:
    """Words of a sentence: what is in backticks is code, a number stays with its unit."""
    from markupsafe import escape

    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return _safe(_UNIT.sub("\N{NO-BREAK SPACE}", safe))


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704  # see its callers


@functools.cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that names no address."""
    import vl_convert

    text = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    return text.replace("</script", "<\\/script")


def _json(data: Any) -> str:
    """JSON for a script element: no character of it can end the element or begin a comment."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _address(svg: str) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def _data(made: Report) -> dict[str, Any]:
    """What the script works with: numbers to compare, and the same in words to show."""
    return {
        "target": made.summary.target,
        "shown": _RANKED,
        "config": SHOWN,
        "ranking": [
            {
                "trial": row.trial,
                "setup": row.setup,
                "default": row.default,
                "otherwise": row.otherwise,
                "used": _used(row),
                "points": [[_ordered(p.training_j), p.accuracy, *_point(p)] for p in row.rises],
            }
            for row in made.ranking
        ],
        "figures": {
            figure.name: figure.chart.properties(width="container").to_dict()
            for figure in made.figures
        },
    }


def _ordered(energy_j: float) -> float:
    """Enough digits to tell two energies apart, and fewer than all."""
    return float(f"{energy_j:.10g}")


def _used(row: Ranked) -> str:
    return "-" if row.used_j is None else f"> {joules(row.used_j)}"


def _point(point: CurvePoint) -> tuple[str, str, str]:
    return joules(point.training_j), f"{point.accuracy:.4f}", f"{point.epoch:.4g}"


def _levels(made: Report) -> dict[str, float] | None:
    """The accuracies between which the target can be moved."""
    seen = [accuracy for row in made.ranking for accuracy in row.rises.accuracy if accuracy > 0]
    target = made.summary.target
    if target is None or not seen:
        return None
    low, high = min(*seen, target), min(1.0, max(*seen, target))
    return {"low": math.floor(low * 1000) / 1000, "high": high, "value": target}


def _ranked(made: Report) -> list[dict[str, str]]:
    """The ranking at the study's target, for where no script runs, and until it does."""
    target = made.summary.target
    if target is None:
        return []
    hits = [(row, row.rises.first_at(target)) for row in made.ranking]
    hits.sort(key=_order)
    return [_ranked_row(at, *hit) for at, hit in enumerate(hits[:_RANKED_STILL])]


def _order(of: tuple[Ranked, CurvePoint | None]) -> tuple[bool, float, float, int]:
    """As `at_target` orders them; what missed the target comes last, by number."""
    row, hit = of
    if hit is None:
        return (True, 0.0, 0.0, row.trial)
    return (False, hit.training_j, -hit.accuracy, row.trial)


def _ranked_row(at: int, row: Ranked, hit: CurvePoint | None) -> dict[str, str]:
    energy, reached, epoch = (_used(row), "-", "-") if hit is None else _point(hit)
    return {
        "rank": "" if hit is None else str(at + 1),
        "setup": row.setup + (" (default)" if row.default else ""),
        "energy": energy,
        "accuracy": reached,
        "epoch": epoch,
        "trial": str(row.trial),
        "became": row.otherwise if hit is None else "reached",
    }
