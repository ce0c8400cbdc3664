"""The benchmarks of searches: the answer of a problem, the books of a search, the verdict."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.curve_search import CurveSession, Search, search
from benchmarks.curve_sets import Point, find_sets
from benchmarks.fronts import Area, Found, best_area, joules_to
from benchmarks.methods import METHODS
from benchmarks.problems import Problem, Setup, find_problems
from benchmarks.session import Session
from benchmarks.verdicts import Moment, Verdict, compare, judge, summarise
from energyopt.errors import ConfigError, StorageError
from energyopt.storage.reader import read_study
from tests.conftest import ROOT, TINY, Program, Ran
from tests.recorded_tables import (
    epoch_j,
    write_architectures,
    write_curves,
    write_error_rates,
    write_tables,
)

COLUMNS = (
    "method,gpu,workload,seed,e_star_j,first_hit,j5,censored,search_energy_j,profiling_energy_j"
)


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    (found,) = find_problems(write_tables(tmp_path))
    return found


def benchmark(name: str, *words: object) -> Ran:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / name, *map(str, words)],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


# Problems ----------------------------------------------------------------------------------------


def test_the_answer_is_the_setup_of_the_least_mean_energy(problem: Problem):
    assert problem.best_j == pytest.approx(5 * epoch_j(32, 150))
    assert [setup for setup in problem.energy_j if problem.good(setup)] == [Setup(32, 150)]
    assert problem.default == Setup(64, 200)
    assert problem.default_cost == pytest.approx(8 * epoch_j(64, 200) / problem.best_j)


def test_a_setup_with_a_run_that_misses_the_target_is_no_answer(problem: Problem):
    assert {setup.batch_size for setup in problem.energy_j} == {16, 32, 64}
    assert not problem.good(Setup(128, 150))
    assert not problem.good(None)


def test_all_folders_workloads_and_gpus_are_found_and_can_be_chosen(tmp_path: Path):
    write_tables(tmp_path / "one", gpu="a")
    write_tables(tmp_path / "two", workload="wine", gpu="b")
    write_error_rates(tmp_path / "three")
    assert [p.name for p in find_problems(tmp_path)] == [
        "digits on a",
        "speech on toy",
        "wine on b",
    ]
    assert [p.name for p in find_problems(tmp_path, ["wine"], ["b"])] == ["wine on b"]
    with pytest.raises(ConfigError, match=r"--gpus v100 is not in .*; there are a, b, toy"):
        find_problems(tmp_path, gpus=["v100"])


# A search's books --------------------------------------------------------------------------------


def test_all_methods_meet_the_same_runs_on_each_gpu(problem: Problem):
    def hits(session: Session) -> list[float | None]:
        return [session.begin_size(size).curve.first_at(0.9) for size in (32, 128, 32, 32, 32)]

    assert hits(Session(problem, 5)) == hits(Session(problem, 5, slice_s=1.0))
    draws = {tuple(hits(Session(problem, seed))) for seed in range(8)}
    assert len(draws) > 1


def test_a_training_with_a_limit_burns_what_was_recorded(problem: Problem):
    session = Session(problem, 0)
    session.train_size(16, 150.0)
    assert session.spent_j == pytest.approx(4 * epoch_j(16, 150))
    assert session.profiling_j == 0


def test_profiling_is_counted_once_a_batch_size_and_tells_its_limit(problem: Problem):
    session = Session(problem, 0)
    assert session.setup(16) == Setup(16, 200)
    session.train_size(16)
    once_j = session.profiling_j
    assert session.setup(16) == Setup(16, 150)
    assert session.spent_j == pytest.approx(4 * epoch_j(16, 150) + once_j)
    session.train_size(16)
    assert session.profiling_j == once_j
    assert 0 < once_j < epoch_j(16, 200) / 4  # three limits for 5 s each, in epochs of 60 s


def test_a_trial_that_pauses_burns_no_more_than_one_that_does_not(problem: Problem):
    def train(*until_j: float | None) -> Session:
        session = Session(problem, 0)
        training = session.begin_size(64)
        for until in until_j:
            session.train(training, epochs=30, until_j=until)
        return session

    paused, whole = train(0.0, 2 * epoch_j(64, 150), 1e9), train(None)
    (seen,), (expected,) = (
        [training.observed() for training in s.trainings] for s in (paused, whole)
    )
    assert paused.spent_j == pytest.approx(whole.spent_j)
    assert paused.profiling_j == pytest.approx(whole.profiling_j)
    assert seen.joules == pytest.approx(expected.joules)
    assert (seen.state, seen.reached) == ("ended", True)


def test_a_paused_trial_tells_what_an_epoch_costs(problem: Problem):
    session = Session(problem, 0)
    training = session.begin_size(64)
    session.train(training, epochs=30, until_j=0.0)
    seen = training.observed()
    assert (seen.state, seen.epochs, seen.default) == ("paused", (), True)
    assert seen.epoch_j == pytest.approx(epoch_j(64, 150))
    assert 0 < session.spent_j < epoch_j(64, 200)


@pytest.mark.parametrize("name", ["random", "tpe", "motpe", "nsga2", "tpe_profiled", "zeus"])
def test_each_method_comes_to_recommend_what_is_good(problem: Problem, name: str):
    session = Session(problem, 1)
    for recommended in itertools.islice(METHODS[name](session), 60):
        if problem.good(recommended):
            break
    else:
        pytest.fail(f"{name} recommended nothing good")
    assert session.spent_j == pytest.approx(session.clock.energy_j)


def test_zeus_splits_the_first_epoch_of_a_batch_size_over_all_limits(problem: Problem):
    session = Session(problem, 0)
    next(METHODS["zeus"](session))
    first_j = sum(epoch_j(64, w) for w in (100, 150, 200)) / 3
    assert session.spent_j == pytest.approx(first_j + 7 * epoch_j(64, 150))
    assert session.profiling_j == pytest.approx(first_j - epoch_j(64, 150))


def test_zeus_stops_what_costs_twice_the_least(problem: Problem):
    session = Session(problem, 0)
    method = METHODS["zeus"](session)
    for _ in range(8):
        next(method)
    least_j = min(t.result.spent_j for t in session.trainings if t.result and t.result.reached)
    for training in session.trainings[1:]:
        assert training.result is not None
        assert training.result.spent_j <= 2.5 * least_j  # and what the first epoch cost more


# Verdicts ----------------------------------------------------------------------------------------


def test_j5_is_what_was_burnt_until_it_is_good_and_stays_good():
    moments = [
        Moment(1, False),
        Moment(2, True),
        Moment(6, False),
        Moment(7, True),
        Moment(9, True),
    ]
    assert judge(moments) == Verdict(2, 7, False, (True, True, True))


def test_what_happens_beyond_the_cap_does_not_count():
    assert judge([Moment(30, False), Moment(41, True)]) == Verdict(40, 40, True, (False,) * 3)
    assert judge([Moment(30, True), Moment(41, False)]).j5 == 30


def test_a_search_that_loses_what_it_had_is_censored():
    verdict = judge([Moment(4, True), Moment(12, False)])
    assert (verdict.first_hit, verdict.j5, verdict.censored) == (4, 40, True)
    assert verdict.good_at == (True, True, False)


def made(*j5s: float) -> list[Verdict]:
    return [Verdict(j5, j5, j5 >= 40, (j5 <= 5, j5 <= 10, j5 <= 20)) for j5 in j5s]


def test_a_summary_is_over_problems_of_medians_over_seeds():
    summary = summarise({"a": made(1, 2, 40), "b": made(8, 8, 8)})
    assert summary.j5 == pytest.approx(4.0)
    assert summary.censored == pytest.approx(1 / 6)
    assert (summary.worst, summary.worst_problem) == (8, "b")
    assert summary.good_at == pytest.approx((2 / 6, 5 / 6, 5 / 6))
    assert 2 <= summary.low <= summary.j5 <= summary.high <= 8


def test_methods_are_compared_problem_by_problem_with_holm_s_correction():
    names = [f"p{i}" for i in range(8)]
    base = {name: 4.0 + i for i, name in enumerate(names)}
    comparison = compare(
        {
            "base": base,
            "better": {name: value / 2 for name, value in base.items()},
            "same": base,
        },
        "base",
    )
    better = comparison["better"]
    assert better.p_value == pytest.approx(2 / 128)
    assert (better.wins, better.losses) == (8, 0)
    assert comparison["same"] == (1.0, 0, 0)


# Curves ------------------------------------------------------------------------------------------


def test_curves_are_found_by_their_columns(tmp_path: Path):
    write_curves(tmp_path / "a" / "mine.csv")
    write_architectures(tmp_path / "nets.csv")
    write_tables(tmp_path / "tables")
    curves, nets = find_sets(tmp_path, None, 0.9)
    assert (curves.dataset, curves.workload, curves.target) == ("mine", "toy", 0.9)
    assert curves.space == {
        "optimizer": ["adam", "sgd"], "lr": [0.001, 0.01], "batch_size": [16, 64],
    }  # fmt: skip
    assert curves.best_j == 4.0 * 5 * 1.0  # five epochs of a CPU second
    assert curves.good(("adam", 0.01, 64))
    assert not curves.good(("adam", 0.01, 16))
    assert (nets.workload, nets.target, len(nets.recordings)) == ("4V", None, 3)


def test_a_target_that_hardly_any_reaches_is_lowered(tmp_path: Path):
    write_curves(tmp_path / "mine.csv")
    (curves,) = find_sets(tmp_path, None, 0.99)
    assert curves.target == pytest.approx(0.97)


def test_a_suggestion_is_snapped_to_the_nearest_recorded_architecture(tmp_path: Path):
    write_architectures(tmp_path / "nets.csv")
    (nets,) = find_sets(tmp_path, None, 0.9)
    edges = {key: 0 for key in nets.space if key.startswith("edge")}
    small = nets.snap({**edges, "edge_0_3": 1, "op_1": "0", "op_2": "1"})
    dead_end = nets.snap({**edges, "edge_0_3": 1, "edge_0_1": 1, "op_1": "0", "op_2": "none"})
    assert small == dead_end
    assert nets.recordings[small][0].end_j == pytest.approx(5 * 0.001 * 3.6e6)


def test_hypervolume_grows_with_points_that_none_dominates():
    area = Area(Point(100.0, 0.0))
    sizes = []
    for point in [Point(10, 0.5), Point(20, 0.4), Point(1, 0.2), Point(10, 0.5), Point(5, 0.9)]:
        area.add(point)
        sizes.append(area.size / 2.302585093)  # decades of energy
    assert sizes == pytest.approx([0.5, 0.5, 0.7, 0.7, 0.2 * 2 + 0.7 * 1.30103], rel=1e-6)


def test_joules_are_counted_until_a_share_of_the_best_front_is_there():
    found = [Found(7.0, Point(10, 0.5)), Found(9.0, Point(10, 0.9))]
    worst, best = Point(100.0, 0.0), 0.9 * 2.302585093
    assert joules_to(0.5, found, worst, best) == 7.0
    assert joules_to(0.95, found, worst, best) == 9.0
    assert joules_to(0.95, found[:1], worst, best) is None


@pytest.mark.parametrize("name", ["random", "tpe+energy_cap", "tpe+dominance", "random+halving"])
@pytest.mark.parametrize("front", [True, False])
def test_each_search_of_curves_keeps_its_books(tmp_path: Path, name: str, front: bool):
    write_curves(tmp_path / "mine.csv")
    (curves,) = find_sets(tmp_path, None, 0.9)
    session = CurveSession(curves, 0, front=front)
    recommended = list(itertools.islice(search(session, Search.of(name, {})), 25))
    assert session.spent_j == pytest.approx(session.clock.energy_j)
    assert [each.spent_j for each in session.found] == sorted(
        each.spent_j for each in session.found
    )
    assert front or recommended[-1] in curves.energy_j
    if front:
        area = best_area(curves, ends=False)
        assert joules_to(0.3, session.found, Point(60.0, 0.06), area) is not None


def test_searches_that_are_not_there_are_refused_with_those_that_are():
    with pytest.raises(ConfigError, match=r"choose a sampler of random, tpe"):
        Search.of("annealing", {})
    with pytest.raises(ConfigError, match=r"\+typo is unknown: choose of energy_cap"):
        Search.of("tpe+typo", {})


# The commands ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_replay_prints_the_table_and_writes_a_row_a_search(tmp_path: Path):
    write_tables(tmp_path / "tables")
    words = ("--data", tmp_path, "--methods", "random", "tpe_profiled", "--seeds", 3)
    ran = benchmark("replay.py", *words, "--out", tmp_path / "one.csv", "--per-problem")
    assert ran.code == 0, ran.text
    assert "Floor: the default once costs 1.45 E*, default and optimum 2.45." in ran.out
    for words_of in ("random ", "tpe_profiled", "digits on toy", "Wilcoxon over problems"):
        assert words_of in ran.out
    again = benchmark("replay.py", *words, "--out", tmp_path / "two.csv", "--jobs", 1)
    assert again.code == 0, again.text
    text = (tmp_path / "one.csv").read_text()
    assert text == (tmp_path / "two.csv").read_text()
    assert text.splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["method"], row["seed"]) for row in rows] == [
        (method, str(seed)) for method in ("random", "tpe_profiled") for seed in range(3)
    ]
    assert {row["e_star_j"] for row in rows} == {rows[0]["e_star_j"]}
    assert all(float(row["first_hit"]) <= float(row["j5"]) <= 40 for row in rows)


def test_options_go_to_the_methods(tmp_path: Path):
    write_tables(tmp_path)
    words = ("--data", tmp_path, "--seeds", 1, "--methods")
    ran = benchmark("replay.py", *words, "zeus", "zeus:beta=1.2")
    assert ran.code == 0, ran.text
    assert re_lines(ran.out, "zeus")[0] != re_lines(ran.out, "zeus:beta=1.2")[0]


def re_lines(text: str, name: str) -> list[str]:
    return [line.removeprefix(name) for line in text.splitlines() if line.split(" ")[0] == name]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--methods", "annealing"), "--methods annealing is unknown: choose of random, tpe"),
        (("--workloads", "squad"), "--workloads squad is not in"),
        (("--set", "beta"), "beta is no KEY=VALUE, such as --set pause=false"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, words: tuple[str, ...], says: str):
    ran = benchmark("replay.py", "--data", write_tables(tmp_path), "--seeds", 1, *words)
    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.text


@pytest.mark.skipif(importlib.util.find_spec("neps") is not None, reason="NePS is installed")
def test_a_method_whose_package_is_missing_says_what_to_install(tmp_path: Path):
    words = ("--methods", "neps_moasha", "--seeds", 1)
    ran = benchmark("replay.py", "--data", write_tables(tmp_path), *words)
    assert ran.code == 2
    assert "pip install neural-pipeline-search" in ran.err
    assert "Traceback" not in ran.text


@pytest.mark.parametrize("script", ["replay.py", "hypervolume.py"])
def test_a_folder_without_tables_is_refused(tmp_path: Path, script: str):
    ran = benchmark(script, "--data", tmp_path)
    assert ran.code == 2
    assert "error: --data" in ran.err
    assert "Traceback" not in ran.text


def test_hypervolume_prints_a_table_a_set_and_writes_a_row_a_search(tmp_path: Path):
    write_curves(tmp_path / "mine.csv")
    write_architectures(tmp_path / "nets.csv")
    ran = benchmark(
        "hypervolume.py", "--data", tmp_path, "--methods", "random", "tpe+dominance",
        "--seeds", 2, "--out", tmp_path / "out.txt", "--target", 0.9,
    )  # fmt: skip
    assert ran.code == 0, ran.text
    for words in ("mine toy: 8 setups, target 0.9", "nets 4V: 3 setups", "tpe+dominance"):
        assert words in ran.out
    rows = list(csv.DictReader((tmp_path / "out.txt").read_text().splitlines()))
    assert len(rows) == 8
    assert set(COLUMNS.split(",")) < set(rows[0])
    assert all(float(row["hv90"]) <= float(row["hv95"]) for row in rows)
    assert [row["j5"] == "" for row in rows] == [row["dataset"] == "nets" for row in rows]


@pytest.mark.slow
def test_an_exported_grid_is_played_back(energyopt: Program):
    axes = ("lr=choice(1e-3,1e-2)", "batch_size=choice(32,64)", "seed=choice(0,1)")
    energyopt.ok("-m", *TINY, *axes, "sampler=grid", "stopping=none", "study=grid")
    energyopt.ok("export", "grid", "--out", "sets/mine")
    (found,) = find_sets(energyopt.folder / "sets", ["mine"], 1.0)
    assert (found.dataset, found.workload) == ("mine", "grid")
    assert found.space == {"lr": [0.001, 0.01], "batch_size": [32, 64]}
    assert [len(recording) for recording in found.recordings.values()] == [2] * 4
    study = read_study(str(energyopt.folder / "studies/energyopt.db"), "grid")
    first, result = study.results[0]
    played = found.recordings[first.params["lr"], first.params["batch_size"]][0]
    assert played.end_j == pytest.approx(result.curve.training_j[-1])
    assert played.curve.accuracy == result.curve.accuracy


def test_what_is_no_grid_is_refused(tmp_path: Path):
    shutil.copytree(ROOT / "studies/digits/export", tmp_path / "digits")
    with pytest.raises(ConfigError, match="trial 0 did not train to its end"):
        find_sets(tmp_path, None, 0.95)
    (tmp_path / "digits/trials.jsonl").write_text("")
    with pytest.raises(StorageError, match=r"trials\.jsonl"):
        find_sets(tmp_path, None, 0.95)
