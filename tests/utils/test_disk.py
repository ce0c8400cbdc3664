"""A full disk is told from other errors, however it is wrapped."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest
import torch

from energyopt.core.journal import JournalWriter
from energyopt.core.trial_result import TrialStart
from energyopt.errors import DiskFullError, TrialError
from energyopt.utils.disk import as_disk_full
from tests.toys import ESTIMATED


def raised_from(cause: Exception) -> Exception:
    error = TrialError("it cannot be kept")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
@pytest.mark.parametrize("wrap", [lambda error: error, raised_from])
def test_an_error_of_the_system_says_what_is_full(tmp_path: Path, number: int, wrap) -> None:
    path = tmp_path / "log" / "x.txt"
    full = as_disk_full(wrap(OSError(number, "no", str(path))))
    assert full is not None
    assert f": {path} (file system /" in str(full)
    assert "start the same command again" in str(full)
    assert str(pickle.loads(pickle.dumps(full))) == str(full)


def test_the_folder_is_named_where_the_error_names_no_file(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "no")
    assert f"{tmp_path} (file" in str(as_disk_full(error, tmp_path))
    assert as_disk_full(error, tmp_path, is_write=False) is None  # of any code: there is space


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_an_error_that_was_handled_is_no_full_disk(number: int) -> None:
    error = TrialError("of something else")
    error.__context__ = OSError(number, "no", "/srv/x")
    error.__suppress_context__ = number == errno.ENOSPC
    assert as_disk_full(error) is None


@pytest.mark.parametrize(
    "error",
    [
        ValueError("lr"),
        OSError(errno.ENOENT, "no", "x"),
        OSError(errno.ENOSPC, "no"),  # of a lock in memory, or a limit of the kernel
        OSError(errno.ENOSPC, "no", "/dev/shm/torch_1"),  # batches of loaders: the configuration
        RuntimeError("unable to write to file </torch_1>: No space left on device (28)"),
        RuntimeError("PytorchStreamWriter failed writing file data/0"),  # there is space here
        None,
        "text",
    ],
)
def test_other_errors_are_none_of_a_full_disk(error: object) -> None:
    assert as_disk_full(error) is None


def test_a_device_without_space_is_a_full_disk(tmp_path: Path) -> None:
    """Its writes fail as those to a full disk do."""
    (tmp_path / "progress.jsonl").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"the disk is full: \S+progress\.jsonl \(file system"):
        JournalWriter(tmp_path / "progress.jsonl").append(TrialStart(0.9, 2, 1, ESTIMATED))
    with pytest.raises(OSError, match="No space left") as caught, Path("/dev/full").open("wb") as f:
        torch.save(torch.ones(100_000), f)
    assert as_disk_full(caught.value, tmp_path) is not None
