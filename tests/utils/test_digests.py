"""A file with one other bit is not the file that was written."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from energyopt.errors import DamagedFileError
from energyopt.utils.digests import SEAL_BYTES, check_digest, check_seal, seal, with_digest

CONTENT = b"weights and " + bytes(range(30))


def test_a_sealed_file_has_the_digest_of_its_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(CONTENT)
    digest = seal(tmp_path / "a")
    assert check_seal(tmp_path / "a") == digest == seal(tmp_path / "b")
    assert (tmp_path / "a").read_bytes()[:-SEAL_BYTES] == CONTENT


def test_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    seal(path)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        if changed[:-SEAL_BYTES] == CONTENT:
            with contextlib.suppress(DamagedFileError):  # or it has no seal any more
                assert check_seal(path) is None
        else:
            with pytest.raises(DamagedFileError, match="was changed on the disk"):
                check_seal(path)


@pytest.mark.parametrize("content", [b"", b"x", CONTENT * 4])
def test_a_file_without_a_seal_has_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert check_seal(path) is None
    seal(path)
    assert check_seal(path) is not None


def test_plain_data_is_that_which_was_written(tmp_path: Path) -> None:
    data = {"b": (1.5, None), "a": {"x": float("inf"), "y": "\u00e4"}}
    read = json.loads(json.dumps(with_digest(data), indent=2))
    check_digest(read, tmp_path)
    assert read == {"b": [1.5, None], "a": {"x": float("inf"), "y": "\u00e4"}}
    changed = json.loads(json.dumps(with_digest(data)).replace("1.5", "1.4"))
    with pytest.raises(DamagedFileError, match="was changed on the disk"):
        check_digest(changed, tmp_path)
    earlier = {"a": 1}
    check_digest(earlier, tmp_path)
    assert earlier == {"a": 1}
