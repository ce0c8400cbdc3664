"""What the files of an exported study are: the page that lies beside them."""

from __future__ import annotations

from energyopt.analysis.summary import summarize
from energyopt.core.trial_result import StudyRecord
from energyopt.report.export.front_file import code, markdown_cell
from energyopt.report.sentences import book_lines
from energyopt.storage.exchange.plain import PlainStudy

_FILES = {
    "study.json": "the question: objectives, target, words, the resolved config that all trials "
    "share; the runs. Read back",
    "trials.jsonl": "a trial a line: parameters, distributions, values, constraints, attributes, "
    "words, and the whole record: curve, books, provenance, conditions. Read back",
    "confirmations.jsonl": "a line for each training that confirms a setup with another seed. "
    "Read back",
    "schema.json": "the JSON Schema (2020-12) of these three",
    "trials.csv": "a row a trial, for pandas and spreadsheets, as are the next two",
    "curves.csv": "a row an evaluation; `training_j` and `training_s` are summed from the first "
    "step, the share of what was paid before it included; `window_` is the training since the "
    "evaluation before",
    "ledger.csv": "a row for each purpose of each training; the sum of `total_j` is the search "
    "energy",
}


def readme(study: StudyRecord, plain: PlainStudy) -> str:
    """Explain an export in Markdown.

    Args:
        study: The study.
        plain: The same as plain data.
    """
    about = plain.study
    provenance = "none yet" if study.provenance is None else markdown_cell(str(study.provenance))
    return "\n\n".join(
        (
            f"# Study {code(study.name)}",
            f"Written by {about['written_by']}, format {about['format']} {about['version']}: "
            f"{len(study.trials)} trials, {len(study.confirmations)} confirming trainings. "
            f"Where the joules come from: {provenance}.",
            *map(markdown_cell, book_lines(summarize(study))),
            "\n".join(f"- `{name}`: {what}." for name, what in _FILES.items()),
            "Units are in the names: J, s, W, Hz, degC. What was not measured is empty or null, "
            "never 0; a number that is none is `{\"$float\": \"nan\"}`. A trial that missed its "
            "target has no `energy_to_target_j`; its value is what it burnt in vain.",
            "Folders of paths (`.../`), names of hosts and users, and passwords were left out.",
            "    energyopt show DIR       # also pareto, recommend, report\n"
            "    energyopt import DIR     # into a database",
        )
    ) + "\n"  # fmt: skip
