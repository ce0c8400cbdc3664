"""`energyopt restore`: restore power limits that killed runs left changed."""

from __future__ import annotations

import argparse
import os
import sys

from rich.console import Console

from energyopt.cli.commands._arguments import plain_parser
from energyopt.errors import HardwareError


def parser() -> argparse.ArgumentParser:
    return plain_parser(
        "restore",
        "Restore the power limits of GPUs that killed runs left changed; those of running ones "
        "stay. Where that takes the rights of another user, such as root, run it with them "
        "(sudo energyopt restore): root restores all users'.",
        [""],
        notes="exit code:\n"
        "  0  all are restored, or there was nothing to do\n"
        "  1  one could not be restored",
    )


def run(_: argparse.Namespace) -> None:
    """Restore the power limits of crashed runs, and exit with 1 if one could not be set.

    Raises:
        HardwareError: If the folder of the recorded limits is not readable.
    """
    from energyopt.hardware.power_limit_recovery import restore_all
    from energyopt.hardware.run_folder import run_dir
    from energyopt.report.console import say

    if run_dir().exists() and not os.access(run_dir(), os.R_OK | os.X_OK):
        raise HardwareError(f"{run_dir()}, the place of what is to be restored, may not be read")
    limits = restore_all(requested=True)
    console = Console()
    for limit in limits:
        say(console, str(limit))
    if not limits:
        say(console, f"nothing to restore in {run_dir()}")
    sys.exit(1 if any(limit.refusal is not None for limit in limits) else 0)
