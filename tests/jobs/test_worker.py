"""Configs kept in memory compose the same jobs as configs read from files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from energyopt.jobs.worker import HydraJobs
from tests.composing import config_loader


def composed(
    fixed: list[str], words: list[str], *, remember: bool, folder: Path | None = None
) -> tuple[Any, int]:
    """Return the context of a job, and how many configs were in memory before."""
    loader = copy.deepcopy(config_loader()) if folder is None else loader_of(folder)
    config = loader.load_configuration("config", fixed, RunMode.MULTIRUN)
    program = HydraJobs(HydraContext(loader, Callbacks()), lambda _: None, config, "inherit")
    if remember:
        program.remember_configs()
    kept = len(getattr(loader.repository, "cache", {}))
    return OmegaConf.to_container(loader.load_sweep_config(config, words)), kept


def loader_of(folder: Path) -> ConfigLoaderImpl:
    config_loader()  # registers what Hydra needs
    return ConfigLoaderImpl(create_config_search_path(str(folder)))


@pytest.mark.parametrize("fixed", [[], ["task=wine"], ["hydra.job.name=mine"]], ids=str)
@pytest.mark.parametrize(
    "words", [["lr=0.1"], ["model=mlp", "lr=0.1"], ["~scheduler", "+scheduler=cosine"]], ids=str
)
@pytest.mark.slow
def test_a_job_is_the_same(fixed: list[str], words: list[str]):
    remembered, kept = composed(fixed, words, remember=True)
    assert kept > 10
    assert remembered == composed(fixed, words, remember=False)[0]


def test_a_folder_of_ones_own_comes_first(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: mine.Net\n")
    fixed, words = [f"hydra.searchpath=[file://{tmp_path}]"], ["model=mine"]
    remembered, _ = composed(fixed, words, remember=True)
    assert remembered["model"]["_target_"] == "mine.Net"
    assert remembered == composed(fixed, words, remember=False)[0]


def test_what_only_the_jobs_choose_may_be_missing(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("defaults:\n- db: ???\n- _self_\n")
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "mysql.yaml").write_text("port: 3306\n")
    remembered, _ = composed([], ["db=mysql"], remember=True, folder=tmp_path)
    assert remembered["db"] == {"port": 3306}
    assert remembered == composed([], ["db=mysql"], remember=False, folder=tmp_path)[0]
