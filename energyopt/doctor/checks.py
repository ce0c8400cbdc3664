"""Collect the results of one section's probes, including those that fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from omegaconf.errors import OmegaConfBaseException

from energyopt.config.error_messages import explain
from energyopt.doctor.records import Check, Level
from energyopt.errors import EnergyoptError
from energyopt.hardware.nvml import PERMISSION_REMEDY
from energyopt.utils.failure import FULL_ERROR

T = TypeVar("T")

_REPORT = f"{FULL_ERROR}=1 shows where; if no installation is broken, please report it"


class Checks(list[Check]):
    """The lines of one section."""

    def add(self, level: Level, name: str, text: str, remedy: str | None = None) -> None:
        """Add a line, with the fields of `Check`."""
        self.append(Check(level, name, text, remedy))

    def refuse(
        self, name: str, message: str, *, level: Level = "FAIL", remedy: str = _REPORT
    ) -> None:
        """Add the message of an error.

        Args:
            name: Name of the check.
            message: The problem, usually with a remedy.
            level: Its severity.
            remedy: Remedy if the message names none.
        """
        problem, own_remedy = split_remedy(message)
        self.add(level, name, problem, own_remedy or remedy)

    def run(self, name: str, probe: Callable[[], T], *, remedy: str = _REPORT) -> T | None:
        """Run a probe, and add a line if it fails.

        Args:
            name: Name of the check.
            probe: The probe.
            remedy: Remedy if an error names none.

        Returns:
            The result of the probe; None if it failed.
        """
        try:
            return probe()
        except (EnergyoptError, OSError, OmegaConfBaseException) as error:
            self.refuse(name, explain(error), remedy=remedy)
        # Only here: drivers, daemons and a user's own meter may raise any error, and the failure
        # of one probe must not hide the results of the others.
        except Exception as error:
            if os.environ.get(FULL_ERROR) == "1":
                raise
            lines = str(error).splitlines() or ["no message"]
            self.add("FAIL", name, f"{type(error).__name__}: {lines[0]}", _REPORT)
        return None


def split_remedy(message: str) -> tuple[str, str | None]:
    """Split an error message into the problem and the remedy, if it names one.

    The remedy follows the last semicolon outside parentheses.
    """
    if message.endswith(PERMISSION_REMEDY):
        return message.removesuffix(PERMISSION_REMEDY).rstrip(": "), PERMISSION_REMEDY
    depth = 0
    for i in range(len(message) - 1, 0, -1):
        depth += {")": 1, "(": -1}.get(message[i], 0)
        if message.startswith("; ", i) and not depth:
            return message[:i], message[i + 2 :]
    return message, None
