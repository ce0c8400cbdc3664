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
    """

    in_process: bool

    @property
    def keeps_journals(self) -> bool:
        """True if a trial keeps a journal in its folder.

        So it can be followed, paused, and accounted for where it dies.
        """

    @property
    def n_slots(self) -> int:
        """Number of trials that can run at a time."""

    def dimensions(self, groups: Mapping[str, Value]) -> Sequence[Dimension]:
        """Return the dimensions that exist under a choice of groups, without the groups."""

    def suggest_more(self, trial: Trial) -> Mapping[str, Value]:
        """Call the user's code that suggests values outside of the space. Returns them."""

    def recipe(self, params: Mapping[str, Value], *, n_repeats: int = 0) -> tuple[str, ...]:
        """Return the overrides that reproduce a trial; they are stored with it.

        Args:
            params: Its values, by key.
            n_repeats: Number of earlier trainings of these values; it selects another seed.
        """

    def folder(self, number: int) -> Path:
        """Return the folder of a trial."""

    def has_run(self, number: int) -> bool:
        """Return True if a trial ran before the study was opened: its journal is to be kept."""

    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        """Run a trial to its end, or to a pause; called from threads unless `in_process`.

        Raises:
            LauncherError: If the launcher died, and this trial with it.
            DamagedFileError: If a file of the trial was changed on the disk.
            DiskFullError: If the trial could not write.
        """

    def stop(self) -> None:
        """End all trials that run."""

    def clean_up(self) -> None:
        """Restore the settings that a killed trial may have left."""
