"""The same grid on several machines."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from energyopt.cli.commands import run
from energyopt.errors import ConfigError
from energyopt.experiments.machines import compare_machines, files_of
from energyopt.experiments.rows import GRID, RAW
from tests.conftest import ROOT
from tests.small_experiments import SEEDS, experiment, raw, row

SIZES = (8, 16, 32, 64)
EXPORT = ROOT / "studies" / "digits" / "export"


def machine(folder: Path, energies_j: list[float | None], *, target: float = 0.9) -> Path:
    """Write the export of a grid; None misses the target."""
    rows = [
        row(
            "all",
            GRID,
            seed,
            (energy_j or 99.0) * (1 + seed / 10),
            setup={"batch_size": size},
            reached=energy_j is not None,
            target=target,
        )
        for size, energy_j in zip(SIZES, energies_j, strict=False)
        for seed in SEEDS
    ]
    of = experiment("training", {"cells": {"cells": ["all"]}}, {"batch_size": SIZES})
    folder.mkdir(parents=True)
    (folder / RAW).write_text(raw(of, rows).to_text())
    return folder


def test_ranks_are_compared_whatever_the_level_of_the_joules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = machine(tmp_path / "slow", [100.0, 200.0, 300.0, None])
    fast = machine(tmp_path / "fast", [1.0, 3.0, 2.0, None])
    found = compare_machines([slow, fast])
    agreement = found.agreements["slow", "fast"]
    assert agreement.n == 4
    assert agreement.tau == pytest.approx(4 / 6)
    with pytest.raises(SystemExit) as ended:
        run(["summarize", "--machines", str(slow), str(fast), "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "slow and fast" in text
    assert "missed" in text
    assert "bootstrap" in text
    table = list(csv.DictReader(io.StringIO((tmp_path / "out" / "machines.csv").read_text())))
    assert [line["rank"] for line in table if line["machine"] == "fast"] == ["1", "3", "2", ""]
    (tau,) = json.loads((tmp_path / "out" / "machines.json").read_text())["tau"]
    assert tau["machines"] == ["slow", "fast"]
    assert tau["low"] <= tau["tau"] <= tau["high"]


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    folders = [machine(tmp_path / where / "grid", [1.0, 2.0, 3.0, 4.0]) for where in "ab"]
    assert [each.name for each in compare_machines(folders).machines] == [*map(str, folders)]
    with pytest.raises(ConfigError, match="is given twice"):
        compare_machines([folders[0], folders[0]])


def test_without_a_common_cell_nothing_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = machine(tmp_path / "grid", [1.0, 2.0, 3.0, 4.0], target=0.95)
    with pytest.raises(SystemExit) as ended:
        run(["summarize", "--machines", str(grid), str(EXPORT)])
    assert ended.value.code == 1
    assert "Nothing compared" in capsys.readouterr().out


def test_an_exported_study_is_a_machine_as_well(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in EXPORT.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    found = compare_machines([EXPORT, copy])
    (agreement,) = found.agreements.values()
    assert agreement.tau == pytest.approx(1)
    assert "machines.csv" in files_of(found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a",), "two folders or more"),
        (("a", "b", "--from", "c"), "leave out NAME"),
        (("a", "nowhere"), "is not there"),
        (("a", "other"), "energies to two targets are not one grid"),
    ],
)
def test_what_cannot_be_compared_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    machine(tmp_path / "a", [1.0, 2.0, 3.0, 4.0])
    machine(tmp_path / "b", [1.0, 2.0, 3.0, 4.0])
    machine(tmp_path / "other", [1.0, 2.0, 3.0, 4.0], target=0.5)
    with pytest.raises(ConfigError, match=message):
        run(["summarize", "--machines", *words])
