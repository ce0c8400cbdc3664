"""A password in the environment is known to the connection alone."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hydra_plugins.energyopt_sweeper import EnergyoptSweeper
from omegaconf import OmegaConf

from energyopt.errors import ConfigError
from energyopt.storage import credentials
from energyopt.storage.credentials import (
    forget_storage,
    masked,
    named_storage,
    refuse_kept_password,
    revealed,
    withheld,
    withhold_storage,
)

URL = "postgresql+psycopg://u:CAN@ARY@host/x"
MASKED = "postgresql+psycopg://u:***@host/x"


@pytest.fixture(autouse=True)
def _no_closed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave pytest's own process open to debuggers, and knowing nothing."""
    monkeypatch.setattr(credentials, "close_memory", lambda: None)
    monkeypatch.setattr(credentials, "_files", {})
    monkeypatch.setattr(credentials, "_named", [])


def test_a_url_is_masked_in_the_environment_and_revealed_here(monkeypatch):
    monkeypatch.setenv("ENERGYOPT_STORAGE", URL)
    withhold_storage()
    assert os.environ["ENERGYOPT_STORAGE"] == MASKED == named_storage()
    withhold_storage()  # by the plugin, after the command line did
    assert named_storage() == MASKED
    assert revealed(MASKED) == URL
    assert revealed("studies/a.db") == "studies/a.db"


def test_a_fork_does_not_know_it(monkeypatch):
    monkeypatch.setenv("ENERGYOPT_STORAGE", URL)
    withhold_storage()
    pid = os.fork()
    if pid == 0:
        os._exit(revealed(MASKED) != MASKED)
    assert os.waitpid(pid, 0)[1] == 0
    forget_storage()
    assert revealed(MASKED) == MASKED


def test_other_variables_with_the_same_password_lose_it_as_well(monkeypatch):
    variables = {
        "MY_DATABASE": URL,
        "DB_PASSWORD": "CAN@ARY",
        "ANOTHER": "postgresql://v:CAN@ARY@other/y",
        "UNLIKE": "a CAN@ARY sings",
        "PLAIN": "http://host/path",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert withheld(URL) == MASKED
    assert [os.environ[name] for name in variables] == [
        MASKED, "***", "postgresql://v:***@other/y", "a CAN@ARY sings", "http://host/path"
    ]  # fmt: skip


def test_variables_that_only_look_like_it_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"PGUSER": "postgres", "HTTP_PROXY": "http://me:proxypw@px:80/postgres"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    withheld("postgresql://postgres:postgres@host/x")
    assert {name: os.environ[name] for name in variables} == variables


def test_an_encoded_password_is_known_as_it_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "p@ss")
    withheld("postgresql://u:p%40ss@host/x")
    assert os.environ["PGPASSWORD"] == "***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pw@h/db?options=x@y", "postgresql://u:***@h/db?options=x@y"),
        ("postgresql://u:p@x?y@h/db", "postgresql://u:***@h/db"),
    ],
)
def test_what_follows_the_password_is_shown(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_a_file_is_no_secret(monkeypatch):
    monkeypatch.setenv("ENERGYOPT_STORAGE", "studies/mine.db")
    withhold_storage()
    assert os.environ["ENERGYOPT_STORAGE"] == "studies/mine.db" == named_storage()


def test_a_variable_that_hydra_would_copy_into_files_is_refused():
    config = {"hydra": {"job": {"env_set": {"MINE": URL, "OTHER": "x", "N": 3}}}}
    with pytest.raises(ConfigError, match=r"hydra\.job\.env_set\.MINE=.*\*\*\*@host"):
        refuse_kept_password(config)


SECRET = "postgresql://me:secret@host/db"
NODE = {"_target_": "optuna.storages.RDBStorage", "url": SECRET}


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"storage": SECRET}, "storage"),
        ({"hydra": {"sweeper": {"storage": SECRET}}}, "hydra.sweeper.storage"),
        ({"hydra": {"sweeper": {"storage": NODE}}}, "hydra.sweeper.storage.url"),
    ],
)
def test_a_password_is_refused_and_not_shown(config: Any, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        refuse_kept_password(config)
    assert str(refused.value).startswith(f"{key}=postgresql://me:***@host/db of a config file")


@pytest.mark.parametrize("url", ["a.db", "postgresql://me@host/db", "${oc.env:X}", None])
def test_other_storages_are_taken(url: str | None) -> None:
    refuse_kept_password({"hydra": {"sweeper": {"storage": {**NODE, "url": url}}}})


def test_the_password_of_a_storage_node_is_withheld_as_well() -> None:
    EnergyoptSweeper(storage=OmegaConf.create({**NODE, "url": URL}))
    assert revealed(MASKED) == URL
