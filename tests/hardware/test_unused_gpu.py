"""A GPU that `auto` leaves idle because torch does not see it is said, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from energyopt.hardware.gpu_options import GpuOptions
from energyopt.hardware.unused_gpu import unused_gpu_flags
from energyopt.report.flags import REMEDIES
from tests import fake_nvml
from tests.fake_nvml import FakeNvml

AUTO = GpuOptions(gpus="auto")


@pytest.fixture
def gpu(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """One pretend GPU, which no torch sees, and a torch without CUDA."""
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    with fake_nvml.installed(nvml_library, tmp_path) as fake:
        yield fake


def test_the_reason_is_said_why_a_gpu_is_not_used(gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch):
    assert unused_gpu_flags(AUTO, "auto", "cpu") == ("torch_without_cuda",)
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    assert unused_gpu_flags(AUTO, "auto", "cpu") == ("cuda_unusable",)
    gpu.fail("nvmlInitWithFlags", fake_nvml.LIB_RM_VERSION_MISMATCH)
    assert unused_gpu_flags(AUTO, "auto", "cpu") == ("cuda_unusable",)
    assert {"torch_without_cuda", "cuda_unusable"} <= REMEDIES.keys()


def test_nothing_is_said_of_what_was_asked_for(gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch):
    assert unused_gpu_flags(AUTO, "cpu", "cpu") == ()
    assert unused_gpu_flags(AUTO, "auto", "cuda:0") == ()
    assert unused_gpu_flags(GpuOptions(), "auto", "cpu") == ()  # such as hardware=estimate
    for hidden in ("", "-1", "7"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert unused_gpu_flags(AUTO, "auto", "cpu") == ()


def test_nothing_is_said_where_there_is_no_gpu(gpu: FakeNvml):
    gpu.fail("nvmlInitWithFlags", fake_nvml.DRIVER_NOT_LOADED)
    assert unused_gpu_flags(AUTO, "auto", "cpu") == ()
    gpu.fail("nvmlInitWithFlags", 0)
    gpu.state.gpus = 0
    assert unused_gpu_flags(AUTO, "auto", "cpu") == ()
