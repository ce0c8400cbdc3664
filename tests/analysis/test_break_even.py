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
from energyopt.core.estimate import Estimate
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

PRIOR = "with 95 % confidence (no repetition: a prior of 25 %)."
TRIALS_ONLY = "This counts the energy of trials only: start-up and the sampler are not metered."


def test_without_repetitions_the_prior_is_named_and_one_seed_is_said_to_be_one():
    toy = study([trial(0, hit(16), default=True), trial(1, hit(4))])
    assert re.search(
        rf"less, -\d+ to 8\d % saved, one seed each\); from 2 to never {re.escape(PRIOR)} "
        rf"{re.escape(TRIALS_ONLY)}$",
        line(toy, "Break-even"),
    )
    found = summarize(toy).against_default
    assert found is not None
    assert found.single
    assert found.ratio.low < 4 / 16 < found.ratio.value  # two single runs are shrunk together


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
    savings = summarize(study(trials)).against_default
    assert savings is not None
    assert savings.basis == "3 repetitions of 2 setups"
    assert savings.other.low < math.sqrt(20) < savings.other.high  # not the cheapest run
    assert not savings.single
    assert "one seed each" not in line(study(trials), "Break-even")
    assert " with 95 % confidence (3 repetitions of 2 setups)" in line(study(trials), "Break-even")
    assert line(study(trials), "Noise: the energy of one setup varies by ")


def test_a_saving_that_may_be_none_may_never_pay_back():
    toy = study([trial(0, hit(8), default=True), trial(1, hit(3))])
    assert f" to never {PRIOR} {TRIALS_ONLY}" in line(toy, "Break-even")


def test_paired_seeds_are_believed_more_than_the_trials():
    """The seeds vary by a factor of 3, but the ratio of the two setups hardly does."""
    toy = confirmed([10.0, 20.0, 15.0, 30.0, 12.0], [5.0, 11.0, 7.0, 15.0, 6.5])
    savings = summarize(toy).against_default
    assert savings is not None
    assert savings.basis == "10 repetitions of 2 setups; 5 paired seeds"
    assert savings.ratio.low < 0.5 < savings.ratio.high < 0.65
    assert savings.other.high / savings.other.low > savings.ratio.high / savings.ratio.low
    assert "confirmation 132 J" in line(toy, "The search cost")


def test_confirmations_are_repetitions_of_their_trials():
    savings = summarize(confirmed([10.0], [5.0])).against_default
    assert savings is not None
    assert savings.basis == "2 repetitions of 2 setups"
    assert "assumed" not in " ".join(summary_lines(summarize(confirmed([10.0], [5.0]))))


def test_planned_trainings_save_or_lose():
    toy = study([trial(0, hit(16), default=True), trial(1, hit(4))])
    assert line(toy, "Over", reuse=10).startswith(
        "Over 10 trainings search and recommended setup save 60 J ("
    )
    assert line(toy, "Over", reuse=1).startswith(
        "Over 1 trainings search and recommended setup lose 12 J ("
    )
    assert line(toy, "Over", reuse=10).endswith(" saved, with 95 % confidence).")
    assert line(toy, "Over") == ""
    assert line(study([trial(0, hit(4))]), "Over", reuse=10) == ""


def test_a_lucky_training_is_told_from_the_best_setup():
    """4 J once and 8 J ever after, against a configuration that always needs 5 J."""
    toy = study([trial(0, hit(16), default=True), trial(1, hit(4)), trial(2, hit(5))])
    again = [(of, seed, energy_j) for of, energy_j in ((1, 8.0), (2, 5.0)) for seed in range(5)]
    confirmations = tuple(confirmation(n, *each) for n, each in enumerate(again))
    toy = StudyRecord(*(toy.name, toy.metrics, (), (), 0.9), toy.trials, confirmations)
    assert line(toy, "Recommended") == "Recommended: lr=0.03 (trial 2)."
    assert line(toy, "Confidence").startswith("Confidence: confirmed with 5 new seeds; ")
    assert summarize(toy).saving == pytest.approx(1 - 5 / 16, rel=0.1)


savings = st.floats(0.1, 100)


@given(savings, savings, st.floats(0, 50), st.floats(0.1, 1e4), st.floats(1, 1e4))
def test_intervals_hold_what_they_are_about(default_j, other_j, half_j, search_j, reuse):
    saved_j, exact = default_j - other_j, Estimate(1.0, 1.0, 1.0)
    saved = Estimate(saved_j, saved_j - half_j, saved_j + half_j)
    found = Savings(exact.mapped(default_j), exact.mapped(other_j), saved, exact, "")
    soonest, latest = found.break_even(search_j)
    assert 0 < soonest <= latest
    net_j, least_j, most_j = found.net_j(search_j, reuse)
    assert least_j <= net_j + 1e-9
    assert net_j <= most_j + 1e-9
    if found.value_j > 0:
        assert soonest <= search_j / found.value_j <= latest


# Commands ----------------------------------------------------------------------------------


def test_commands_print_the_books(studied: Program) -> None:
    text = studied.ok("show", "toy", "--all").text
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
    assert re.search(r"Recommended +.*\(trial \d+\)\nEnergy +[\d.]+ m?J to 0.9", ran.out)
    assert "Train it     python -m energyopt retrain toy --out model.safetensors" in ran.out
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
