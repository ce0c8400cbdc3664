"""The note of a study for Optuna's dashboard: what was found, and what is shown how."""

from __future__ import annotations

from energyopt.analysis.summary import summarize
from energyopt.core.trial_result import StudyRecord
from energyopt.report.export.front_file import markdown_cell
from energyopt.report.sentences import summary_lines

_SHOWN = (
    "*This page is Optuna's dashboard over energyopt's database; figures, this note, units, "
    "`feasible` and artifacts are added when it is looked at and stand in no table. A trial that "
    "missed the target is infeasible: its energy is what it burnt in vain, so it is grey, and no "
    "best trial. A stopped one is pruned. Best Trials are those of the told values; the front of "
    "all evaluations is in energyopt's own figures, below the dashboard's on the first page.*"
)

MISSED = (
    "**Missed the target.** Its energy is what it burnt in vain, a lower bound of what it would "
    "need: no best trial is made of it."
)
"""The note of such a trial."""


def note(study: StudyRecord) -> str:
    """Sum a study up as its run does at its end."""
    lines = [markdown_cell(line) for line in summary_lines(summarize(study))]
    return "\n\n".join((*(str(line) for line in lines), _SHOWN))
