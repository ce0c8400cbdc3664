"""Train one configuration and print its learning curve and energies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from energyopt.analysis.pretraining_value import trial_lines
from energyopt.config.trial_factory import TrialFactory
from energyopt.core.journal import JournalWriter
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import joules
from energyopt.errors import ConfigError
from energyopt.jobs.app_config import config_folders
from energyopt.jobs.job import ReadyTrial, journal_path, ready_trial, restore_limits
from energyopt.report.console import say
from energyopt.report.flags import event_text, explain_flag
from energyopt.report.live import LiveTrial
from energyopt.report.sentences import hardware_lines, source_lines
from energyopt.report.tables import curve_table
from energyopt.storage.credentials import refuse_kept_password
from energyopt.utils.signals import interrupting


def train_once(cfg: DictConfig) -> None:
    """Train the composed configuration, show progress, and print its energies.

    Raises:
        EnergyoptError: If the configuration cannot be built or metered.
    """
    _check_passwords(cfg)
    if cfg.get("dry_run"):
        raise ConfigError(
            "dry_run=true: says what a search would cost; add -m and what to search, such as "
            "-m 'lr=tag(log,interval(1e-4,1e-1))'"
        )
    console = Console()
    for sentence in restore_limits():
        say(console, sentence)
    journal = journal_path()
    with (
        interrupting(),
        TrialFactory(cfg, config_folders(), on_wait=partial(say, console)) as factory,
        show_trial(factory, journal, console) as trial,
    ):
        result = trial.train()
    print_result(result, console)
    console.print(f"Kept in {_short_path(journal.parent)}", highlight=False, soft_wrap=True)


def _check_passwords(cfg: DictConfig) -> None:
    """Refuse a configuration with a password in it, and delete the copy that Hydra has written."""
    try:
        for config in (cfg, HydraConfig.instance().cfg):
            if isinstance(config, DictConfig):
                refuse_kept_password(OmegaConf.to_container(config, resolve=False))
    except ConfigError:
        hydra = HydraConfig.get()
        if hydra.output_subdir is not None:
            shutil.rmtree(Path(hydra.runtime.output_dir) / hydra.output_subdir)
        raise


@contextmanager
def show_trial(factory: TrialFactory, journal: Path, console: Console) -> Iterator[ReadyTrial]:
    """Prepare a trial, and show its progress while it trains."""
    with LiveTrial(journal, console), ready_trial(factory, JournalWriter(journal)) as trial:
        say(console, source_lines(trial.start.provenance, trial.start.flags))
        yield trial


def print_result(result: TrialResult, console: Console) -> None:
    """Print a trial's learning curve, its energy to target, and its energy by purpose."""
    console.print()
    console.print(curve_table(result))
    if result.hit is None:
        line = f"The target {result.target:g} was missed; {joules(result.training_j)} of training."
    else:
        line = (
            f"{joules(result.hit.training_j)} to the target {result.target:g} (epoch "
            f"{result.hit.epoch:.3g}), {joules(result.training_j)} of training in all."
        )
    other_purposes = ", ".join(
        f"{purpose} {joules(energy.total_j)}"
        for purpose, energy in result.books.items()
        if purpose != "training"
    )
    say(console, f"{line} In addition: {other_purposes}." if other_purposes else line)
    for sentence in (*trial_lines(result), *hardware_lines(result)):
        say(console, sentence)
    for flag in result.flags:
        say(console, f"Warning: {explain_flag(flag)}.")
    for event in result.conditions.events:
        say(console, f"Within the training: {event_text(event)}.")


def _short_path(path: Path) -> str:
    """Return the path relative to the current folder if it is inside of it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
