"""The coordinator tells what the machine did to a trial from what its configuration did."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome
from energyopt.errors import StorageUnavailableError
from energyopt.jobs.job_result import outcome_of_error
from energyopt.storage.reader import read_study
from tests import small_study
from tests.small_study import NAME, AtOnce


class OnAFullDisk(AtOnce):
    """Trials whose second one cannot write."""

    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        if number == 1:
            return outcome_of_error(OSError(errno.ENOSPC, "no space", str(self.folder(number))))
        return super().run(number, recipe, context)


def test_a_full_disk_ends_the_run_and_fails_no_trial(tmp_path: Path) -> None:
    where, folder = str(tmp_path / "a.db"), tmp_path / "runs"
    says = r"trial 1 is trained again: the disk is full"
    with pytest.raises(StorageUnavailableError, match=says):
        small_study.run(where, folder, 4, adapter=OnAFullDisk(folder))
    first, second, *_ = read_study(where, NAME).trials
    assert first.state == "complete"
    assert (second.state, second.reason[:17]) == ("failed", "the disk is full:")
    small_study.run(where, folder, 4)  # there is space again
    study = small_study.check(where, 4, retries=1)
    assert study.trials[2].params == second.params
