"""The energy of a search by outcome and purpose, and its break-even with the uncertainty."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.analysis.break_even import Savings
from energyopt.analysis.summary import summarize
from energyopt.core.study_record import Confirmation, StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.report.sentences import summary_lines
from tests.conftest import Program
from tests.toys import result, study, trial

MISS = ((100, 4, 0.5),)


def hit(energy_j: float, **more: float) -> TrialResult:
    return result([(100, energy_j, 0.9)], **more)  # type: ignore[arg-type]


def line(of: StudyRecord, begin: str, *, reuse: float | None = None) -> str:
    found = [line for line in summary_lines(summarize(of, reuse=reuse)) if line.startswith(begin)]
    return found[0] if found else ""


def confirmation(number: int, of: int, seed: int, energy_j: float) -> Confirmation:
    words = (f"lr={(of + 1) / 100}", f"seed={seed}")
    return Confirmation(number, of, seed, words, "complete", result=hit(energy_j))


def confirmed(default: list[float], other: list[float]) -> StudyRecord:
    """A study with a default of 16 J and a setup of 4 J, each trained again with some seeds."""
    toy = study([trial(0, hit(16), default=True), trial(1, hit(4))])
    pairs = [*((0, seed, of) for seed, of in enumerate(default))]
    pairs += [(1, seed, of) for seed, of in enumerate(other)]
    confirmations = tuple(confirmation(n, *pair) for n, pair in enumerate(pairs))
    return StudyRecord(
        toy.name, toy.metrics, (), toy.sweep, 0.9, toy.trials, confirmations=confirmations
    )


# What it cost ------------------------------------------------------------------------------


def test_joules_are_told_by_what_became_of_the_trials():
    toy = study(
        [
            trial(0, hit(8)),
            trial(1, result(MISS)),
            trial(2, result(MISS, end="stopped")),
            trial(3, result([(100, 2, 0.5)], end="paused"), state="paused"),
            trial(4, result([(100, 1, 0.5)], end="failed")),
            trial(5, result([(100, 1, 0.5)], end="lost")),
        ]
    )
    assert line(toy, "By outcome") == (
        "By outcome: 8 J reached the target, 4 J missed it, 4 J stopped, 2 J paused, 1 J failed, "
        "1 J lost."
    )


def test_where_all_reached_the_target_nothing_is_told_of_fates():
    assert line(study([trial(0, hit(8))]), "By outcome") == ""


ENDS = st.sampled_from(["epochs", "stopped", "failed", "lost", "paused", "target"])


@given(
    st.lists(st.tuples(st.integers(1, 100), st.booleans(), ENDS), max_size=8),
    st.lists(st.integers(1, 100), max_size=4),
)
def test_fates_and_purposes_sum_up_to_all_that_was_burnt(rows, confirming):
    trials = [
        trial(n, result([(100, energy_j, 0.95 if high else 0.5)], end=end, warmup_j=1.0))
        for n, (energy_j, high, end) in enumerate(rows)
    ]
    toy = study(trials)
    confirmations = tuple(confirmation(n, 0, n, energy_j) for n, energy_j in enumerate(confirming))
    toy = StudyRecord(*("toy", toy.metrics, (), (), 0.9), toy.trials, confirmations)
    summary = summarize(toy)
    spent_j = sum(energy_j + 1 for energy_j, _, _ in rows) + sum(confirming)
    assert summary.search_energy_j == spent_j
    assert sum(summary.energy_by_purpose_j.values()) == pytest.approx(spent_j)
    assert sum(summary.energy_by_outcome_j.values()) == pytest.approx(spent_j)


# When it pays back -------------------------------------------------------------------------

ASSUMED = (
    "by a seed noise of 10 %, assumed and too small: repeats of small trainings varied by a fifth "
    "to a third."
)
TRIALS_ONLY = "This counts the energy of trials only: start-up and the sampler are not metered."


def test_seed_noise_is_assumed_where_nothing_was_repeated():
    toy = study([trial(0, hit(16), default=True), trial(1, hit(4))])
    assert line(toy, "Break-even").endswith(
        f"saves 75.0 % of it, one seed each); from 2 to 3 {ASSUMED} {TRIALS_ONLY}"
    )
    found = summarize(toy).against_default
    assert found is not None
    assert found.assumed
    assert found.single
    assert found.half_j == pytest.approx(1.96 * 0.1 * math.hypot(16, 4), rel=1e-3)


def test_repetitions_say_how_much_noise_there_is():
    setups = {"default": [16, 17, 15], "other": [4, 5]}
    trials = [
        trial(n, hit(energy_j), params={"lr": name}, default=name == "default" and at == 0)
        for n, (name, at, energy_j) in enumerate(
            (name, index, energy_j)
            for name, setup in setups.items()
            for index, energy_j in enumerate(setup)
        )
    ]
    summary = summarize(study(trials))
    assert summary.against_default is not None
    assert re.fullmatch(r"a seed noise of 1\d %, of its repetitions", summary.against_default.basis)
    assert summary.against_default.other_j == pytest.approx(math.sqrt(20))  # not the cheapest run
    assert not summary.against_default.single
    assert "one seed each" not in line(study(trials), "Break-even")
    assert " with 95 % confidence, by a seed noise of 1" in line(study(trials), "Break-even")


def test_a_saving_that_may_be_none_may_never_pay_back():
    toy = study([trial(0, hit(4.2), default=True), trial(1, hit(4))])
    assert line(toy, "Break-even").endswith(f"; from 7 to never {ASSUMED} {TRIALS_ONLY}")


def test_paired_seeds_are_believed_before_the_trials():
    toy = confirmed([10.0, 20.0, 15.0], [5.0, 15.0, 10.0])
    summary = summarize(toy)
    assert summary.against_default == Savings(15.0, 10.0, 0.0, "3 paired seeds")
    assert summary.break_even == (20 + 75) / 5
    assert summary.saving == pytest.approx(1 / 3)
    assert "with 95 % confidence, by 3 paired seeds." in line(toy, "Break-even")
    assert "confirmation 75 J" in line(toy, "The search cost")
    unpaired = confirmed([10.0], [5.0])
    basis = summarize(unpaired).against_default
    assert basis is not None
    assert basis.basis.endswith("assumed")


def test_planned_trainings_save_or_lose():
    toy = study([trial(0, hit(16), default=True), trial(1, hit(4))])
    assert line(toy, "Over", reuse=10).startswith(
        "Over 10 trainings search and recommended setup save 100 J ("
    )
    assert line(toy, "Over", reuse=1).startswith(
        "Over 1 trainings search and recommended setup lose 8 J ("
    )
    assert line(toy, "Over", reuse=10).endswith(f" saved {ASSUMED[:-1]}).")
    assert line(toy, "Over") == ""
    assert line(study([trial(0, hit(4))]), "Over", reuse=10) == ""


def test_a_lucky_training_is_told_from_the_best_setup():
    """4 J once and 8 J ever after, against a configuration that always needs 5 J."""
    toy = study([trial(0, hit(16), default=True), trial(1, hit(4)), trial(2, hit(5))])
    again = [(of, seed, energy_j) for of, energy_j in ((1, 8.0), (2, 5.0)) for seed in range(5)]
    confirmations = tuple(confirmation(n, *each) for n, each in enumerate(again))
    toy = StudyRecord(*(toy.name, toy.metrics, (), (), 0.9), toy.trials, confirmations)
    assert line(toy, "Cheapest setup") == (
        "Cheapest setup reaching 0.9: lr=0.03 - 5 J to target (geometric mean of 5 new seeds; its "
        "cheapest trial is 2)."
    )
    assert line(toy, "Allowing for seed noise") == ""
    assert summarize(toy).saving == pytest.approx(1 - 5 / 16)


savings = st.floats(0.1, 100)


@given(savings, savings, st.floats(0, 50), st.floats(0.1, 1e4), st.floats(1, 1e4))
def test_intervals_hold_what_they_are_about(default_j, other_j, half_j, search_j, reuse):
    found = Savings(default_j, other_j, half_j, "")
    soonest, latest = found.break_even(search_j)
    assert 0 < soonest <= latest
    net_j, least_j, most_j = found.net_j(search_j, reuse)
    assert least_j <= net_j + 1e-9
    assert net_j <= most_j + 1e-9
    if found.value_j > 0:
        assert soonest <= search_j / found.value_j <= latest


# Commands ----------------------------------------------------------------------------------


def test_commands_print_the_books(studied: Program) -> None:
    for words in (("show", "toy"), ("pareto", "toy")):
        text = studied.ok(*words).text
        assert "The search cost" in text
        assert re.search(r"By outcome: [\d.]+ m?J reached the target", text)
        assert "Break-even:" in text
    studied.ok("pareto", "toy", "--out", "books.json", "--force")
    data = json.loads((studied.folder / "books.json").read_text())
    assert sum(data["books"]["by_purpose_j"].values()) == pytest.approx(data["search_energy_j"])
    assert sum(data["books"]["by_fate_j"].values()) == pytest.approx(data["search_energy_j"])


@pytest.mark.parametrize("command", ["show", "pareto"])
def test_a_wrong_number_of_trainings_is_refused(studied: Program, command: str) -> None:
    ran = studied(command, "toy", "--reuse", "0")
    assert ran.code == 2
    assert "--reuse: must be a finite number above 0, got 0" in ran.text


@pytest.mark.slow
def test_the_recommended_setup_comes_with_its_words(studied: Program) -> None:
    ran = studied.ok("recommend", "toy")
    assert "Expected energy to 0.9 (validation accuracy; simulated by" in ran.text
    assert re.search(r"Recommended: lr=[\d.]+ batch_size=\d+ - [\d.]+ m?J to the target", ran.text)
    assert re.search(r"within 5.0 % of the best setup tried with probability [\d.]+ %", ran.text)
    assert re.search(r"energyopt retrain toy --trial \d+ --out model.safetensors", ran.text)
    data = json.loads(studied.ok("recommend", "toy", "--json", "--within", "0.1").out)
    assert (data["study"], data["target"], data["within"]) == ("toy", 0.9, 0.1)
    best = data["setups"][0]
    assert best["reached"] >= 1
    assert best["interval_j"][0] < best["energy_j"] < best["interval_j"][1]
    assert all(0 <= each["probability"] <= 1 for each in data["setups"])
    again = studied.ok(*best["overrides"])
    assert "to the target 0.9" in again.text


@pytest.mark.mostly_slow(every=10)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nope",), "there is no study 'nope'"),
        (("toy", "--within", "-1"), "must be at least 0 and at most 1, got -1"),
        (("toy", "--target", "0"), "must be above 0 and at most 1, got 0"),
    ],
)
def test_what_cannot_be_recommended_is_said(
    studied: Program, words: tuple[str, ...], says: str
) -> None:
    ran = studied("recommend", *words)
    assert ran.code == 2
    assert says in ran.text
    assert "Traceback" not in ran.text
