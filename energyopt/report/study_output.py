"""Terminal output of a study: the banner at its start, the result at its end."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.text import Text

from energyopt import __version__
from energyopt.analysis.summary import Summary, summarize, with_search_energy
from energyopt.config.trust import runs_untyped
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import Provenance
from energyopt.report.answer_view import answer_text, easier_target
from energyopt.report.console import COMMAND, command_lines, printable, training_words
from energyopt.report.sentences import source_lines
from energyopt.storage import DEFAULT_STORAGE
from energyopt.storage.credentials import named_storage
from energyopt.utils.paths import STORAGE_VARIABLE

_WIDTH, _LABEL_CHARS = 80, 13
_KEPT_CHARS = 12  # of a shortened name: "(trial 1234)"


def banner(
    *,
    name: str,
    target: float | None,
    metric: str = "validation accuracy",
    setup: str,
    space: str,
    sampler: str,
    provenance: Provenance | None,
    n_trials: int,
    n_finished: int,
) -> str:
    """Return the lines printed before a study: what it searches, and its source of energies.

    Args:
        name: The study's name.
        target: Its target.
        metric: The metric, as text.
        setup: What is trained, as text.
        space: The search space, as text.
        sampler: Name of the sampler.
        provenance: Source of energies; None if only the first trial will tell.
        n_trials: Total number of trials.
        n_finished: Number of trials finished by earlier runs.
    """
    lines = [f"energyopt {__version__}, study {name}: {setup}, to {target:g} {metric}"]
    if provenance is None:
        lines.append("energy    as the first trial says")
    else:
        lines.append(source_lines(provenance))
    lines.append(f"search    {sampler} over {space}")
    earlier = f", {n_finished} of them done before" if n_finished else ""
    lines.append(f"trials    {n_trials}{earlier}")
    return "\n".join(lines)


def print_end(
    console: Console, study: StudyRecord, storage: str, recount: Callable[[], StudyRecord]
) -> None:
    """Print the answer of a study, and commands to continue with.

    Args:
        console: Where to print.
        study: The study.
        storage: Its storage.
        recount: Returns the study with the energy of its commands until now.
    """
    summary = with_search_energy(summarize(study), recount())
    console.print()
    print_answer(console, study, summary, storage_options(storage))


def storage_options(storage: str) -> tuple[str, ...]:
    """Return the options with which a command finds a storage; none if it does without."""
    named = named_storage() or os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)
    return () if storage == named else ("--storage", storage)


def print_answer(
    console: Console,
    study: StudyRecord,
    summary: Summary,
    options: Sequence[str] = (),
    name: str | None = None,
) -> None:
    """Print the answer of a study in at most 13 lines of 80 characters, unless commands are long.

    Args:
        console: Where to print.
        study: The study.
        summary: Of it.
        options: Options with which a command finds it.
        name: What a command calls it; its own name if None.
    """
    indent = " " * _LABEL_CHARS
    for label, clauses in answer_text(summary).rows:
        text = printable(_fitting(clauses, 1 if label == "Recommended" else 2))
        lines = textwrap.wrap(text, max(console.width - _LABEL_CHARS, _LABEL_CHARS))
        line = Text(f"{label:{_LABEL_CHARS}}", style="bold")
        console.print(line.append(f"\n{indent}".join(lines), style="none"), soft_wrap=True)
    console.print()
    for label, program, arguments in _next_commands(study, summary, [name or study.name, *options]):
        first, *rest = command_lines(arguments, console.width - _LABEL_CHARS + 2, program)
        line = Text(f"{label:{_LABEL_CHARS}}", style="bold").append(first.strip(), style="none")
        console.print(line, soft_wrap=True)
        for continued in rest:
            console.print(Text(continued), soft_wrap=True)


def _fitting(clauses: Sequence[str], n_lines: int) -> str:
    """Join as many clauses as fit so many lines of 80 characters; shorten the first if none do."""
    width = _WIDTH - _LABEL_CHARS
    for n in range(len(clauses), 0, -1):
        text = "; ".join(clauses[:n])
        if len(textwrap.wrap(text, width)) <= n_lines:
            return text
    # The end of a name says which trial it is of.
    text, end = clauses[0], clauses[0][-_KEPT_CHARS:]
    return f"{text[: n_lines * width - len(end) - len('...') - n_lines]}...{end}"


def untrusted_overrides(study: StudyRecord, trial: TrialRecord | None = None) -> tuple[str, ...]:
    """Return the overrides that are in a database, and only run if typed again."""
    fixed = tuple(override for override in study.overrides if not runs_untyped(override))
    if trial is None:
        return fixed
    planted = (o for o in trial.overrides if not runs_untyped(o, searched=trial.params))
    return (*fixed, *planted)


def _next_commands(
    study: StudyRecord, summary: Summary, place: Sequence[str]
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield label, program and arguments of what to do next; `place` finds the study."""
    name, *options = place
    answer = summary.answer
    at_target = () if summary.target == study.target else ("--target", f"{summary.target}")
    if answer is not None and study.app is None:
        overrides = untrusted_overrides(study)
        command = [name, *overrides, *at_target, *options]
        yield "Check it", COMMAND, ["confirm", *command]
        yield "Train it", COMMAND, ["retrain", *command, "--out", "model.safetensors"]
    elif answer is not None:  # its trainings are that app's to repeat
        program, words = training_words(answer.point, study.app)
        yield "Train it", program, list(words)
    elif summary.best_so_far is not None:
        reached = easier_target(summary.monitor, summary.best_so_far.point.accuracy)
        yield "Look at it", COMMAND, ["show", name, "--target", reached, *options]
    if summary.counts.trials:
        yield "See it", COMMAND, ["report", name, *at_target, *options]
