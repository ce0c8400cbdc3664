"""Rules for trials that other launchers run: joblib, submitit, Hydra's basic launcher."""

from __future__ import annotations

from pathlib import Path

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from energyopt.errors import ConfigError

_SUBMITTED, _RESULT = "_submitted.pkl", "_0_result.pkl"  # submitit's files of a job


def runs_here(launcher: Launcher, config: DictConfig) -> bool:
    """Return True if trials run in the coordinator's process, as with joblib's single worker.

    Two trials in one process would count each other's energy.
    """
    name = type(launcher).__name__
    if name == "JoblibLauncher":
        from joblib import effective_n_jobs

        return int(effective_n_jobs(config.hydra.launcher.n_jobs)) == 1
    return name == "BasicLauncher"


def runs_elsewhere(config: DictConfig) -> bool:
    """Return True if trials are no processes of this command: SLURM starts them."""
    return _launcher(config) == "submitit_slurm"


def redirects_output(config: DictConfig) -> bool:
    """Return True if the launcher writes what trials print into files, as submitit does."""
    return _launcher(config).startswith("submitit")


def check_timeout(config: DictConfig) -> None:
    """Check that `trial_timeout_s` is null: only our own launcher supports it.

    Raises:
        ConfigError: Naming the alternative.
    """
    timeout_s, launcher = OmegaConf.select(config, "trial_timeout_s"), _launcher(config)
    if timeout_s is None:
        return
    remedy = "leave it null"
    if launcher.startswith("submitit"):
        remedy += " and set hydra.launcher.timeout_min"
    raise ConfigError(
        f"trial_timeout_s={timeout_s:g}: hydra/launcher={launcher} does not end trials that take "
        f"too long, only hydra/launcher=energyopt does; {remedy}"
    )


def describe_running_jobs(config: DictConfig) -> str | None:
    """Return a line about jobs that the cluster still runs; None without any."""
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
