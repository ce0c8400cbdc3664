"""The command that runs the app of a user."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def app_command() -> str:
    """Return the command that runs this app, for people."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return f"python -m {spec.name}"
    path = Path(file or sys.argv[0])
    is_here = path.resolve().is_relative_to(Path.cwd())
    text = str(path.resolve().relative_to(Path.cwd()) if is_here else path.name)
    return f"python {shlex.quote(text)}"
