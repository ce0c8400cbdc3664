"""CUDA_VISIBLE_DEVICES is read as CUDA reads it."""

from __future__ import annotations

import os
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from energyopt.errors import HardwareError
from energyopt.hardware.cuda_visible_devices import visible_positions

UUIDS = [f"GPU-{i}{i}{i}{i}0000-aaaa-bbbb-cccc-00000000000{i}" for i in range(4)]


@pytest.mark.parametrize(
    ("variable", "positions"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("0", [0]),
        ("2,3", [2, 3]),
        ("3,1", [3, 1]),
        (" 1 , 2 ", [1, 2]),
        ("0,7,1", [0]),  # what comes after one that is not there is not seen
        ("1,-1,2", [1]),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,0", []),
        ("1gpu,2", [1, 2]),
        (UUIDS[2], [2]),
        (f"{UUIDS[3]},{UUIDS[0]}", [3, 0]),
        ("GPU-1111", [1]),
        ("GPU-", []),  # fits several
        ("GPU-9999", []),
        (f"{UUIDS[1]},0", [1]),
        (f"0,{UUIDS[1]}", [0]),
        (f"{UUIDS[1]},{UUIDS[1]}", []),
    ],
)
def test_each_form_that_cuda_takes(variable: str | None, positions: list[int]):
    assert visible_positions(UUIDS, variable) == positions


def test_mig_slices_are_refused_with_the_reason():
    with pytest.raises(HardwareError, match=r"MIG slice.*whole GPUs.*device=cpu"):
        visible_positions(UUIDS, "MIG-8f2c")


ENTRY = st.one_of(
    st.integers(-2, 9).map(str),
    st.sampled_from([*UUIDS, "GPU-2222", "GPU-77", "", "x", "1x"]),
)


@given(st.lists(ENTRY, max_size=5).map(",".join))
def test_torch_reads_it_likewise(variable: str):
    with mock.patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": variable}):
        parsed = torch.cuda._parse_visible_devices()
    if all(isinstance(each, str) for each in parsed):
        expected = torch.cuda._transform_uuid_to_ordinals(parsed, UUIDS)  # type: ignore[arg-type]
    else:  # torch cuts off what is not there where it counts devices
        there = [number < len(UUIDS) for number in parsed]  # type: ignore[operator]
        expected = parsed[: [*there, False].index(False)]  # type: ignore[assignment]
    assert visible_positions(UUIDS, variable) == expected
