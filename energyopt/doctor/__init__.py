"""Examine this machine: can the configured hardware be measured, and if not, why not?

Each probe stands alone: what breaks one is a line of the screen, and the others go on.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from energyopt.doctor.configured import examine_configured
from energyopt.doctor.places import examine_shared, examine_storage
from energyopt.doctor.sensors import examine_cpu, examine_nvidia
from energyopt.hardware.software import package_versions
from energyopt.paths import conf_dir
from energyopt.report.health import Health


def examine(
    words: Sequence[str] = (),
    *,
    config_dir: Path | None = None,
    storage: str | None = None,
    seconds: float = 2.0,
) -> Health:
    """Look at all that measuring needs, and try it.

    Nothing is changed: GPUs are leased for a moment and given back, a power limit is asked for
    by setting the one in force, and one that a killed run left stays for `energyopt restore`.

    Args:
        words: Overrides, as for a training.
        config_dir: A folder of the user's own configs.
        storage: File or URL of the studies; None takes the config's.
        seconds: How long energy counters are watched, in s.

    Raises:
        Exception: Hydra's, if the words cannot be composed.
    """
    cfg = _compose(words, config_dir)
    folders = (Path.cwd(),) if config_dir is None else (Path.cwd(), config_dir.resolve())
    # Before the trial begins CUDA: then GPUs are not at rest, and this process is one of theirs.
    nvidia = examine_nvidia(seconds)
    return Health(
        nvidia=nvidia,
        cpu=examine_cpu(cfg),
        shared=examine_shared({each.gpu.uuid: each.gpu for each in nvidia.gpus if each.gpu}),
        storage=examine_storage(storage, cfg),
        configured=examine_configured(cfg, tuple(words), folders),
        versions=_versions(nvidia.driver),
    )


def _compose(words: Sequence[str], config_dir: Path | None) -> DictConfig:
    search = []
    if config_dir is not None:
        search.append(f"hydra.searchpath=[file://{config_dir.resolve()}]")
    with initialize_config_dir(
        version_base="1.3", config_dir=str(conf_dir()), job_name="energyopt"
    ):
        return compose("config", overrides=[*words, *search])


def _versions(driver: str | None) -> dict[str, str]:
    versions = dict(package_versions())
    torch = sys.modules.get("torch")
    if torch is not None:
        platforms = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
        built = [f"{name} {version}" for name, version in platforms.items() if version]
        versions["torch"] = f"{torch.__version__} ({' '.join(built) or 'no CUDA'})"
    versions["sqlite"] = sqlite3.sqlite_version
    if driver is not None:
        versions["driver"] = driver
    return versions
