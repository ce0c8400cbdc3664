from __future__ import annotations

import dataclasses

import pytest

from energyopt.analysis.summary import summarize, with_search_energy
from energyopt.core.command_energy import CommandEnergy
from energyopt.core.energy import Energy
from energyopt.core.study_record import Metric, StudyRecord
from tests.toys import result, study, trial

WEAK = result([(100, 4, 0.5), (200, 8, 0.6)], evaluation_j=1)


def mixed() -> StudyRecord:
    """Eight trials with all outcomes; they use 64 J, 30 J in trials that missed the target."""
    return study(
        [
            trial(0, result([(100, 8, 0.8), (200, 16, 0.9)]), default=True, params={}),
            trial(1, result([(100, 4, 0.92)], warmup_j=2, flags=("shared GPU",))),
            trial(2, result([(100, 12, 0.9)], flags=("shared GPU", "throttled"))),
            trial(3, WEAK),
            trial(4, result([(100, 8, 0.3)], end="stopped")),
            trial(5, result([(100, 8, 0.95)], end="failed")),
            trial(6, result([(100, 4, 0.2)], end="lost")),
            trial(7, state="waiting"),
        ],
        overrides=("task=digits",),
    )


def test_every_finished_trial_is_counted_once():
    counts = summarize(mixed()).counts
    assert counts.trials == 8
    assert counts.finished == 7
    assert counts.states == {"complete": 4, "pruned": 1, "failed": 2, "waiting": 1}
    assert counts.outcomes == {"reached": 3, "missed": 1, "stopped": 1, "failed": 1, "lost": 1}


def test_a_paused_trial_is_not_over_but_its_curve_and_its_joules_count():
    open_ = trial(0, result([(100, 2, 0.5), (200, 4, 0.8)], end="paused"), default=True)
    missed = trial(1, result([(100, 3, 0.7)]))
    summary = summarize(study([open_, missed]))
    assert summary.counts.states == {"paused": 1, "complete": 1}
    assert (summary.counts.finished, summary.counts.outcomes) == (1, {"missed": 1})
    assert [point.trial for point in summary.front] == [0, 1, 0]
    assert summary.search_energy_j == 7
    assert summary.missed_share == 3 / 7  # what waits has not missed the target yet
    lower = summarize(study([open_, missed]), target=0.8)
    assert lower.recommended is not None
    assert lower.recommended.trial == 0
    other = summarize(study([open_, trial(1, result([(100, 3, 0.95)]))]))
    assert other.break_even_reason == "the default setup (trial 0) is not finished"


def test_the_cheapest_trial_at_the_target_is_recommended():
    summary = summarize(mixed())
    assert summary.recommended is not None
    assert summary.worst is not None
    assert (summary.recommended.trial, summary.recommended.energy_j) == (1, 4)
    assert summary.recommended.overrides == (
        "task=digits",
        "lr=0.02",
        "objective=energy_to_target",
    )
    assert (summary.worst.trial, summary.worst.energy_j) == (0, 16)
    assert summary.spread == 4
    assert summary.recommended.index in [p.index for p in summary.front if p.trial == 1]


def test_all_energy_is_booked_by_purpose():
    summary = summarize(mixed())
    assert summary.search_energy_j == 64
    spent = {purpose: part for purpose, part in summary.energy_by_purpose_j.items() if part}
    assert spent == {"warmup": 2, "training": 60, "evaluation": 2}
    assert summary.missed_share == 30 / 64


def test_break_even_is_search_energy_over_the_saving_of_a_training():
    summary = summarize(mixed())
    assert summary.default is not None
    assert summary.default.energy_j == 16
    savings = summary.against_default
    assert savings is not None
    assert summary.break_even == pytest.approx(64 / savings.value_j)
    assert summary.break_even_reason == ""
    assert summary.saving == pytest.approx(1 - savings.ratio.value)
    assert savings.saved.low < 12 < savings.saved.high


def test_flags_are_counted_by_trial():
    assert summarize(mixed()).flags == {"shared GPU": 2, "throttled": 1}


def test_another_target_gives_another_answer():
    summary = summarize(mixed(), target=0.55)
    assert summary.target == 0.55
    assert summary.recommended is not None
    assert summary.recommended.trial == 1
    assert summary.counts.reached == 4
    above = summarize(mixed(), target=0.91)
    # Trials that ended at 0.9 were content with less: they did not run their course.
    assert {key: above.counts.outcomes[key] for key in ("reached", "missed", "stopped")} == {
        "reached": 1,
        "missed": 1,
        "stopped": 3,
    }
    assert above.break_even_reason == "the default setup (trial 0) ended before 0.91"


@pytest.mark.parametrize(
    ("toy", "reason"),
    [
        (study(), "no trial reached 0.9"),
        (study([trial(0, WEAK)]), "no trial reached 0.9"),
        (study([trial(0, result([(100, 4, 0.9)]))]), "was not trained"),
        (study([trial(0, WEAK, default=True), trial(1, result([(9, 9, 0.9)]))]), "missed 0.9"),
        (study([trial(0, default=True), trial(1, result([(9, 4, 0.9)]))]), "is not finished"),
        (
            study([trial(0, result([(9, 4, 0.9)]), default=True)]),
            "only the default setup was trained",
        ),
        (
            study([trial(n, result([(9, 4, 0.9)]), default=n == 1) for n in range(2)]),
            "nothing that was tried needs less than the default setup beyond noise",
        ),
    ],
)
def test_without_break_even_the_reason_is_given(toy: StudyRecord, reason: str):
    summary = summarize(toy)
    assert summary.break_even is None
    assert reason in summary.break_even_reason


def test_no_trials():
    summary = summarize(study())
    assert summary.counts.trials == 0
    assert summary.recommended is None
    assert summary.worst is None
    assert summary.provenance is None
    assert summary.missed_share is None
    assert summary.front == ()


def test_all_missed():
    summary = summarize(study([trial(0, WEAK), trial(1, WEAK)]))
    assert summary.recommended is None
    assert summary.missed_share == 1
    assert len(summary.front) == 2


def test_a_single_trial_is_best_and_worst():
    summary = summarize(study([trial(0, result([(100, 4, 0.9)]))]))
    assert summary.spread == 1
    assert summary.missed_share == 0


def test_another_apps_study_has_no_energy():
    toy = study(
        [
            trial(0, state="complete", values=(0.5,)),
            trial(1, state="failed"),
            trial(2, state="pruned"),
        ],
        target=None,
        metrics=(Metric("loss", "minimize"),),
    )
    summary = summarize(toy)
    assert summary.counts.states == {"complete": 1, "failed": 1, "pruned": 1}
    assert (summary.counts.outcomes["failed"], summary.counts.outcomes["stopped"]) == (1, 1)
    assert summary.recommended is None
    assert summary.search_energy_j == 0
    assert summary.break_even_reason == "the study has no target"
    assert [told.number for told in summary.told] == [0]


def test_results_without_a_target_still_have_a_front():
    summary = summarize(study([trial(0, WEAK)], target=None))
    assert len(summary.front) == 2
    assert summary.counts.outcomes == {}
    assert summary.missed_share is None


def test_nothing_is_reached_for_nothing():
    """A coarse counter that has not moved yet does not make a setup the cheapest."""
    coarse = result([(100, 0, 0.9), (200, 8, 0.95)])
    summary = summarize(study([trial(0, coarse), trial(1, result([(9, 4, 0.9)]))]))
    assert summary.recommended is not None
    assert (summary.recommended.trial, summary.recommended.energy_j) == (1, 4)
    assert summary.worst is not None
    assert (summary.worst.trial, summary.worst.energy_j) == (0, 8)
    assert all(point.energy_j > 0 for point in summary.front)


def test_a_summary_with_a_later_search_energy_is_that_of_the_later_record():
    before = mixed()
    command = CommandEnergy(0, "search", Energy(1, cpu_j=100), Energy(1, cpu_j=64))
    later = dataclasses.replace(before, commands=(command,))
    assert summarize(later).search_energy_j == 100
    assert summarize(later).energy_by_outcome_j["other"] == 36
    of_later, updated = summarize(later), with_search_energy(summarize(before), later)
    assert dataclasses.replace(updated, noise=of_later.noise) == of_later
