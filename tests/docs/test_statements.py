"""Statements of the docs are true: claimed tests and named files exist."""

from __future__ import annotations

import math
import re

import pytest

from energyopt.analysis.confirmation_stats import confirmed_setups
from energyopt.analysis.summary import summarize
from energyopt.core.units import joules
from energyopt.storage.exchange.reader import study_at
from tests.conftest import ROOT

_NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize(
    ("page", "letter", "count"), [("reliability", "R", 23), ("security", "S", 19)]
)
def test_each_claim_has_a_test_that_exists(page: str, letter: str, count: int) -> None:
    lines = (ROOT / "docs" / f"{page}.md").read_text().splitlines()
    rows = [line for line in lines if re.match(rf"\| {letter}\d", line)]
    claims = [f"{letter}{number}" for number in range(1, count + 1)]
    assert [row.split("|")[1].strip() for row in rows] == claims
    for row in rows:
        named = _NAMED.findall(row)
        assert named, row
        for file, test in named:
            source = (ROOT / file).read_text()
            assert not test or f"def {test}(" in source, f"{file}::{test}"


def test_the_worked_study_is_what_its_page_says() -> None:
    """Its export is read as it is committed."""
    folder = ROOT / "studies" / "digits"
    page = " ".join((folder / "README.md").read_text().split())
    study = study_at("", f"{folder}/export")
    assert f"{len(study.trials)} setups in about a minute" in page
    training = "confirming training"
    assert f"{sum(c.state == 'complete' for c in study.confirmations)} {training}s" in page
    setups = confirmed_setups(study)
    assert len(setups) == 3
    for setup in setups:
        of = f"trial {setup.trial.number}{' (default)' if setup.trial.default else ''}: "
        lr = f"lr={setup.trial.params['lr']:.4g}"
        assert re.search(rf"{re.escape(of + lr)}( batch_size=\d+)? +{joules(setup.mean_j)} ", page)
    summary = summarize(study)
    assert f"{joules(summary.search_energy_j)} in all" in page
    assert f"after {math.ceil(summary.break_even or 0)} trainings" in page


def test_each_decision_is_indexed_once_and_has_its_sections() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    index = (folder / "index.md").read_text()
    assert sorted(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", index)) == files
    for name in files:
        text = (folder / name).read_text()
        title = re.match(r"# (\d+)\. (.+)\n\nStatus: (Accepted|Superseded|Amended)\b", text)
        assert title, name
        assert int(title[1]) == int(name[:4])
        assert f"[{title[1]}. {title[2]}]({name})" in index
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], name
        changed = "accepted" if title[3] == "Accepted" else title[3].lower()
        assert (changed == "accepted") != (f"({name}) ({changed} by " in index), name


def test_files_that_pages_name_exist() -> None:
    for page in [ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        named = re.findall(
            r"`((?:energyopt|benchmarks|tests|tools|docs)/[\w./-]*)`", page.read_text()
        )
        real = [path for path in named if "NAME" not in path]
        missing = [path for path in real if not (ROOT / path).exists()]
        assert not missing, f"{page.relative_to(ROOT)}: {missing}"
