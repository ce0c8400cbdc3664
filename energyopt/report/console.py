"""Say something: on a terminal wrapped at words, in a file a line is a line."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.text import Text

from energyopt.utils.text import wrapped

COMMAND = "python -m energyopt"
_COMMAND_WIDTH = 78


def say(console: Console, text: str, *, style: str = "") -> None:
    """Print text; what a user's code has put into it cannot drive the terminal.

    Args:
        console: Where to.
        text: Lines. Where one begins with a label or blanks, what is wrapped stands under its text.
        style: How it looks, of rich.
    """
    lines = [printable(line) for line in text.split("\n")]
    if drawn_over(console):
        lines = [piece for line in lines for piece in wrapped(line, console.width)]
    console.print(Text("\n".join(lines), style=style), soft_wrap=True)


def drawn_over(console: Console) -> bool:
    """Whether people look at a terminal, on which lines can be drawn over.

    Colours may be wanted in a file, too (FORCE_COLOR); what moves a cursor never is.
    """
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def waiting(console: Console, text: str) -> AbstractContextManager[object]:
    """Show that something short is being waited for, where people look."""
    return console.status(text) if drawn_over(console) else nullcontext()


def printable(text: str) -> str:
    """Keep control characters out of the terminal: a database can come from anywhere."""
    return "".join(char if char.isprintable() else "?" for char in text)


def command_lines(words: Sequence[str], width: int) -> list[str]:
    """A command in pieces that can be pasted: a shell joins them at the backslash.

    Args:
        words: What follows `python -m energyopt`.
        width: Characters of a line; a word that is longer stays whole.
    """
    lines = [f"  {COMMAND}"]
    for word in (printable(shlex.quote(each)) for each in words):
        if len(lines[-1]) + len(word) + len(" " + " \\") > min(width, _COMMAND_WIDTH):
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}"
    return lines
