"""Nothing is collected while libraries are imported, and as before afterwards."""

from __future__ import annotations

import gc
from contextlib import suppress

import pytest

from energyopt.utils.garbage import without_collection


@pytest.fixture(autouse=True)
def _thawed():
    gc.enable()  # another test may have left it off
    yield
    gc.enable()


def test_nothing_is_collected_meanwhile():
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off():
    gc.disable()
    with without_collection():
        pass
    assert not gc.isenabled()


def test_an_import_that_fails_turns_it_on_again():
    with suppress(ImportError), without_collection():
        raise ImportError
    assert gc.isenabled()


def test_what_was_made_is_left_out_of_later_collections():
    with without_collection():
        made: list[list[int]] = [[] for _ in range(1000)]
    assert gc.get_freeze_count() >= len(made)
