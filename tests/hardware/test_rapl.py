"""The energy of CPU packages: every joule that their counters moved by, and once."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energyopt.errors import HardwareError
from energyopt.hardware import rapl
from energyopt.hardware.rapl import PackageCounters, PackageWindow, RunningTotal, counters
from tests import fake_rapl, fake_zeusd
from tests.fake_rapl import CORE, DRAM, OTHER_PACKAGE, PACKAGE, PSYS, RANGE_UJ, Powercap

AMD_RANGE_UJ = 65_532_610_987


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Powercap]:
    with fake_rapl.installed(tmp_path) as made:
        yield made


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


# Wraps -------------------------------------------------------------------------------------


@given(
    range_uj=st.integers(1, 10**12),
    start_uj=st.integers(0, 10**12),
    shares=st.lists(st.floats(0, 1, exclude_max=True), max_size=50),
)
def test_readings_of_a_counter_that_begins_again_add_up_to_the_truth(
    range_uj: int, start_uj: int, shares: list[float]
):
    truth_uj = start_uj % range_uj
    total = RunningTotal(range_uj, truth_uj)
    gains_uj = [int(share * range_uj) for share in shares]
    for gained_uj in gains_uj:
        truth_uj += gained_uj
        assert total.add(truth_uj % range_uj) == gained_uj
    assert total.total_uj == sum(gains_uj)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(gains_uj=st.lists(st.integers(0, 150_000_000), min_size=1, max_size=4), data=st.data())
def test_the_energy_of_packages_does_not_depend_on_their_order(
    tmp_path_factory: pytest.TempPathFactory, gains_uj: list[int], data: st.DataObject
):
    order = data.draw(st.permutations(range(len(gains_uj))))
    energies_j = []
    for numbers in (range(len(gains_uj)), order):
        zones = {f"intel-rapl:{i}": f"package-{i}" for i in numbers}
        with fake_rapl.installed(tmp_path_factory.mktemp("order"), zones, AMD_RANGE_UJ) as tree:
            for zone in zones:
                tree.spend_uj(zone, AMD_RANGE_UJ - 2_000_000)  # they wrap soon
            window = PackageWindow()
            window.start()
            for zone, number in zip(zones, order, strict=True):
                tree.spend_uj(zone, gains_uj[number])
            energies_j.append(window.stop().cpu_j)
    assert energies_j[0] == energies_j[1] == sum(gains_uj) / 1e6


def test_a_window_adds_packages_and_has_memory_apart(tree: Powercap):
    window = PackageWindow()
    window.start()
    for zone, energy_j in ((PACKAGE, 10), (OTHER_PACKAGE, 5), (DRAM, 2), (CORE, 6), (PSYS, 50)):
        tree.spend(zone, energy_j)
    energy = window.stop()
    assert (energy.cpu_j, energy.dram_j, energy.gpu_j) == (15.0, 2.0, None)
    assert window.scope == "CPU packages + DRAM"


def test_a_window_shorter_than_an_update_ends_at_the_next_one(tree: Powercap):
    window = PackageWindow()
    with tree.alive(PACKAGE, step_s=0.02):
        for _ in range(5):
            window.start()
            assert (window.stop().cpu_j or 0) > 0


def test_several_wraps_within_a_window_are_counted(tmp_path: Path):
    range_j = 10.0  # so small that the thread reads each 10 ms
    with fake_rapl.installed(tmp_path, {PACKAGE: "package-0"}, round(1e6 * range_j)) as tree:
        counters = rapl.counters()
        window = PackageWindow()
        window.start()
        for spent_j in range(6, 30, 6):
            tree.spend(PACKAGE, 6)
            while counters._totals[0].total_uj < 1e6 * spent_j:  # the thread has read it
                time.sleep(0.001)
        assert window.stop().cpu_j == pytest.approx(24)


def test_memory_that_cannot_be_read_or_has_no_range_is_left_out(tree: Powercap):
    (tree.root / DRAM / "max_energy_range_uj").unlink()
    window = PackageWindow()
    window.start()
    tree.spend(PACKAGE, 3)
    energy = window.stop()
    assert (energy.cpu_j, energy.dram_j) == (3.0, None)
    assert window.scope == "CPU packages"


def test_parts_and_the_platform_need_not_be_readable(
    tree: Powercap, monkeypatch: pytest.MonkeyPatch
):
    needed = (tree.counter(PACKAGE), tree.counter(OTHER_PACKAGE), tree.counter(DRAM))
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path) in needed or "energy_uj" not in str(path)
    )
    window = PackageWindow()
    window.start()
    tree.spend(OTHER_PACKAGE, 4)
    assert window.stop().cpu_j == 4.0


def test_dies_that_mirror_one_counter_are_counted_once_and_said_in_the_scope(tmp_path: Path):
    zones = {"intel-rapl:0": "package-0-die-0", "intel-rapl:1": "package-0-die-1"}
    with fake_rapl.installed(tmp_path, zones, AMD_RANGE_UJ) as tree:
        window = PackageWindow()
        window.start()
        for zone in zones:
            tree.spend(zone, 68)
        assert window.stop().cpu_j == 68.0
        assert window.scope == "CPU packages (each counter once)"


# Counters that cannot be trusted -----------------------------------------------------------


def test_a_reset_is_no_wrap(tree: Powercap):
    tree.spend(PACKAGE, 5000)
    clock = Clock()
    counters = PackageCounters(clock)
    clock.now_s = 1.0
    tree.counter(PACKAGE).write_text("0\n")
    counters.read_uj()
    with pytest.raises(HardwareError, match=r"package-0 .* gained .* its counter was reset"):
        counters.check()
    n_doubts = counters.n_doubts
    counters.read_uj()
    counters.check(n_doubts)  # what came later is no worse for it


def test_a_package_that_freezes_during_a_training_is_named(tree: Powercap):
    clock = Clock()
    counters = PackageCounters(clock)
    for clock.now_s in (1.0, 2.0, 3.0):
        tree.spend(PACKAGE, 20)
        counters.read_uj()
    with pytest.raises(HardwareError, match=r"package-1 .* stands still"):
        counters.check()


def test_memory_may_stand_still(tree: Powercap):
    clock = Clock()
    counters = PackageCounters(clock)
    for clock.now_s in (1.0, 2.0, 3.0):
        tree.spend(PACKAGE, 20)
        tree.spend(OTHER_PACKAGE, 20)
        counters.read_uj()
    counters.check()


def test_a_process_that_was_stopped_cannot_know_how_often_a_counter_wrapped(tmp_path: Path):
    with fake_rapl.installed(tmp_path, {PACKAGE: "package-0"}, AMD_RANGE_UJ) as tree:
        clock = Clock()
        counters = PackageCounters(clock)
        clock.now_s = 60.0
        tree.spend(PACKAGE, 280 * 60)
        counters.read_uj()
        counters.check()
        clock.now_s += 240.0  # 67 kJ at 280 W
        tree.spend(PACKAGE, 280 * 240)
        counters.read_uj()
        with pytest.raises(HardwareError, match="not read for 240 s"):
            counters.check()


def test_a_counter_that_vanishes_is_an_error_of_the_window(tree: Powercap):
    window = PackageWindow()
    window.start()
    tree.counter(OTHER_PACKAGE).unlink()
    with pytest.raises(HardwareError, match=r"package-1.*cannot be read"):
        window.stop()


# The thread, and the running total ---------------------------------------------------------


def readers() -> int:
    return sum(thread.name == "rapl" for thread in threading.enumerate())


def test_all_meters_of_a_process_share_a_thread(tree: Powercap):
    first = PackageWindow()
    n_readers = readers()
    second = PackageWindow()
    assert readers() == n_readers
    del first, second


def test_a_fork_reads_for_itself(tree: Powercap):
    counters()
    tree.spend(PACKAGE, 50)
    pid = os.fork()
    if pid == 0:
        os._exit(any(counters().read_uj()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sum(counters().read_uj()) == pytest.approx(50e6)


# zeusd -------------------------------------------------------------------------------------


@pytest.fixture
def unreadable(tree: Powercap, monkeypatch: pytest.MonkeyPatch) -> Powercap:
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("energy_uj"))
    return tree


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.slow
def test_zeusd_reads_what_this_user_may_not(
    unreadable: Powercap,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    unreadable.spend_uj(PACKAGE, RANGE_UJ - 3_000_000)
    with fake_zeusd.reading_cpus(tmp_path / "zeusd", unreadable) as socket:
        monkeypatch.setenv("ZEUSD_SOCK_PATH", socket)
        caplog.set_level("INFO")
        window = PackageWindow()
        assert window.source == f"zeusd at {socket}"
        window.start()
        unreadable.spend(PACKAGE, 10)  # and wraps
        unreadable.spend(OTHER_PACKAGE, 5)
        unreadable.spend(DRAM, 2)
        energy = window.stop()
        assert (energy.cpu_j, energy.dram_j) == (15.0, 2.0)
    assert "HTTP Request" not in caplog.text
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_files_that_may_be_read_are_read_though_zeusd_is_named(
    tree: Powercap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ZEUSD_SOCK_PATH", str(tmp_path / "down"))
    with tree.alive(PACKAGE, OTHER_PACKAGE):
        assert PackageWindow().source == "powercap"


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_zeusd_that_does_not_read_is_refused_in_a_sentence(
    unreadable: Powercap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ZEUSD_SOCK_PATH", str(tmp_path / "down"))
    with pytest.raises(HardwareError, match=r"not through zeusd at .*down.*cpu-read.*chmod a\+r"):
        PackageWindow()
    with fake_zeusd.reading_cpus(tmp_path / "gpus", unreadable, groups="gpu-read") as socket:
        monkeypatch.setenv("ZEUSD_SOCK_PATH", socket)
        with pytest.raises(HardwareError, match=r"zeusd at .*gpus either: .*'cpu-read'"):
            PackageWindow()
    gc.collect()
