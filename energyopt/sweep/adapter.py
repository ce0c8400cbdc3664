"""The seam between the coordinator and training code: parameters in, an outcome out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from optuna.trial import Trial

from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome
from energyopt.search.space import Dimension, Value


class Adapter(Protocol):
    """One kind of training code: our own app, another Hydra app.

    Attributes:
        in_process: Whether trials run in this process, one at a time.
        keeps_journals: Whether a trial keeps a journal in its folder, and so can be followed,
            paused, and accounted for where it dies.
    """

    in_process: bool
    keeps_journals: bool

    @property
    def n_slots(self) -> int:
        """How many trials can run at a time, however many are asked for."""

    def dimensions(self, groups: Mapping[str, Value]) -> Sequence[Dimension]:
        """Return the dimensions that exist under a choice of groups, beside the groups."""

    def suggest_more(self, trial: Trial) -> Mapping[str, Value]:
        """Let the user's own code suggest values that the space does not hold."""

    def recipe(self, params: Mapping[str, Value], *, n_repeats: int = 0) -> tuple[str, ...]:
        """Return what reproduces a trial; it is stored with the trial.

        Args:
            params: Its values, by key.
            n_repeats: How often they were trained before: another seed is taken then.
        """

    def folder(self, number: int) -> Path:
        """Return the folder of a trial."""

    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        """Run a trial to its end, or to a pause; called from threads unless `in_process`.

        Raises:
            LauncherError: If what runs the trials is gone, and this trial with it.
        """

    def stop(self) -> None:
        """End all trials that run."""

    def clean_up(self) -> None:
        """Put back what a killed trial may have left."""
