"""Write a report as files: the page, its figures, its tables."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from energyopt.errors import ConfigError, StorageError
from energyopt.report.html.render import render, svg_of
from energyopt.report.html.sections import Report
from energyopt.storage.identity import file_name
from energyopt.utils.files import written_whole

PAGE = "report.html"


def report_dir(study: str) -> Path:
    """Return the default folder of a study's report; a database can hold any text as a name."""
    return Path("studies") / file_name(study) / "report"


def write_report(report: Report, folder: Path, *, force: bool, remove_older: bool = False) -> Path:
    """Write all files of a report.

    Args:
        report: The report.
        folder: Target folder, created if missing.
        force: Whether to write into a folder that is not empty.
        remove_older: Whether to remove figures and tables of earlier reports; only for a folder
            that holds nothing else.

    Returns:
        Path of the page.

    Raises:
        ConfigError: If the folder is not empty, or is not a folder.
        StorageError: If a file cannot be written.
    """
    check_empty(folder, force=force)
    pictures = {figure.name: svg_of(figure) for figure in report.figures}
    files = {f"figures/{name}.svg": svg for name, svg in pictures.items()}
    files |= {f"tables/{grid.name}.csv": grid.to_csv() for grid in report.grids}
    files[PAGE] = render(report, pictures)
    try:
        for name, text in files.items():
            with written_whole(folder / name, force=True) as fresh:
                fresh.write_text(text, encoding="utf-8", newline="")
        if remove_older:
            _remove_older(folder, files)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder / PAGE


def check_empty(folder: Path, *, force: bool) -> None:
    """Check that a folder is missing or empty.

    Raises:
        ConfigError: If it is not empty and not forced, or is not a folder.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise ConfigError(f"--out {folder} is no folder; give another")
    if folder.is_dir() and not force and any(folder.iterdir()):
        raise ConfigError(
            f"--out {folder} is not empty; add --force to write into it, or give another"
        )


def _remove_older(folder: Path, files: Collection[str]) -> None:
    """Remove figures and tables of earlier reports that this one does not have."""
    for path in (*folder.glob("figures/*.svg"), *folder.glob("tables/*.csv")):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink(missing_ok=True)  # a concurrent report may remove it first
