"""Lines are wrapped at words, and what is wrapped stays in its column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.utils.text import wrapped


@pytest.mark.parametrize(
    ("line", "width", "lines"),
    [
        ("", 20, [""]),
        ("one two three", 8, ["one two", "three"]),
        ("on     a CPU of some kind", 16, ["on     a CPU of", "       some kind"]),
        ("show STUDY   what it found", 22, ["show STUDY   what it", "             found"]),
        ("   further in", 12, ["   further", "   in"]),
        ("model: cnn, gru, mlp", 12, ["model: cnn,", "    gru, mlp"]),
        ("a-word-that-is-long", 5, ["a-word-that-is-long"]),
    ],
)
def test_a_line_is_wrapped(line: str, width: int, lines: list[str]) -> None:
    assert wrapped(line, width) == lines


@given(
    st.text(st.characters(categories=["L", "N", "P"], include_characters=" ")), st.integers(20, 99)
)
def test_no_word_is_cut_and_none_is_lost(line: str, width: int) -> None:
    assert " ".join(wrapped(line, width)).split() == line.split()
