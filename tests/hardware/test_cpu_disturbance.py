"""The kernel's counters of a disturbed training."""

from __future__ import annotations

from pathlib import Path

import pytest

from energyopt.core.conditions import CpuDisturbance
from energyopt.hardware import cpu_disturbance
from energyopt.hardware.cpu_disturbance import DisturbanceWatch


def test_it_counts_the_machine_between_two_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stat = tmp_path / "stat"
    monkeypatch.setattr(cpu_disturbance, "STAT", stat)
    stat.write_text("cpu  100 0 100 900 0 0 0 50 0 0\ncpu0 1 1 1\n")
    watch = DisturbanceWatch(CpuDisturbance(1.0, 7, 10.0, 1.0))
    assert watch.so_far() == CpuDisturbance(1.0, 7, 10.0, 1.0)  # no more before it begins
    watch.begin()
    stat.write_text("cpu  1000 100 200 1900 50 0 0 250 0 0\ncpu0 1 1 1\n")
    watch.begin()  # it has begun
    disturbance = watch.so_far()
    assert disturbance is not None
    # 900 + 100 + 100 + 200 ticks of 10 ms, 200 of them stolen; idle time counts for neither.
    assert disturbance.busy_s == pytest.approx(10 + 13)
    assert disturbance.steal_s == pytest.approx(1 + 2)
    assert disturbance.switches >= 7


@pytest.mark.parametrize("text", ["", "cpu  1 2 3", "cpu a b c d e f g h"])
def test_a_system_that_does_not_tell_has_no_steal(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "stat").write_text(text)
    monkeypatch.setattr(cpu_disturbance, "STAT", tmp_path / "stat")
    watch = DisturbanceWatch()
    watch.begin()
    disturbance = watch.so_far()
    assert disturbance is not None
    assert (disturbance.busy_s, disturbance.steal_share) == (None, None)
    monkeypatch.setattr(cpu_disturbance, "STAT", tmp_path / "missing")
    assert DisturbanceWatch().so_far() is None
