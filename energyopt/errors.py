"""What can go wrong, as one tree.

EnergyoptError                    the user can correct it; printed as one sentence, exit code 2
├── ConfigError                   a key, value, type or combination of options is wrong
├── HardwareError                 a sensor or device refuses; the message names the remedy
│   ├── GpusBusyError             other trials hold the GPUs that would do
│   └── PowerLimitRefusedError    a GPU's power limit may not be set, or is not in force
├── StorageError                  a study database cannot be opened, read or written
│   └── StorageUnavailableError   it does not answer now, and may later: a full disk, a lost server
├── StudyError                    a study is missing, busy, or was created with other settings
│   ├── TrialsFailedError         most trials of a study failed; exit code 3
│   └── LeaseLostError            another run has declared this one dead, and closed its trials
├── JournalError                  a newer energyopt wrote a trial's journal
├── SamplerError                  a sampler raised, or suggested what is not in its space
├── TrialError                    a trial ended without a result: it raised, crashed, or is invalid
│   ├── DamagedFileError          what it wrote was changed on the disk: it is trained again
│   └── DiskFullError             it could not write: it is trained again when there is space
└── LauncherError                 the process that runs the trials died: they are lost, not failed

RunPaused and RunStopped leave a training's loop where its study pauses or stops it. They are no
errors: a process that they end has exit code 0 and prints no traceback.

Expected outcomes are data, not exceptions: a missed target is a `TrialResult`.
"""

from __future__ import annotations

import warnings

_RENAMED = {
    "GpusTaken": "GpusBusyError",
    "LeaseLost": "LeaseLostError",
    "PowerLimitRefused": "PowerLimitRefusedError",
    "StorageAway": "StorageUnavailableError",
}


def __getattr__(name: str) -> object:
    """Serve old names for one release; this file imports nothing of ours, so no helper does."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"{__name__}.{name} goes with the next release; write {_RENAMED[name]}",
        DeprecationWarning,
        stacklevel=2,
    )
    return globals()[_RENAMED[name]]


class EnergyoptError(Exception):
    """Base of all errors that a user can correct; the message is one whole sentence."""


class ConfigError(EnergyoptError, ValueError):
    """A key, a value, a type or a combination of options is wrong."""


class HardwareError(EnergyoptError):
    """A sensor or a device refuses, or is not there."""


class GpusBusyError(HardwareError):
    """Other trials hold the GPUs that would do; they will give them back."""


class PowerLimitRefusedError(HardwareError):
    """A GPU's power limit may not be set, or is not in force after it was."""


class StorageError(EnergyoptError):
    """A study database cannot be opened, read or written."""


class StorageUnavailableError(StorageError):
    """A study database does not answer now, and may later."""


class StudyError(EnergyoptError):
    """A study does not exist, is being run elsewhere, or was created with other settings."""


class TrialsFailedError(StudyError):
    """Most trials of a study failed, or so many that its run was ended."""

    exit_code = 3


class LeaseLostError(StudyError):
    """Another run has declared this one dead, and closed its trials."""


class TrialError(EnergyoptError):
    """A trial ended without a result: it raised, crashed, or returned something invalid."""


class SamplerError(EnergyoptError):
    """A sampler, Optuna's or the user's own, raised, or suggested what is not in the space."""


class DamagedFileError(TrialError):
    """A file of a trial was changed on the disk: the trial is trained again, and has not failed."""


class DiskFullError(TrialError):
    """A trial could not write: it is trained again when there is space, and has not failed."""


class JournalError(EnergyoptError):
    """A newer energyopt wrote a trial's journal: read without it, joules would be missing."""


class LauncherError(EnergyoptError):
    """The server that runs the trials died; its trials are lost, not failed."""


class RunPaused(SystemExit):
    """A study paused the training: its state is kept, and what follows the loop is left out.

    Attributes:
        reason: Description of the pause.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(0)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class RunStopped(SystemExit):
    """A study stopped the training for good, before its planned end.

    Attributes:
        reason: Description of why it was stopped.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(0)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason
