"""Comparing a run of an experiment with an earlier one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from energyopt.cli.commands import run
from energyopt.errors import ConfigError
from energyopt.experiments.reproduction import Reproduction, compare, identity, screen
from energyopt.experiments.rows import GRID, RAW, Raw, Row
from energyopt.experiments.summary import summarize
from tests.small_experiments import AGAIN, SEEDS, experiment, raw, row

PAIR = {"pair": {"scratch": ["scratch"], "pretrained": ["tuned"]}}
SIZES = (8, 16, 32)


def _arm(name: str, by_size: dict[int, float], **more: Any) -> list[Row]:
    """Return a grid with an axis, and the cheapest of it with new seeds."""
    rows = [
        row(name, GRID, seed, energy_j, setup={"batch_size": size}, **more)
        for size, energy_j in by_size.items()
        for seed in SEEDS
    ]
    best = min(by_size, key=by_size.__getitem__)
    return rows + [
        row(name, "best", seed, by_size[best] + 0.01 * i, setup={"batch_size": best}, **more)
        for i, seed in enumerate(AGAIN)
    ]


def a_run(times: float = 1.0, *, steps: int = 10, tuned: float = 1.0, **more: Any) -> Raw:
    """Return a run whose energies are some times those of `BEFORE`."""
    energies_j = {8: 4.0, 16: 4.4, 32: 5.0}
    scratch = _arm("scratch", {size: times * e for size, e in energies_j.items()}, steps=steps)
    source = {"upfront_j": 1.0, "share_j": 1.0}
    rows = scratch + _arm(
        "tuned", {s: tuned * times * (e + 1) for s, e in energies_j.items()}, **source
    )
    given = {"packages": {"torch": "2.13"}} | more
    return raw(experiment("recycled", PAIR, {"batch_size": SIZES}), rows, **given)


BEFORE = a_run()


def against(now: Raw, margin: float = 1.25) -> Reproduction:
    return compare(summarize(BEFORE), summarize(now), margin)


def text(found: Reproduction) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(screen(found, "before"))
    return captured.get()


def test_the_same_run_is_equivalent() -> None:
    found = against(BEFORE)
    assert found.finding == "equivalent"
    assert [(arm.name, len(arm.logs)) for arm in found.arms] == [("scratch", 3), ("tuned", 3)]
    assert (found.n_unpaired, found.differing) == (0, [])
    assert "This run is equivalent to before." in text(found)
    assert "lies within 0.8 and 1.25" in text(found)
    assert "1.00 [1.00, 1.00]" in text(found)


@pytest.mark.parametrize(
    ("times", "margin", "finding"),
    [(1.1, 1.25, "equivalent"), (1.1, 1.05, "different"), (3.0, 1.25, "different")],
)
def test_the_margin_is_what_alike_means(times: float, margin: float, finding: str) -> None:
    found = against(a_run(times), margin)
    assert found.finding == finding
    says = {"equivalent": "is equivalent to", "different": "DIFFERS from"}[finding]
    assert f"This run {says} before." in text(found)


def test_one_arm_that_differs_is_not_hidden_by_the_others() -> None:
    found = against(a_run(tuned=2.0))
    assert [arm.finding for arm in found.arms] == ["equivalent", "different"]
    assert found.finding == "different"


def test_few_and_unlike_configurations_show_nothing() -> None:
    rows = [
        replace(each, energy_j=each.energy_j * (3 if each.setup["batch_size"] == 16 else 1))
        for each in BEFORE.rows
    ]
    found = against(replace(BEFORE, rows=tuple(rows)))
    assert found.finding == "undecided"
    assert "is NOT SHOWN to be equivalent to before" in text(found)


def test_configurations_are_paired_by_what_they_are_whatever_their_seeds() -> None:
    moved = [replace(each, seed=each.seed + 500) for each in BEFORE.rows]
    found = against(replace(BEFORE, rows=tuple(moved)))
    assert found.finding == "equivalent"
    assert "No training of the grids, with its seed, is in both" in text(found)
    setup = {"lr": 0.1, "batch_size": 8, "paradigm.source.seed": "${seed}"}
    other = {"batch_size": 8.0, "lr": 0.1, "paradigm.source.seed": 7, "task.split_seed": 1}
    assert identity(setup) == identity(other)
    assert identity(setup) != identity({**setup, "lr": 0.2})


def test_other_steps_are_a_difference_on_the_same_machine() -> None:
    found = against(a_run(steps=11))
    assert found.finding == "different"
    assert len(found.differing) == 6
    assert "seed=0: reached after 10 steps before, reached after 11 steps now" in text(found)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"packages": {"torch": "2.14"}}, "torch 2.13 before, 2.14 now"),
        ({"packages": {}}, "torch 2.13 before, none now"),
        ({"words": ("num_threads=2",)}, "no words before, num_threads=2 now"),
        ({"source": {**BEFORE.source, "device": "CPU B"}}, "CPU of a test before, CPU B now"),
    ],
)
def test_of_another_machine_the_steps_may_differ(more: dict[str, Any], says: str) -> None:
    found = against(a_run(steps=11, **more))
    assert found.finding == "equivalent"
    assert f"so steps may differ: {says}." in text(found)


def test_what_only_one_run_has_is_counted() -> None:
    some = replace(BEFORE, rows=tuple(row for row in BEFORE.rows if row.arm == "scratch"))
    found = against(some)
    assert [arm.name for arm in found.arms] == ["scratch"]
    assert "3 configurations reached their target in one run alone" in text(found)


@pytest.mark.parametrize(
    "rows",
    [
        (),
        tuple(replace(each, reached=False) for each in BEFORE.rows),
        tuple(replace(each, setup={"batch_size": 64}) for each in BEFORE.rows),
    ],
    ids=["no training", "all missed", "other configurations"],
)
def test_where_nothing_is_compared_nothing_is_said_to_be_alike(rows: tuple[Row, ...]) -> None:
    found = against(replace(BEFORE, rows=rows))
    assert found.finding != "equivalent"
    assert "Nothing compared" in text(found)
    assert "is equivalent" not in text(found)


def test_another_target_is_another_configuration() -> None:
    plan = BEFORE.experiment
    arms = tuple(replace(arm, words=("target=0.5",)) for arm in plan.arms)
    found = against(replace(BEFORE, experiment=replace(plan, arms=arms)))
    assert (found.arms, found.grid) == ((), ())
    assert "Nothing compared" in text(found)


def test_another_experiment_is_refused() -> None:
    other = raw(replace(experiment("recycled", PAIR), name="other"), BEFORE.rows)
    with pytest.raises(ConfigError, match="other cannot be compared with made_up"):
        against(other)


def test_the_command_exits_by_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {"before": BEFORE, "now": a_run(3.0), "none": replace(BEFORE, rows=())}
    for name, of in runs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / RAW).write_text(of.to_text())
    before = str(tmp_path / "before")
    cases = (("before", 0, "is equivalent"), ("now", 1, "DIFFERS"), ("none", 1, "Nothing compared"))
    for name, code, says in cases:
        with pytest.raises(SystemExit) as ended:
            run(["summarize", "--from", str(tmp_path / name), "--against", before])
        assert ended.value.code == code
        assert says in capsys.readouterr().out
    with pytest.raises(ConfigError, match="'1' is no ratio above 1"):
        run(["summarize", "--from", before, "--against", before, "--margin", "1"])
    with pytest.raises(ConfigError, match="is not there"):
        run(["summarize", "--from", before, "--against", str(tmp_path / "nowhere")])
