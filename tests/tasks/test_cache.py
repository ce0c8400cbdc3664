"""The cache returns what was stored, whatever happens to its files."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from energyopt.tasks._cache import cache_folder, cached
from energyopt.utils.digests import SEAL_BYTES

ARRAYS = {
    "numbers": np.arange(1000, dtype=np.float32).reshape(10, 100),
    "names": np.array(["a", "bc"]),
}


class Maker:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return dict(ARRAYS)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "energyopt"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("data")
    return path


def asked(make: Maker, source: Path, **options: object) -> dict[str, np.ndarray]:
    value = cached("set", make, options=options, sources=[source])
    assert value.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert np.array_equal(value[name], array)
        assert value[name].dtype == array.dtype
    return value


def test_is_made_once_for_its_options_and_sources(source, folder):
    make = Maker()
    asked(make, source, size=8)
    asked(make, source, size=8)
    assert make.calls == 1
    asked(make, source, size=9)
    assert make.calls == 2
    source.write_text("other data")
    asked(make, source, size=8)
    assert make.calls == 3
    os.utime(source, (1, 1))
    asked(make, source, size=8)
    assert make.calls == 4
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize(
    "damage", ["cut", "garbled", "one bit", "unsealed", "empty", "no archive", "pickle", "folder"]
)
def test_a_damaged_file_is_made_again(source, folder, damage):
    make = Maker()
    asked(make, source)
    (path,) = folder.iterdir()
    good = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "pickle":
        np.savez(path, numbers=np.array([{}], dtype=object))
    else:
        path.write_bytes(
            {
                "cut": good[: len(good) // 2],
                "garbled": good[:400] + bytes(60) + good[460:],
                "one bit": good[:150] + bytes([good[150] ^ 4]) + good[151:],
                "unsealed": good[:-SEAL_BYTES],
                "empty": b"",
                "no archive": b"this is no archive",
            }[damage]
        )
    asked(make, source)
    assert make.calls == 2
    if damage != "folder":  # which stays in the way, and does no harm
        asked(make, source)
        assert make.calls == 2
    assert [path for path in folder.iterdir() if path.suffix == ".part"] == []


def test_a_folder_that_cannot_be_written_keeps_nothing_and_still_works(source, folder, monkeypatch):
    folder.parent.write_text("a file where the folder should be")
    make = Maker()
    asked(make, source)
    asked(make, source)
    assert make.calls == 2


def test_a_folder_that_nobody_may_write_keeps_nothing_and_still_works(source, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc")  # root, too, makes nothing there
    make = Maker()
    asked(make, source)
    asked(make, source)
    assert make.calls == 2


def test_what_cannot_be_made_leaves_nothing(source, folder):
    def fail() -> dict[str, np.ndarray]:
        raise ValueError("bad data")

    with pytest.raises(ValueError, match="bad data"):
        cached("set", fail, options={}, sources=[source])
    assert not folder.exists()


def _ask(source: Path) -> bool:
    return bool(np.array_equal(asked(Maker(), source)["numbers"], ARRAYS["numbers"]))


def test_processes_at_once_all_get_it_whole(source, folder):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.map(_ask, 8 * [source]) == 8 * [True]
    assert [path.suffix for path in folder.iterdir()] == [".npz"]


def test_lies_in_the_studies_folder_unless_the_environment_says(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("studies/cache")
