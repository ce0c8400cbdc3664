"""Zones of powercap: packages by what they are, and refusals that name the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.errors import HardwareError
from energyopt.hardware import powercap as files
from energyopt.hardware.powercap import (
    CounterFiles,
    check_moving,
    dram_zones,
    find_mirrors,
    package_zones,
    show_same,
)
from tests import fake_rapl
from tests.fake_rapl import OTHER_PACKAGE, PACKAGE, PSYS, Powercap

DIES = {f"intel-rapl:{die}": f"package-{die // 2}-die-{die % 2}" for die in range(4)}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Powercap]:
    with fake_rapl.installed(tmp_path) as made:
        yield made


@pytest.fixture
def dies(tmp_path: Path) -> Iterator[Powercap]:
    with fake_rapl.installed(tmp_path, DIES) as made:
        yield made


@pytest.mark.usefixtures("tree")
def test_packages_and_their_memory_are_zones_and_parts_and_the_platform_are_not():
    packages = package_zones()
    assert [zone.name for zone in packages] == ["package-0", "package-1"]
    assert [(zone.name, zone.number) for zone in dram_zones(packages)] == [("dram", 0)]


def test_packages_are_in_the_order_of_their_numbers(tmp_path: Path):
    zones = {f"intel-rapl:{i}": f"package-{i}" for i in (10, 2, 0)}
    with fake_rapl.installed(tmp_path, zones):
        assert [zone.number for zone in package_zones()] == [0, 2, 10]


def test_a_second_root_shows_the_same_counters(
    tree: Powercap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Powercap(tmp_path / "second")
    roots = (tmp_path / "none", tree.root, tmp_path / "second")
    monkeypatch.setattr(files, "RAPL_ROOTS", roots)
    assert [zone.path for zone in package_zones()] == [
        tree.root / PACKAGE,
        tree.root / OTHER_PACKAGE,
    ]


def test_all_files_that_may_not_be_read_are_named_and_no_others(
    tree: Powercap, monkeypatch: pytest.MonkeyPatch
):
    # Root may read anything, whatever the mode of a file says.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("energy_uj"))
    with pytest.raises(HardwareError) as caught:
        CounterFiles().check(package_zones())
    remedy = f"sudo chmod a+r {tree.counter(PACKAGE)} {tree.counter(OTHER_PACKAGE)} (until"
    assert remedy in str(caught.value)
    assert str(tree.counter(PSYS)) not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "max_energy_range_uj does not exist"),
        ("0", "max_energy_range_uj is 0"),
        ("much", r"max_energy_range_uj cannot be read \(it holds no number\)"),
    ],
)
def test_an_unknown_range_is_named_and_no_permission_is_advised(
    tree: Powercap, content: str | None, says: str
):
    path = tree.root / PACKAGE / "max_energy_range_uj"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(HardwareError, match=says) as caught:
        package_zones()[0].range_uj()
    assert "chmod" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "many", "-5"])
def test_a_counter_that_holds_no_energy_is_named(tree: Powercap, content: str):
    tree.counter(PACKAGE).write_text(content)
    with pytest.raises(
        HardwareError,
        match=r"energy_uj (holds -5|\(package-0\) cannot be read \(it holds no number\));",
    ):
        package_zones()[0].read_uj()


def test_a_package_that_stands_still_beside_another_is_named(
    tree: Powercap, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(files, "STILL_S", 0.1)
    with (
        tree.alive(PACKAGE),
        pytest.raises(HardwareError, match=r"package-1 \(.*intel-rapl:2\) stands still"),
    ):
        check_moving(package_zones(), CounterFiles())
    with tree.alive(PACKAGE, OTHER_PACKAGE):
        check_moving(package_zones(), CounterFiles())


# Dies --------------------------------------------------------------------------------------


def names(mirrored: dict[files.Zone, files.Zone]) -> dict[str, str]:
    return {zone.name: counted.name for zone, counted in mirrored.items()}


def test_dies_that_show_the_counter_of_their_socket_are_found(dies: Powercap):
    dies.spend("intel-rapl:2", 5000)
    dies.spend("intel-rapl:3", 5000)
    assert names(find_mirrors(package_zones(), CounterFiles())) == {
        "package-0-die-1": "package-0-die-0",
        "package-1-die-1": "package-1-die-0",
    }


def test_dies_with_counters_of_their_own_are_counted_each(dies: Powercap):
    for die, energy_j in zip(DIES, (0, 700, 0, 9000), strict=True):
        dies.spend(die, energy_j)
    assert find_mirrors(package_zones(), CounterFiles()) == {}


def test_packages_that_happen_to_show_the_same_are_two(tree: Powercap):
    assert tree.counter(PACKAGE).read_text() == tree.counter(OTHER_PACKAGE).read_text()
    assert find_mirrors(package_zones(), CounterFiles()) == {}


def test_one_file_under_two_names_is_counted_once(tree: Powercap):
    tree.counter(OTHER_PACKAGE).unlink()
    tree.counter(OTHER_PACKAGE).symlink_to(tree.counter(PACKAGE))
    assert names(find_mirrors(package_zones(), CounterFiles())) == {"package-1": "package-0"}


@given(
    start_uj=st.integers(0, 10**9 - 1),
    gains_uj=st.lists(st.integers(0, 10**7), min_size=5, max_size=9),
)
def test_a_counter_that_is_read_in_turns_is_one_also_across_its_end(
    start_uj: int, gains_uj: list[int]
):
    range_uj = 10**9
    times = [start_uj + sum(gains_uj[:i]) for i in range(len(gains_uj) + 1)]
    readings = [time_uj % range_uj for time_uj in times]
    assert show_same(readings[::2], readings[1::2], range_uj)
    elsewhere = [(reading_uj + 10**8) % range_uj for reading_uj in readings[1::2]]
    assert not show_same(readings[::2], elsewhere, range_uj)
