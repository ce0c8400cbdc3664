"""What a job of our own app does: compose a config, train once, judge the result."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from energyopt.build import Setup
from energyopt.journal import NAME, JournalWriter
from energyopt.objectives import judge
from energyopt.records import Outcome, Provenance, TrialResult
from energyopt.trial import run_trial

PREFLIGHT = "preflight"
"""Config key of a job that only builds everything and says where its joules would come from."""


def job(cfg: DictConfig) -> Outcome | Provenance:
    """One job of a study.

    Returns:
        What is told to the study; for a preflight job the provenance.

    Raises:
        EnergyoptError: If the setup cannot be built or metered.
    """
    setup = Setup(cfg, config_folders())
    if cfg.get(PREFLIGHT):
        setup.make_paradigm()
        return setup.start.provenance
    return judge(train(setup, journal_path()), setup.objective)


def train(setup: Setup, journal: Path | None) -> TrialResult:
    """Train one setup, with its progress in a journal."""
    return run_trial(
        setup.make_paradigm, setup.meter, setup.plan, setup.start, JournalWriter(journal)
    )


def journal_path() -> Path:
    """The journal of the Hydra job that runs here."""
    return Path(HydraConfig.get().runtime.output_dir) / NAME


def config_folders(config: DictConfig | None = None) -> tuple[Path, ...]:
    """The folders whose modules a config may name: where the command ran, and --config-dir.

    Args:
        config: A config with its hydra node; the running job's if None.
    """
    hydra = HydraConfig.get() if config is None else config.hydra
    given = [
        Path(source.path)
        for source in hydra.runtime.config_sources
        if source.provider == "command-line" and source.schema == "file"
    ]
    return (Path(hydra.runtime.cwd), *given)


def warm_up() -> None:
    """Pay once what each forked trial would pay again: imports, and the first optimizer.

    With one thread: a server warmed with two deadlocks children that use two.
    """
    import torch

    torch.set_num_threads(1)
    import energyopt.models.cnn
    import energyopt.paradigms.scratch
    import energyopt.tasks.digits  # noqa: F401  # imported for the forked trials

    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
