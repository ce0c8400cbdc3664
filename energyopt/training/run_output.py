"""The output of a `Run` outside of a study: its folder, and three lines at its end."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

from energyopt.core.journal import NAME
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import joules
from energyopt.core.window_quality import energy_unit
from energyopt.errors import ConfigError

_FOLDER = "outputs"
_MAX_TRIES = 100


def default_name() -> str:
    """Return the name of the running program."""
    return Path(sys.argv[0]).stem.strip("-") or "run" if sys.argv else "run"


def make_folder(name: str, folder: str | Path | None) -> Path:
    """Create the folder of a run outside of a study.

    Args:
        name: Name of the run.
        folder: The folder that the user wants; None for a new one below `outputs`.

    Raises:
        ConfigError: If it holds the record of another run, or cannot be created.
    """
    if folder is not None:
        path = Path(folder).absolute()
        if (path / NAME).exists():
            raise ConfigError(f"Run(folder={str(folder)!r}) holds a run; give another folder")
        candidates = [path]
    else:
        day, time = datetime.now().strftime("%Y-%m-%d %H-%M-%S").split()
        parent = Path.cwd() / _FOLDER / name / day
        candidates = [parent / time, *(parent / f"{time}-{i}" for i in range(2, _MAX_TRIES))]
    for path in candidates:
        try:
            path.mkdir(parents=True, exist_ok=folder is not None)
        except FileExistsError:  # of a run that began in the same second
            continue
        except OSError as error:
            raise ConfigError(
                f"the folder of the run, {path}, cannot be created: {error.strerror}; give one "
                "with Run(folder=...)"
            ) from error
        return path
    raise ConfigError(f"{candidates[-1]} is not a folder; give another one with Run(folder=...)")


def end_lines(result: TrialResult, folder: Path | None) -> tuple[str, str, str]:
    """Return three lines: energy to target, energy by purpose, provenance."""
    name, target = result.monitor.name, f"{result.target:g}"
    hit, best = result.hit, result.best_value
    if hit is not None:
        first = f"{joules(hit.training_j)} to {name} {target} (epoch {hit.epoch:.3g})"
    else:
        seen = "" if best is None else f", the best was {best:.4g}"
        first = f"{name} {target} was not reached{seen}"
    total = ", ".join(f"{purpose} {joules(e.total_j)}" for purpose, e in result.books.items())
    made_of = energy_unit(result.start.provenance)
    unit = "" if made_of is None else f", as {made_of}"
    flags = f"; flags: {', '.join(result.flags)}" if result.flags else ""
    kept = "" if folder is None else f"; record: {_short(folder)}"
    return (
        f"{first}; {result.reason}",
        f"{joules(result.spent_j)} in all: {total or 'nothing'}",
        f"{result.start.provenance}{unit}{flags}{kept}",
    )


def print_end(result: TrialResult, folder: Path | None) -> None:
    """Print the three lines to standard error: the program's own output stays whole."""
    for line in end_lines(result, folder):
        say(line)


def say(text: str) -> None:
    """Print a line to standard error."""
    sys.stderr.write(f"energyopt: {text}\n")


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
