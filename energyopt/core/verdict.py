"""Verdict of a study on a running trial: one small file, from the coordinator to the job.

The journal carries reports to the coordinator, through any launcher. The answer takes the same way
back: the coordinator replaces a file in the job's folder, and the job waits for it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "verdict.json"
"""The file's name in a job's folder."""

_POLLS_S = (0.002, 0.1)  # first and longest pause between two looks at the file


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a report.

    Attributes:
        report: Number of the report, from 0.
        reason: Why the trial is pruned; None if it continues.
    """

    report: int
    reason: str | None = None


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Replace the verdict in a job's folder.

    Raises:
        OSError: If it cannot be written.
    """
    path = folder / NAME
    new = path.with_name(f".{NAME}.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    with new.open("x") as file:  # fails for a link that another user creates meanwhile
        file.write(json.dumps(asdict(verdict)))
    new.replace(path)


def read_verdict(folder: Path) -> Verdict | None:
    """Return the verdict in a job's folder; None without a readable one."""
    try:
        data = json.loads((folder / NAME).read_text())
        reason = data["reason"]
        return Verdict(int(data["report"]), None if reason is None else str(reason))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def await_verdict(folder: Path, report: int, timeout_s: float) -> Verdict | None:
    """Wait for the verdict on a report.

    Args:
        folder: The job's folder.
        report: Number of the report, from 0.
        timeout_s: How long to wait, in s.

    Returns:
        None if none came in time.
    """
    deadline_s, pause_s = time.monotonic() + timeout_s, _POLLS_S[0]
    while True:
        verdict = read_verdict(folder)
        if verdict is not None and verdict.report >= report:
            return verdict
        if time.monotonic() >= deadline_s:
            return None
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLLS_S[1])


def forget_verdict(folder: Path) -> None:
    """Remove the verdict on an earlier training in the folder."""
    (folder / NAME).unlink(missing_ok=True)
