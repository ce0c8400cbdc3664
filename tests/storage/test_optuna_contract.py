"""Optuna's own tests of a storage, over ours of each kind."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from energyopt.search.quiet import quiet_optuna
from energyopt.storage.database import open_database

pytestmark = [
    pytest.mark.slow,
    # Of copies that these tests make and leave open; they are collected before the next test.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class TestOurStorage(StorageTestCase):
    """In a file and on a server, as a run opens them."""

    @pytest.fixture
    def storage(self, where: str) -> Iterator[object]:
        opened = open_database(where, create=True)
        with quiet_optuna():
            yield opened
        opened.remove_session()
        opened.engine.dispose()
        gc.collect()
