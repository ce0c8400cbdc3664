"""Summaries of experiments: from made-up trainings, and from the committed ones."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.cli.commands import run
from energyopt.errors import ConfigError, StudyError
from energyopt.experiments.plan import experiment_names
from energyopt.experiments.results import edges, setup_text
from energyopt.experiments.rows import GRID, RAW, Raw, Row, read_raw
from energyopt.experiments.selection import choose_setups, group_cells
from energyopt.experiments.summary import data_of, files_of, summarize, text_of
from energyopt.experiments.transfer import payback
from energyopt.report.html.figure import ticks
from tests.conftest import ROOT
from tests.small_experiments import AGAIN, SEEDS, arm_rows, experiment, raw, row

PAIR = {"pair": {"scratch": ["scratch"], "pretrained": ["tuned"]}}
HEADS = {"heads": {"multitask": ["both"], "singles": ["left", "right"]}}
CELLS = {"cells": {"cells": ["all"]}}
COMMITTED = sorted(path.parent for path in (ROOT / "studies").glob(f"*/{RAW}"))
energies = st.floats(0.01, 100, allow_nan=False)


def flat(text: str) -> str:
    return " ".join(text.split())


def tuned(finetune: list[float], pretrain_j: float) -> list[Any]:
    whole = [each + pretrain_j for each in finetune]
    return arm_rows("tuned", whole, upfront_j=pretrain_j, share_j=pretrain_j)


def words_of(svg: str) -> list[str]:
    return [each.text for each in ET.fromstring(svg).iter() if each.text]


def drawn(svg: str) -> list[str]:
    """Return the words of a figure, and shape, place and colour of each mark within its plot.

    Where plots and legends are on the page depends on the fonts of a machine.
    """
    marks = [
        " ".join(mark.get(key, "") for key in ("transform", "d", "x2", "y2", "fill", "stroke"))
        for group in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")
        if "role-mark" in group.get("class", "").split()
        for mark in group
    ]
    assert len(marks) > 10
    return words_of(svg) + marks


# --- committed


def test_every_experiment_has_a_committed_summary() -> None:
    assert [folder.name for folder in COMMITTED] == experiment_names()


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_a_committed_summary_is_made_of_its_committed_trainings(folder: Path) -> None:
    files = files_of(summarize(read_raw(folder)))
    for name, text in files.items():
        committed = (folder / name).read_text(encoding="utf-8")
        same = drawn if name.endswith(".svg") else str
        assert same(committed) == same(text), name
    assert {path.name for path in folder.iterdir()} == {*files, "README.md"}
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert files["summary.txt"] in page
    assert f"-m experiment={folder.name}" in page
    assert sum(map(len, files.values())) < 300_000


# --- choosing


def test_the_cheapest_that_always_reaches_is_chosen_and_not_the_luckiest() -> None:
    of = experiment("training", CELLS, default={"lr": 3})
    rows = [
        row("all", GRID, 0, 1.0, setup={"lr": 1}),
        row("all", GRID, 1, 1.0, setup={"lr": 1}, reached=False),
        *(row("all", GRID, seed, 5.0, setup={"lr": 2}) for seed in SEEDS),
        *(row("all", GRID, seed, 9.0, setup={"lr": 3}) for seed in SEEDS),
    ]
    found = choose_setups(of, rows)
    assert found == {"best": {"lr": 2}, "default": {"lr": 3}, "worst": {"lr": 3}}
    assert [cell.always_reached for cell in group_cells(rows)] == [False, True, True]


def test_what_never_reaches_is_not_trained_again() -> None:
    of = experiment("recycled", PAIR)
    assert choose_setups(of, [row("scratch", GRID, 0, 1.0, reached=False)]) == {}
    assert choose_setups(of, []) == {}


def test_each_paradigm_has_its_own_best() -> None:
    of = experiment("paradigms", CELLS)
    rows = [
        row("all", GRID, 0, energy_j, setup={"paradigm": p, "lr": lr})
        for p, lr, energy_j in [("scratch", 1, 5.0), ("scratch", 2, 4.0), ("multitask", 1, 9.0)]
    ]
    assert choose_setups(of, rows) == {
        "scratch": {"paradigm": "scratch", "lr": 2},
        "multitask": {"paradigm": "multitask", "lr": 1},
    }


# --- recycled


def test_recycled_knowledge_says_what_is_saved_and_when_it_is_paid_back() -> None:
    rows = [*arm_rows("scratch", [10.0, 11.0, 12.0]), *tuned([5.0, 5.5, 6.0], 20.0)]
    summary = summarize(raw(experiment("recycled", PAIR), rows))
    (record,) = summary.records
    assert record["status"] == "compared"
    assert {"pair", "paid back after 4 [3, 5]"} <= set(words_of(files_of(summary)["figure.svg"]))
    assert record["ratio_free"]["value"] == pytest.approx(0.5)
    assert record["ratio_paid"]["value"] > 2
    assert record["payback"]["n"] == math.ceil(20 / 5.5)
    assert record["payback"]["low"] <= record["payback"]["n"] <= record["payback"]["high"]
    assert record["verdict_free"] == "saves"
    assert record["curve"][0]["n"] == 1


TRIO = {"trio": {"scratch": ["scratch"], "random": ["random"], "pretrained": ["tuned"]}}


def test_the_value_of_a_source_is_told_from_that_of_training_fewer_layers() -> None:
    rows = [
        *arm_rows("scratch", [10.0, 11.0, 12.0]),
        *arm_rows("random", [5.0, 5.5, 6.0]),
        *tuned([5.0, 5.5, 6.0], 20.0),
    ]
    (record,) = summarize(raw(experiment("recycled", TRIO), rows)).records
    assert record["ratio_free"]["value"] == record["ratio_random"]["value"] == pytest.approx(0.5)
    assert record["ratio_knowledge"]["value"] == pytest.approx(1)
    assert (record["verdict_free"], record["verdict_knowledge"]) == ("saves", "not told apart")
    text = flat(text_of(summarize(raw(experiment("recycled", TRIO), rows))))
    assert "the source's trunk is not told apart from a random one" in text


def test_a_control_that_misses_the_target_leaves_the_other_ratio() -> None:
    rows = [
        *arm_rows("scratch", [10.0, 11.0, 12.0]),
        *arm_rows("random", [5.0], reached=False),
        *tuned([5.0, 5.5, 6.0], 20.0),
    ]
    summary = summarize(raw(experiment("recycled", TRIO), rows))
    (record,) = summary.records
    assert (record["status"], record["verdict_knowledge"]) == ("compared", "-")
    assert record["ratio_free"]["value"] == pytest.approx(0.5)
    assert "a random trunk cannot be compared" in flat(text_of(summary))


def test_joules_are_beside_samples_and_what_else_they_may_include() -> None:
    rows = [
        *arm_rows("scratch", [10.0, 11.0, 12.0], samples=100),
        *arm_rows("tuned", [25.0, 25.5, 26.0], samples=200, upfront_j=20.0, share_j=20.0),
    ]
    rows = [replace(each, evaluation_j=20.0 if each.arm == "tuned" else 2.0) for each in rows]
    summary = summarize(raw(experiment("recycled", PAIR), rows))
    (record,) = summary.records
    assert record["ratio_samples"]["value"] == pytest.approx(2)
    expected = [math.log((5 + i / 2 + 20) / (10 + i + 2)) for i in range(3)]
    assert record["ratio_evaluated"]["value"] == pytest.approx(
        math.exp(sum(expected) / 3), rel=1e-3
    )
    assert "With evaluation pair costs more, without it it is cheaper" in flat(text_of(summary))


def test_of_files_from_before_evaluations_are_known_where_trainings_ended_at_the_target() -> None:
    ended = row("a", GRID, 0, 5.0)
    assert ended.evaluated_j == 6.0
    assert replace(ended, end="plateau").evaluated_j is None
    assert replace(ended, end="plateau", evaluation_j=0.5).evaluated_j == 5.5


def test_verdicts_are_corrected_for_the_number_of_ratios() -> None:
    names = [f"pair {i}" for i in range(8)]
    pairs = {name: {"scratch": [f"s{i}"], "pretrained": [f"t{i}"]} for i, name in enumerate(names)}
    rows = []
    for i in range(len(names)):
        clear = i == 0
        rows += arm_rows(f"s{i}", [10.0, 11.0, 12.0])
        rows += arm_rows(f"t{i}", [5.0, 5.5, 6.01] if clear else [8.0, 8.0, 10.0])
    records = summarize(raw(experiment("recycled", pairs), rows)).records
    assert records[0]["verdict_free"] == "saves"
    assert {record["verdict_free"] for record in records[1:]} == {"not told apart"}
    assert all(record["ratio_free"]["high"] < 1 for record in records)  # each by itself
    (alone,) = summarize(raw(experiment("recycled", {"p": pairs["pair 1"]}), rows)).records
    assert alone["verdict_free"] == "saves"
    text = flat(text_of(summarize(raw(experiment("recycled", pairs), rows))))
    assert "corrected for the 8 ratios" in text
    assert text.count("]*") == 1


def test_a_winner_at_the_end_of_an_axis_is_marked() -> None:
    grid = {"lr": (0.1, 0.01, 1.0), "batch_size": (8, 16), "paradigm.source.lr": (0.5,)}
    assert edges({"lr": 0.01, "batch_size": 16, "paradigm.source.lr": 0.5}, grid) == [
        "lr", "batch_size",
    ]  # fmt: skip
    assert edges({"lr": 0.1, "batch_size": 12}, grid) == []
    assert setup_text({"lr": 0.1, "batch_size": 16}, ["lr"]) == "lr=0.1 (edge) batch_size=16"
    rows = [*arm_rows("scratch", [10.0, 11.0, 12.0]), *tuned([5.0, 5.5, 6.0], 20.0)]
    of = experiment("recycled", PAIR, {"lr": (0.1, 0.2)})
    assert "lr=0.1 (edge)" in flat(text_of(summarize(raw(of, rows))))


def test_the_test_metric_is_shown_where_it_is_known_of_all_seeds() -> None:
    rows = [*arm_rows("scratch", [10.0, 11.0, 12.0]), *tuned([5.0, 5.5, 6.0], 20.0)]
    assert "test split" not in text_of(summarize(raw(experiment("recycled", PAIR), rows)))
    tested = [replace(each, test=0.9 + each.seed % 2 / 100) for each in rows]
    summary = summarize(raw(experiment("recycled", PAIR), tested))
    record = summary.records[0]["scratch"]
    assert record["test"] == pytest.approx(0.9 + 0.01 / 3, rel=1e-3)
    assert f"{record['test']:.3f} ± {record['test_half']:.3f}" in text_of(summary)


def test_a_summary_says_whether_seeds_share_a_split() -> None:
    of = experiment("recycled", PAIR)
    rows = [*arm_rows("scratch", [10.0, 11.0, 12.0]), *tuned([5.0, 5.5, 6.0], 20.0)]
    assert "In 2 of 2 arms one split of the data serves all seeds" in flat(
        text_of(summarize(raw(of, rows)))
    )
    own = [replace(arm, words=("task.split_seed=${seed}",)) for arm in of.arms]
    text = text_of(summarize(raw(replace(of, arms=tuple(own)), rows)))
    assert "Each seed has a split of the data of its own" in flat(text)


def test_a_source_that_saves_nothing_never_pays_back() -> None:
    rows = [*arm_rows("scratch", [10.0, 11.0, 12.0]), *tuned([20.0, 22.0, 24.0], 20.0)]
    summary = summarize(raw(experiment("recycled", PAIR), rows))
    assert summary.records[0]["payback"] == {"n": None, "low": None, "high": None}
    assert "never" in text_of(summary)
    assert "even a free source costs joules" in flat(text_of(summary))


@given(st.lists(st.tuples(energies, energies, energies), min_size=2, max_size=8))
def test_the_interval_of_payback_holds_its_value(trios: list[tuple[float, float, float]]) -> None:
    pretrain, scratch, finetune = (list(column) for column in zip(*trios, strict=True))
    found = payback(pretrain, scratch, finetune)
    never = math.inf
    low, n, high = (never if at is None else at for at in (found.low, found.n, found.high))
    assert 1 <= low <= n <= high


@given(energies, energies, energies, st.integers(2, 5))
def test_without_noise_payback_is_the_formula(
    pretrain: float, finetune: float, saved: float, seeds: int
) -> None:
    found = payback([pretrain] * seeds, [finetune + saved] * seeds, [finetune] * seeds)
    assert found.n is not None
    assert found.low is not None
    assert found.high is not None
    assert abs(found.low - found.n) <= 1
    assert abs(found.high - found.n) <= 1


def test_payback_takes_two_seeds() -> None:
    with pytest.raises(ValueError, match="two seeds"):
        payback([1.0], [2.0], [1.0])


# --- censored, skipped, unfinished


def test_energies_are_not_compared_where_a_new_seed_missed_the_target() -> None:
    rows = [*arm_rows("scratch", [10.0, 11.0, 12.0]), *tuned([5.0, 5.5, 6.0], 20.0)]
    rows[-1] = row("tuned", "best", AGAIN[-1], 99.0, reached=False)
    summary = summarize(raw(experiment("recycled", PAIR), rows))
    (record,) = summary.records
    assert (record["status"], record["ratio_free"]["value"]) == ("missed", None)
    assert "tuned reached its target with 2 of 3 new seeds" in flat(text_of(summary))


@pytest.mark.parametrize(
    ("of", "names"),
    [
        (experiment("recycled", PAIR), ("scratch", "tuned")),
        (experiment("shared", HEADS), ("both", "left", "right")),
        (experiment("training", CELLS), ("all",)),
        (
            experiment("paradigms", CELLS, {"paradigm": ("scratch", "multitask")}),
            ("all",),
        ),
    ],
    ids=lambda of: getattr(of, "kind", ""),
)
def test_a_summary_says_so_where_nothing_reached_was_skipped_or_not_trained(of, names) -> None:
    setup = {"paradigm": "scratch"} if of.kind == "paradigms" else {"lr": 0.1}
    missed = [arm_row for name in names
              for arm_row in arm_rows(name, [5.0], reached=False, setup=setup)]  # fmt: skip
    cases: list[tuple[list[Row], dict[str, Any], tuple[str, ...]]] = [
        (missed, {}, ("missed", "0/2", "No cell reached")),
        ([], {"skipped": dict.fromkeys(names, "no such data here")}, ("no such data here",)),
        ([], {"source": {}}, ("Nothing was trained", "unfinished")),
    ]
    for given_rows, more, said in cases:
        summary = summarize(raw(of, given_rows, **more))
        files = files_of(summary)
        assert any(word in flat(files["summary.txt"]) for word in said)
        table = list(csv.reader(io.StringIO(files["summary.csv"])))
        assert not {"nan", "inf"} & {cell.lower() for line in table for cell in line}
        json.loads(files["summary.json"], parse_constant=pytest.fail)
        if "figure.svg" in files:
            assert not {"NaN", "null", "undefined"} & set(words_of(files["figure.svg"]))
            assert not {"NaN", "Infinity"} & set(re.split(r"\W+", files["figure.svg"]))


# --- shared, training, paradigms


def test_shared_knowledge_is_a_ratio_to_the_sum_of_the_separate_trainings() -> None:
    heads_j = {"left": 3.0, "right": 6.0}
    rows = [
        *arm_rows("both", [6.0, 6.6, 7.2], heads_j=heads_j),
        *arm_rows("left", [4.0, 4.4, 4.8]),
        *arm_rows("right", [8.0, 8.8, 9.6]),
    ]
    summary = summarize(raw(experiment("shared", HEADS), rows))
    (record,) = summary.records
    assert record["ratio"]["value"] == pytest.approx(0.5)
    words = words_of(files_of(summary)["figure.svg"])
    assert {"Multitask energy / separate training energy", "heads", "0.50", "saves"} <= set(words)
    assert record["verdict"] == "saves"
    assert record["heads_first_j"] == {"left": 3.0, "right": 6.0}


def test_the_power_of_training_counts_censored_cells_and_gives_them_no_energy() -> None:
    of = experiment("training", CELLS, {"batch_size": (8, 16), "lr": (0.1, 1.0)},
                    default={"batch_size": 8, "lr": 0.1})  # fmt: skip
    places = {(8, 0.1): 10.0, (8, 1.0): 50.0, (16, 0.1): 20.0, (16, 1.0): 99.0}
    rows = [
        row("all", GRID, seed, energy_j, setup={"batch_size": b, "lr": lr}, reached=energy_j < 99)
        for (b, lr), energy_j in places.items()
        for seed in SEEDS
    ]
    for role, energy_j in (("best", 10.0), ("default", 10.0), ("worst", 50.0)):
        rows += [row("all", role, seed, energy_j + i) for i, seed in enumerate(AGAIN)]
    summary = summarize(raw(of, rows))
    text = flat(text_of(summary))
    assert "0/2, >99 J" in text
    assert "1 more are censored" in text
    assert "needs 5x the best's joules" in text
    cell = [record for record in summary.records if record["censored"]]
    assert [record["setup"] for record in cell] == [{"batch_size": 16, "lr": 1.0}]
    words = words_of(files_of(summary)["figure.svg"])
    assert {"reached by 0 of 2", "10 J", "50 J", "20 J", "best", "worst"} <= set(words)
    assert {"batch size", "learning rate", "8", "16", "0.1", "1.0"} <= set(words)
    assert "energy estimated by cpu-time x 4 W/core; means of 2 seeds" in words


def test_paradigms_are_compared_with_scratch_and_the_front_says_who_is_on_it() -> None:
    of = experiment("paradigms", CELLS, {"paradigm": ("scratch", "multitask")})
    rows = []
    for option, by in (("scratch", 2.0), ("multitask", 1.0)):
        setup = {"paradigm": option}
        rows += [row("all", GRID, s, by, setup=setup, curve=((by, 0.9),)) for s in SEEDS]
        rows += [
            row("all", option, s, by * (1 + i / 10), setup=setup, curve=((by, 0.9),))
            for i, s in enumerate(AGAIN)
        ]
    summary = summarize(raw(of, rows))
    scratch, multitask = summary.records
    assert multitask["ratio"]["value"] == pytest.approx(0.5)
    assert multitask["verdict"] == "cheaper"
    assert scratch["ratio"]["value"] is None
    assert "multitask 1 points" in flat(text_of(summary))
    words = words_of(files_of(summary)["figure.svg"])
    assert {"scratch", "multitask", "target 0.9", "1 J", "2 J"} <= set(words)
    assert data_of(summary)["front"] == [
        {"energy_j": 1.0, "accuracy": 0.9, "paradigm": "multitask"}
    ]


# --- files


def test_raw_data_comes_back_as_it_was_and_no_host_is_in_it() -> None:
    rows = [row("all", GRID, 0, 1.5, curve=((1.0, 0.5),), heads_j={"a": None}, missed=("source",))]
    before = raw(experiment("training", CELLS), rows, skipped={"x": "why"}, words=("epochs=2",))
    assert Raw.from_text(before.to_text()) == before
    assert "host" not in before.to_text()


@pytest.mark.parametrize("text", ["", "{}", "[]", "no json", '{"format": 99}', '{"format": 1}'])
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / RAW).write_text(text)
    with pytest.raises(ConfigError, match="no file that `summarize` has written"):
        read_raw(tmp_path)


def test_the_command_writes_what_it_shows(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [*arm_rows("scratch", [10.0, 11.0, 12.0]), *tuned([5.0, 5.5, 6.0], 20.0)]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / RAW).write_text(raw(experiment("recycled", PAIR), rows).to_text())
    run(["summarize", "--from", "old", "--out", "new"])
    assert "tuned / scratch" in capsys.readouterr().out
    table = list(csv.DictReader(io.StringIO((tmp_path / "new" / "summary.csv").read_text())))
    assert table[0]["ratio_free.value"] == "0.5"
    assert table[0]["provenance"] == "estimated"
    with pytest.raises(ConfigError, match="exists"):
        run(["summarize", "--from", "old", "--out", "new"])
    run(["summarize", "--from", "old", "--out", "new", "--force"])
    with pytest.raises(ConfigError, match="takes the NAME"):
        run(["summarize"])
    with pytest.raises(ConfigError, match="give a folder"):
        run(["summarize", "--from", "nowhere"])
    with pytest.raises(StudyError, match="no experiment 'x' was run here; there are: none yet"):
        run(["summarize", "x"])


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e4))
def test_ticks_lie_on_the_axis(low: float, times: float) -> None:
    marks = ticks(low, low * times)
    assert marks == sorted(set(marks))
    assert all(low <= mark <= low * times for mark in marks)
    assert marks or times < 2.51
