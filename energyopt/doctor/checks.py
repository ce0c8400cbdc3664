"""What the probes of one section find, also when they break."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from omegaconf.errors import OmegaConfBaseException

from energyopt.config.error_messages import explain
from energyopt.doctor.records import Check, Level
from energyopt.errors import EnergyoptError
from energyopt.hardware.nvml import PERMISSION_REMEDY

T = TypeVar("T")

_REPORT = "HYDRA_FULL_ERROR=1 shows where; if no installation is broken, please report it"


class Checks(list[Check]):
    """The lines of one section."""

    def add(self, level: Level, name: str, says: str, remedy: str | None = None) -> None:
        """Add a line; its words are those of `Check`."""
        self.append(Check(level, name, says, remedy))

    def refuse(
        self, name: str, sentence: str, *, level: Level = "FAIL", remedy: str = _REPORT
    ) -> None:
        """Add what an error says.

        Args:
            name: What was looked at.
            sentence: What is wrong, mostly with what to do.
            level: How bad it is.
            remedy: What to do where the sentence does not say.
        """
        says, told = split(sentence)
        self.add(level, name, says, told or remedy)

    def ask(self, name: str, probe: Callable[[], T], *, remedy: str = _REPORT) -> T | None:
        """Ask, and add a line where that fails.

        Args:
            name: What is asked for.
            probe: Answers.
            remedy: What to do where an error does not say.

        Returns:
            The answer; None where there is none.
        """
        try:
            return probe()
        except (EnergyoptError, OSError, OmegaConfBaseException) as error:
            self.refuse(name, explain(error), remedy=remedy)
        # Here alone: drivers, daemons and a user's own meter raise what they like, and what
        # breaks one probe must not hide what the others find.
        except Exception as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            lines = str(error).splitlines() or ["no message"]
            self.add("FAIL", name, f"{type(error).__name__}: {lines[0]}", _REPORT)
        return None


def split(sentence: str) -> tuple[str, str | None]:
    """Part a sentence of an error: what is wrong, and what to do (its end after a semicolon)."""
    if sentence.endswith(PERMISSION_REMEDY):
        return sentence.removesuffix(PERMISSION_REMEDY).rstrip(": "), PERMISSION_REMEDY
    depth = 0
    for at in range(len(sentence) - 1, 0, -1):
        depth += {")": 1, "(": -1}.get(sentence[at], 0)
        if sentence.startswith("; ", at) and not depth:
            return sentence[:at], sentence[at + 2 :]
    return sentence, None
