"""The state of a paused `Run`, with torch and without it; it holds no code."""

from __future__ import annotations

import contextlib
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from energyopt.errors import DamagedFileError, TrialError
from energyopt.training.run_state import accessors, keep, load
from tests.damage import flips


@pytest.fixture(params=["torch", "archive"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The form of the file: torch's, or that of a program that has not imported torch."""
    if request.param == "archive":
        monkeypatch.delitem(sys.modules, "torch")
    return str(request.param)


def again(value: Any, path: Path) -> Any:
    """The value after it was kept and loaded."""
    with keep(path, {"value": value}):
        pass
    return load(path)["value"]


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize(
    "value",
    [
        None,
        [True, 7, 2**70, 0.1, float("inf"), "text", b"\x00\xff"],
        {"a": (1, (2.5, [])), 3: {"b": ()}, ("x", 1): "tuple as key"},
    ],
)
def test_plain_data_is_returned_as_it_was(tmp_path: Path, value: Any) -> None:
    assert again(value, tmp_path / "paused.pt") == value


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "uint8", "bool", "complex64"])
def test_arrays_are_returned_as_they_were(tmp_path: Path, kind: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(kind)
    returned = again({"array": array, "number": np.float64(0.5)}, tmp_path / "paused.pt")
    assert returned["number"] == 0.5
    assert returned["array"].dtype == array.dtype
    assert np.array_equal(returned["array"], array)


@pytest.mark.usefixtures("form")
def test_random_generators_continue_where_they_were(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    get, put = accessors("generator", generator)
    state = again(get(), tmp_path / "paused.pt")
    expected = generator.random(3)
    put(state)
    assert np.array_equal(generator.random(3), expected)


def test_a_generator_of_torch_continues_where_it_was(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    get, put = accessors("generator", generator)
    state = again(get(), tmp_path / "paused.pt")
    expected = torch.rand(3, generator=generator)
    put(state)
    assert torch.equal(torch.rand(3, generator=generator), expected)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("value", [{1, 2}, Path, np.array([object()])], ids=["set", "class", "obj"])
def test_what_could_only_be_kept_as_code_is_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "paused.pt"
    if isinstance(value, set) and "torch" in sys.modules:
        assert again(value, path) == value  # torch keeps sets
        return
    with pytest.raises(TrialError, match="kept without code: tensors"):
        again([value], path)
    assert not path.exists()


def test_a_file_that_holds_code_is_not_loaded(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return print, ("code runs",)

    path = tmp_path / "paused.pt"
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(TrialError, match=r"cannot resume: .*paused\.pt"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state.json", '{"array": "0.npy"}')
        with archive.open("0.npy", "w") as file:
            np.lib.format.write_array(file, np.array([print]), allow_pickle=True)
    with pytest.raises(TrialError, match="cannot resume"):
        load(path)


@pytest.mark.usefixtures("form")
def test_a_flipped_bit_is_never_resumed(tmp_path: Path) -> None:
    path = tmp_path / "paused.pt"
    state = {"values": [0.1, 2, "three"], "more": {"four": (5, None)}}
    with keep(path, state):
        pass
    assert load(path) == state
    for _ in flips(path, 100):
        with contextlib.suppress(DamagedFileError):
            assert load(path) == state
