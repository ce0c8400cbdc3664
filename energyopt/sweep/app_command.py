"""The command that runs the app of a user."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from energyopt.sweep.hydra_app import Multirun


def app_command(multirun: Multirun | None = None) -> str:
    """Return the command that runs this app, for people.

    Args:
        multirun: Of its jobs, whose task says what it is called in a search from Python.
    """
    called = getattr(multirun and multirun.task_function, "app", None)
    if isinstance(called, str):
        return called
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return f"python -m {spec.name}"
    path = Path(file or sys.argv[0])
    is_here = path.resolve().is_relative_to(Path.cwd())
    text = str(path.resolve().relative_to(Path.cwd()) if is_here else path.name)
    return f"python {shlex.quote(text)}"
