from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from energyopt.analysis.pareto import curve_front, final_front, front_of
from energyopt.analysis.summary import summarize
from energyopt.core.default_setup import DefaultSetup
from energyopt.core.study_record import Metric, StudyRecord
from energyopt.report.sentences import summary_lines
from energyopt.report.tables import (
    curve_table,
    front_table,
    studies_table,
    summary_panel,
)
from tests.toys import result, study, trial

LONG = result([(100 * n, float(n), n / 100) for n in range(1, 61)], target=0.42, end="epochs")

OF_ANOTHER_APP = study(
    [trial(0, state="complete", values=(0.5,))],
    target=None,
    metrics=(Metric("loss", "minimize"),),
)


def printed(what: RenderableType, width: int = 80, *, color: bool = False) -> str:
    file = StringIO()
    console = Console(
        width=width,
        file=file,
        force_terminal=color,
        color_system="standard" if color else None,
        legacy_windows=False,
    )
    console.print(what, crop=False)
    return file.getvalue()


def toy() -> StudyRecord:
    return study(
        [
            trial(0, result([(100, 8, 0.8), (200, 16, 0.9)]), default=True, params={}),
            trial(
                1,
                result([(50, 2, 0.7), (100, 4, 0.92)], warmup_j=2, flags=("shared GPU",)),
                params={"lr": 0.0123456, "batch_size": 64},
            ),
            trial(2, result([(100, 12, 0.9)]), params={"lr": 0.5, "batch_size": 8}),
            trial(3, result([(100, 6, 0.5)]), params={"lr": 1e-05, "batch_size": 8}),
        ],
        overrides=("task=digits",),
    )


def test_a_summary_reads_as_sentences():
    assert summary_lines(summarize(toy())) == (
        "Study toy: 4 trials (4 complete).",
        "Recommended: lr=0.01235 batch_size=64 (trial 1).",
        "Energy: 5 J to 0.9 validation accuracy, estimated (2.7 J to 15 J); ~2.5x less than the "
        "default, 13 J.",
        "Confidence: one training with one seed; saves -23 to 84 % with 95 % confidence (no "
        "repetition: a prior of 25 %); `confirm` makes it surer.",
        "Pays back: after 6 trainings (3 to never); the search used 40 J.",
        "Caution: the joules are estimated, not measured: good for comparing; warnings: shared "
        "GPU.",
        "The worst setup that reached 0.9 cost 4.0x the best (16 J, trial 0; one seed each); "
        "1 of 4 trials missed the target (1 trained to the end).",
        "The search cost 40 J (warmup 2 J, training 38 J), "
        "15.0 % of it in trials that missed the target.",
        "By outcome: 34 J reached the target, 6 J missed it.",
        "Break-even: the search pays back after 6 trainings against the default setup "
        "(trial 0: 13 J to target; the recommended one needs ~2.5x less, -23 to 84 % saved, one "
        "seed each); from 3 to never with 95 % confidence (no repetition: a prior of 25 %). This "
        "counts the energy of trials only: start-up and the sampler are not metered.",
        "Noise: no setup was trained twice, so how much trainings of one setup vary is not known "
        "here. Intervals rest on a prior of 25 %; `confirm` trains again, with new seeds.",
        "Measuring: estimated by cpu-time 4 W/core (CPU package) on Toy CPU, energyopt 0.1.0; "
        "uncertainty: a constant power: good for comparing, not as absolute joules.",
        "Warnings: shared GPU (1 trial).",
    )


def test_a_summary_shows_the_front_with_its_provenance():
    text = printed(summary_panel(summarize(toy())))
    lines = text.splitlines()
    assert lines[0] == "Front: accuracy against training energy, over all checkpoints of 4 trials "
    assert lines[1] == "(validation accuracy; estimated by cpu-time 4 W/core)"
    assert lines[2].split() == ["energy", "accuracy", "lr", "batch_size", "trial", "epoch"]
    assert lines[4].split() == ["2", "J", "0.7000", "0.01235", "64", "1", "0.5"]
    assert lines[5].split() == ["*", "4", "J", "0.9200", "0.01235", "64", "1", "1"]
    assert "* recommended" in text


@pytest.mark.parametrize("width", [40, 60, 200])
def test_told_values_are_shown_whole_at_any_width(width: int):
    names = ("loss_of_a_long_name", "latency_of_a_long_name_s")
    params = {f"option_number_{n}": "x" * 9 for n in range(4)}
    foreign = study(
        [
            trial(0, state="complete", values=(0.5, 2.0), params=params),
            trial(1, state="complete", values=(0.25, 4.0), params=params),
            trial(2, state="complete", values=(0.5, 8.0), params=params),
        ],
        target=None,
        metrics=tuple(Metric(name, "minimize") for name in names),
    )
    text = printed(summary_panel(summarize(foreign)), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    assert "Measuring" not in text
    assert text.count("xxxxx") >= 2 * len(params)
    assert text.count("0.5") == text.count("0.25") == 1
    if width == 200:
        assert all(word in text for word in (*names, *params))


@pytest.mark.parametrize("width", [80, 200])
def test_nothing_is_cut_off_at_any_width(width: int):
    params = {f"model.option_number_{n}": "x" * 9 for n in range(6)}
    many = study([trial(0, result([(100, 4, 0.95)]), params=params)])
    text = printed(front_table(curve_front(many)), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    assert "".join(text.split()).count("x" * 9) == 6


def test_colour_adds_to_what_is_said_but_says_nothing_alone():
    plain = printed(summary_panel(summarize(toy())))
    colored = printed(summary_panel(summarize(toy())), color=True)
    assert "\x1b[" in colored
    assert "\x1b[" not in plain
    assert "* 4 J" in plain


def test_text_from_a_database_is_neither_markup_nor_terminal_codes():
    odd = study(
        [
            trial(
                0, result([(100, 4, 0.95)]), params={"layers": "[red]8[/red]", "note": "\x1b[2J:x:"}
            )
        ]
    )
    text = printed(front_table(curve_front(odd)))
    assert "[red]8[/red]" in text
    assert "?[2J:x:" in text
    assert "\x1b" not in text


def test_a_long_front_is_thinned_and_says_so():
    points = curve_front(study([trial(0, LONG)]))
    answer = summarize(study([trial(0, LONG)], target=0.42)).recommended
    text = printed(front_table(points, study="my study", answer=answer))
    assert "45 points not shown; all 60: python -m energyopt pareto 'my study'" in text
    assert sum(" 0." in line and " J" in line for line in text.splitlines()) == 15
    for kept in ("1 J", "* 42 J", "60 J"):
        assert kept in text
    assert "not shown" not in printed(front_table(points, limit=None))


def test_a_final_front_says_what_it_is():
    points = final_front(toy())
    assert "objective values of feasible trials (validation" in printed(front_table(points), 200)
    assert "of 3 feasible trials" in printed(front_table(points, front_of(points, toy())), 200)


def test_an_empty_front_is_explained():
    text = " ".join(printed(front_table((), study="my study")).split())
    assert text.startswith("Front: none. The study has no energy curves")
    assert "`python -m energyopt show 'my study'`" in text


def test_one_is_written_as_one():
    points = curve_front(study([trial(0, LONG)]))
    assert "1 point not shown; all 60" in printed(front_table(points, limit=59))
    assert "1 of 60 evaluations is not shown" in printed(curve_table(LONG, limit=59))


def test_the_default_trial_is_named():
    text = printed(front_table(curve_front(study([trial(0, LONG, default=True, params={})]))))
    assert "0 (default)" in text
    (_, answer, *_) = summary_lines(
        summarize(study([trial(0, LONG, default=True, params={})], target=0.5))
    )
    assert answer == "Recommended: the default."


def test_a_trial_that_is_only_nearest_to_the_default_is_never_called_the_default():
    default = DefaultSetup({"lr": "0.5"})
    far = replace(trial(0, LONG, default=True), nearest=True)
    it = replace(study([far, trial(1, LONG)], target=0.5), default_setup=default)
    text = printed(front_table(curve_front(it)))
    assert "0 (nearest to the default)" in text
    sentences = summary_lines(summarize(it))
    assert sentences[1] == (
        "The default lr=0.5 lies outside of the space: comparisons are with the setup nearest to "
        "the default."
    )
    assert sentences[2] == "Recommended: nearest to the default, lr=0.01 (trial 0)."
    assert not any("the default setup" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("summarized", "sentence"),
    [
        (study(), "Study toy has no trials yet."),
        (study(), "Measuring: no trial was metered."),
        (
            study([trial(0, result([(100, 4, 0.5)]))]),
            "Best so far: accuracy 0.5000 with lr=0.01 (trial 0), still getting better",
        ),
        (
            study([trial(0, result([(100, 4, 0.5)], end="stopped"))]),
            "1 of 1 trial missed the target (1 stopped early).",
        ),
        (
            study([trial(0, result([(100, 4, 0.95)]))]),
            "Trial 0 is the only one that reached 0.9.",
        ),
        (
            study([trial(0, result([(100, 4, 0.95)]))]),
            "Break-even: none, because the default setup was not trained in this study.",
        ),
        (OF_ANOTHER_APP, "It has no target,"),
        (OF_ANOTHER_APP, "Best objective values trial loss (minimize) lr"),
    ],
)
def test_summaries_of_odd_studies(summarized: StudyRecord, sentence: str):
    summary = summarize(summarized)
    assert sentence in " ".join(printed(summary_panel(summary), 200).split())


def test_a_curve_is_thinned_but_keeps_what_matters():
    text = printed(curve_table(LONG, heading="Curve of trial 7"))
    assert "Curve of trial 7: target 0.42 (validation accuracy; estimated by cpu-time" in text
    rows = [line for line in text.splitlines() if " J " in line]
    assert len(rows) == 20
    assert any(
        row.split() == ["42", "4200", "42", "J", "21", "s", "0.4200", "target"] for row in rows
    )
    assert rows[-1].split()[-1] == "best"
    assert "40 of 60 evaluations are not shown. Ended: epochs" in text


def test_a_short_curve_is_shown_whole_with_its_end():
    text = printed(curve_table(result([(100, 4, 0.95)], reason="target 0.9 reached")))
    assert "target best" in text
    assert "not shown" not in text
    assert "Ended: target, target 0.9 reached" in text


def test_a_trial_without_evaluation_has_no_curve():
    text = printed(curve_table(result(end="failed", reason="out of memory")))
    assert "No evaluation was made. Ended: failed, out of memory" in text


def test_studies_are_listed_with_their_provenance():
    studies = [toy(), study(name="empty"), study(target=None)]
    text = printed(studies_table(studies), 100)
    first = next(line for line in text.splitlines() if line.startswith("toy"))
    expected = ["toy", "4", "3", "4", "J", "40", "J", "estimated", "by", "cpu-time", "4", "W/core"]
    assert first.split() == expected
    assert next(line for line in text.splitlines() if line.startswith("empty")).split()[-1] == "-"


def test_no_studies():
    assert printed(studies_table([])) == "No studies yet.\n"
