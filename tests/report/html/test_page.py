"""The page of a report in a real browser: what it shows, what it obeys, and that it is alone."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from optuna.distributions import FloatDistribution
from playwright.sync_api import Browser, Page, Route

from benchmarks.made_up import SPACE as MADE_UP_SPACE
from benchmarks.made_up import made_up_outcome, made_up_params
from energyopt.core.conditions import Conditions, PowerProfile, ProfilePoint
from energyopt.core.study_record import Confirmation, Metric, StudyRecord
from energyopt.core.units import joules
from energyopt.report.html.sections import report
from energyopt.report.html.write import write_report
from tests.conftest import Program, trials_of
from tests.toys import ESTIMATED, result, study, trial

Scheme = Literal["light", "dark"]

_LIMIT_BYTES = 5_500_000  # of six searched keys, each with a figure
_WIDE, _NARROW = (1280, 900), (390, 844)
_DRAWN = "html[data-drawn=all]"


@contextmanager
def opened(
    browser: Browser,
    page: Path,
    *,
    scheme: Scheme = "light",
    size: tuple[int, int] = _WIDE,
    script: bool = True,
) -> Iterator[Page]:
    """Open a page; in the end nothing was asked of a network, and nothing was complained of."""
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": size[0], "height": size[1]},
        java_script_enabled=script,
    )
    complaints: list[str] = []

    def only_the_page(route: Route) -> None:
        if route.request.url.partition("#")[0] == page.as_uri():
            route.continue_()
        else:
            complaints.append(f"asked for {route.request.url}")
            route.abort()

    context.route("**/*", only_the_page)
    tab = context.new_page()
    tab.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    tab.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    tab.goto(page.as_uri())
    if script:
        tab.wait_for_selector(_DRAWN, state="attached")
    yield tab
    assert complaints == []
    context.close()


def written(of: StudyRecord, folder: Path) -> Path:
    return write_report(report(of), folder, force=True).resolve()


@pytest.fixture(scope="module")
def page(studied: Program) -> Path:
    """The report of a study that was run, by the command."""
    ran = studied.ok("report", "toy", "--carbon-g-per-kwh", "380", "--pue", "1.2")
    assert "studies/toy/report/report.html" in ran.text
    return studied.folder / "studies/toy/report/report.html"


# What the page shows, and what is in the database ---------------------------------------------


@dataclass(frozen=True)
class Trained:
    """A trial by the database alone: its curve as (J so far, accuracy)."""

    number: int
    curve: Sequence[tuple[float, float]]
    spent_j: float

    def to(self, target: float) -> tuple[float, float] | None:
        return next((point for point in self.curve if point[1] >= target), None)


def trained(program: Program) -> list[Trained]:
    found = []
    for row in trials_of(program, "toy"):
        of = row["result"]["checkpoints"]
        energies = itertools.accumulate(of["training"]["cpu_j"])
        spent_j = sum(energy["cpu_j"] for energy in row["result"]["books"].values())
        curve = list(zip(energies, of["accuracy"], strict=True))
        found.append(Trained(row["number"], curve, spent_j))
    return found


def expected(trials: Sequence[Trained], target: float) -> list[tuple[str, str, str]]:
    """Trial, energy and accuracy of the rows of a ranking."""
    hits = [(trial, trial.to(target)) for trial in trials]
    reached = sorted((hit[0], -hit[1], trial.number) for trial, hit in hits if hit)
    rows = [(str(number), joules(energy_j), f"{-minus:.4f}") for energy_j, minus, number in reached]
    missed = [trial for trial, hit in hits if hit is None]
    return rows + [(str(t.number), f"> {joules(t.curve[-1][0])}", "-") for t in missed]


def shown(tab: Page) -> list[tuple[str, str, str]]:
    cells = [row.locator("td").all_inner_texts() for row in tab.locator("#ranking tbody tr").all()]
    return [(row[5], row[2], row[3]) for row in cells]


@pytest.mark.slow
def test_what_is_shown_is_what_the_database_holds(
    studied: Program, page: Path, browser: Browser
) -> None:
    trials = trained(studied)
    with opened(browser, page) as tab:
        assert shown(tab) == expected(trials, 0.9)
        whole = tab.locator("#table-joules tbody tr").last
        spent_j = sum(trial.spent_j for trial in trials)
        assert whole.locator("td").nth(1).text_content() == joules(spent_j)
        search = tab.locator(".cards div", has_text="cost of the search")
        assert search.locator("strong").inner_text().replace("\xa0", " ") == joules(spent_j)
        best = expected(trials, 0.9)[0]
        assert f"trial {best[0]}" in tab.locator("#target-says").inner_text()
        best_row = next(r for r in trials_of(studied, "toy") if str(r["number"]) == best[0])
        ran = tab.locator("#command").inner_text()
        assert all(word in ran for word in best_row["overrides"])
        assert "simulation" in tab.locator("#answer").inner_text()
        assert "derived" in tab.locator("#answer").inner_text()


def test_the_target_is_moved_by_keys_number_and_mouse(
    studied: Program, page: Path, browser: Browser
) -> None:
    trials = trained(studied)
    with opened(browser, page) as tab:
        slider = tab.locator("#target-range")
        for _ in range(40):  # as a user without a mouse gets there
            if tab.evaluate("document.activeElement.id") == "target-range":
                break
            tab.keyboard.press("Tab")
        for key in ("ArrowLeft", "ArrowDown", "PageDown", "ArrowRight"):
            tab.keyboard.press(key)
        assert tab.locator("#target-number").input_value() == "0.889"
        assert slider.get_attribute("aria-valuetext") == "0.889"
        assert shown(tab) == expected(trials, 0.889)
        assert "0.889" in tab.locator("#ranking-target").inner_text()
        drawing = tab.locator("[data-figure=front]")
        drawing.locator("text", has_text="target accuracy 0.889").wait_for()
        tab.locator("#target-number").fill("0.5")
        tab.keyboard.press("Enter")
        assert shown(tab) == expected(trials, 0.5)
        assert tab.locator("#target-says").inner_text().startswith("To 0.5: ")
        words = drawing.locator("text", has_text="target accuracy 0.5")
        words.scroll_into_view_if_needed()
        line = words.bounding_box()
        assert line is not None
        start = (line["x"] + 200, line["y"] - 4)  # the line is above its words
        tab.mouse.move(*start)
        tab.mouse.down()
        tab.mouse.move(start[0], start[1] + 60, steps=5)  # to a smaller error
        tab.mouse.up()
        moved = float(tab.locator("#target-number").input_value())
        assert moved > 0.51
        assert shown(tab) == expected(trials, moved)
        tab.get_by_role("button", name="Back to 0.9").click()
        assert shown(tab) == expected(trials, 0.9)


def test_energies_are_linear_or_logarithmic(page: Path, browser: Browser) -> None:
    with opened(browser, page) as tab:
        labels = tab.locator("[data-figure=front] .role-axis-label text")
        before = labels.all_text_contents()
        tab.get_by_role("button", name="linear").click()
        tab.wait_for_function(
            "before => document.querySelector('[data-figure=front] .role-axis-label')"
            "?.textContent !== before",
            arg="".join(before),
        )
        pressed = tab.locator("[aria-pressed=true]").all_inner_texts()
        assert pressed == ["linear"]
        tab.locator("#target-number").fill("0.7")
        tab.keyboard.press("Enter")
        tab.locator("[data-figure=front] text", has_text="target accuracy 0.7").wait_for()


def test_a_mark_says_its_parameters(page: Path, browser: Browser) -> None:
    with opened(browser, page) as tab:
        tab.locator("[data-figure=front] .mark-symbol.role-mark path").last.hover(force=True)
        said = tab.locator("#vg-tooltip-element")
        said.wait_for()
        assert "lr=" in said.inner_text()


# For everybody ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", _WIDE), ("dark", _WIDE), ("light", _NARROW)]
)
@pytest.mark.slow
def test_axe_finds_nothing(
    page: Path, browser: Browser, scheme: Scheme, size: tuple[int, int]
) -> None:
    with opened(browser, page, scheme=scheme, size=size) as tab:
        tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        found = Axe().run(tab)
        assert found.violations_count == 0, found.generate_report()
        wide = tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0  # wide tables and figures scroll in boxes of their own


def test_without_a_script_all_but_the_moving_is_there(page: Path, browser: Browser) -> None:
    with opened(browser, page, script=False) as tab:
        stills = tab.locator("img.still")
        assert stills.count() == tab.locator("figure").count() >= 3
        for still in stills.all():
            assert still.get_attribute("alt")
            box = still.bounding_box()
            assert box is not None
            assert box["width"] > 300
        assert tab.locator("#ranking tbody tr").count() == 6
        assert tab.locator("#target-form").is_hidden()


def test_paper_shows_what_is_folded_and_no_buttons(page: Path, browser: Browser) -> None:
    with opened(browser, page, scheme="dark") as tab:
        tab.emulate_media(media="print")
        assert tab.locator("#target-form").is_hidden()
        assert tab.locator("nav").is_hidden()
        tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        paper = "getComputedStyle(document.body).backgroundColor"
        assert tab.locator("details:not([open], .long)").count() == 0
        assert tab.evaluate(paper) == "rgb(255, 255, 255)"
        ink = "getComputedStyle(document.querySelector('[data-figure=front] svg text')).fill"
        assert tab.evaluate(ink) == "rgb(68, 68, 68)"


# Studies of all kinds ---------------------------------------------------------------------------

_CURVE = [(100, 2.0, 0.5), (200, 4.0, 0.8), (300, 8.0, 0.92)]
_EVIL = "</script><img src=x onerror=alert(1)>"


def _hostile() -> StudyRecord:
    """Text that an attacker could have put into a database."""
    params = {_EVIL: _EVIL, "lr": 0.1}
    source = replace(ESTIMATED, meter=_EVIL, scope=_EVIL, device=_EVIL, uncertainty=_EVIL)
    training = result(_CURVE, provenance=source, flags=(_EVIL,), reason=_EVIL)
    other = result([(100, 3.0, 0.95)], provenance=source, reason="${alert(1)} {{ 7 * 7 }} datum.x")
    return study(
        [
            trial(0, training, params=params, default=True),
            trial(1, other, params={_EVIL: "`b`", "lr": 0.2}),
        ],
        name=_EVIL,
        overrides=(f"task={_EVIL}",),
    )


def _one_parameter() -> StudyRecord:
    curves = [[(100, 2.0 + n, 0.6), (200, 5.0 + n, 0.91 if n % 3 else 0.85)] for n in range(6)]
    trials = [trial(n, result(curve), default=n == 0) for n, curve in enumerate(curves)]
    return replace(study(trials), space={"lr": FloatDistribution(0, 1)})


def _none_reached() -> StudyRecord:
    return study(trial(n, result([(100, 2.0 + n, 0.5 + n / 100)])) for n in range(4))


def _profiled() -> StudyRecord:
    points = tuple(ProfilePoint(w, 10, w / 50, 100 / w) for w in (300.0, 200.0, 100.0))
    profile = PowerProfile({"batch_size": 32}, points, 200.0)
    of = replace(result(_CURVE), conditions=Conditions(limit_w=200.0, idle_w=50.0, profile=profile))
    return study([trial(0, of, default=True), trial(1, result(_CURVE))])


def _confirmed() -> StudyRecord:
    trials = [trial(n, result(_CURVE), default=n == 0) for n in range(2)]
    again = tuple(
        Confirmation(
            number=2 * seed + index,
            trial=index,
            seed=1000 + seed,
            overrides=(f"lr={(index + 1) / 100}", f"seed={1000 + seed}"),
            state="complete",
            result=result([(100, (8.0, 4.0)[index] + seed / 4, 0.93 + seed / 100)]),
            test_accuracy=0.9 + seed / 100,
        )
        for seed in range(3)
        for index in range(2)
    )
    return replace(study(trials), confirmations=again)


def _of_another_app() -> StudyRecord:
    trials = [trial(n, state="complete", values=(1.0 + n, 2.0)) for n in range(3)]
    loss = (Metric("loss", "minimize"), Metric("fps", "maximize"))
    return study(trials, target=None, metrics=loss)


def _mixed() -> StudyRecord:
    simulated = replace(ESTIMATED, kind="simulated", meter="made up", device="None")
    trials = [trial(0, result(_CURVE)), trial(1, result(_CURVE, provenance=simulated))]
    return study([*trials, trial(2), trial(3, state="paused"), trial(4, state="failed")])


_KINDS: Sequence[tuple[Callable[[], StudyRecord], Sequence[str]]] = [
    (_hostile, [_EVIL, "1 warning.", "{{ 7 * 7 }}"]),
    (_one_parameter, ["Energy to 0.9 against lr", "lr is the only parameter"]),
    (_none_reached, ["None of 4 trials reached 0.9; the best accuracy was 0.53"]),
    (_profiled, ["Power limits", "Energy of a step, batch size 32 (trial 0)"]),
    (_confirmed, ["test accuracy", "3 seeds", "wins"]),
    (_of_another_app, ["3 trials, and no target", "loss (minimize)"]),
    (_mixed, ["Joules of several sources", "estimated energy"]),
    (lambda: study([]), ["This study has no trials yet."]),
    (lambda: study([trial(0, result(_CURVE))]), ["is all that was trained; it reaches 0.9"]),
]  # fmt: skip


@pytest.mark.parametrize(("make", "words"), _KINDS, ids=range(len(_KINDS)))
@pytest.mark.slow
def test_studies_of_all_kinds(
    browser: Browser,
    tmp_path: Path,
    make: Callable[[], StudyRecord],
    words: Sequence[str],
) -> None:
    with opened(browser, written(make(), tmp_path)) as tab:
        said = " ".join(str(tab.locator("body").text_content()).replace("\xa0", " ").split())
        for word in words:
            assert word in said
        assert tab.locator("img").count() == 0  # stills are for where no script runs
        found = Axe().run(tab)
        assert found.violations_count == 0, found.generate_report()


def made_up(trials: int) -> StudyRecord:
    """A study as large as one asks for."""
    random_ = random.Random(1)
    records = []
    for number in range(trials):
        outcome = made_up_outcome(random_)
        records.append(
            trial(
                number,
                outcome.result,
                params=made_up_params(random_),
                state="failed" if outcome.state == "failed" else "complete",
                default=number == 0,
            )
        )
    return replace(study(records), space=MADE_UP_SPACE)


@pytest.mark.slow
def test_a_thousand_trials_are_a_page_that_opens(browser: Browser, tmp_path: Path) -> None:
    page = written(made_up(1000), tmp_path)
    assert page.stat().st_size < _LIMIT_BYTES
    with opened(browser, page) as tab:
        drawn = re.search(r"([\d,]+) of ([\d,]+) evaluations are drawn", tab.inner_text("#front"))
        assert drawn is not None
        few, many = (int(number.replace(",", "")) for number in drawn.groups())
        assert few < 6000 < many
        assert tab.locator("#ranking tbody tr").count() == 12
        tab.get_by_role("button", name="Show all 1000").click()
        assert tab.locator("#ranking tbody tr").count() == 1000


def test_what_the_script_works_with_cannot_end_its_element(tmp_path: Path) -> None:
    text = written(_hostile(), tmp_path).read_text()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert "<" not in data
    of: dict[str, Any] = json.loads(data)
    assert _EVIL in of["ranking"][0]["setup"]
    assert "<img src=x" not in text
