"""Examine this machine: can the configured hardware be measured, and if not, why not?

Each probe stands alone: what breaks one is a line of the screen, and the others go on.
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
from energyopt.jobs.compose import compose_here, folders_here
from energyopt.storage.credentials import masked


def examine(
    words: Sequence[str] = (),
    *,
    config_dir: Path | None = None,
    storage: str | None = None,
    seconds: float = 2.0,
    probe: bool = True,
) -> Health:
    """Look at all that measuring needs, and try it.

    Nothing is changed: GPUs are leased for a moment and given back, a power limit is asked for
    by setting the one in force, and one that a killed run left stays for `energyopt restore`.

    Args:
        words: Overrides, as for a training.
        config_dir: A folder of the user's own configs.
        storage: File or URL of the studies; None takes the config's.
        seconds: How long energy counters are watched, in s.
        probe: Ask whether power limits may be set; else not even the one in force is set.

    Raises:
        ConfigError: If there is no such folder.
        Exception: Hydra's, if the words cannot be composed.
    """
    cfg = compose_here(words, config_dir)
    folders = folders_here(config_dir)
    # Before the trial begins CUDA: then GPUs are not at rest, and this process is one of theirs.
    nvidia = examine_nvidia(seconds, probe=probe)
    return Health(
        nvidia=nvidia,
        cpu=examine_cpu(cfg),
        shared=examine_shared({each.gpu.uuid: each.gpu for each in nvidia.gpus if each.gpu}),
        storage=examine_storage(storage, cfg),
        configured=examine_configured(
            cfg,
            tuple(map(masked, words)),
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
