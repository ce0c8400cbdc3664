"""Comparing a run of an experiment with an earlier one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from energyopt.cli.commands import run
from energyopt.errors import ConfigError
from energyopt.experiments.reproduction import Reproduction, compare, screen
from energyopt.experiments.rows import RAW, Raw
from energyopt.experiments.summary import summarize
from tests.small_experiments import arm_rows, experiment, raw

PAIR = {"pair": {"scratch": ["scratch"], "pretrained": ["tuned"]}}


def a_run(scratch: list[float], *, steps: int = 10, **more: Any) -> Raw:
    tuned = arm_rows("tuned", [2.0, 2.1, 1.9], upfront_j=1.0, share_j=1.0)
    rows = arm_rows("scratch", scratch, steps=steps) + tuned
    return raw(experiment("recycled", PAIR), rows, **({"packages": {"torch": "2.13"}} | more))


BEFORE = a_run([4.0, 4.2, 3.9])


def against(now: Raw) -> Reproduction:
    return compare(summarize(BEFORE), summarize(now))


def text(found: Reproduction) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(screen(found, "before"))
    return captured.get()


def test_the_same_run_agrees() -> None:
    found = against(BEFORE)
    assert found.agrees
    assert (len(found.grid), found.n_unpaired, found.differing) == (4, 0, [])
    assert [again.name for again in found.ratios] == ["pair, free", "pair, paid"]
    assert "This run agrees with before." in text(found)
    assert "4 took the same steps" in text(found)
    assert "1.00 times the joules" in text(found)


def test_joules_may_differ_as_long_as_the_intervals_meet() -> None:
    assert against(a_run([4.4, 4.1, 4.1])).agrees
    found = against(a_run([40.0, 42.0, 39.0]))
    assert not found.agrees
    assert [again.agrees for again in found.ratios] == [False, False]
    assert "DOES NOT agree with before" in text(found)
    assert "NO" in text(found)


def test_other_steps_do_not_agree_on_the_same_machine() -> None:
    found = against(a_run([4.0, 4.2, 3.9], steps=11))
    assert not found.agrees
    assert len(found.differing) == 2
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
    found = against(a_run([4.0, 4.2, 3.9], steps=11, **more))
    assert found.agrees
    assert f"so steps may differ: {says}." in text(found)


def test_what_only_one_run_has_is_counted() -> None:
    some = replace(BEFORE, rows=tuple(row for row in BEFORE.rows if row.arm == "scratch"))
    found = against(some)
    assert (len(found.grid), found.n_unpaired, found.ratios) == (2, 2, ())
    assert "2 are in one alone" in text(found)
    assert not against(replace(BEFORE, rows=())).agrees  # of nothing nothing is known


def test_another_experiment_is_refused() -> None:
    other = raw(replace(experiment("recycled", PAIR), name="other"), BEFORE.rows)
    with pytest.raises(ConfigError, match="other cannot be compared with made_up"):
        against(other)


def test_the_command_exits_by_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, of in (("before", BEFORE), ("now", a_run([40.0, 42.0, 39.0]))):
        (tmp_path / name).mkdir()
        (tmp_path / name / RAW).write_text(of.to_text())
    before = str(tmp_path / "before")
    for name, code in (("before", 0), ("now", 1)):
        with pytest.raises(SystemExit) as ended:
            run(["summarize", "--from", str(tmp_path / name), "--against", before])
        assert ended.value.code == code
    assert "DOES NOT agree" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="is not there"):
        run(["summarize", "--from", before, "--against", str(tmp_path / "none")])
