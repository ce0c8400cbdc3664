"""Check the storage of studies, and the folder of leases that all users share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from energyopt.core.conditions import Gpu
from energyopt.doctor.checks import Checks
from energyopt.doctor.records import Check, SharedHealth, StorageHealth
from energyopt.errors import HardwareError
from energyopt.hardware.host import user_name
from energyopt.hardware.lease import PACKAGES, Lease, leased
from energyopt.hardware.power_limit_journal import StalePowerLimit, changed_limits
from energyopt.hardware.run_folder import make_run_dir, run_dir
from energyopt.storage.credentials import masked
from energyopt.storage.database import (
    driver_errors,
    open_database,
    sqlite_file,
    storage_errors,
    storage_url,
)

_CONNECT_S = 5
_OTHER_STORAGE = "give another with --storage or ENERGYOPT_STORAGE"

# Leases and power limits -------------------------------------------------------------------


def examine_shared(gpus: Mapping[str, Gpu]) -> SharedHealth:
    """List the leases that are held, and the power limits that killed runs changed."""
    checks = Checks()
    health = checks.run("leases", lambda: _examine_run_dir(run_dir(), gpus))
    return SharedHealth(str(run_dir()), checks=tuple(checks)) if health is None else health


def _examine_run_dir(folder: Path, gpus: Mapping[str, Gpu]) -> SharedHealth:
    checks = Checks()
    if folder.exists() or folder.is_symlink():
        checks.run("folder", _check_run_dir)
    owners = {uuid: Lease(uuid).owner() for uuid in leased()}
    leases = {uuid: owner for uuid, owner in owners.items() if owner is not None}
    for uuid, owner in leases.items():
        name = "the lease of the CPU packages" if uuid == PACKAGES else uuid
        checks.add("info", "lease", f"{name} is held by {owner}")
    if not leases:
        checks.add("ok", "leases", f"no GPU and no CPU package is held ({folder})")
    stale = tuple(limit for limit in changed_limits() if limit.uuid not in leases)
    checks += [_check_stale(limit, gpus.get(limit.uuid)) for limit in stale]
    if not stale:
        checks.add("ok", "power limit", "none was left behind by a killed run")
    return SharedHealth(str(folder), leases, stale, tuple(checks))


def _check_stale(limit: StalePowerLimit, gpu: Gpu | None) -> Check:
    name = limit.uuid if gpu is None else f"GPU {gpu.index}"
    now = "" if gpu is None or gpu.limit_w is None else f"{gpu.limit_w:g} W now, "
    if limit.previous_w is None:
        text = f"{name}: {now}another before a run of {limit.user}, which was killed"
        return Check("note", "power limit", text, f"let {limit.restorer}: energyopt restore")
    text = f"{name}: {now}{limit.previous_w:g} W before a run that was killed"
    return Check("FAIL", "power limit", text, "energyopt restore")


def _check_run_dir() -> None:
    folder = make_run_dir()
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HardwareError(
            f"{folder}, the place of GPU leases, may not be written by {user_name()}; let its "
            f"owner chmod 1777 {folder}, or set ENERGYOPT_RUN_DIR to another that all users may "
            "write"
        )


# Storage -----------------------------------------------------------------------------------


def examine_storage(storage: str | None, cfg: DictConfig) -> StorageHealth:
    """Check that a search can store a study in a file or URL, or the config's if None."""
    checks = Checks()
    url = checks.run(
        "storage", lambda: storage_url(str(cfg.storage) if storage is None else storage)
    )
    if url is None:
        return StorageHealth(None, checks=tuple(checks))
    file = sqlite_file(url)
    label = masked(url) if file is None else str(file)
    probe = partial(_check_server, url) if file is None else partial(_check_file, file)
    result = checks.run("storage", probe, remedy=_OTHER_STORAGE)
    if result is None:
        return StorageHealth(label, checks=tuple(checks))
    n_studies, check = result
    return StorageHealth(label, n_studies, (check,))


def _check_file(file: Path) -> tuple[int | None, Check]:
    if not file.exists():
        return None, _check_new_file(file)
    n_studies = _count_studies(str(file))
    studies = _describe(n_studies)
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        return n_studies, Check("ok", "storage", f"{file}: {studies}, writable")
    remedy = f"change the permissions of the file and its folder, or {_OTHER_STORAGE}"
    text = f"{file}: {studies}, but it may not be written"
    return n_studies, Check("FAIL", "storage", text, remedy)


def _describe(n_studies: int) -> str:
    return f"{n_studies} {'study' if n_studies == 1 else 'studies'}"


def _check_new_file(file: Path) -> Check:
    """Check that a database can be created."""
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Check("ok", "storage", f"{file} is not there yet; it will be created")
    reason = "may not be written" if folder.is_dir() else "is not a folder"
    return Check("FAIL", "storage", f"{file} cannot be created: {folder} {reason}", _OTHER_STORAGE)


def _count_studies(location: str) -> int:
    """Return the number of studies of a database."""
    from optuna import get_all_study_names

    storage = open_database(location, create=False)
    with storage_errors(storage_url(location)):
        return len(get_all_study_names(storage))


def _check_server(url: str) -> tuple[int, Check]:
    """Connect to a server, which may hold no tables yet, or not answer."""
    import sqlalchemy as sa

    has_timeout = sa.make_url(url).get_backend_name() in ("postgresql", "mysql", "mariadb")
    options = {"connect_timeout": _CONNECT_S} if has_timeout else {}
    with storage_errors(url), driver_errors(url):
        engine = sa.create_engine(url, connect_args=options)
        try:
            tables: Sequence[str] = sa.inspect(engine).get_table_names()
        finally:
            engine.dispose()
    n_studies = _count_studies(url) if "version_info" in tables else 0
    text = f"{masked(url)}: {_describe(n_studies)}, reachable"
    return n_studies, Check("ok", "storage", text)
