"""Sentences: wrapped at words on a terminal, whole in a file, and never a control character."""

from __future__ import annotations

import shlex
import threading
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from energyopt.report.console import COMMAND, command_lines, drawn_over, say
from energyopt.report.live import Progress


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


def console(width: int, *, screen: bool) -> Console:
    file = Screen() if screen else StringIO()
    return Console(file=file, width=width, force_terminal=True, color_system=None)


def said(on: Console) -> list[str]:
    assert isinstance(on.file, StringIO)
    return on.file.getvalue().splitlines()


def test_a_terminal_wraps_at_words_and_puts_the_rest_under_the_text() -> None:
    on = console(30, screen=True)
    say(
        on,
        "energy    estimated by the time that it took\nsearch    all\n          further in",
    )
    assert said(on) == [
        "energy    estimated by the",
        "          time that it took",
        "search    all",
        "          further in",
    ]


def test_a_file_has_whole_lines() -> None:
    on = console(30, screen=False)
    say(on, "[1/8] trial 0: " + "word " * 20)
    assert said(on) == ["[1/8] trial 0: " + "word " * 20]


@given(st.text(), st.integers(20, 200), st.booleans())
def test_nothing_drives_the_terminal_and_nothing_is_lost(
    text: str, width: int, screen: bool
) -> None:
    on = console(width, screen=screen)
    say(on, text)
    assert isinstance(on.file, StringIO)
    shown = on.file.getvalue()
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "".join(shown.split()) == "".join(
        "".join(c if c.isprintable() or c == "\n" else "?" for c in text).split()
    )


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126)), max_size=8))
def test_a_command_can_be_pasted(words: list[str]) -> None:
    lines = command_lines(words, 80)
    assert shlex.split("\n".join(lines).replace(" \\\n", " ")) == [*COMMAND.split(), *words]


@pytest.mark.parametrize(
    ("screen", "term", "drawn"),
    [(True, "xterm", True), (False, "xterm", False), (True, "dumb", False)],
)
def test_only_what_people_look_at_is_drawn_over(
    screen: bool, term: str, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert drawn_over(console(80, screen=screen)) is drawn


def test_a_log_gets_a_line_now_and_then_and_no_cursor_is_moved() -> None:
    on = console(80, screen=False)
    lines = iter(["epoch 1", "", "epoch 3"])
    over = threading.Event()

    def line() -> str:
        text = next(lines, None)
        if text is None:
            over.set()
        return text or ""

    with Progress(on, lambda: "bar", line, every_s=0.001) as progress:
        assert not progress.drawn
        assert over.wait(30)
    assert said(on) == ["epoch 1", "epoch 3"]
