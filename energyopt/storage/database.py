"""Open a study database so that it holds under writers, and say in a sentence why it does not."""

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
from energyopt.storage.credentials import masked
from energyopt.utils import failpoints
from energyopt.utils.locks import locked_folder

_SQLITE_HEADER_BYTES = 100
_BUSY_TIMEOUT_S = 60
_RECYCLE_S = 1800
_LOCKS = 0x656F7074  # "eopt": ours among the advisory locks of a server
_NOTICES_LOSS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_READ_ONLY = {
    "sqlite": "PRAGMA query_only=ON",
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
}
_PASSING = (OperationalError, InterfaceError, PoolTimeout)  # also for a disk that is full
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "9p"}
    | {"fuse.sshfs", "fuse.glusterfs", "glusterfs", "afs", "panfs", "virtiofs"}
)
"""File systems that hosts share, on which memory cannot be."""


def storage_url(where: str) -> str:
    """The SQLAlchemy URL of a storage: a URL as it is, a path as an SQLite file.

    Raises:
        StorageError: If it is neither.
    """
    if where.rstrip("/") in ("sqlite:", "sqlite:///:memory:"):
        raise StorageError(
            f"storage={where} is kept in memory alone and lost at the end; give a file"
        )
    if "://" not in where:
        return URL.create("sqlite", database=str(Path(where).expanduser())).render_as_string()
    if where.startswith("postgres://"):  # as some servers' own tools write it
        where = where.replace("postgres", "postgresql", 1)
    try:
        url = make_url(where)
    except (ArgumentError, ValueError) as error:
        raise StorageError(
            f"storage={masked(where)} is not a database URL; give a file, such as "
            "studies/energyopt.db, or a URL, such as postgresql+psycopg://user@host/name"
        ) from error
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StorageError(
            f"storage={masked(where)}: studies are kept in SQLite files and in PostgreSQL; give a "
            "file, or a URL such as postgresql+psycopg://user@host/name"
        )
    if url.drivername == "postgresql":  # without a driver, SQLAlchemy's versions choose others
        url = url.set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False)


def sqlite_file(url: str) -> Path | None:
    """The file behind an SQLite URL; None for other databases and for memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database))


def open_database(where: str, *, create: bool) -> RDBStorage:
    """Open a storage for ask and tell (create) or for reading alone.

    SQLite takes its write lock at the beginning of a transaction: without that, Optuna runs
    queued trials twice. A server's dropped connections are noticed and made again.

    Args:
        where: A file or a SQLAlchemy URL.
        create: Make the database if there is none, and lock for writing.

    Raises:
        StorageError: If it cannot be opened; nothing is changed then.
    """
    url = storage_url(where)
    file = sqlite_file(url)
    if file is None:
        return _open_server(url, create=create)
    _check_place(file, create=create)
    # One process at a time creates databases: to another, an incomplete one looks damaged.
    with locked_folder(file.parent) if create else contextlib.nullcontext():
        _check_content(file, create=create)
        where = _immutable(file) if _is_fixed(file) else url
        storage = _open(where, {"connect_args": {"timeout": _BUSY_TIMEOUT_S}}, create=create)
    if create:
        _lock_early(storage.engine, write_ahead=file_system(file.parent) not in NETWORK)
    _watch(storage.engine)
    return storage


@contextlib.contextmanager
def lock_in_transaction(engine: Engine, study_id: int = 0) -> Iterator[Connection | None]:
    """Be alone with a study among all runs on a server, or with the opening of any (0).

    Yields:
        The connection whose transaction holds the lock: what is written in it counts if the lock
        was held until the end. None for an SQLite file, which has one run at a time.
    """
    if engine.dialect.name != "postgresql":
        yield None
        return
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCKS, study_id)))
        yield connection


def _open_server(url: str, *, create: bool) -> RDBStorage:
    options = {"pool_recycle": _RECYCLE_S, "connect_args": _patience(make_url(url))}
    if not create:
        return _open(url, options, create=False)
    # Tables are made by one at a time: two would both find none.
    with speaking(url):
        opening = sa.create_engine(url, poolclass=sa.NullPool, connect_args=options["connect_args"])
        with lock_in_transaction(opening):
            storage = _open(url, options, create=True)
    _watch(storage.engine)
    return storage


def _patience(url: URL) -> dict[str, Any]:
    """What makes a client of PostgreSQL notice a server that is gone, unless its URL says it."""
    if url.get_driver_name() not in ("psycopg", "psycopg2"):
        return {}
    return {key: value for key, value in _NOTICES_LOSS.items() if key not in url.query}


def _open(url: str, options: dict[str, Any], *, create: bool) -> RDBStorage:
    with speaking(url), quiet_optuna():
        try:
            return RDBStorage(
                url,
                engine_kwargs={"pool_pre_ping": True, **options},
                skip_table_creation=not create,
            )
        except RuntimeError as error:  # Optuna's word for tables of another version
            raise StorageError(
                f"storage {masked(url)} has tables of another version of Optuna; it was left as it "
                "is: copy it, then run `optuna storage upgrade --storage URL`, or give another "
                f"({str(error).partition('.')[0]})"
            ) from error


def _is_fixed(file: Path) -> bool:
    """Whether nobody writes, and SQLite cannot make the log that it reads together with a file."""
    return not os.access(file.parent, os.W_OK) and not file.with_name(f"{file.name}-wal").exists()


def _immutable(file: Path) -> str:
    query = {"immutable": "1", "uri": "true"}
    return URL.create("sqlite", database=file.resolve().as_uri(), query=query).render_as_string()


@contextlib.contextmanager
def speaking(url: str) -> Iterator[None]:
    """Turn what a database raises into a `StorageError` that names it and the cause."""
    try:
        yield
    except ImportError as error:
        raise StorageError(
            f"storage {masked(url)} cannot be used: {error}; "
            "pip install 'energyopt[postgres]' brings what PostgreSQL takes"
        ) from error
    except (SQLAlchemyError, StorageInternalError) as error:
        cause: BaseException = error
        passing = isinstance(error, _PASSING)
        while cause.__cause__ is not None:
            cause = cause.__cause__
            passing = passing or isinstance(cause, _PASSING)
        original = getattr(cause, "orig", None) or cause
        raise (StorageUnavailableError if passing else StorageError)(
            f"storage {masked(url)} cannot be used: {_first_line(original)}"
        ) from error


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _check_place(file: Path, *, create: bool) -> None:
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
    if not os.access(file, os.R_OK):
        raise StorageError(f"storage={file} cannot be read: {os.strerror(errno.EACCES)}")
    # Only SQLite may open it: closing a file gives up all locks that this process has on it,
    # also those of an open connection, and the next process to end would delete its log.
    size = file.stat().st_size
    if size < _SQLITE_HEADER_BYTES:
        what = "is empty" if size == 0 else "is not an SQLite database"
        raise StorageError(f"storage={file} {what}; it was left as it is, give another file")
    _check_tables(file)
    if create and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        raise StorageError(
            f"storage={file} may not be written (file and folder must be writable); change the "
            "permissions or give another file"
        )


def _check_tables(file: Path) -> None:
    """Refuse a damaged file, and another program's: Optuna would add its tables to it."""
    try:
        # Immutable leaves no log behind by looking, but does not see one that is there.
        how = "mode=ro" if file.with_name(f"{file.name}-wal").exists() else "immutable=1"
        uri = f"{file.resolve().as_uri()}?{how}"
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
    """Make a folder for a database if there is none.

    Raises:
        StorageError: If it cannot be made, or may not be written.
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
        connection.isolation_level = None  # we begin transactions ourselves
        if write_ahead:  # which needs memory that all processes share
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before the listeners do not obey them


def _watch(engine: Engine) -> None:
    """Let a test fail or kill this process at any statement, or at any that is no query."""
    if not (failpoints.is_armed("sql") or failpoints.is_armed("write")):
        return

    @event.listens_for(engine, "before_cursor_execute")
    def _strike(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        try:
            failpoints.at("sql")
            if not statement.startswith("SELECT"):
                failpoints.at("write")
        except failpoints.Injected as error:
            raise OperationalError("a statement", None, error) from error


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system that a folder lies on; empty if nothing tells."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    place = folder.resolve()
    found = ("", "")
    for line in lines:
        _, at, kind, *_ = line.split(" ")
        at = at.replace("\\040", " ")
        if place.is_relative_to(at) and len(at) >= len(found[0]):
            found = (at, kind)
    return found[1]


def read_only(storage: RDBStorage) -> RDBStorage:
    """The same storage, in which the database itself refuses to write."""
    statement = _READ_ONLY[storage.engine.dialect.name]

    @event.listens_for(storage.engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.cursor().execute(statement)
        connection.commit()

    storage.engine.dispose()  # connections made before the listener do not obey it
    return storage
