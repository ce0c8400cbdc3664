"""Print text: wrapped at words on a terminal, unwrapped in a file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.text import Text

from energyopt.analysis.pareto import FrontPoint
from energyopt.core.command_template import shell_word, training_command
from energyopt.core.run_context import VARIABLE
from energyopt.utils.text import wrapped

COMMAND = "python -m energyopt"
_COMMAND_WIDTH = 78


def say(console: Console, text: str, *, style: str = "") -> None:
    """Print text, with control characters replaced: it may come from user code.

    Args:
        console: The console to print on.
        text: Lines. If one begins with a label or blanks, its continuations are indented likewise.
        style: Style of rich.
    """
    lines = [printable(line) for line in text.split("\n")]
    if drawn_over(console):
        lines = [piece for line in lines for piece in wrapped(line, console.width)]
    console.print(Text("\n".join(lines), style=style), soft_wrap=True)


def say_code(console: Console, text: str) -> None:
    """Print lines of code, such as a traceback, as they are: wrapped, they could not be read."""
    lines = (printable(line.expandtabs()) for line in text.splitlines())
    console.print(Text("\n".join(lines)), soft_wrap=True)


def drawn_over(console: Console) -> bool:
    """Return True if the console is a terminal on which lines can be drawn over.

    FORCE_COLOR makes rich treat a file as a terminal; cursor movements would garble that file.
    """
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def waiting(console: Console, text: str) -> AbstractContextManager[object]:
    """Show a spinner while waiting for something short, on a terminal only."""
    return console.status(text) if drawn_over(console) else nullcontext()


def printable(text: str) -> str:
    """Replace control characters: text of a database must not drive the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def training_words(point: FrontPoint, app: str | None) -> tuple[str, tuple[str, ...]]:
    """Return what a shell runs to train a configuration: the program as it is typed, and its words.

    Args:
        point: The configuration.
        app: The command of another app, as its study keeps it; None for our own.
    """
    if app is None:
        return COMMAND, point.overrides
    return training_command(app, point.overrides, point.params, VARIABLE)


def command_lines(arguments: Sequence[str], width: int, program: str = COMMAND) -> list[str]:
    """Return a command as lines ending in backslashes, which a shell joins when pasted.

    Args:
        arguments: Arguments of the program.
        width: Characters of a line; a longer argument is not broken.
        program: The program, as it is typed.
    """
    lines = [f"  {printable(program)}"]
    for argument in (printable(shell_word(argument)) for argument in arguments):
        if len(lines[-1]) + len(argument) + len(" " + " \\") > min(width, _COMMAND_WIDTH):
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {argument}"
    return lines
