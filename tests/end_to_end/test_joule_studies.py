"""The default search from the command line: it pauses, resumes, and uses less energy."""

from __future__ import annotations

import json
import sqlite3

import pytest

from tests.conftest import Program

JOULE = (
    *("-m", "task=wine", "model=mlp", "hardware=simulated", "epochs=10", "target=0.9"),
    *("lr=tag(log,interval(1e-4,1e-1))", "batch_size=choice(8,32)", "n_trials=8"),
)


def burnt_j(program: Program, study: str) -> float:
    with sqlite3.connect(program.folder / "studies" / "energyopt.db") as database:
        rows = database.execute(
            "select result from energyopt_trials t join studies s on s.study_id = t.study_id "
            "where s.study_name = ?",
            (study,),
        ).fetchall()
    books = [json.loads(result)["books"] for (result,) in rows]
    parts = ("cpu_j", "gpu_j", "dram_j")
    return sum(each[part] or 0.0 for book in books for each in book.values() for part in parts)


@pytest.mark.slow
def test_the_default_search_pauses_trials_and_burns_less(energyopt: Program) -> None:
    ran = energyopt.ok(*JOULE, "study=a")
    assert "search joule over" in ran.text
    assert "paused after" in ran.text
    assert "J to 0.9 validation accuracy" in ran.text
    assert "Pays back" in ran.text
    energyopt.ok(*JOULE, "study=b", "sampler=tpe", "stopping=none")
    assert burnt_j(energyopt, "a") < burnt_j(energyopt, "b")


@pytest.mark.slow
def test_the_same_command_finds_nothing_left_to_do(energyopt: Program) -> None:
    energyopt.ok(*JOULE, "study=a")
    burnt = burnt_j(energyopt, "a")
    again = energyopt.ok(*JOULE, "study=a")
    assert "J to 0.9 validation accuracy" in again.text
    assert burnt_j(energyopt, "a") == burnt


@pytest.mark.slow
def test_a_front_can_be_repeated_point_by_point(energyopt: Program) -> None:
    energyopt.ok(*JOULE, "study=a", "n_trials=4")
    energyopt.ok("pareto", "a", "--out", "front.json")
    points = json.loads((energyopt.folder / "front.json").read_text())["points"]
    assert all(point["energy_j"] > 0 for point in points)
    assert [p["accuracy"] for p in points] == sorted(p["accuracy"] for p in points)
