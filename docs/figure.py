"""Draw a study's curves and front as an SVG, for the README.

pip install matplotlib
python docs/figure.py demo docs/demo.svg
"""

from __future__ import annotations

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt

from energyopt.analysis.pareto import curve_front
from energyopt.analysis.summary import summarize
from energyopt.storage import DEFAULT_STORAGE
from energyopt.storage.reader import read_study

INK, QUIET, ACCENT, MARK = "#1f2933", "#9aa5b1", "#0f766e", "#b45309"


def main() -> None:
    """Read the study named first, write the SVG named second."""
    name, out = sys.argv[1:]
    study = read_study(DEFAULT_STORAGE, name)
    summary = summarize(study)
    mpl.rcParams.update({"font.family": "sans-serif", "font.size": 10, "svg.hashsalt": name})
    figure, axes = plt.subplots(figsize=(7.2, 3.9), layout="constrained")
    for trial, result in study.results:
        style = {"color": MARK if trial.default else QUIET, "lw": 1.6 if trial.default else 0.8}
        label = "default setup" if trial.default else None
        axes.plot(*_points(result.curve), alpha=0.9, label=label, **style)
    front = curve_front(study)
    axes.step([p.energy_j for p in front], [p.accuracy for p in front], where="post", color=ACCENT,
              lw=2.2, label="front")  # fmt: skip
    if study.target is not None:
        axes.axhline(study.target, color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.annotate(f"target {study.target:g}", (0, study.target), (4, -11), color=INK,
                      xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip
    if summary.recommended is not None:
        at = summary.recommended
        axes.plot([at.energy_j], [at.accuracy], "o", color=ACCENT, ms=7, label="cheapest at target")
    axes.set_xscale("log")
    axes.set_ylim(0.5, 1.005)
    kind = summary.provenance.kind if summary.provenance else ""
    axes.set_xlabel(f"training energy so far, J ({kind})")
    axes.set_ylabel("validation accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(out, metadata={"Date": None})


def _points(curve: tuple) -> tuple[list[float], list[float]]:  # type: ignore[type-arg]
    return [p.training_j for p in curve], [p.accuracy for p in curve]


main()
