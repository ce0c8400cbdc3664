"""The dashboard in a real browser: our figures and words, no missed trial among the best."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import TINY, Program
from tests.report.dashboard.test_overlay import MISSED, REACHED, STOPPED, filled
from tests.report.dashboard.test_server import Site, dashboard

pytest.importorskip("optuna_dashboard")
TITLES = ("Error against energy", "Where the joules of the search went", "The same by trial")


@pytest.fixture(scope="module")
def missed(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A folder with a study whose cheapest trial missed the target."""
    program = Program(Path(sys.executable), tmp_path_factory.mktemp("missed"))
    filled(program.folder / "studies" / "energyopt.db", MISSED, REACHED, STOPPED)
    return program


@pytest.fixture(scope="module")
def site(missed: Program) -> Iterator[Site]:
    with dashboard(missed, "small") as running:
        yield running


@contextmanager
def page_of(browser: Browser, url: str, *, dark: bool = False) -> Iterator[Page]:
    """A page, on which nothing may be wrong."""
    context = browser.new_context(
        viewport={"width": 1300, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("request", lambda sent: wrong.append(sent.url) if not is_own(sent.url, url) else None)
    page.goto(url)
    yield page
    assert wrong == []
    context.close()


def is_own(asked: str, url: str) -> bool:
    return (
        urlsplit(asked).scheme in ("data", "blob") or urlsplit(asked).netloc == urlsplit(url).netloc
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.slow
def test_figures_and_units_are_on_the_page_of_the_study(
    browser: Browser, site: Site, dark: bool
) -> None:
    with page_of(browser, site.url, dark=dark) as page:
        for title in TITLES:
            expect(page.locator("svg text", has_text=title).first).to_be_visible(timeout=30_000)
        expect(page.get_by_text("energy to target [J]").first).to_be_visible()
        tops = [
            page.locator(f"[id*='user-defined-plot:energyopt-0{n}']").bounding_box()
            for n in range(len(TITLES))
        ]
        heights = [box["y"] for box in tops if box is not None]
        assert len(heights) == len(TITLES)
        assert heights == sorted(heights)  # in order, and above the dashboard's own figures
        history = page.get_by_role("heading", name="History").first.bounding_box()
        assert history is not None
        assert history["y"] > heights[-1]
        best = page.get_by_text("Best Trial").locator("visible=true").first
        expect(best).to_be_visible()


@pytest.mark.slow
def test_who_missed_the_target_is_not_labelled_best(browser: Browser, site: Site) -> None:
    with page_of(browser, f"{site.url}/trials") as page:
        items = page.get_by_role("button").filter(has_text=re.compile(r"^Trial \d"))
        expect(items).to_have_count(3, timeout=30_000)
        words = items.all_inner_texts()
        assert [("Best Trial" in word) for word in words] == [False, True, False]
        assert "Complete" in words[0]
        assert "Pruned" in words[2]
        items.first.click()
        expect(page.get_by_text("Missed the target.")).to_be_visible()
        expect(page.get_by_text("feasible False")).to_be_visible()
        with page.expect_download() as download:
            page.locator("a[download], button[aria-label*=download i]").last.click()
        record = json.loads(Path(download.value.path()).read_text())
        assert record["end"] == "epochs"


@pytest.mark.slow
def test_the_note_is_the_summary(browser: Browser, site: Site) -> None:
    with page_of(browser, f"{site.url}/note") as page:
        expect(page.get_by_text("Study small: 3 trials")).to_be_visible(timeout=30_000)
        expect(page.get_by_text("estimated by cpu-time").first).to_be_visible()
        expect(page.locator("button:has([data-testid=EditIcon])")).to_be_hidden()


@pytest.mark.slow
def test_looking_leaves_no_mark(browser: Browser, missed: Program, site: Site) -> None:
    file = missed.folder / "studies" / "energyopt.db"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    with page_of(browser, site.url) as page:
        expect(page.locator("svg text", has_text=TITLES[0]).first).to_be_visible(timeout=30_000)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


@pytest.mark.slow
def test_figures_follow_a_study_that_runs(
    browser: Browser, energyopt: Program, tmp_path: Path
) -> None:
    words = (*TINY, "lr=interval(0.001,0.1)", "study=busy", "n_jobs=1")
    energyopt.ok("-m", *words, "n_trials=1")
    with (
        energyopt.start("-m", *words, "n_trials=15") as running,
        dashboard(energyopt, "busy") as site,
        page_of(browser, f"{site.url}/note") as page,
    ):
        found = page.get_by_text(re.compile(r"Study busy: \d+ trial"))
        expect(found).to_be_visible(timeout=30_000)
        first = found.inner_text()
        assert running.wait() == 0
        expect(page.get_by_text("Study busy: 15 trials")).to_be_visible(timeout=60_000)
        assert first != found.inner_text()
