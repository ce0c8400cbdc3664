"""The quick-start notebook, in a kernel where there is one, and what studies show there."""

from __future__ import annotations

import importlib
import os
import sys
from html import escape
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.journal import JournalReader
from energyopt.workflows.load_study import load_study
from tests.conftest import ROOT, Program, need_package

NOTEBOOK = ROOT / "docs" / "tutorial" / "quick-start.ipynb"


def executed(text: str, folder: Path) -> list[dict[str, Any]]:
    """Return the outputs of a notebook that a kernel of Jupyter ran in a folder."""
    for package in ("nbclient", "ipykernel"):
        need_package(package)
    nbclient, nbformat = map(importlib.import_module, ("nbclient", "nbformat"))
    nodes = nbformat.reads(text, as_version=4)
    nbclient.NotebookClient(nodes, timeout=500, resources={"metadata": {"path": folder}}).execute()
    return [dict(output) for cell in nodes.cells for output in cell.get("outputs", ())]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # of the client
def test_the_quick_start_runs_and_shows_its_study(
    energyopt: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    outputs = executed(NOTEBOOK.read_text(), energyopt.folder)
    assert not [output for output in outputs if output["output_type"] == "error"]
    shown = [output.get("data", {}) for output in outputs]
    pages = [str(data["text/html"]) for data in shown if "text/html" in data]
    assert any("4/4 trials" in page and "trial" in page for page in pages)  # the live table
    assert any("altair-viz" in page for page in pages)  # the figure of the front
    study = load_study("quick-start", storage=energyopt.folder / "studies" / "energyopt.db")
    assert len(study.trials) == 4
    assert any(escape(study.recommendation.text) in page for page in pages)
    folders = (energyopt.folder / "studies" / "quick-start").glob("*/progress.jsonl")
    readers = [JournalReader(path) for path in folders]
    for reader in readers:
        reader.read()
    assert any(reader.journal.pauses for reader in readers)
    assert "Front: val_loss" in energyopt.ok("pareto", "quick-start").text
    energyopt.ok("report", "quick-start")
