"""A trial's code is on record: versions, and the commit of the folder that it runs in."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import pytest

from energyopt.hardware.host import commit, package_versions


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(
        ["git", "-C", folder, *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_versions_of_what_makes_the_numbers():
    versions = package_versions()
    assert versions["python"] == platform.python_version()
    for name in ("energyopt", "torch", "zeus", "nvidia-ml-py"):
        assert versions[name] == importlib.metadata.version(name)


def test_the_commit_and_whether_the_code_differs_from_it(tmp_path: Path):
    assert commit(tmp_path) is None
    git(tmp_path, "init")
    (tmp_path / "net.py").write_text("x = 1\n")
    git(tmp_path, "add", "net.py")
    git(tmp_path, "commit", "-m", "one")
    git(tmp_path, "tag", "-a", "v1", "-m", "a tag is no commit")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit(tmp_path) == head
    (tmp_path / "net.py").write_text("x = 2\n")
    assert commit(tmp_path) == f"{head}-dirty"
    below = tmp_path / "below"
    below.mkdir()
    assert commit(below) == f"{head}-dirty"


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) is None
