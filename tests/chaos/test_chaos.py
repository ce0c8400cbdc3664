"""Twenty rounds of random faults; `make chaos` plays more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.rounds import Round
from tests.postgres import Postgres

pytestmark = pytest.mark.slow

SEED = 18


@pytest.mark.parametrize("number", range(10))
def test_a_study_survives_what_hits_it(tmp_path: Path, number: int) -> None:
    Round(SEED, number).play(tmp_path)


@pytest.mark.parametrize("number", range(17, 19))
def test_a_shared_study_survives_what_hits_it(
    tmp_path: Path, postgres_server: Postgres, postgres: str, number: int
) -> None:
    Round(SEED, number, with_server=True).play(tmp_path, postgres_server, postgres)
