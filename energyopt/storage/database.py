"""Open study databases safely for several writers, and explain errors in one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from energyopt.errors import StorageError, StorageUnavailableError
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.credentials import masked, revealed
from energyopt.storage.database_files import (
    check_no_other_log,
    followed,
    make_whole,
    remove_half_made,
)
from energyopt.storage.database_server import (
    connection_timeouts,
    has_studies,
    limit_waits,
    unpooled,
)
from energyopt.utils import failpoints
from energyopt.utils.locks import locked_folder
from energyopt.utils.text import first_line

_SQLITE_HEADER_BYTES = 100
_BUSY_TIMEOUT_S = 60
_RECYCLE_S = 1800
_ADVISORY_LOCKS = 0x656F7074  # "eopt": the name space of our advisory locks on a server
_LOCK_TIMEOUT = "55P03"  # of SQL's states
_READ_ONLY = {
    "sqlite": "PRAGMA query_only=ON",
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
}
_TEMPORARY = (OperationalError, InterfaceError, PoolTimeout)  # a full disk is one of these
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "9p"}
    | {"fuse.sshfs", "fuse.glusterfs", "glusterfs", "afs", "panfs", "virtiofs"}
)
"""File systems that hosts share; memory cannot be shared across them, as SQLite's WAL needs."""


def storage_url(location: str) -> str:
    """Return the SQLAlchemy URL of a storage: a URL, with its password, or a path's SQLite URL.

    Raises:
        StorageError: If it is neither.
    """
    location = revealed(location)
    if location.rstrip("/") in ("sqlite:", "sqlite:///:memory:"):
        raise StorageError(
            f"storage={location} is kept in memory alone and lost at the end; give a file"
        )
    if "://" not in location:
        return URL.create("sqlite", database=str(Path(location).expanduser())).render_as_string()
    if location.startswith("postgres://"):  # the form that some servers' tools print
        location = location.replace("postgres", "postgresql", 1)
    try:
        url = make_url(location)
    except (ArgumentError, ValueError) as error:
        raise StorageError(
            f"storage={masked(location)} is not a database URL; give a file, such as "
            "studies/energyopt.db, or a URL, such as postgresql+psycopg://user@host/name"
        ) from error
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StorageError(
            f"storage={masked(location)}: studies are kept in SQLite files and in PostgreSQL; give "
            "a file, or a URL such as postgresql+psycopg://user@host/name"
        )
    if (url.database or "").startswith("file:"):
        raise StorageError(
            f"storage={location} is a URI of SQLite; give the file by its path: "
            "studies/energyopt.db"
        )
    if url.drivername == "postgresql":  # its default driver depends on SQLAlchemy's version
        url = url.set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False)


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite URL, following links; None for other databases and memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return followed(Path(str(parsed.database)))


def open_database(location: str, *, create: bool) -> RDBStorage:
    """Open a storage for a search (create) or read-only.

    SQLite takes its write lock at the beginning of a transaction: without that, Optuna runs
    queued trials twice. Connections that a server dropped are detected and replaced.

    Args:
        location: A file or a SQLAlchemy URL.
        create: Create the database if it does not exist, and lock for writing.

    Raises:
        StorageError: If it cannot be opened; the database is unchanged.
    """
    _install_failpoints()
    url = storage_url(location)
    file = sqlite_file(url)
    if file is None:
        return _open_server(url, create=create)
    _check_path(file, create=create)
    if create and not (file.exists() and file.stat().st_nlink == 1):
        make_database(file)  # or remove the second name that one who was killed gave it
    _check_content(file, create=create)
    opened_url = _immutable_url(file) if _is_immutable(file) else url
    storage = _open(opened_url, {"connect_args": {"timeout": _BUSY_TIMEOUT_S}}, create=create)
    if create:
        _lock_early(storage.engine, write_ahead=file_system(file.parent) not in NETWORK)
    return storage


def make_database(file: Path) -> None:
    """Make an SQLite database of studies if it does not exist; it appears when it is complete.

    Raises:
        StorageError: If it cannot be made.
    """
    _install_failpoints()
    make_folder(file.parent)

    def make(new: Path) -> None:
        _open(storage_url(str(new)), {}, create=True).engine.dispose()

    try:
        with locked_folder(file.parent, "makes a study database") as is_locked:
            if is_locked:
                remove_half_made(file)
            if not file.exists():
                make_whole(file, make)
    except OSError as error:
        raise StorageError(f"storage={file} cannot be made: {error.strerror}") from error


@contextlib.contextmanager
def opened_to_read(location: str) -> Iterator[RDBStorage]:
    """Open a storage read-only, and turn what it raises into `StorageError`.

    Raises:
        StorageError: If it cannot be opened or read.
    """
    storage = open_database(location, create=False)
    try:
        with storage_errors(storage_url(location)), quiet_optuna():
            yield storage
    finally:
        storage.engine.dispose()


@contextlib.contextmanager
def lock_in_transaction(engine: Engine, study_id: int = 0) -> Iterator[Connection | None]:
    """Lock a study against all other runs on a server, or the opening of any study (0).

    Yields:
        The connection whose transaction holds the lock: it commits only if the lock was held
        until the end. None for an SQLite file, which has one run at a time.
    """
    if engine.dialect.name != "postgresql":
        yield None
        return
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCKS, study_id)))
        yield connection


def is_new(location: str) -> bool:
    """Return True if a database does not exist yet, or is one on a server without tables.

    Raises:
        StorageError: If a server cannot be reached.
    """
    url = storage_url(location)
    file = sqlite_file(url)
    if file is not None:
        return not file.exists()
    with storage_errors(url), driver_errors(url):
        return not has_studies(unpooled(url))


def _open_server(url: str, *, create: bool) -> RDBStorage:
    options = {"pool_recycle": _RECYCLE_S, "connect_args": connection_timeouts(make_url(url))}
    if not create:
        # Optuna would make what is missing also for a reader, against whoever makes it now.
        if is_new(url):
            raise StorageError(
                f"storage {masked(url)} has no studies yet; run a study first, or say where it "
                "is with --storage or ENERGYOPT_STORAGE"
            )
        storage = _open(url, options, create=False)
    else:
        # One process at a time creates tables: two would both see none.
        with storage_errors(url), driver_errors(url), lock_in_transaction(unpooled(url)):
            storage = _open(url, options, create=True)
    limit_waits(storage.engine)
    return storage


class _Storage(RDBStorage):
    """Optuna's storage, which leaves no connection open if it cannot be opened."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any], *, create: bool) -> None:
        try:
            super().__init__(url, engine_kwargs, skip_table_creation=not create)
        except BaseException:
            if hasattr(self, "engine"):  # not without its driver
                self.engine.dispose()
            raise


def _open(url: str, options: dict[str, Any], *, create: bool) -> RDBStorage:
    with storage_errors(url), driver_errors(url), quiet_optuna():
        try:
            return _Storage(url, {"pool_pre_ping": True, **options}, create=create)
        except RuntimeError as error:  # Optuna raises this for tables of another version
            raise StorageError(
                f"storage {masked(url)} has tables of another version of Optuna; it was left as it "
                "is: copy it, then run `optuna storage upgrade --storage URL`, or give another "
                f"({str(error).partition('.')[0]})"
            ) from error


def _is_immutable(file: Path) -> bool:
    """Return True if SQLite cannot create the log that it needs for reading, and there is none."""
    return not os.access(file.parent, os.W_OK) and not file.with_name(f"{file.name}-wal").exists()


def _immutable_url(file: Path) -> str:
    query = {"immutable": "1", "uri": "true"}
    return URL.create("sqlite", database=file.resolve().as_uri(), query=query).render_as_string()


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turn what a database raises into a `StorageError` with its URL and the cause."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause: BaseException = error
        is_temporary = isinstance(error, _TEMPORARY)
        while cause.__cause__ is not None:
            cause = cause.__cause__
            is_temporary = is_temporary or isinstance(cause, _TEMPORARY)
        original = getattr(cause, "orig", None) or cause
        text = first_line(original)
        if getattr(original, "sqlstate", None) == _LOCK_TIMEOUT:
            text += ": another run holds it, which is stopped or cut from the server"
        if "disk is full" in text:
            text += "; free space there, the same command resumes"
        raise (StorageUnavailableError if is_temporary else StorageError)(
            f"storage {masked(url)} cannot be used: {text}"
        ) from error


@contextlib.contextmanager
def driver_errors(url: str) -> Iterator[None]:
    """Turn a driver that is not installed into a `StorageError`.

    Only where a driver is loaded: elsewhere it is code of others, such as a sampler's, that
    imports something.
    """
    try:
        yield
    except ImportError as error:
        raise StorageError(
            f"storage {masked(url)} cannot be used: {error}; "
            "pip install 'energyopt[postgres]' brings what PostgreSQL takes"
        ) from error


def _check_path(file: Path, *, create: bool) -> None:
    if file.is_dir():
        raise StorageError(
            f"storage={file} is a folder; give a file in it, such as {file}/studies.db"
        )
    if not file.exists():
        if not create:
            raise StorageError(
                f"there is no study database {file}; run a study first, or say where it is with "
                "--storage or ENERGYOPT_STORAGE"
            )
        make_folder(file.parent)


def _check_content(file: Path, *, create: bool) -> None:
    if not file.exists():
        return
    check_no_other_log(file)
    if not os.access(file, os.R_OK):
        raise StorageError(f"storage={file} cannot be read: {os.strerror(errno.EACCES)}")
    # Only SQLite may open it: closing a file releases all locks that this process has on it,
    # including those of an open connection, and the next process to end would delete its log.
    size = file.stat().st_size
    if size < _SQLITE_HEADER_BYTES:
        problem = "is empty" if size == 0 else "is not an SQLite database"
        raise StorageError(f"storage={file} {problem}; it was left as it is, give another file")
    _check_tables(file)
    if create and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        raise StorageError(
            f"storage={file} may not be written (file and folder must be writable); change the "
            "permissions or give another file"
        )


def _check_tables(file: Path) -> None:
    """Check that a file is intact and Optuna's, which adds its tables to any database."""
    try:
        # Immutable creates no log by reading, but does not read an existing one.
        mode = "mode=ro" if file.with_name(f"{file.name}-wal").exists() else "immutable=1"
        uri = f"{file.resolve().as_uri()}?{mode}"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        raise StorageError(
            f"storage={file} cannot be read: {error}; it was left as it is, give another file"
        ) from error
    if tables and "version_info" not in tables:
        raise StorageError(
            f"storage={file} is another program's database (with {min(tables)}); it was left as "
            "it is, give another file"
        )


def make_folder(folder: Path) -> None:
    """Create the folder of a database if it does not exist.

    Raises:
        StorageError: If it cannot be created, or is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise StorageError(
            f"the folder {folder} may not be written; change its permissions or give "
            "storage=another/file.db"
        )


def _lock_early(engine: Engine, *, write_ahead: bool) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # `_begin` begins the transactions
        if write_ahead:  # needs memory that all processes share
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # earlier connections do not have the listeners


def _install_failpoints() -> None:
    """Let a test fail or kill this process at any statement, or at any that is not a query."""
    is_armed = failpoints.is_armed("sql") or failpoints.is_armed("write")
    if is_armed and not event.contains(Engine, "before_cursor_execute", _hit_failpoints):
        event.listen(Engine, "before_cursor_execute", _hit_failpoints)


def _hit_failpoints(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    try:
        failpoints.hit("sql")
        if not statement.startswith("SELECT"):
            failpoints.hit("write")
    except failpoints.Injected as error:
        raise OperationalError("a statement", None, error) from error


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the file system of a folder; empty if unknown."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    folder = folder.resolve()
    closest_mount, closest_type = "", ""
    for line in lines:
        _, mount, type_, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if folder.is_relative_to(mount) and len(mount) >= len(closest_mount):
            closest_mount, closest_type = mount, type_
    return closest_type


def read_only(storage: RDBStorage) -> RDBStorage:
    """Make the database itself refuse writes; return the storage."""
    statement = _READ_ONLY[storage.engine.dialect.name]

    @event.listens_for(storage.engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.cursor().execute(statement)
        connection.commit()

    storage.engine.dispose()  # earlier connections do not have the listener
    return storage
