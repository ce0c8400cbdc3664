"""Optuna's own tests of a storage, over ours of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from energyopt.store.database import open_database, quiet_optuna

pytestmark = pytest.mark.slow


class TestOurStorage(StorageTestCase):
    """In a file and on a server, as a run opens them."""

    @pytest.fixture
    def storage(self, where: str) -> Iterator[object]:
        opened = open_database(where, create=True)
        with quiet_optuna():
            yield opened
        opened.remove_session()
        opened.engine.dispose()
