"""Terminal output of a study: the banner at its start, the result at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from energyopt import __version__
from energyopt.analysis.summary import summarize, with_search_energy
from energyopt.config.trust import runs_untyped
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import Provenance
from energyopt.report.console import command_lines, say
from energyopt.report.sentences import source_lines
from energyopt.report.tables import summary_panel
from energyopt.storage import DEFAULT_STORAGE
from energyopt.storage.credentials import named_storage


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
    console: Console,
    study: StudyRecord,
    storage: str,
    folder: Path,
    recount: Callable[[], StudyRecord],
) -> None:
    """Print the summary, and commands to continue with.

    Args:
        console: Where to print.
        study: The study.
        storage: Its storage.
        folder: Folder of its trials.
        recount: Returns the study with the energy of its commands until now.
    """
    summary = with_search_energy(summarize(study), recount())
    console.print()
    console.print(summary_panel(summary), crop=False)  # cropping would cut commands
    if not summary.front:
        return
    console.print()
    reached = summary.recommended is not None
    for arguments, purpose in _next_commands(study, storage, folder, reached=reached):
        for line in command_lines(arguments, console.width):
            console.print(Text(line, style="bold"), soft_wrap=True)
        say(console, f"      {purpose}", style="dim")


def untrusted_overrides(study: StudyRecord, trial: TrialRecord | None = None) -> tuple[str, ...]:
    """Return the overrides that are in a database, and only run if typed again."""
    fixed = tuple(override for override in study.overrides if not runs_untyped(override))
    if trial is None:
        return fixed
    planted = (o for o in trial.overrides if not runs_untyped(o, searched=trial.params))
    return (*fixed, *planted)


def _next_commands(
    study: StudyRecord, storage: str, folder: Path, *, reached: bool
) -> Iterator[tuple[list[str], str]]:
    """Yield arguments and purpose of commands that continue with the results of a study."""
    # Where the environment names the storage, a command finds it without being told.
    default_storage = named_storage() or DEFAULT_STORAGE
    storage_option = [] if storage == default_storage else ["--storage", storage]
    front = ["pareto", study.name, "--out", "front.csv", *storage_option]
    yield front, "the front, each point with its overrides"
    if study.app is not None:  # its trainings are that app's to repeat
        yield ["report", study.name, *storage_option], "all of it as one page for a browser"
        return
    if reached:
        overrides = untrusted_overrides(study)
        out = ["--out", "model.safetensors"]
        yield (
            ["retrain", study.name, *overrides, *out, *storage_option],
            "train the cheapest setup again",
        )
    if "sampler=grid" not in study.overrides:
        size = [f"study={study.name}", f"n_trials={2 * len(study.trials)}"]
        arguments = ["-m", *study.overrides, *study.sweep, *size]
        yield arguments, f"search on; the runs so far are in {folder}"
