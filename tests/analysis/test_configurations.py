"""Claims are about configurations; their seeds differ by seed noise alone."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.analysis.pareto import curve_front
from energyopt.analysis.summary import summarize
from energyopt.core.energy import Energies, Energy
from energyopt.core.study_record import Confirmation, StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import percent
from energyopt.report.export.front_file import render_front
from energyopt.report.html.sections import report
from energyopt.report.recommendation_view import rank_setups, recommendation_data
from energyopt.report.sentences import summary_lines
from tests.toys import result, study, trial

ENERGIES_J = st.lists(st.integers(1, 64).map(float), min_size=1, max_size=5)


def seeded(*energies_by_lr: list[float], order: int = 0, default: bool = False) -> StudyRecord:
    """A study in which each learning rate was trained with several seeds."""
    runs = [
        (0.1 * (i + 1), seed, energy_j)
        for i, energies in enumerate(energies_by_lr)
        for seed, energy_j in enumerate(energies, 1001)
    ]
    turned = runs[order % len(runs) :] + runs[: order % len(runs)]
    return study(
        trial(
            number,
            result([(100, energy_j, 0.95)]),
            params={"lr": lr, "seed": seed},
            default=default and lr == 0.1 and seed == 1001,
        )
        for number, (lr, seed, energy_j) in enumerate(turned)
    )


@given(ENERGIES_J, st.integers(0, 4), st.booleans())
def test_seeds_of_one_configuration_never_differ(energies: list[float], order: int, default: bool):
    of = seeded(energies, order=order, default=default)
    summary = summarize(of)
    assert summary.tried == len(summary.reached) == 1
    assert summary.spread == 1
    text = " ".join(summary_lines(summary))
    for claim in ("seed=", "worst setup", "Worst", "Allowing for", "x the best"):
        assert claim not in text
    if len(energies) > 1:
        assert f"expected, from {len(energies)} trainings of it" in text
    assert summary.saving in (None, 0)


@given(ENERGIES_J, ENERGIES_J, st.integers(0, 9))
def test_the_order_of_trials_says_nothing(first: list[float], second: list[float], order: int):
    turned, straight = (summarize(seeded(first, second, order=n)) for n in (order, 0))
    assert turned.spread == pytest.approx(straight.spread)
    means = [[c.mean_j for c in summary.reached] for summary in (turned, straight)]
    assert means[0] == pytest.approx(means[1])


def test_a_single_good_seed_does_not_make_a_configuration_the_cheapest():
    summary = summarize(seeded([1.0, 16.0, 16.0], [4.0, 4.0]))  # means 6.35 and 4 J
    assert summary.recommended is not None
    assert summary.recommended.params["lr"] == 0.2
    assert summary.spread == pytest.approx((1 * 16 * 16) ** (1 / 3) / 4)
    text = " ".join(summary_lines(summary))
    assert "Recommended: lr=0.2 (trial 3)." in text
    assert "cost 1.6x the best (6.35 J, trial 0; means of 2 and 3 seeds)" in text


def test_new_seeds_replace_those_that_chose_it():
    chosen, steady = (trial(n, result([(100, n + 1.0, 0.95)])) for n in range(2))
    confirmations = [
        Confirmation(
            *(number, of.number, seed, (*of.overrides, f"seed={seed}"), "complete"),
            result=result([(100, energy_j, 0.95)]),
        )
        for number, (of, seed, energy_j) in enumerate(
            [(chosen, 1000, 8.0), (chosen, 1001, 8.0), (steady, 1000, 2.0), (steady, 1001, 2.0)]
        )
    ]
    toy = study([chosen, steady])
    summary = summarize(replace(toy, confirmations=tuple(confirmations)))
    assert summary.recommended is not None
    assert summary.recommended.trial == 1
    assert summary.spread == pytest.approx(4)
    assert "means of new seeds, which chose neither" in " ".join(summary_lines(summary))
    changed = [replace(c, overrides=(*c.overrides, "epochs=9")) for c in confirmations]
    unlike = summarize(replace(toy, confirmations=tuple(changed)))
    assert unlike.spread == 2  # not the trainings of these trials


def test_no_surface_names_a_seed_as_a_parameter():
    of = seeded([4.0, 2.0, 8.0], [16.0, 32.0])
    points = curve_front(of)
    front = json.loads(render_front(points, of, "json"))
    assert all(point["params"].keys() == {"lr"} for point in front["points"])
    assert "params_seed" not in render_front(points, of, "csv")
    assert "5 trials with 2 setups, each point of one training" in front["front_of"]
    ranked, target = rank_setups(of, within=0.05)
    data = recommendation_data(of, ranked, target, 0.05)
    assert [setup["params"].keys() for setup in data["setups"]] == [{"lr"}] * 2
    page = report(of)
    texts = (*page.sentences, page.answer.headline, *page.answer.lead)
    lines = itertools.chain.from_iterable(section.lines for section in page.sections)
    assert not [text for text in (*texts, *lines) if "seed=" in text]


def evaluated(energy_j: float, evaluation_j: float) -> TrialResult:
    record = result([(100, energy_j, 0.95)])
    spent = Energies.of([Energy(1.0, cpu_j=evaluation_j)])
    return replace(record, checkpoints=replace(record.checkpoints, evaluation=spent))


def test_where_evaluation_is_no_small_part_both_ratios_are_shown():
    trials = [
        trial(0, evaluated(16.0, 1.0), default=True),
        trial(1, evaluated(8.0, 2.0)),
        trial(2, evaluated(4.0, 32.0)),
    ]
    summary = summarize(study(trials[:2]))
    assert summary.saving is not None
    ratio = (10 / 8) / (17 / 16)  # of what evaluation adds
    saving = 1 - (1 - summary.saving) * ratio
    assert (
        "Evaluation costs up to 25.0 % of training. With it the worst setup cost 1.7x the best "
        f"and the recommended one saves {percent(saving)} of the default's energy; by training "
        f"alone 2.0x and {percent(summary.saving)}."
    ) in " ".join(summary_lines(summary))
    flipped = " ".join(summary_lines(summarize(study(trials))))
    assert "saves energy depends on evaluation" in flipped
    small = [trial(0, evaluated(16.0, 1.0), default=True), trial(1, evaluated(8.0, 1.0))]
    assert "Evaluation costs" not in " ".join(summary_lines(summarize(study(small))))
