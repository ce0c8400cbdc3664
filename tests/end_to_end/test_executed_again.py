"""A trial that is executed again keeps its joules; another study's are not its own."""

from __future__ import annotations

import pytest

from tests.conftest import SPACE, TINY, Program, journal, size, trials_of

STUDY = ("-m", *TINY, *SPACE, "n_trials=2", "study=s")


@pytest.mark.slow
def test_a_folder_of_a_study_that_is_gone_gives_its_joules_to_nobody(energyopt: Program) -> None:
    energyopt.ok(*STUDY)
    before = [row["result"]["books"] for row in trials_of(energyopt, "s")]
    (energyopt.folder / "studies/energyopt.db").unlink()
    assert size(journal(energyopt, "s", 0)) > 0
    energyopt.ok(*STUDY)
    assert [set(row["result"]["books"]) for row in trials_of(energyopt, "s")] == [
        set(books) for books in before
    ]
