"""An app that names energyopt may report; another cannot."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from omegaconf import OmegaConf

import energyopt
from energyopt.sweep import reporting_code
from energyopt.sweep.reporting_code import may_report

EMPTY = OmegaConf.create({"hydra": {"launcher": {"_target_": "energyopt.any"}}})
PLAIN = "def main(cfg):\n    return 1.0\n"


def function(folder: Path, text: str = PLAIN) -> Callable[..., Any]:
    path = folder / "app.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded: Callable[..., Any] = module.main
    return loaded


def test_an_app_that_names_it_nowhere_cannot_report(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "energyopt.py").write_text("import energyopt")
    assert not may_report(function(tmp_path), EMPTY, [])


def test_a_job_that_imports_it_late_may_report(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "training.py").write_text("def train():\n    import energyopt\n")
    assert may_report(function(tmp_path), EMPTY, [])


def test_a_loaded_module_that_holds_its_run_may_report(tmp_path: Path) -> None:
    module = ModuleType("my_training")
    module.__dict__["Run"] = energyopt.Run
    assert may_report(function(tmp_path), EMPTY, [module])
    assert not may_report(function(tmp_path), EMPTY, [energyopt])


def test_of_a_large_folder_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting_code, "_MOST_FILES", 0)
    assert may_report(function(tmp_path), EMPTY, [])


def test_a_callback_in_the_config_reports(tmp_path: Path) -> None:
    path = "energyopt.integrations.lightning.EnergyCallback"
    config = OmegaConf.create({"callbacks": {"energy": {"_target_": path, "mode": "${mode}"}}})
    assert may_report(function(tmp_path), config, [])
