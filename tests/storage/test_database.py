"""A study database is opened for good, or refused in a sentence and left as it is."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection

from energyopt.errors import StorageError
from energyopt.storage.credentials import masked
from energyopt.storage.database import (
    file_system,
    is_new,
    open_database,
    sqlite_file,
    storage_url,
)
from energyopt.storage.reader import read_identity

ROOT = Path(__file__).parents[2]
UNPRIVILEGED_ID = 65534


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of a fresh study database."""
    file = tmp_path_factory.mktemp("database") / "studies.db"
    storage = open_database(str(file), create=True)
    assert storage.get_all_studies() == []  # the first connection turns the log on
    storage.engine.dispose()
    return file.read_bytes()


def open_and_close(where: Path | str, *, create: bool) -> None:
    open_database(str(where), create=create).engine.dispose()


def refusal(where: Path | str, *, create: bool) -> str:
    with pytest.raises(StorageError) as caught:
        open_and_close(where, create=create)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def foreign(*tables: str) -> Callable[[bytes, Path], bytes]:
    """The content of another program's database."""

    def content(_: bytes, folder: Path) -> bytes:
        file = folder / "other.db"
        connection = sqlite3.connect(file)
        for table in tables:
            connection.execute(f"CREATE TABLE {table}(x)")
        connection.commit()
        connection.close()
        made = file.read_bytes()
        file.unlink()
        return made

    return content


# --- where it is


@pytest.mark.parametrize(
    ("where", "file"),
    [
        ("studies/energyopt.db", "studies/energyopt.db"),
        ("/there/a.db", "/there/a.db"),
        ("with space/100%20?#&.db", "with space/100%20?#&.db"),
        ("naïve.db", "naïve.db"),
        ("~/a.db", str(Path("~/a.db").expanduser())),
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////there/a.db", "/there/a.db"),
        ("postgresql+psycopg://user@host/name", None),
    ],
)
def test_a_storage_is_a_file_or_a_url(where, file):
    location = sqlite_file(storage_url(where))
    assert location == (None if file is None else Path(file))


@pytest.mark.parametrize("where", ["sqlite://", "sqlite:///:memory:"])
def test_memory_keeps_no_study(where):
    with pytest.raises(StorageError, match="is kept in memory alone and lost at the end"):
        storage_url(where)


@pytest.mark.parametrize("where", ["://", "::://x", "not a url://x"])
def test_what_is_neither_is_refused(where):
    with pytest.raises(StorageError, match=r"is not a database URL; give a file, such as studies/"):
        storage_url(where)


def test_passwords_are_not_said():
    url = "postgresql+psycopg://user:secret@localhost:1/name"
    assert "secret" not in masked(url)
    for create in (True, False):
        message = refusal(url, create=create)
        assert "secret" not in message
        assert message.startswith("storage postgresql+psycopg://user:***@localhost:1/name cannot")


def test_an_unknown_kind_of_database_is_refused():
    for create in (True, False):
        message = refusal("mysql://user:secret@host/name", create=create)
        assert message.startswith(
            "storage=mysql://user:***@host/name: studies are kept in SQLite files and in PostgreSQL"
        )


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_to_through_one_driver(scheme):
    url = storage_url(f"{scheme}://user:pass%2Fword@host/name")
    assert url == "postgresql+psycopg://user:pass%2Fword@host/name"


def test_a_file_system_is_told_by_the_deepest_mount(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "a / ext4 rw 0 0\nb /net nfs4 rw 0 0\nc /net/my\\040disk xfs rw 0 0\nd /network tmpfs 0 0\n"
    )
    found = {
        place: file_system(Path(place), mounts)
        for place in ("/x", "/net", "/net/a/b", "/net/my disk/a", "/network/a")
    }
    assert list(found.values()) == ["ext4", "nfs4", "nfs4", "xfs", "tmpfs"]
    assert file_system(tmp_path, tmp_path / "none") == ""


# --- create and read


def test_a_database_is_made_with_its_folders_and_opened_again(tmp_path):
    file = tmp_path / "a b%20c?" / "deeper" / "studies#1.db"
    for create in (True, True, False):
        storage = open_database(str(file), create=create)
        assert storage.get_all_studies() == []
        storage.engine.dispose()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_many_may_make_it_at_the_same_time(tmp_path):
    program = f"""
        import os
        from energyopt.storage.database import open_database
        open_database({str(tmp_path / "warm.db")!r}, create=True).engine.dispose()
        reader, writer = os.pipe()
        children = []
        for _ in range(6):
            children.append(os.fork())
            if children[-1] == 0:
                os.close(writer)
                os.read(reader, 1)  # until all are let go
                open_database({str(tmp_path / "new" / "a.db")!r}, create=True).get_all_studies()
                os._exit(0)
        os.close(writer)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    """
    command = [sys.executable, "-c", dedent(program)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    open_and_close(tmp_path / "new" / "a.db", create=False)


def test_writers_lock_early_and_log_ahead(tmp_path):
    storage = open_database(str(tmp_path / "a.db"), create=True)
    with storage.engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA busy_timeout")).scalar() == 60_000
    other = sqlite3.connect(tmp_path / "a.db", timeout=0)
    with storage.engine.begin() as connection:
        connection.execute(sa.text("SELECT 1"))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT count(*) FROM studies").fetchall() == [(0,)]  # readers read
    other.close()
    storage.engine.dispose()


def test_a_reader_does_not_wait_for_a_writer(tmp_path):
    writer = open_database(str(tmp_path / "a.db"), create=True)
    with writer.engine.begin():
        reader = open_database(str(tmp_path / "a.db"), create=False)
        assert reader.get_all_studies() == []
        reader.engine.dispose()
    writer.engine.dispose()


def test_opening_it_again_does_not_give_up_the_locks_of_a_writer(tmp_path):
    file = tmp_path / "a.db"
    writer = open_database(str(file), create=True)
    writer.create_new_study([StudyDirection.MINIMIZE], "first")
    open_and_close(file, create=False)
    # Without them, the last process to close deletes the log that the writer still writes to.
    names = f"import sqlite3; c = sqlite3.connect({str(file)!r})\n" + dedent("""
        print(*[name for (name,) in c.execute("SELECT study_name FROM studies")])
        c.close()
    """)
    for study in ("second", "third"):
        writer.create_new_study([StudyDirection.MINIMIZE], study)
        seen = subprocess.check_output([sys.executable, "-c", names], text=True)
        assert study in seen.split()
    writer.engine.dispose()


def test_a_missing_database_is_not_made_for_reading(tmp_path):
    message = refusal(tmp_path / "new" / "a.db", create=False)
    assert message.startswith(f"there is no study database {tmp_path}/new/a.db; run a study first")
    assert "ENERGYOPT_STORAGE" in message
    assert list(tmp_path.iterdir()) == []


# --- refuse, and leave it as it is


@pytest.mark.parametrize("create", [True, False], ids=["write", "read"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda good, _: b"", "is empty; it was left as it is, give another file"),
        (lambda good, _: b"\x00" * 4096, "cannot be read: file is not a database; it was left"),
        (lambda good, _: b"lr,accuracy\n0.1,0.9\n" * 999, "cannot be read: file is not a data"),
        (lambda good, _: good[:10], "is not an SQLite database; it was left as it is"),
        (lambda good, _: good[:16], "is not an SQLite database"),
        (lambda good, _: good[:16] + b"garbage" * 999, "cannot be read: file is not a database"),
        (lambda good, _: good[:5000], "cannot be read: database disk image is malformed"),
        (lambda good, _: good[: len(good) // 2], "cannot be read: database disk image is malf"),
        (foreign("songs", "albums"), "is another program's database (with albums); it was left"),
        (foreign("studies", "trials"), "is another program's database (with studies)"),
    ],
    ids=[
        "empty", "zeros", "text", "part of a header", "header alone", "header and garbage",
        "one page", "half", "another program's", "similar",
    ],
)  # fmt: skip
def test_what_is_no_study_database_is_left_as_it_is(tmp_path, database, content, message, create):
    before = content(database, tmp_path)
    file = tmp_path / "a.db"
    file.write_bytes(before)
    assert f"storage={file} {message}" in refusal(file, create=create)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("create", [True, False], ids=["write", "read"])
def test_a_folder_is_no_database(tmp_path, create):
    message = refusal(tmp_path, create=create)
    assert message == (
        f"storage={tmp_path} is a folder; give a file in it, such as {tmp_path}/studies.db"
    )


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    message = refusal(tmp_path / "file" / "sub" / "a.db", create=True)
    assert message == f"the folder {tmp_path}/file/sub cannot be made: Not a directory"


def as_nobody(folder: Path, *works: str) -> list[str]:
    """Run expressions without rights over a folder's files; what they give or are refused with."""
    become = "pass"
    if os.geteuid() == 0:
        become = f"os.setgid({UNPRIVILEGED_ID}); os.setuid({UNPRIVILEGED_ID})"
        for parent in [folder, *folder.parents][:-1]:
            parent.chmod(parent.stat().st_mode | 0o055)
    program = f"""
        import os
        from energyopt.errors import EnergyoptError
        from energyopt.storage.database import open_database
        from energyopt.storage.run_leases import only_coordinator
        # Import what is imported late, while it may be read.
        open_database({str(folder / "warm.db")!r}, create=True).get_all_studies()
        {become}
        for work in {works!r}:
            try:
                print(eval(work))
            except EnergyoptError as error:
                print(error)
    """
    ran = subprocess.run(
        [sys.executable, "-c", dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture
def fixed(tmp_path: Path, database: bytes) -> Path:
    """A database that others may read and not write."""
    folder = tmp_path / "fixed"
    folder.mkdir()
    file = folder / "a.db"
    file.write_bytes(database)
    file.chmod(0o444)
    folder.chmod(0o555)
    return file


def test_what_may_not_be_written_may_be_read_and_is_refused_for_writing(tmp_path, fixed):
    folder = fixed.parent
    reading, *writing = as_nobody(
        tmp_path,
        f"open_database({str(fixed)!r}, create=False).get_all_studies()",
        f"open_database({str(fixed)!r}, create=True)",
        f"open_database({str(folder / 'new.db')!r}, create=True)",
        f"open_database({str(folder / 'x' / 'a.db')!r}, create=True)",
        f"only_coordinator({str(fixed)!r}, 'toy').__enter__()",
    )
    assert reading == "[]"
    file_refused, new_refused, folder_refused, lock_refused = writing
    assert file_refused.startswith(f"storage={fixed} may not be written (file and folder must be")
    assert new_refused.startswith(f"the folder {folder} may not be written; change its permissions")
    assert folder_refused == f"the folder {folder}/x cannot be made: Permission denied"
    assert lock_refused == new_refused
    assert [path.name for path in folder.iterdir()] == ["a.db"]


def test_what_may_not_be_read_is_refused(tmp_path, fixed):
    fixed.chmod(0)
    (said,) = as_nobody(tmp_path, f"open_database({str(fixed)!r}, create=False)")
    assert said == f"storage={fixed} cannot be read: Permission denied"


def test_a_database_without_studies_is_new_until_it_is_made(where: str) -> None:
    assert is_new(where)
    assert read_identity(where, "any") is None
    open_database(where, create=True).engine.dispose()
    assert not is_new(where)
    assert read_identity(where, "any") is None
