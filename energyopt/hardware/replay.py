"""Play back the windows that an earlier trial recorded in its journal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from energyopt.core.energy import Energy
from energyopt.core.journal import Journal, JournalReader
from energyopt.core.trial_result import Window
from energyopt.errors import ConfigError, HardwareError

_BEFORE_FIRST_STEP = ("loading", "warmup", "preparation")


class ReplayMeter:
    """Returns recorded windows in order, whatever this machine does meanwhile.

    Training is deterministic for a seed, so replaying the journal of the same configuration
    reproduces its energies on a machine without the sensor.

    Args:
        path: A trial's journal (`progress.jsonl`), or the folder that holds it.

    Raises:
        ConfigError: If there is no journal, or it holds no windows.
    """

    def __init__(self, path: str) -> None:
        file = Path(path)
        file = file / "progress.jsonl" if file.is_dir() else file
        if not file.is_file():
            raise ConfigError(
                f"hardware.meter.path={path}: there is no such journal; give the folder or the "
                "progress.jsonl of a recorded trial, such as studies/demo/0"
            )
        journal = JournalReader(file).read()
        if journal.damaged:
            raise ConfigError(
                f"hardware.meter.path={path} was changed on the disk in {journal.damage}, so its "
                "joules are not those that were recorded; give another journal"
            )
        if journal.start is None or not journal.windows:
            raise ConfigError(f"hardware.meter.path={path} holds no recorded windows")
        self._path = file
        self._windows = _windows(journal)
        self.provenance = dataclasses.replace(
            journal.start.provenance,
            kind="replayed",
            meter=f"replay of {journal.start.provenance.meter}",
        )

    def start(self) -> None:
        """Open a window."""

    def stop(self) -> Energy:
        """Close the window: return the next recorded one.

        Raises:
            HardwareError: If the recording is over.
        """
        try:
            return next(self._windows).energy
        except StopIteration:
            raise HardwareError(
                f"{self._path} has no further windows: the trial runs longer than the recorded "
                "one; replay it with the recorded setup"
            ) from None


def _windows(journal: Journal) -> Iterator[Window]:
    """Return the windows that a replayed training opens, in its order.

    A replay does not cool down, measure idle power or profile power limits. Profiled steps are
    in the checkpoints, at the cost of the chosen limit.
    """
    if not journal.checkpoints:  # the training ended early
        return iter([w for w in journal.windows if w.measured and w.purpose != "idle"])
    windows = [w for w in journal.windows if w.purpose in _BEFORE_FIRST_STEP]
    for checkpoint in journal.checkpoints:
        windows.append(Window("training", checkpoint.training))
        windows.append(Window("evaluation", checkpoint.evaluation))
    return iter(windows)
