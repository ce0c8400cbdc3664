"""The parts of a report, and the command that writes it; its page is in test_page."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution

from energyopt.analysis.cost_factors import Factors, carbon, money, watt_hours
from energyopt.analysis.curves import drawn_curves, rises, telling_trials
from energyopt.analysis.energy_breakdown import devices_j, study_uses, trial_uses
from energyopt.analysis.heat_map import heat_map, searched
from energyopt.analysis.importance import importances
from energyopt.analysis.pareto import at_target, curve_front
from energyopt.analysis.provenance import facts
from energyopt.analysis.search_range import SearchRange
from energyopt.analysis.seed_noise import geometric, noise_model, repeated_setups, seed_band
from energyopt.analysis.summary import summarize
from energyopt.core.conditions import Conditions, Gpu, Machine
from energyopt.core.energy import Energy
from energyopt.core.gpu_trace import GpuTrace, TraceEvent, TraceSample
from energyopt.core.report_settings import ReportSettings
from energyopt.core.study_record import Confirmation, StudyRecord, TrialRecord
from energyopt.errors import ConfigError
from energyopt.report.html.metric_axis import MetricAxis
from energyopt.report.html.sections import report
from energyopt.report.html.write import report_dir, write_report
from tests.analysis.test_summary import mixed
from tests.conftest import Program
from tests.toys import result, study, trial

ACCURACIES = st.floats(0, 1)
CURVES = st.lists(st.tuples(st.integers(1, 50), ACCURACIES), min_size=1, max_size=8)


def made(curves: Sequence[Sequence[tuple[int, float]]]) -> StudyRecord:
    """A study of curves of (J more, accuracy)."""
    trials = []
    for number, steps in enumerate(curves):
        so_far, curve = 0, []
        for index, (more_j, accuracy) in enumerate(steps, 1):
            so_far += more_j
            curve.append((100 * index, float(so_far), accuracy))
        trials.append(trial(number, result(curve, evaluation_j=1, warmup_j=2)))
    return study(trials)


# Uses ------------------------------------------------------------------------------------------


@given(curves=st.lists(CURVES, max_size=5), target=ACCURACIES)
def test_each_joule_is_used_once(
    curves: Sequence[Sequence[tuple[int, float]]], target: float
) -> None:
    record = made(curves)
    for each in record.trials:
        assert each.result is not None
        spent_j = sum(energy.total_j for energy in trial_uses(each, target).values())
        assert spent_j == pytest.approx(each.result.spent_j)
    uses = study_uses(record, target)
    assert sum(e.total_j for e in uses.values()) == pytest.approx(record.search_energy_j)
    assert sum(devices_j(uses).values()) == pytest.approx(record.search_energy_j)
    useful = uses.get("useful", Energy()).total_j
    hits = at_target(record, target)
    assert useful == pytest.approx(sum(point.training_j for _, _, point in hits))


def test_what_became_of_a_trial_says_what_its_training_was_for() -> None:
    uses = {use: energy.total_j for use, energy in study_uses(mixed(), 0.9).items()}
    assert uses == {
        "useful": 32, "missed": 8, "stopped": 8, "failed": 8, "lost": 4,
        "evaluation": 2, "around": 2,
    }  # fmt: skip
    early = result([(100, 2.0, 0.95), (200, 6.0, 0.97)])
    (of,) = study([trial(0, early)]).trials
    beyond = {use: energy.total_j for use, energy in trial_uses(of, 0.9).items()}
    assert beyond == {"useful": 2, "beyond": 4}
    assert [*trial_uses(of, None)] == ["useful"]
    assert trial_uses(trial(1), 0.9) == {}


def test_profiling_and_confirming_have_their_own() -> None:
    training = result([(100, 4.0, 0.95)])
    training = replace(training, books={**training.books, "profiling": Energy(1.0, gpu_j=3.0)})
    again = Confirmation(0, 0, 1000, ("seed=1000",), "complete", result=result([(100, 5.0, 0.95)]))
    whole = study_uses(replace(study([trial(0, training)]), confirmations=(again,)), 0.9)
    assert {use: e.total_j for use, e in whole.items()} == {
        "useful": 4, "profiling": 3, "confirming": 5,
    }  # fmt: skip
    assert devices_j(whole) == {"GPU": 3, "CPU": 9}


# Curves ----------------------------------------------------------------------------------------


@given(curves=st.lists(CURVES, max_size=5), target=ACCURACIES)
def test_rises_rank_trials_as_whole_curves_do(
    curves: Sequence[Sequence[tuple[int, float]]], target: float
) -> None:
    record = made(curves)
    hits = [(curve.first_at(target), each.number) for each, _, curve in rises(record)]
    found = sorted((hit.training_j, -hit.accuracy, number) for hit, number in hits if hit)
    assert [number for _, _, number in found] == [
        each.number for each, _, _ in at_target(record, target)
    ]


@given(curves=st.lists(CURVES, min_size=1, max_size=5), most=st.integers(1, 30))
def test_thinned_curves_keep_the_front_and_the_target(
    curves: Sequence[Sequence[tuple[int, float]]], most: int
) -> None:
    record = made(curves)
    front = curve_front(record)
    drawn = drawn_curves(record, 0.9, front, most)
    assert drawn.points <= max(most, 3 * len(curves)) + len(front)
    assert drawn.all_points == sum(map(len, curves))
    for point in front:
        assert point.samples in {other.samples for other in drawn.curves[point.trial]}
    for each, _, hit in at_target(record, 0.9):
        assert hit in drawn.curves[each.number]


def test_of_many_trials_those_that_say_most_are_shown() -> None:
    cheap = {7: 1.0, 90: 2.0}
    record = study(
        [
            trial(n, result([(100, cheap.get(n, 50.0 + n), 0.95)]), default=n == 55)
            for n in range(100)
        ]
    )
    some = telling_trials(record, 0.9, curve_front(record), max_trials=10)
    numbers = [trial.number for trial in some.trials]
    assert len(numbers) == 10
    assert {7, 90, 55} <= set(numbers)
    assert numbers == sorted(numbers)
    assert telling_trials(record, 0.9, curve_front(record), max_trials=100) is record


def test_an_evaluation_that_answers_no_number_is_not_drawn() -> None:
    record = study([trial(0, result([(100, 1.0, math.nan), (200, 2.0, 0.95)]))])
    assert [p.samples for p in drawn_curves(record, 0.9, curve_front(record)).curves[0]] == [200]
    ((_, _, curve),) = rises(record)
    assert curve.samples == (200,)


# Parameters ------------------------------------------------------------------------------------


def _two_parameters(trials: int, *, missing: bool = False) -> StudyRecord:
    """Energy is that of x, accuracy that of y; z is in half of the trials alone if at all."""
    random_ = random.Random(3)
    records = []
    for number in range(trials):
        params = {"x": random_.random(), "y": random_.random()}
        if missing and number % 2:
            params["z"] = random_.random()
        energy_j = 1 + 100 * (params["x"] - 0.3) ** 2
        curve = [(100, energy_j, 0.9), (200, energy_j + 1, 0.9 + 0.1 * params["y"])]
        records.append(trial(number, result(curve), params=params))
    space = dict.fromkeys(("x", "y", "z"), FloatDistribution(0, 1))
    return replace(study(records), space=space)


def test_the_parameter_that_matters_is_found_for_each_aim() -> None:
    found = importances(_two_parameters(80))
    assert found.trainings == 80
    assert found.energy.shares["x"] > 0.8
    assert found.metric.shares["y"] > 0.8
    assert max(found.energy.shares["y"], found.metric.shares["x"]) < 0.2
    assert found.parameters[0] == "x"
    assert not found.partly
    some = importances(_two_parameters(80, missing=True))
    assert some.partly == ("z",)
    assert some.energy.shares["x"] > 0.8


def test_what_costs_ten_times_is_important_though_a_search_avoided_it() -> None:
    """The table is known: energy is that of num_threads, and a little of lr."""
    random_ = random.Random(1)
    records = []
    for number in range(40):
        avoids = random_.random() < 0.85  # as a sampler does that has seen what it costs
        params = {"num_threads": 1 if avoids else 8, "lr": random_.random()}
        params["batch_size"] = random_.choice((16, 32, 64))
        energy_j = (10 if params["num_threads"] == 8 else 1) * (1 + 0.2 * params["lr"])
        records.append(trial(number, result([(100, energy_j, 0.95)]), params=params))
    shares = importances(study(records)).energy.shares
    assert shares["num_threads"] > 0.8
    assert shares["batch_size"] < 0.1
    assert shares["lr"] < 0.2


def test_importance_is_not_said_where_it_would_be_noise() -> None:
    few = importances(_two_parameters(19))
    assert few.metric.reason == "too few trainings: 19, and 20 are needed"
    assert not few.parameters
    none = importances(_two_parameters(30), target=1.0)
    assert "of the trainings reached 1" in none.energy.reason
    assert not none.energy.shares
    one = study([trial(0, result([(100, 1.0, 0.9)])), trial(1, result([(100, 1.0, 0.9)]))])
    assert importances(one).energy.reason == "lr is the only parameter that was searched"
    random_ = random.Random(2)
    by_chance = study(
        trial(
            n,
            result([(100, random_.uniform(1, 9), 0.95)]),
            params={"lr": random_.random(), "dropout": random_.random()},
        )
        for n in range(30)
    )
    assert "does not predict the others" in importances(by_chance).energy.reason


def test_a_miss_counts_as_dearer_than_all_that_reached_the_target() -> None:
    record = _two_parameters(40)
    cheap_misses = [
        trial(40 + n, result([(100, 0.5, 0.1)]), params={"x": 0.9, "y": 0.5}) for n in range(10)
    ]
    found = importances(replace(record, trials=(*record.trials, *cheap_misses))).energy.shares
    assert found["x"] > found["y"]


def test_a_slice_covers_what_was_searched_and_tells_misses_apart() -> None:
    made_of = {
        64: result([(100, 4.0, 0.95)]),
        128: result([(100, 9.0, 0.5)]),
        16: result([(100, 3.0, 0.5)], end="diverged"),
    }
    trials = [
        trial(n, training, params={"lr": 0.01 * (n + 1), "batch_size": size}, default=n == 0)
        for n, (size, training) in enumerate(made_of.items())
    ]
    space = {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "batch_size": CategoricalDistribution((256, 16, 64, 128)),
    }
    record = replace(study(trials), space=space)
    by_lr = spec_of(record, "slice_lr")
    assert by_lr["layer"][0]["encoding"]["x"]["scale"]["domain"] == [1e-4, 1.0]
    (rows,) = by_lr["datasets"].values()
    assert [row["kind"] for row in rows] == ["reached the target", "missed it", "diverged"]
    assert rows[2]["e"] > 9.0
    assert [row["words"] for row in rows] == ["4 J", "> 9 J", "> 3 J"]
    sizes = spec_of(record, "slice_batch_size")["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert sizes == ["16", "64", "128", "256"]


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=9), st.booleans())
def test_each_value_is_within_its_range(values: Sequence[float], is_log: bool) -> None:
    trials = [
        trial(n, result([(100, 1.0, 0.95)]), params={"lr": value})
        for n, value in enumerate([0.0, *values])  # a default may be 0, also of a log range
    ]
    space = {"lr": FloatDistribution(1e-3, 1.0, log=is_log)}
    searched_range = SearchRange.of(replace(study(trials), space=space), "lr")
    assert all(0 <= searched_range.share(value) <= 1 for value in (0.0, *values))


def test_a_cell_says_the_least_energy_or_what_was_spent_in_vain() -> None:
    trials = [
        trial(0, result([(100, 4.0, 0.95)]), params={"lr": 0.1, "batch_size": 8}),
        trial(1, result([(100, 2.0, 0.95)]), params={"lr": 0.1, "batch_size": 8}),
        trial(2, result([(100, 9.0, 0.5)]), params={"lr": 0.1, "batch_size": 8}),
        trial(3, result([(100, 5.0, 0.5)]), params={"lr": 0.2, "batch_size": 16}),
        trial(4, result([(100, 7.0, 0.6)]), params={"lr": 0.2, "batch_size": 16}),
        trial(5, result([(100, 1.0, 0.95)], end="failed"), params={"lr": 0.2, "batch_size": 16}),
    ]
    record = study(trials)
    assert searched(record) == ("lr", "batch_size")
    heat = heat_map(record, 0.9, "lr", "batch_size")
    assert (heat.across.labels, heat.down.labels) == (("0.1", "0.2"), ("8", "16"))
    reached, missed = heat.cells
    assert (reached.energy_j, reached.trial, reached.trainings, reached.reached) == (2.0, 1, 3, 2)
    assert (missed.energy_j, missed.spent_j, missed.trial, missed.trainings) == (None, 7.0, 4, 2)


def test_a_grid_makes_a_map_and_so_do_any_two_parameters_that_are_asked_for() -> None:
    record = study(
        trial(n, result([(100, 1.0 + n, 0.95)]), params={"lr": n / 9, "a": n % 2, "b": str(n % 3)})
        for n in range(8)
    )
    titles = [figure.title for figure in report(record, over=("b", "a")).figures]
    assert "Energy to 0.9 over b and a" in titles
    assert "heat_map" not in {figure.name for figure in report(record).figures}
    grid = study(
        trial(n, result([(100, 1.0 + n, 0.95)]), params={"lr": n // 3, "batch_size": n % 3})
        for n in range(9)
    )
    assert "Energy to 0.9 over lr and batch_size" in [f.title for f in report(grid).figures]
    with pytest.raises(ConfigError, match="there are: lr, a, b"):
        report(record, over=("a", "a"))


@given(st.lists(st.floats(1e-6, 1e6), min_size=9, max_size=40, unique=True))
def test_each_training_is_in_one_cell(values: Sequence[float]) -> None:
    trials = [
        trial(n, result([(100, 1.0, 0.95)]), params={"lr": value, "kind": "ab"[n % 2]})
        for n, value in enumerate(values)
    ]
    heat = heat_map(study(trials), 0.9, "lr", "kind")
    assert heat.across.binned
    assert sum(cell.trainings for cell in heat.cells) == len(values)
    assert all(0 <= cell.across < len(heat.across.labels) for cell in heat.cells)


# Noise, factors, machines -----------------------------------------------------------------------


def test_repetitions_are_grouped_with_an_interval() -> None:
    energies = (4.0, 5.0, 6.25)
    trials = [
        trial(n, result([(100, energy_j, 0.95)]), params={"lr": 0.1, "seed": n})
        for n, energy_j in enumerate(energies)
    ]
    missed = trial(3, result([(100, 9.0, 0.5)]), params={"lr": 0.1, "seed": 3})
    other = trial(4, result([(100, 9.0, 0.95)]), params={"lr": 0.2, "seed": 0})
    record = study([*trials, missed, other])
    (found,) = repeated_setups(record)
    assert (found.energies_j, found.missed, found.trainings) == (energies, 1, 4)
    mean = found.energy
    assert mean is not None
    assert mean.mean == pytest.approx(5.0)
    assert mean.low is not None
    assert mean.high is not None
    assert mean.low < min(energies) < max(energies) < mean.high  # three values say little
    model = noise_model(record)
    assert model is not None
    assert model.basis == "2 repetitions of 1 setup, 1 that missed the target left out"
    assert 0.05 < model.noise.low < 0.22 < model.noise.high < 0.8
    assert geometric([2.0]) is not None
    assert geometric([]) is None


def test_factors_are_constants_that_are_applied_to_joules() -> None:
    of = Factors(pue=1.5, carbon_g_per_kwh=400, price_per_kwh=0.2, currency="CHF")
    assert of.carbon_g(3.6e6) == pytest.approx(600)
    assert of.price(3.6e6) == pytest.approx(0.3)
    assert of.line() == (
        "Derived from the joules by a PUE of 1.5, 400 gCO2e per kWh and 0.2 CHF per kWh, as "
        "given; not measured."
    )
    assert Factors().line() == ""
    assert Factors().price(1.0) is None
    assert watt_hours(7200) == "2 Wh"
    assert carbon(0.0005) == "500 µgCO2e"
    assert money(12.345, "EUR") == "12.35 EUR"
    assert money(0.00012345, "EUR") == "0.000123 EUR"


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ({"pue": 0.9}, "pue=0.9: a finite number of at least 1 is needed"),
        ({"pue": math.nan}, "pue=nan"),
        ({"carbon_g_per_kwh": -1.0}, "carbon_g_per_kwh=-1"),
        ({"price_per_kwh": math.inf}, "price_per_kwh=inf"),
    ],
)
def test_factors_that_cannot_be_are_refused(of: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Factors(**of)  # type: ignore[arg-type]


def test_the_record_names_each_thing_once_and_what_changed_twice() -> None:
    gpu = Gpu("H", "GPU-1", 0, min_limit_w=100.0, max_limit_w=300.0)
    first = result([(100, 1.0, 0.95)])
    machines = [Machine((gpu,), "550", {"torch": version}) for version in ("2.1", "2.1", "2.2")]
    trials = [
        trial(n, replace(first, start=replace(first.start, machine=machine)))
        for n, machine in enumerate(machines)
    ]
    found = {(fact.what, fact.value): fact.trainings for fact in facts(study(trials))}
    assert found["torch", "2.1"] == 2
    assert found["torch", "2.2"] == 1
    assert found["driver", "550"] == 3
    assert found["GPU 0", "H, GPU-1, limits 100 to 300 W"] == 3


# Files -----------------------------------------------------------------------------------------


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_hold_all_and_are_no_formulas(tmp_path: Path) -> None:
    params = {"=cmd": "=1+1", "lr": 0.1}
    record = study([trial(n, result([(100, 4.0, 0.95)]), params=params) for n in range(60)])
    write_report(report(record), tmp_path / "r", force=False)
    rows = read(tmp_path / "r/tables/trials.csv")
    assert len(rows) == 60
    assert rows[0]["energy_to_target_j"] == "4.0"
    assert rows[0]["params_=cmd"] == "'=1+1"
    assert rows[0]["setup"] == "'=cmd==1+1 lr=0.1"
    assert rows[0]["provenance"] == "estimated"
    assert len(read(tmp_path / "r/tables/curves.csv")) == 60
    for file in (tmp_path / "r/figures").glob("*.svg"):
        assert ET.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(--" not in file.read_text()  # colours of its own


def test_a_folder_of_anybodys_is_not_written_into(tmp_path: Path) -> None:
    content = report(study([trial(0, result([(100, 4.0, 0.95)]))]))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty; add --force"):
        write_report(content, tmp_path, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(ConfigError, match="is no folder"):
        write_report(content, tmp_path / "notes.txt", force=True)
    write_report(content, tmp_path, force=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "/etc"])
def test_a_study_of_any_name_has_a_folder_of_its_own(name: str) -> None:
    folder = report_dir(name)
    assert folder.resolve().parent.parent == Path("studies").resolve()
    assert folder.parent.name.isascii()


# Inside trials ---------------------------------------------------------------------------------


def traced(number: int, *, is_flagged: bool) -> TrialRecord:
    samples = [
        TraceSample(float(s), gpu, 280.0 * s, 280.0, 120.0 if is_flagged and s > 30 else 300.0)
        for s in range(60)
        for gpu in (0, 1)
    ]
    event = TraceEvent("power_limit_changed", 1, 30, 59, "120 W in force, 300 W set by the trial")
    training = result([(100, 2.0, 0.6), (200, 4.0 + number, 0.95)])
    conditions = Conditions(
        flags=(event.flag,) if is_flagged else (), events=(event,) if is_flagged else ()
    )
    return trial(number, replace(training, trace=GpuTrace.of(samples), conditions=conditions))


def test_traces_of_telling_trials_are_drawn_and_what_was_flagged_is_listed(tmp_path: Path) -> None:
    made_of = report(study([traced(number, is_flagged=number == 3) for number in range(6)]))
    (section,) = [part for part in made_of.sections if part.name == "traces"]
    assert [figure.name for figure in section.figures] == ["trace_0", "trace_3"]
    (grid,) = section.grids
    assert [row[:3] for row in grid.rows] == [(3, 1, "power_limit_changed")]
    assert grid.page_rows[0][3:5] == ["30 s", "59 s"]
    write_report(made_of, tmp_path / "r", force=False)
    drawn = (tmp_path / "r/figures/trace_3.svg").read_text()
    assert "power limit in force" in drawn
    assert "flagged" in drawn
    assert ET.fromstring(drawn).tag.endswith("svg")
    assert any(
        line.startswith("Within trials: trial 3 power_limit_changed from 30 s to 59 s (120 W")
        for line in made_of.sentences
    )


def test_without_a_trace_there_is_no_such_part() -> None:
    made_of = report(study([trial(0, result([(100, 2.0, 0.95)]))]))
    assert "traces" not in {part.name for part in made_of.sections}


def test_a_damaged_trace_is_not_drawn() -> None:
    damaged = replace(result([(100, 2.0, 0.95)]), trace=GpuTrace("x"))
    made_of = report(study([trial(0, damaged)]))
    assert "traces" not in {part.name for part in made_of.sections}


def test_a_report_with_targets_of_its_own() -> None:
    record = study(
        [trial(0, result([(100, 2.0, 0.6), (200, 4.0, 0.95)])), trial(1, result([(100, 3.0, 0.7)]))]
    )
    made_of = report(record, 0.65)
    assert made_of.answer.headline.startswith("lr=0.02 reaches 0.65")
    assert [row.rises.first_at(0.65) is not None for row in made_of.ranking] == [True, True]
    assert report(record, 0.99).answer.headline == (
        "None of 2 trials reached 0.99; the best accuracy was 0.9500, still getting better when it "
        "was stopped."
    )


def test_what_the_search_was_told_counts_where_nothing_is_typed() -> None:
    plans = ReportSettings(reuse=30, pue=1.2, price_per_kwh=0.3, currency="CHF")
    told = Factors.of(plans, {"pue": None, "currency": None})
    assert told == Factors(1.2, None, 0.3, "CHF")
    assert Factors.of(plans, {"pue": 1.0, "currency": "EUR"}) == Factors(1.0, None, 0.3, "EUR")
    of = replace(study([trial(0, result([(100, 2.0, 0.95)]), default=True)]), plans=plans)
    assert summarize(of).reuse == 30
    assert summarize(of, reuse=7).reuse == 7


# The command -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_overwrites_its_own_folder_and_no_other(studied: Program) -> None:
    studied.ok("report", "toy")
    folder = studied.folder / "studies/toy/report"
    (folder / "figures/of_before.svg").write_text("<svg/>")
    ran = studied.ok("report", "toy", "--price-per-kwh", "0.3", "--currency", "CHF")
    assert "studies/toy/report/report.html" in ran.text
    assert not (folder / "figures/of_before.svg").exists()
    prices = read(folder / "tables/answer.csv")
    assert float(prices[-1]["price_chf_derived"]) == pytest.approx(
        float(prices[-1]["energy_j"]) / 3.6e6 * 0.3
    )
    refused = studied("report", "toy", "--out", str(folder))
    assert refused.code == 2
    assert "--force" in refused.text


@pytest.mark.slow
def test_the_command_says_what_is_wrong(studied: Program) -> None:
    for words, said in (
        (("none",), "there is no study 'none'"),
        (("toy", "--pue", "0.5"), "pue=0.5: a finite number of at least 1 is needed"),
        (("toy", "--pue", "much"), "must be a number, got much"),
        (("toy", "--currency", "CHF"), "currency=CHF: there is no price that it could be of"),
        (("toy", "--over", "lr", "momentum"), "there are: lr, batch_size"),
        (("toy", "--out", "/proc/none"), "/proc/none cannot be written"),
    ):
        ran = studied("report", *words)
        assert ran.code == 2
        assert said in ran.text
        assert "Traceback" not in ran.text


# The front --------------------------------------------------------------------------------------


def spec_of(record: StudyRecord, name: str) -> dict[str, Any]:
    (figure,) = (figure for figure in report(record).figures if figure.name == name)
    spec: dict[str, Any] = figure.chart.to_dict()
    return spec


def test_a_front_shows_errors_on_a_log_axis_and_where_its_joules_come_from() -> None:
    slow = trial(0, result([(100, 10.0, 0.8), (200, 40.0, 0.95)]), default=True)
    fast = trial(1, result([(100, 5.0, 0.8), (200, 10.0, 0.95)]))
    record = study([slow, fast])
    layers = spec_of(record, "front")["layer"]
    x, y = (layers[0]["encoding"][channel] for channel in "xy")
    assert x["title"] == "training energy so far (estimated)"
    assert x["axis"]["values"] == [5, 10, 20]
    assert y["title"] == "validation error (1 - accuracy)"
    assert y["scale"]["type"] == "log"
    assert y["axis"]["values"] == [0.05, 0.1, 0.2]
    words = [layer["mark"].get("text") for layer in layers]
    assert "recommended" in words
    savings = summarize(record).against_default
    assert savings is not None
    assert f"{1 / savings.ratio.value:.2g}x less energy than the default" in words


@given(curves=st.lists(CURVES, min_size=1, max_size=5))
def test_no_value_of_a_front_is_off_the_axis(
    curves: Sequence[Sequence[tuple[int, float]]],
) -> None:
    record = made(curves)
    front = [point.accuracy for point in curve_front(record)]
    axis = MetricAxis.of(drawn_curves(record, 0.9, curve_front(record)), [0.9, *front])
    low, high = axis.domain
    assert 0 < low < high
    assert all(low <= axis.place(value) <= high for value in [0.9, *front])


def test_a_band_of_seeds_lies_between_the_cheapest_and_the_dearest() -> None:
    params = {"lr": 0.1}
    trials = [
        trial(0, result([(100, 2.0, 0.5), (200, 4.0, 0.95)]), params={**params, "seed": 0}),
        trial(1, result([(100, 3.0, 0.7), (200, 9.0, 0.95)]), params={**params, "seed": 1}),
    ]
    assert seed_band(study(trials), params, 0.9) == [(0.5, 2.0, 3.0), (0.9, 4.0, 9.0)]
    assert seed_band(study(trials[:1]), params, 0.9) == []
