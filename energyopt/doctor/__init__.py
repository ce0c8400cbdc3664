"""Examine this machine: can the configured hardware be measured, and if not, why not?

Probes are independent: one that fails is reported in a line, and the others continue.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from energyopt.doctor.configured import examine_configured
from energyopt.doctor.environment import examine_shared, examine_storage
from energyopt.doctor.records import Health
from energyopt.doctor.sensors import examine_cpu, examine_nvidia
from energyopt.hardware.host import package_versions
from energyopt.jobs.app_config import compose_here, folders_here
from energyopt.storage.credentials import masked


def examine(
    overrides: Sequence[str] = (),
    *,
    config_dir: Path | None = None,
    storage: str | None = None,
    seconds: float = 2.0,
    probe: bool = True,
) -> Health:
    """Check everything that measuring needs, and try it.

    Nothing is changed: GPUs are leased for a moment, the permission to set power limits is tried
    by setting the one in force, and a limit that a killed run changed stays for
    `energyopt restore`.

    Args:
        overrides: Overrides, as for a training.
        config_dir: A folder of the user's own configs.
        storage: File or URL of the studies; None takes the config's.
        seconds: How long energy counters are watched, in s.
        probe: Try whether power limits may be set; else not even the one in force is set.

    Raises:
        ConfigError: If there is no such folder.
        Exception: Hydra's, if the config cannot be composed.
    """
    cfg = compose_here(overrides, config_dir)
    folders = folders_here(config_dir)
    # Before the trial initialises CUDA: later GPUs are not idle, and list this process.
    nvidia = examine_nvidia(seconds, probe=probe)
    return Health(
        nvidia=nvidia,
        cpu=examine_cpu(cfg),
        shared=examine_shared(
            {health.gpu.uuid: health.gpu for health in nvidia.gpus if health.gpu}
        ),
        storage=examine_storage(storage, cfg),
        configured=examine_configured(
            cfg,
            tuple(map(masked, overrides)),
            folders,
            probe=probe,
            gpus=len(nvidia.gpus),
        ),
        versions=_versions(nvidia.driver),
    )


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
