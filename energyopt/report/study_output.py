"""What a study says on the terminal: its banner before, its answer at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from energyopt import __version__
from energyopt.analysis.summary import summarize
from energyopt.config.trust import names_code
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import Provenance
from energyopt.report.console import command_lines, say
from energyopt.report.sentences import source_lines
from energyopt.report.tables import summary_panel
from energyopt.storage import DEFAULT_STORAGE


def banner(
    *,
    name: str,
    target: float | None,
    setup: str,
    space: str,
    sampler: str,
    provenance: Provenance | None,
    n_trials: int,
    counted: int,
) -> str:
    """What is searched, and where its joules will come from.

    Args:
        name: The study's name.
        target: Accuracy to reach.
        setup: Task and model, in words.
        space: The axes, in words.
        sampler: Its name.
        provenance: Of the joules; None while the first trial has not said.
        n_trials: The study's total.
        counted: Trials that it already has.
    """
    lines = [f"energyopt {__version__}, study {name}: {setup}, to {target:g} validation accuracy"]
    if provenance is None:
        lines.append("energy    as the first trial says")
    else:
        lines.append(source_lines(provenance))
    lines.append(f"search    {sampler} over {space}")
    done = f", {counted} of them done before" if counted else ""
    lines.append(f"trials    {n_trials}{done}")
    return "\n".join(lines)


def print_end(
    console: Console,
    study: StudyRecord,
    storage: str,
    folder: Path,
) -> None:
    """The summary, and the commands to type next."""
    summary = summarize(study)
    console.print()
    console.print(summary_panel(summary), crop=False)  # a command must stay whole
    if not summary.front:
        return
    console.print()
    for words, why in _next(study, storage, folder, reached=summary.recommended is not None):
        for line in command_lines(words, console.width):
            console.print(Text(line, style="bold"), soft_wrap=True)
        say(console, f"      {why}", style="dim")


def words_to_vouch_for(study: StudyRecord, trial: TrialRecord | None = None) -> tuple[str, ...]:
    """Words of a study that name code: from a database they are not run unless typed again."""
    own = () if trial is None else trial.overrides
    return tuple(word for word in (*study.overrides, *own) if names_code(word))


def _next(
    study: StudyRecord, storage: str, folder: Path, *, reached: bool
) -> Iterator[tuple[list[str], str]]:
    """The words of commands that lead on from a study, and what each is for."""
    usual = os.environ.get("ENERGYOPT_STORAGE", DEFAULT_STORAGE)  # never printed: a password
    elsewhere = [] if storage == usual else ["--storage", storage]
    front = ["pareto", study.name, "--out", "front.csv", *elsewhere]
    yield front, "the front, each point with its overrides"
    if reached:
        vouched = words_to_vouch_for(study)
        words = ["retrain", study.name, *vouched, "--out", "model.safetensors", *elsewhere]
        yield words, "train the cheapest setup again"
    if "sampler=grid" not in study.overrides:
        more = [f"study={study.name}", f"n_trials={2 * len(study.trials)}"]
        words = ["-m", *study.overrides, *study.sweep, *more]
        yield words, f"search on; the runs so far are in {folder}"
