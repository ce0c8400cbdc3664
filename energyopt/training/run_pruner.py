"""The verdicts of a study's pruner on the reports of a `Run`."""

from __future__ import annotations

from pathlib import Path

from energyopt.core.trial_result import End
from energyopt.core.verdict import await_verdict
from energyopt.training.recorder import Recorder
from energyopt.training.run_output import say

_VERDICT_S = 60.0  # a database that is busy may take so long


class StudyPruner:
    """Asks the study of a run after each report whether its pruner ends the run.

    Args:
        folder: The trial's folder; None if nothing judges it.
        recorder: The record.
    """

    def __init__(self, folder: Path | None, recorder: Recorder) -> None:
        self._folder = folder
        self._recorder = recorder

    def verdict(self) -> tuple[End, str] | None:
        """Return that the pruner ends the run after its last report; None if it does not.

        The journal has brought the report to the study, whose answer is awaited.
        """
        if self._folder is None or not self._recorder.checkpoints:
            return None
        verdict = await_verdict(self._folder, len(self._recorder.checkpoints) - 1, _VERDICT_S)
        if verdict is not None:
            return None if verdict.reason is None else ("stopped", verdict.reason)
        self._folder = None
        self._recorder.add_flag("not_judged")
        say(
            f"the study did not answer a report within {_VERDICT_S:g} s, so this training is not "
            "pruned: its program has ended, or does not see the files of this folder"
        )
        return None
