"""A study ends when its budget is spent, or when its next trial is not worth its joules."""

from __future__ import annotations

import math
import random
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.search.budget import Budget, TrialValue, expected_saving_j, worth_of_next
from energyopt.search.schedule import TrialSnapshot
from energyopt.storage.reader import read_study
from tests.conftest import SPACE, TINY, Program, trials_of

TARGET = 0.9


def hit(number: int, energy_j: float, spent_j: float | None = None) -> TrialSnapshot:
    """A trial that reached the target at once, and used as much energy again for other purposes."""
    spent_j = 2 * energy_j if spent_j is None else spent_j
    return TrialSnapshot(
        number, {}, (1.0,), (energy_j,), (TARGET,), energy_j, spent_j, reached=True
    )


def miss(number: int, spent_j: float) -> TrialSnapshot:
    return TrialSnapshot(number, {}, (1.0,), (spent_j,), (TARGET - 0.1,), spent_j, spent_j)


def trials(energies: Sequence[float | None]) -> list[TrialSnapshot]:
    return [miss(n, 10.0) if e is None else hit(n, e) for n, e in enumerate(energies)]


@dataclass
class Toy:
    """The books of a made-up study."""

    burnt_j: float = 0.0
    time_s: float = 0.0

    def spent_j(self) -> float:
        return self.burnt_j

    def wall_time_s(self) -> float:
        return self.time_s

    def observed(self) -> list[TrialSnapshot]:
        return []


# The rule ----------------------------------------------------------------------------------


def test_nothing_ends_a_study_without_a_budget():
    assert Budget().over(Toy(1e9, 1e9)) is None


def test_a_spent_budget_says_which_it_is():
    assert Budget(max_j=5).over(Toy(4.9)) is None
    assert Budget(max_j=5).over(Toy(5.0)) == "search_budget_j=5 is spent: 5 J"
    assert Budget(max_s=60).over(Toy(time_s=61)) == "search_budget_s=60 is spent: 1 min 01 s"


def test_the_next_trial_must_save_what_it_costs_in_the_planned_trainings():
    budget = Budget(planned_trainings=10, estimate=lambda _: TrialValue(saving_j=0.3, cost_j=3.1))
    assert budget.over(Toy()) == (
        "the next joule is not worth it: a trial is expected to cost 3.1 J, and to save 3 J in "
        "10 planned trainings"
    )
    assert Budget(planned_trainings=11, estimate=lambda _: TrialValue(0.3, 3.1)).over(Toy()) is None
    assert Budget(planned_trainings=1, estimate=lambda _: None).over(Toy()) is None


@pytest.mark.parametrize("energies", [[], [None] * 30, [1.0, 2.0, 3.0, None, None]])
def test_few_trials_that_reached_the_target_say_nothing(energies):
    assert worth_of_next(trials(energies), TARGET) is None


def test_trials_that_run_do_not_count():
    running = [TrialSnapshot(n, {}, state="running") for n in range(4, 20)]
    done = trials([1.0, 2.0, 3.0, 4.0])
    assert worth_of_next([*done, *running], TARGET) == worth_of_next(done, TARGET)


def test_a_search_that_still_finds_much_goes_on_and_one_that_does_not_ends():
    wide = [8.0, 1.5, 6.0, 2.0, 4.0, 1.0, 3.0, 5.0]
    settled = [*wide, *[1.05, 1.1] * 10]
    found, settles = (worth_of_next(trials(each), TARGET) for each in (wide, settled))
    assert found is not None
    assert settles is not None
    assert 500 * found.saving_j > found.cost_j
    assert 100 * settles.saving_j < settles.cost_j


energies = st.lists(
    st.one_of(st.none(), st.floats(-3, 3).map(math.exp)), min_size=4, max_size=40
).filter(lambda found: sum(each is not None for each in found) >= 4)


@given(energies)
def test_a_trial_saves_at_most_what_the_best_one_costs(found):
    worth = worth_of_next(trials(found), TARGET)
    assert worth is not None
    assert 0 <= worth.saving_j <= min(each for each in found if each is not None)
    assert worth.cost_j > 0


@given(energies, st.sampled_from([1e-3, 1e3]))
def test_what_it_is_worth_does_not_depend_on_the_unit(found, unit):
    plain = worth_of_next(trials(found), TARGET)
    scaled = worth_of_next([_scaled(trial, unit) for trial in trials(found)], TARGET)
    assert plain is not None
    assert scaled is not None
    assert scaled.cost_j == pytest.approx(unit * plain.cost_j)
    assert scaled.saving_j == pytest.approx(unit * plain.saving_j, rel=1e-6, abs=1e-9 * unit)


def _scaled(trial: TrialSnapshot, unit: float) -> TrialSnapshot:
    energy_j = trial.joules[0] * unit
    return (
        hit(trial.number, energy_j) if trial.reached else miss(trial.number, trial.spent_j * unit)
    )


@given(st.floats(-700, 700), st.floats(-5, 5), st.floats(1e-6, 50))
def test_an_expected_saving_is_a_number(best, mean, sd):
    saving_j = expected_saving_j(math.exp(best), mean, sd)
    assert 0 <= saving_j <= math.exp(best)


@pytest.mark.parametrize(("best", "mean", "sd"), [(1, 0, 0.5), (0.2, 0, 0.7), (3, 0.5, 1.2)])
def test_an_expected_saving_is_what_draws_give(best, mean, sd):
    rng = random.Random(0)
    draws = [max(best - math.exp(rng.gauss(mean, sd)), 0.0) for _ in range(200_000)]
    assert expected_saving_j(best, mean, sd) == pytest.approx(statistics.fmean(draws), rel=0.03)


# A study -----------------------------------------------------------------------------------


def spent_j(program: Program, study: str) -> list[float]:
    """Return the energy of each trial, by number."""
    return [
        sum(
            sum(part or 0.0 for key, part in books.items() if key.endswith("_j"))
            for books in row["result"]["books"].values()
        )
        for row in trials_of(program, study)
        if row["result"]
    ]


@pytest.mark.slow
def test_a_study_ends_when_its_joules_are_spent_and_goes_on_with_more(energyopt: Program) -> None:
    n_jobs = 2
    study = (
        *("-m", *TINY, *SPACE, "sampler=random", f"n_jobs={n_jobs}"),
        *("study=toy", "n_trials=20"),
    )
    ran = energyopt.ok(*study, "search_budget_j=8")
    (said,) = re.findall(r"the study ends here: search_budget_j=8 is spent: ([\d.]+) J", ran.text)
    spent = spent_j(energyopt, "toy")
    assert float(said) >= 8
    assert sum(spent) >= 8
    assert sum(spent[:-n_jobs]) < 8  # it ends at once, but for what runs
    assert "search_budget_j" not in ran.text.partition("Train it")[2]
    again = energyopt.ok(*study, "search_budget_j=8")
    assert "the study ends here: search_budget_j=8 is spent" in again.text
    assert len(spent_j(energyopt, "toy")) == len(spent)
    energyopt.ok(*study, "search_budget_j=14")
    assert len(spent_j(energyopt, "toy")) > len(spent)
    assert sum(spent_j(energyopt, "toy")) >= 14


@pytest.mark.slow
def test_a_study_that_is_complete_does_not_speak_of_its_budget(energyopt: Program) -> None:
    study = ("-m", *TINY, *SPACE, "sampler=tpe", "study=toy", "n_trials=1")
    ran = energyopt.ok(*study, "search_budget_j=0.01")
    assert "[1/1] trial 0" in ran.text
    assert "ends here" not in ran.text


@pytest.mark.slow
def test_a_study_ends_when_its_time_is_over_and_all_runs_count(energyopt: Program) -> None:
    study = ("-m", *TINY, *SPACE, "study=toy", "n_trials=500", "sampler=random")
    ran = energyopt.ok(*study, "search_budget_s=2")
    assert re.search(r"the study ends here: search_budget_s=2 is spent: [2-9][\d.]* s", ran.text)
    trained = len(trials_of(energyopt, "toy"))
    assert trained < 500
    assert "search_budget_s=2 is spent" in energyopt.ok(*study, "search_budget_s=2").text
    assert len(trials_of(energyopt, "toy")) == trained


@pytest.mark.slow
def test_a_study_ends_when_the_next_trial_is_not_worth_it(energyopt: Program) -> None:
    study = ("-m", *TINY, "lr=interval(3e-3,5e-3)", "study=toy", "sampler=random", "n_trials=15")
    ran = energyopt.ok(*study, "batch_size=8", "planned_trainings=1")
    assert "the study ends here: the next joule is not worth it: a trial is expected to" in ran.text
    assert "in 1 planned trainings" in ran.text
    few = len(trials_of(energyopt, "toy"))
    assert few < 15
    energyopt.ok(*study, "batch_size=8", "planned_trainings=1e6", "report.price_per_kwh=0.3")
    assert len(trials_of(energyopt, "toy")) == 15
    plans = read_study(str(energyopt.folder / "studies/energyopt.db"), "toy").plans
    assert (plans.reuse, plans.price_per_kwh, plans.currency) == (1e6, 0.3, "EUR")


@pytest.mark.slow
def test_paused_trials_stay_open_when_the_budget_is_spent(energyopt: Program) -> None:
    words = ("sampler=tpe", "stopping=halving", "study=toy", "n_trials=12")
    study = ("-m", *TINY, *SPACE, *words)
    ran = energyopt.ok(*study, "search_budget_j=4")
    assert "search_budget_j=4 is spent" in ran.text
    assert "will not resume" not in ran.text
    again = energyopt.ok(*study)
    assert re.search(r"\d+ trials? (is|are) paused, and may go on", again.text)
    shown = energyopt.ok("show", "toy", "--all").text
    assert "12 trials (" in shown
    assert not re.search(r"12 trials \([^)]*paused", shown)


@pytest.mark.mostly_slow(every=10)
@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("search_budget_j=0", "a number of joules above 0"),
        ("search_budget_j=much", "a number of joules above 0"),
        ("search_budget_s=-1", "a number of seconds above 0"),
        ("planned_trainings=0", "a number of trainings above 0"),
    ],
)
def test_a_wrong_budget_is_refused(energyopt: Program, word: str, says: str) -> None:
    ran = energyopt("-m", *TINY, *SPACE, word)
    assert ran.code == 2
    assert word.partition("=")[0] in ran.err
    assert "above 0" in ran.err
    assert "Traceback" not in ran.err
    once = energyopt(*TINY, word)
    assert once.code == 2
    assert says in once.text
    assert not (energyopt.folder / "studies" / "energyopt.db").exists()
