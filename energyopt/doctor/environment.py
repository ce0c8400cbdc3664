"""The places that studies and trials write to: the storage, and what all users share."""

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
from energyopt.hardware.lease import Lease, make_run_dir, run_dir
from energyopt.hardware.power_limit_journal import StalePowerLimit, changed_limits
from energyopt.storage.credentials import masked
from energyopt.storage.database import open_database, speaking, sqlite_file, storage_url

_LEASE = ".lease"
_CONNECT_S = 5
_ANOTHER = "give another with --storage or ENERGYOPT_STORAGE"

# What users of this machine share ----------------------------------------------------------


def examine_shared(gpus: Mapping[str, Gpu]) -> SharedHealth:
    """Look for leases that are held, and for power limits that killed runs left.

    Args:
        gpus: By UUID.
    """
    checks = Checks()
    found = checks.ask("leases", lambda: _shared(run_dir(), gpus))
    return SharedHealth(str(run_dir()), checks=tuple(checks)) if found is None else found


def _shared(folder: Path, gpus: Mapping[str, Gpu]) -> SharedHealth:
    checks = Checks()
    if folder.exists() or folder.is_symlink():
        checks.ask("folder", _check_run_dir)
    uuids = [path.name.removesuffix(_LEASE) for path in sorted(folder.glob(f"*{_LEASE}"))]
    owners = {uuid: Lease(uuid).owner() for uuid in uuids}
    leases = {uuid: owner for uuid, owner in owners.items() if owner is not None}
    for uuid, owner in leases.items():
        checks.add("info", "lease", f"{uuid} is held by {owner}")
    if not leases:
        checks.add("ok", "leases", f"no GPU is held ({folder})")
    stale = tuple(left for left in changed_limits() if left.uuid not in leases)
    checks += [_stale(left, gpus.get(left.uuid)) for left in stale]
    if not stale:
        checks.add("ok", "power limit", "none was left behind by a killed run")
    return SharedHealth(str(folder), leases, stale, tuple(checks))


def _stale(left: StalePowerLimit, gpu: Gpu | None) -> Check:
    which = left.uuid if gpu is None else f"GPU {gpu.index}"
    now = "" if gpu is None or gpu.limit_w is None else f"{gpu.limit_w:g} W now, "
    if left.previous_w is None:
        says = f"{which}: {now}another before a run of {left.user}, which was killed"
        return Check("note", "power limit", says, f"let {left.user} or root: energyopt restore")
    says = f"{which}: {now}{left.previous_w:g} W before a run that was killed"
    return Check("FAIL", "power limit", says, "energyopt restore")


def _check_run_dir() -> None:
    folder = make_run_dir()
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HardwareError(
            f"{folder}, the place of GPU leases, may not be written by {user_name()}; let its "
            f"owner chmod 1777 {folder}, or set ENERGYOPT_RUN_DIR to another that all users may "
            "write"
        )


# Where studies are -------------------------------------------------------------------------


def examine_storage(named: str | None, cfg: DictConfig) -> StorageHealth:
    """Look whether a search could keep a study, without making a database.

    Args:
        named: File or URL; None takes the config's.
        cfg: The composed config.
    """
    checks = Checks()
    url = checks.ask("storage", lambda: storage_url(str(cfg.storage) if named is None else named))
    if url is None:
        return StorageHealth(None, checks=tuple(checks))
    file = sqlite_file(url)
    shown = masked(url) if file is None else str(file)
    look = partial(_server, url) if file is None else partial(_file, file)
    found = checks.ask("storage", look, remedy=_ANOTHER)
    if found is None:
        return StorageHealth(shown, checks=tuple(checks))
    studies, check = found
    return StorageHealth(shown, studies, (check,))


def _file(file: Path) -> tuple[int | None, Check]:
    if not file.exists():
        return None, _new(file)
    studies = _count(str(file))
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        return studies, Check("ok", "storage", f"{file}: {_studies(studies)}, writable")
    remedy = f"change the permissions of the file and its folder, or {_ANOTHER}"
    says = f"{file}: {_studies(studies)}, but it may not be written"
    return studies, Check("FAIL", "storage", says, remedy)


def _studies(number: int) -> str:
    return f"{number} {'study' if number == 1 else 'studies'}"


def _new(file: Path) -> Check:
    """Whether a database could be made where there is none."""
    folder = next(each for each in file.absolute().parents if each.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Check("ok", "storage", f"{file} is not there yet; it will be created")
    why = "may not be written" if folder.is_dir() else "is not a folder"
    return Check("FAIL", "storage", f"{file} cannot be created: {folder} {why}", _ANOTHER)


def _count(where: str) -> int:
    """How many studies there are."""
    from optuna import get_all_study_names

    storage = open_database(where, create=False)
    with speaking(storage_url(where)):
        return len(get_all_study_names(storage))


def _server(url: str) -> tuple[int, Check]:
    """Ask a server, which may hold no tables yet, or not answer."""
    import sqlalchemy as sa

    patient = sa.make_url(url).get_backend_name() in ("postgresql", "mysql", "mariadb")
    options = {"connect_timeout": _CONNECT_S} if patient else {}
    with speaking(url):
        engine = sa.create_engine(url, connect_args=options)
        try:
            tables: Sequence[str] = sa.inspect(engine).get_table_names()
        finally:
            engine.dispose()
    studies = _count(url) if "version_info" in tables else 0
    return studies, Check("ok", "storage", f"{masked(url)}: {_studies(studies)}, reachable")
