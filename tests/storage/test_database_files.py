"""A database appears when it is complete, and is one database under each of its names."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.samplers import RandomSampler

from energyopt.errors import StorageError, StudyError
from energyopt.storage.database import make_database, open_database, storage_url
from energyopt.storage.reader import read_study, study_names
from energyopt.storage.run_leases import only_coordinator
from energyopt.storage.study_store import StudyStore
from tests.small_study import IDENTITY, NAME, UNTOUCHED, forked

ROOT = Path(__file__).parents[2]
# To die at a query is to die at the next statement that is none. In a file nothing appears before
# it is whole, and tests/end_to_end/test_statements.py dies at each of its statements.
_OF_A_FILE = range(1, 110, 3)
_OF_A_SERVER = range(1, 40)


def opened(file: Path) -> StudyStore:
    return StudyStore.open(str(file), NAME, IDENTITY, lambda _: RandomSampler())


def make_study(where: str) -> None:
    with only_coordinator(where, NAME) as sole:
        StudyStore.open(where, NAME, IDENTITY, lambda _: RandomSampler(), sole=sole).close()


# --- killed while it is made


@pytest.mark.mostly_slow(every=4)
@pytest.mark.parametrize("nth", _OF_A_FILE)
def test_killed_at_any_statement_of_a_fresh_study_the_same_command_continues(tmp_path, nth):
    where = str(tmp_path / "a.db")
    code = forked(lambda: make_study(where), f"write#{nth}:kill")
    assert code in (-signal.SIGKILL, UNTOUCHED)
    assert code == -signal.SIGKILL or nth > 90
    assert forked(lambda: make_study(where)) == 0
    assert study_names(where) == [NAME]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f".a.db.{NAME}.lock", "a.db"]


def test_the_last_statement_is_among_those(where):
    last = (_OF_A_SERVER if "://" in where else _OF_A_FILE)[-1]
    assert forked(lambda: make_study(where), f"write#{last}:kill") == UNTOUCHED


@pytest.mark.parametrize("place", ["made", "named"])
def test_killed_while_it_is_named_nothing_is_left(tmp_path, place):
    where = str(tmp_path / "a.db")
    assert forked(lambda: make_study(where), f"{place}:kill") == -signal.SIGKILL
    assert len(list(tmp_path.glob(".a.db.*.new"))) == 1
    assert forked(lambda: make_study(where)) == 0
    assert not list(tmp_path.glob(".a.db.*.new"))
    assert study_names(where) == [NAME]


@pytest.mark.mostly_slow(every=5)
@pytest.mark.parametrize("nth", range(1, 130, 6))
def test_a_statement_that_fails_is_a_sentence_and_leaves_nothing(tmp_path, nth):
    where = str(tmp_path / "a.db")
    assert forked(lambda: make_study(where), f"sql#{nth}:fail") in (2, UNTOUCHED)
    assert {path.name for path in tmp_path.iterdir()} <= {"a.db", f".a.db.{NAME}.lock"}
    assert forked(lambda: make_study(where)) == 0


@pytest.mark.mostly_slow(every=7)
@pytest.mark.parametrize("nth", _OF_A_SERVER)
def test_killed_at_any_statement_on_a_server_the_same_command_continues(postgres, nth):
    code = forked(lambda: make_study(postgres), f"write#{nth}:kill")
    assert code in (-signal.SIGKILL, UNTOUCHED)
    assert forked(lambda: make_study(postgres)) == 0
    assert study_names(postgres) == [NAME]


def test_a_database_that_another_process_made_first_stays(tmp_path):
    file = tmp_path / "a.db"
    make_study(str(file))
    content = file.read_bytes()
    make_database(file)
    assert file.read_bytes() == content
    assert read_study(str(file), NAME).name == NAME


def test_a_file_system_without_hard_links_has_databases(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    make_study(str(tmp_path / "a.db"))
    assert study_names(str(tmp_path / "a.db")) == [NAME]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".a.db.{NAME}.lock", "a.db"]


def test_other_files_of_the_folder_are_left_alone(tmp_path):
    names = [
        ".a.db.new",
        ".a.db.x.new",
        ".b.db.0123abcd.new",
        ".a.db.0123abcd.new.mine",
        "a.db.new",
    ]
    for name in names:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".a.db.0123abcd.new-journal").write_text("half-made")
    make_study(str(tmp_path / "a.db"))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*names, "a.db", f".a.db.{NAME}.lock"}


# --- one database under several names

HOLD = """
import sys, time
from energyopt.storage.run_leases import only_coordinator
with only_coordinator(sys.argv[1], "toy"):
    print("held", flush=True)
    time.sleep(60)
"""


def symbolic(folder: Path) -> str:
    (folder / "link.db").symlink_to("study.db")
    return str(folder / "link.db")


def chained(folder: Path) -> str:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "link.db").symlink_to(Path("..", "first.db"))
    (folder / "first.db").symlink_to(folder / "study.db")
    return str(folder / "elsewhere" / "link.db")


def of_the_folder(folder: Path) -> str:
    (folder / "link").symlink_to(".")
    return str(folder / "link" / "study.db")


def hard(folder: Path) -> str:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "hard.db").hardlink_to(folder / "study.db")
    return str(folder / "elsewhere" / "hard.db")


NAMES: list[Callable[[Path], str]] = [
    symbolic,
    chained,
    of_the_folder,
    hard,
    lambda folder: f"sqlite:///{folder}/study.db",
    lambda folder: f"sqlite:////{folder}/./study.db",
    lambda folder: f"{folder}/../{folder.name}/study.db",
    lambda folder: os.path.relpath(folder / "study.db"),
]


def test_a_lock_is_of_the_file_and_not_of_its_name(tmp_path):
    for number, other_name in enumerate(NAMES):
        folder = tmp_path / str(number)
        folder.mkdir()
        first = str(folder / "study.db")
        make_database(Path(first))  # one that is not made yet has no other name
        command = [sys.executable, "-c", HOLD, first]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            other = other_name(folder)
            with (
                pytest.raises(StudyError, match="study toy is being run by"),
                only_coordinator(other, "toy"),
            ):
                pass
            with only_coordinator(other, "another"):
                pass
            holder.kill()
        with only_coordinator(other, "toy") as sole:
            assert sole


def test_a_link_to_no_file_yet_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.db").symlink_to(Path("there", "study.db"))
    make_study(str(tmp_path / "link.db"))
    assert study_names(str(tmp_path / "there" / "study.db")) == [NAME]
    assert (tmp_path / "link.db").is_symlink()


def test_what_a_log_holds_is_read_through_a_link(tmp_path):
    writer = opened(tmp_path / "study.db")
    assert (tmp_path / "study.db-wal").stat().st_size
    assert study_names(symbolic(tmp_path)) == [NAME]
    writer.close()


@pytest.mark.parametrize("create", [True, False], ids=["write", "read"])
def test_a_file_whose_log_lies_beside_another_name_is_refused(tmp_path, create):
    file, hard = tmp_path / "study.db", tmp_path / "hard.db"
    writer = opened(file)
    hard.hardlink_to(file)
    with pytest.raises(StorageError, match=r"is the same file as .*study\.db, whose log study\.db"):
        open_database(str(hard), create=create)
    writer.close()
    assert study_names(str(hard)) == [NAME]
    shutil.copy(file, tmp_path / "copy.db")  # another file
    make_study(str(tmp_path / "copy.db"))


def test_a_uri_of_sqlite_is_refused_by_name():
    with pytest.raises(StorageError, match=r"is a URI of SQLite; give the file by its path"):
        storage_url("sqlite:///file:a.db?mode=ro&uri=true")
