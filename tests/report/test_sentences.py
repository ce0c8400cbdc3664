"""What is shown of a study whose metric is better the lower it is, and of a power profile."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from energyopt.analysis.pareto import check_target, curve_front
from energyopt.analysis.summary import summarize
from energyopt.core.conditions import Conditions, PowerProfile, ProfilePoint
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.study_record import Metric, StudyRecord
from energyopt.core.trial_result import End, TrialResult
from energyopt.errors import ConfigError
from energyopt.report.export.front_file import render_front
from energyopt.report.export.study_folder import trial_row
from energyopt.report.html.render import render
from energyopt.report.html.sections import report
from energyopt.report.recommendation_view import rank_setups, ranking_view
from energyopt.report.sentences import hardware_lines, summary_lines
from energyopt.report.tables import curve_table, front_table, summary_panel
from energyopt.report.trial_lines import result_line
from tests.toys import result, study, trial, uncounted

LOSS = Monitor("val_loss", "min")
METRICS = (Metric("energy_to_target_j", "minimize"), Metric("val_loss", "minimize"))


def losses(*points: tuple[float, float], end: End = "epochs", target: float = 0.25) -> TrialResult:
    """A training of another app, which counts no samples, from (J, loss)."""
    curve = [(100 * n, energy_j, loss) for n, (energy_j, loss) in enumerate(points, 1)]
    made = uncounted(result(curve, target=target, end=end))
    return replace(made, start=replace(made.start, monitor=LOSS))


def toy() -> StudyRecord:
    trials = [
        trial(0, losses((8, 0.477), (16, 0.24)), default=True, params={"lr": 0.1}),
        trial(1, losses((2, 0.5), (4, 0.2)), params={"lr": 0.2}),
        trial(2, losses((3, 0.9), (12, 0.31)), params={"lr": 0.3}),
    ]
    return study(trials, target=0.25, metrics=METRICS)


def printed(shown: RenderableType) -> str:
    file = StringIO()
    Console(width=100, file=file).print(shown, crop=False)
    return file.getvalue()


def test_the_point_of_the_answer_at_or_below_the_target_is_marked():
    record = toy()
    answer = summarize(record).recommended
    table = printed(front_table(curve_front(record), answer=answer, monitor=record.monitor))
    assert "lower is better" in table
    assert "accuracy" not in table
    marked = [line.split() for line in table.splitlines() if line.lstrip().startswith("*")]
    assert marked[0][:4] == ["*", "4", "J", "0.2"]
    assert " ".join(marked[1]) == "* recommended"


def test_no_text_of_it_says_accuracy():
    record = toy()
    ranked, summary = rank_setups(record, within=0.05)
    missed = replace(record, trials=record.trials[2:])
    texts = (
        printed(summary_panel(summarize(record))),
        printed(ranking_view(record, ranked, summary, 0.05)),
        *summary_lines(summarize(missed)),
        *(result_line(losses(*points)) for points in ([(1, 0.2)], [(1, 0.5)], [])),
    )
    assert not [text for text in texts if "accuracy" in text.lower()]
    assert "val_loss 0.31 with lr=0.3" in " ".join(texts)
    assert "best val_loss 0.5" in " ".join(texts)


def test_a_harder_target_than_all_asks_for_a_higher_one():
    with pytest.raises(Exception, match="give a higher --target"):
        rank_setups(toy(), 0.1, within=0.05)


def test_a_curve_marks_its_least_value_and_has_no_column_of_samples():
    text = printed(curve_table(losses((1, 0.5), (2, 0.2), (3, 0.3))))
    assert "target 0.25 (val_loss, lower is better; " in text
    assert "samples" not in text
    assert [line.split()[-2:] for line in text.splitlines() if "best" in line.split()] == [
        ["target", "best"]
    ]


@pytest.mark.parametrize(
    ("monitor", "value", "text"),
    [
        (ACCURACY, 0.5, "0.5000"),
        (LOSS, 0.3157462, "0.3157"),
        (LOSS, -2.0, "-2"),
        (LOSS, 1234.56, "1235"),
        (LOSS, 45678.9, "45679"),
        (LOSS, 1.5e12, "1.5e+12"),
        (LOSS, 0.0000123456, "1.235e-05"),
    ],
)
def test_values_are_short_and_without_needless_exponents(
    monitor: Monitor, value: float, text: str
) -> None:
    assert monitor.text(value) == text


def test_front_files_are_headed_by_the_metric():
    record, front = toy(), curve_front(toy())
    rows = list(csv.DictReader(io.StringIO(render_front(front, record, "csv"))))
    assert [row["val_loss"] for row in rows] == ["0.5", "0.2"]
    data = json.loads(render_front(front, record, "json"))
    assert data["monitor"] == {"name": "val_loss", "mode": "min"}
    assert [point["val_loss"] for point in data["points"]] == [0.5, 0.2]
    table = render_front(front, record, "md")
    assert "val\\_loss" in table
    assert "samples" not in table
    assert trial_row(record.trials[1], ("energy_to_target_j", "val_loss"))["best_val_loss"] == 0.2


def test_a_metric_with_the_name_of_another_column_keeps_both():
    record = toy()
    renamed = [
        replace(t, result=replace(t.result, start=replace(t.result.start, monitor=monitor)))
        for monitor in (Monitor("time_s", "min"),)
        for t in record.trials
        if t.result
    ]
    named = replace(record, trials=tuple(renamed))
    (first, *_) = csv.DictReader(io.StringIO(render_front(curve_front(named), named, "csv")))
    assert first["metric_time_s"] == "0.5"
    assert first["time_s"] != "0.5"


def test_targets_of_an_accuracy_are_shares_and_those_of_a_loss_any_number():
    check_target(toy(), -3.0)
    with pytest.raises(ConfigError, match="above 0 and at most 1, got 95"):
        check_target(study([trial(0, result([(100, 1, 0.5)]))]), 95)


def test_figures_of_a_loss_are_of_it_alone_on_a_log_axis():
    figure = report(toy()).figures[0]
    y = figure.chart.to_dict()["layer"][0]["encoding"]["y"]
    assert y["title"] == "val_loss (lower is better)"
    assert y["scale"]["type"] == "log"
    assert "accuracy" not in json.dumps([f.chart.to_dict() for f in report(toy()).figures]).lower()


def test_the_page_ranks_from_below(tmp_path: object) -> None:
    content = report(toy())
    page = render(content, {figure.name: "<svg/>" for figure in content.figures})
    own = page[: page.index('<script type="application/json"')]
    assert "accuracy" not in own.lower()
    assert "Target val_loss" in own
    assert '"sign":-1' in page
    assert [row.otherwise for row in content.ranking] == ["missed"] * 3
    chart = json.dumps(content.figures[0].chart.to_dict())
    assert "datum.b <= target" in chart


def test_a_profile_says_what_makes_it_less_sure():
    points = (ProfilePoint(300, 10, 2.0, 0.1), ProfilePoint(250, 10, 1.5, 0.11))
    profile = PowerProfile({}, points, 250, finished=False, drift=1.062)
    conditions = Conditions(limit_w=250, profile=profile)
    (line,) = hardware_lines(replace(result([(100, 2, 0.95)]), conditions=conditions))
    assert line.startswith("Power limit: 250 W, by energy; a step at 300 W 2 J")
    assert "a drift of the board, which raised the energy of a step by 6.2 %" in line
    assert line.endswith("unfinished: one of the limits that were not tried may be better.")
    kept = replace(conditions, limit_w=280)
    (line,) = hardware_lines(replace(result([(100, 2, 0.95)]), conditions=kept))
    assert line.startswith("Power limit: 280 W, not chosen by its profile; ")
    sure = replace(conditions, profile=PowerProfile({}, points, 250, drift=1.004))
    (line,) = hardware_lines(replace(result([(100, 2, 0.95)]), conditions=sure))
    assert "drift" not in line
    assert "unfinished" not in line
