"""What the docs claim to be tested is."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

_NAMED = re.compile(r"`(tests/test_\w+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize(
    ("page", "letter", "count"), [("reliability", "R", 20), ("security", "S", 15)]
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
