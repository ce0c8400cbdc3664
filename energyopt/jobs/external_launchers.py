"""Trials that other launchers run: what holds for them, and what cannot be done for them."""

from __future__ import annotations

from pathlib import Path

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from energyopt.errors import ConfigError

_SUBMITTED, _RESULT = "_submitted.pkl", "_0_result.pkl"  # submitit's files of a job


def runs_here(launcher: Launcher, config: DictConfig) -> bool:
    """Whether trials run in the coordinator's own process: joblib, too, where it has one worker.

    Two of them there at a time would count each other's joules.
    """
    name = type(launcher).__name__
    if name == "JoblibLauncher":
        from joblib import effective_n_jobs

        return int(effective_n_jobs(config.hydra.launcher.n_jobs)) == 1
    return name == "BasicLauncher"


def refuse_timeout(config: DictConfig) -> None:
    """Refuse `trial_timeout_s`, which only our own launcher keeps.

    Raises:
        ConfigError: Naming what to do instead.
    """
    timeout_s, launcher = OmegaConf.select(config, "trial_timeout_s"), _launcher(config)
    if timeout_s is None:
        return
    instead = "leave it null"
    if launcher.startswith("submitit"):
        instead += " and set hydra.launcher.timeout_min"
    raise ConfigError(
        f"trial_timeout_s={timeout_s:g}: hydra/launcher={launcher} does not end trials that take "
        f"too long, only hydra/launcher=energyopt does; {instead}"
    )


def going_on(config: DictConfig) -> str | None:
    """What to say of the jobs that a cluster goes on with; None where there are none."""
    if _launcher(config) != "submitit_slurm":
        return None
    folder = Path(str(config.hydra.launcher.submitit_folder).replace("%j", "*"))
    submitted = Path(folder.anchor).glob(str(folder.relative_to(folder.anchor) / f"*{_SUBMITTED}"))
    numbers = [
        file.name.removesuffix(_SUBMITTED)
        for file in submitted
        if not file.with_name(file.name.replace(_SUBMITTED, _RESULT)).exists()
    ]
    if not numbers:
        return None
    return (
        "jobs that SLURM has already go on, and what they burn from now on is in no book; to end "
        f"them: scancel {' '.join(sorted(numbers))}"
    )


def _launcher(config: DictConfig) -> str:
    return str(config.hydra.runtime.choices.get("hydra/launcher"))
