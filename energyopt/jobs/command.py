"""A command of the user's as the job of a trial: a script, torchrun, a shell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig

from energyopt.core.command_template import CommandTemplate
from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.journal import has_ended
from energyopt.core.run_context import RunContext
from energyopt.errors import TrialError
from energyopt.jobs.worker import OUTPUT
from energyopt.utils.failure import FULL_ERROR, about, has_all_frames

_MOST_LINES, _MOST_REASON_LINES = 40, 3  # of its output, shown after a failure
_MOST_BYTES = 20_000
_OURS = re.compile(r"^energyopt\.errors\.\w+: ")


@dataclass(frozen=True, slots=True)
class CommandTask:
    """The function of each job of a command's study.

    The job's process is the leader of a process group and has a supervisor, so the command ends
    with its trial, whatever it started.

    Attributes:
        template: The command.
        fixed: Values of its places that are not searched.
        default: The user's own values of searched keys, for trial 0.
    """

    template: CommandTemplate
    fixed: Mapping[str, Any] = field(default_factory=dict)
    default: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, cfg: DictConfig) -> None:
        """Run the command with the values of the trial that this process is.

        Raises:
            TrialError: If it cannot be started, or does not end with exit code 0.
        """
        del cfg  # the values are in the context, for a `Run` in the command as well
        context = RunContext.from_environment()
        words = self.template.filled({**self.fixed, **context.params})
        if context.folder is not None and has_ended(context.folder):
            (context.folder / JOURNAL).unlink()  # of an earlier study in this folder
        log = None if context.folder is None else context.folder / OUTPUT
        began_at = _size(log)
        try:
            code = subprocess.run(words, env=_environment(), check=False).returncode  # noqa: S603
        except OSError as error:
            raise TrialError(f"{words[0]} cannot be started: {error.strerror}") from None
        if code:
            _fail(code, _lines_since(log, began_at))


def _environment() -> dict[str, str]:
    """Return the environment without Hydra's variable, which our own program sets for its ends."""
    hidden = () if has_all_frames() else (FULL_ERROR,)
    return {key: value for key, value in os.environ.items() if key not in hidden}


def _fail(code: int, lines: Sequence[str]) -> NoReturn:
    how = f"ended with exit code {code}"
    if code < 0:
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        how = f"was killed by {signal.Signals(-code).name}{hint}"
    last = [_OURS.sub("", line.strip()) for line in last_lines(lines)]
    error = TrialError(": ".join([f"the command {how}", *filter(None, [" / ".join(last)])]))
    raise about(error, "\n".join(lines[-_MOST_LINES:]))


def last_lines(lines: Sequence[str]) -> list[str]:
    """Return the last lines of an output: of a traceback, those that say what was raised."""
    last = [line for line in lines if line.strip()][-_MOST_REASON_LINES:]
    while len(last) > 1 and last[0][:1].isspace():
        del last[0]
    return last


def _size(log: Path | None) -> int:
    return log.stat().st_size if log is not None and log.exists() else 0


def _lines_since(log: Path | None, start: int) -> list[str]:
    """Return the last lines that were written into a file after a place in it."""
    if log is None or not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(start, _size(log) - _MOST_BYTES))
        return file.read().decode(errors="replace").splitlines()
