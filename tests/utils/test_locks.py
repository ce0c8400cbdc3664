"""Locks on files and folders: one holder at a time, and none after its process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from energyopt.utils import locks
from energyopt.utils.locks import locked_file, locked_folder, try_lock


class Busy(Exception):  # noqa: N818  # not an error of the product
    """Raised instead of waiting."""


def refuse(_descriptor: int) -> None:
    raise Busy


def test_a_file_has_one_holder_at_a_time(tmp_path: Path):
    path = tmp_path / "lock"
    with locked_file(path, refuse):
        with pytest.raises(Busy), locked_file(path, refuse):
            pass
        with locked_file(tmp_path / "other", refuse):
            pass
    with locked_file(path, refuse):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_is_waited_for_where_that_is_wanted(tmp_path: Path):
    path = tmp_path / "lock"
    holder = locked_file(path, refuse)
    holder.__enter__()
    calls = []

    def on_busy(descriptor: int) -> None:
        calls.append(descriptor)
        holder.__exit__(None, None, None)

    with locked_file(path, on_busy) as descriptor:
        assert calls == [descriptor]


HOLD_AND_DIE = """
import os, pathlib, sys
from energyopt.utils import locks
from energyopt.utils.locks import locked_file
with locked_file(pathlib.Path(sys.argv[1]), print):
    os._exit(3)
"""


def test_a_lock_ends_with_its_process(tmp_path: Path):
    path = tmp_path / "lock"
    done = subprocess.run([sys.executable, "-c", HOLD_AND_DIE, str(path)], check=False)
    assert done.returncode == 3
    with locked_file(path, refuse):
        pass


def test_a_link_is_refused(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"), locked_file(tmp_path / "link", refuse):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_shared_locks_allow_each_other(tmp_path: Path):
    path = tmp_path / "lock"
    path.touch()
    descriptors = [os.open(path, os.O_RDONLY) for _ in range(3)]
    try:
        assert [try_lock(d, shared=True) for d in descriptors[:2]] == [True, True]
        assert not try_lock(descriptors[2])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_a_folder_has_one_holder_at_a_time(tmp_path: Path):
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        with locked_folder(tmp_path, "is tested"):
            assert not try_lock(other)
        assert try_lock(other)
    finally:
        os.close(other)


def test_who_waits_long_is_told_once_for_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    holder = os.open(tmp_path, os.O_RDONLY)
    assert try_lock(holder)
    said: list[str] = []

    class Terminal:
        def write(self, text: str) -> None:
            said.append(text)
            os.close(holder)

    monkeypatch.setattr(locks, "_SILENT_S", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with locked_folder(tmp_path, "makes a database") as is_locked:
        assert is_locked
    assert said == [f"waiting for process {os.getpid()}, which makes a database in {tmp_path}\n"]
