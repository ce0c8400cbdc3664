"""A report as files: the page, its figures, its tables."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from energyopt.errors import ConfigError, StorageError
from energyopt.report.html.render import render, svg_of
from energyopt.report.html.sections import Report
from energyopt.utils.files import written_whole

PAGE = "report.html"


def report_dir(study: str) -> Path:
    """Where the report of a study goes if nothing else is said.

    Raises:
        ConfigError: If the study's name is no name of a folder: a database can hold any.
    """
    if study in ("", ".", "..") or "/" in study or "\0" in study:
        raise ConfigError(f"study {study!r} is no name of a folder; give --out DIR")
    return Path("studies") / study / "report"


def write_report(made: Report, folder: Path, *, force: bool, own: bool = False) -> Path:
    """Write all files of a report.

    Args:
        made: The report.
        folder: Where to; made if it is not there.
        force: Whether a folder that holds something is written into.
        own: Whether the folder is for reports alone, so that what an earlier one left goes.

    Returns:
        The page.

    Raises:
        ConfigError: If the folder holds something, or is none.
        StorageError: If a file cannot be written.
    """
    refuse_full(folder, force=force)
    pictures = {figure.name: svg_of(figure) for figure in made.figures}
    files = {f"figures/{name}.svg": svg for name, svg in pictures.items()}
    files |= {f"tables/{grid.name}.csv": grid.to_csv() for grid in made.grids}
    files[PAGE] = render(made, pictures)
    try:
        for name, text in files.items():
            with written_whole(folder / name, force=True) as fresh:
                fresh.write_text(text, encoding="utf-8", newline="")
        if own:
            _remove_older(folder, files)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder / PAGE


def refuse_full(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds something, or what is none.

    Raises:
        ConfigError: If it does, unless by force.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise ConfigError(f"--out {folder} is no folder; give another")
    if folder.is_dir() and not force and any(folder.iterdir()):
        raise ConfigError(
            f"--out {folder} is not empty; add --force to write into it, or give another"
        )


def _remove_older(folder: Path, files: Collection[str]) -> None:
    """Remove figures and tables that the present report does not have."""
    for path in (*folder.glob("figures/*.svg"), *folder.glob("tables/*.csv")):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink(missing_ok=True)  # another run may have been first
