"""Readers of a server make nothing, and no run waits without end for what another one holds."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel

from energyopt.errors import StorageError, StorageUnavailableError
from energyopt.storage import database_server
from energyopt.storage.database import lock_in_transaction, open_database, opened_to_read
from energyopt.storage.database_server import unpooled
from energyopt.storage.reader import read_identity, study_names


def tables(url: str) -> set[str]:
    return set(sa.inspect(unpooled(url)).get_table_names())


def test_a_server_without_studies_stays_as_it_is_when_it_is_read(postgres: str) -> None:
    with pytest.raises(StorageError, match="has no studies yet; run a study first"):
        study_names(postgres)
    assert tables(postgres) == set()


def test_a_reader_makes_nothing_of_what_another_process_is_just_making(postgres: str) -> None:
    BaseModel.metadata.create_all(unpooled(postgres))
    half_made = tables(postgres)
    with pytest.raises(StorageError, match="has no studies yet"):
        study_names(postgres)
    assert read_identity(postgres, "any") is None
    assert tables(postgres) == half_made
    open_database(postgres, create=True).engine.dispose()
    assert study_names(postgres) == []


def test_a_database_that_cannot_be_opened_is_closed(postgres: str) -> None:
    open_database(postgres, create=True).engine.dispose()
    with unpooled(postgres).begin() as connection:
        connection.exec_driver_sql("DROP TABLE version_info")
    with pytest.raises(StorageError, match="version_info"):
        open_database(postgres, create=False)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with unpooled(postgres).connect() as connection:
        assert connection.exec_driver_sql(others).scalar() == 1


def test_a_lock_is_waited_for_and_held_for_a_limited_time(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = open_database(postgres, create=True)
    monkeypatch.setitem(database_server._LIMITS_MS, "lock_timeout", 50)
    with lock_in_transaction(stopped.engine):
        with pytest.raises(StorageUnavailableError, match="another run holds it"):
            open_database(postgres, create=True)
        with opened_to_read(postgres):  # which waits for nobody
            pass
    with stopped.engine.connect() as connection:
        limit = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar()
    stopped.engine.dispose()
    assert limit == "4min"
