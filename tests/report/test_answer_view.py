"""The answer of a study: true in each corner case, short on a terminal, the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from energyopt.analysis.pareto import curve_front
from energyopt.analysis.summary import summarize
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.study_record import Confirmation, StudyRecord, TrialRecord
from energyopt.core.trial_result import End, TrialResult
from energyopt.report.answer_view import answer_text, easier_target, stopped_text
from energyopt.report.dashboard.overlay import study_note
from energyopt.report.export.front_file import render_front
from energyopt.report.html.sections import report
from energyopt.report.recommendation_view import rank_setups, recommendation_data
from energyopt.report.study_output import print_answer
from energyopt.report.tables import front_table
from energyopt.workflows.load_study import LoadedStudy
from energyopt.workflows.retrain import RetrainRequest, find_trial, overrides_for
from tests.toys import result, study, trial


def hit(energy_j: float, *, end: End = "target") -> TrialResult:
    return result([(100, energy_j, 0.95)], end=end)


def missed(*values: float, energy_j: float = 8.0, end: End = "epochs") -> TrialResult:
    curve = [(100 * n, energy_j * n / len(values), value) for n, value in enumerate(values, 1)]
    return result(curve, end=end)


def failed(number: int) -> TrialRecord:
    return trial(number, result(end="failed", reason="out of memory"))


def confirmed(*energies_j: tuple[float, float]) -> StudyRecord:
    """A default of 16 J and a configuration of 4 J, each trained again with some seeds."""
    toy = study([trial(0, hit(16), default=True), trial(1, hit(4)), trial(2, hit(3))])
    again = [
        Confirmation(
            0, of, 1000 + seed, (f"lr={(of + 1) / 100}",), "complete", result=hit(pair[of])
        )
        for seed, pair in enumerate(energies_j)
        for of in range(2)
    ]
    numbered = tuple(replace(each, number=number) for number, each in enumerate(again))
    return replace(toy, confirmations=numbered)


DEFAULT = trial(0, hit(16), default=True)
CASES = {
    "nothing reached it, rising": (
        study([trial(0, missed(0.5, 0.6, 0.7), default=True), trial(1, missed(0.4))]),
        "None of 2 trials reached 0.9; the best accuracy was 0.7000, still getting better after "
        "all of its 3 epochs",
    ),
    "nothing reached it, flat": (
        study([trial(0, missed(0.7, 0.6, 0.6), default=True)]),
        "The only trial did not reach 0.9; the best accuracy was 0.7000, no longer getting better",
    ),
    "one trial": (
        study([DEFAULT]),
        "The default setup is all that was trained; it reaches 0.9 with 16 J of estimated energy",
    ),
    "the default is the best": (
        study([DEFAULT, trial(1, hit(64))]),
        "Keep the default setup: nothing that was tried reaches 0.9 with less estimated energy",
    ),
    "nothing is better beyond noise": (
        study([DEFAULT, trial(1, hit(13))]),
        "Keep the default setup: nothing that was tried reaches 0.9 with less estimated energy "
        "beyond noise",
    ),
    "the default missed": (
        study([trial(0, missed(0.5, energy_j=32), default=True), trial(1, hit(4))]),
        "lr=0.02 reaches 0.9 with 4 J of estimated energy, at least 8.0x less than the default, "
        "which missed it",
    ),
    "all diverged": (
        study([trial(n, missed(0.2, end="diverged")) for n in range(3)]),
        "All 3 trials diverged before 0.9",
    ),
    "all failed": (
        study([failed(0), failed(1)]),
        "No trial reached 0.9: all of 2 trials failed (out of memory)",
    ),
    "several are as good": (
        study([trial(0, hit(64), default=True), *(trial(n, hit(4)) for n in (1, 2, 3))]),
        "; trials 2 and 3 are as good",
    ),
    "no trials": (study(), "This study has no trials yet"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_headline_is_true_in_each_case(case: str) -> None:
    toy, headline = CASES[case]
    assert headline in answer_text(summarize(toy)).headline


@pytest.mark.parametrize(
    ("toy", "says"),
    [
        (study([DEFAULT, failed(1)]), "1 of 2 trials failed (out of memory)"),
        (study([DEFAULT, trial(1, missed(0.2, end="diverged"))]), "1 of 2 trials diverged"),
        (
            study([DEFAULT, trial(1, hit(4, end="paused")), trial(2, missed(0.2, end="paused"))]),
            "2 of 3 trials are paused and can resume (1 of them at the target)",
        ),
        (study([DEFAULT, trial(1)]), "1 of 2 trials is not over"),
        (CASES["nothing reached it, rising"][0], "search with epochs=6 to train longer"),
        (CASES["the default missed"][0], "Pays back: after at most 2 trainings; the search used"),
        (CASES["nothing is better beyond noise"][0], "trial 1 may need less, but not beyond noise"),
    ],
)
def test_what_is_to_be_known_of_it_is_said(toy: StudyRecord, says: str) -> None:
    assert says in " ".join(answer_text(summarize(toy)).lines)


def test_an_interrupted_trial_has_not_failed() -> None:
    cut = replace(trial(1, state="failed"), reason="interrupted")
    assert "failed" not in " ".join(answer_text(summarize(study([DEFAULT, cut]))).lines)


def test_what_was_confirmed_is_recommended_over_what_was_expected() -> None:
    toy = confirmed((16.0, 8.0), (17.0, 8.5), (15.0, 8.0))
    answer = summarize(toy).answer
    assert answer is not None
    assert (answer.trial, answer.basis, answer.seeds) == (1, "confirmed", 3)
    assert answer.energy.low < 8.2 < answer.energy.high
    assert "confirmed with 3 new seeds" in answer_text(summarize(toy)).lines[2]
    assert "`confirm`" not in answer_text(summarize(toy)).lines[2]


def test_an_interrupt_says_what_is_left_and_how_to_go_on() -> None:
    summary = summarize(study([DEFAULT, trial(1, missed(0.2, end="paused"))]))
    assert stopped_text(summary, 5, 8, 3) == (
        "Stopped after 5 of 8 trials. Nothing is lost: 3 are paused. Best so far: the default, "
        "lr=0.01 (trial 0), 16 J to the target. Resume with the same command."
    )
    assert stopped_text(None, 1, 2, 0) == (
        "Stopped after 1 of 2 trials. Nothing is lost. Resume with the same command."
    )


@pytest.mark.parametrize(
    ("monitor", "value", "target"),
    [
        (ACCURACY, 0.9822, "0.98"),
        (ACCURACY, 0.9489, "0.948"),
        (ACCURACY, 8 / 9, "0.888"),
        (Monitor("mse", "min"), 0.01234567, "0.0124"),
        (Monitor("mse", "min"), 0.31, "0.31"),
    ],
)
def test_a_target_that_was_reached_is_short(monitor: Monitor, value: float, target: str) -> None:
    assert easier_target(monitor, value) == target
    assert monitor.reaches(value, float(target))


# On a terminal -------------------------------------------------------------------------------


def lines_of(toy: StudyRecord, width: int = 80, options: Sequence[str] = ()) -> list[str]:
    file = StringIO()
    console = Console(width=width, file=file)
    print_answer(console, toy, summarize(toy), options)
    return file.getvalue().splitlines()


LONG = {f"model.a_long_name_{n}": "x" * 20 for n in range(9)}


@pytest.mark.parametrize(
    "toy",
    [
        *(toy for toy, _ in CASES.values()),
        confirmed((16.0, 8.0), (17.0, 8.5)),
        study([DEFAULT, trial(1, hit(2), params=LONG), failed(2), trial(3)], name="a-long-name"),
    ],
)
def test_a_search_ends_in_few_lines(toy: StudyRecord) -> None:
    lines = lines_of(toy)
    assert len(lines) <= 13  # and a blank one before
    assert all(len(line) <= 80 for line in lines)


def test_a_shortened_configuration_still_says_its_trial() -> None:
    toy = study([trial(0, hit(2), params=LONG)])
    (first, *_) = lines_of(toy)
    assert first.endswith(" (trial 0)")
    assert "..." in first


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_command_can_be_pasted_whole_at_any_width(width: int) -> None:
    toy = replace(study([trial(0, hit(4))], name="n" * 30), app="python train.py")
    text = "\n".join(lines_of(toy, width, ("--storage", "s" * 30)))
    assert f"energyopt report {'n' * 30} --storage {'s' * 30}" in " ".join(
        text.replace("\\\n", "").split()
    )
    assert "python train.py lr=0.01" in " ".join(text.replace("\\\n", "").split())


# Everywhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "toy",
    [
        *(toy for toy, _ in CASES.values() if summarize(toy).answer),
        study([DEFAULT, trial(1, hit(4)), trial(2, hit(3.9))], overrides=("task=digits",)),
        confirmed((16.0, 8.0), (17.0, 8.5)),
        study([trial(n, hit(4 + n), params={"lr": 0.1, "seed": n}) for n in range(3)]),
    ],
)
def test_all_surfaces_name_the_same_configuration_and_numbers(toy: StudyRecord) -> None:
    summary = summarize(toy)
    answer = summary.answer
    assert answer is not None
    name, energy = f"(trial {answer.trial})", f"{answer.energy.joules} to 0.9"
    ranked, _ = rank_setups(toy, within=0.05)
    page, api = report(toy), LoadedStudy(toy).recommendation
    data = recommendation_data(toy, ranked, summary, 0.05)
    front = json.loads(render_front(curve_front(toy), toy, "json"))
    texts = [" ".join(lines_of(toy)), " ".join(page.sentences), study_note(summary)]
    assert all(energy in text for text in texts)
    if not answer.point.default:
        assert all(name in text for text in (*texts, " ".join(page.answer.lead)))
    assert page.answer.cards[0].value == page.answer.energies.page_rows[0][1]
    assert page.answer.cards[0].value == answer.energy.joules
    assert [row.trial for row in page.ranking if row.is_answer] == [answer.trial]
    first = data["setups"][0]
    assert first["trial"] == api.trial == front["answer"]["trial"] == answer.trial
    assert first["energy_j"] == api.energy_j == front["answer"]["energy_j"] == answer.energy.value
    assert data["answer"] == api.text == page.answer.headline.removesuffix(".")
    assert tuple(first["overrides"]) == api.overrides == page.answer.overrides
    request = RetrainRequest()
    trained = overrides_for(toy, find_trial(toy, request), request)
    assert set(trained) == set(api.overrides)
    assert not [word for word in trained if word.startswith("seed=")]


def test_the_front_marks_the_answer_or_says_that_it_is_not_there() -> None:
    file = StringIO()
    toy = study([DEFAULT, trial(1, hit(13))])
    answer = summarize(toy).recommended
    Console(width=100, file=file).print(front_table(curve_front(toy), answer=answer))
    assert "the default, lr=0.01 (trial 0) is recommended: no point of it" in file.getvalue()
