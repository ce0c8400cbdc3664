"""What can go wrong, as one tree.

EnergyoptError            the user can mend it; printed as one sentence, exit code 2
├── ConfigError           a key, value, type or combination of options is wrong
├── HardwareError         a sensor or device refuses; the message names the remedy
│   ├── GpusTaken         other trials hold the GPUs that would do
│   └── PowerLimitRefused a GPU's power limit may not be set, or is not in force
├── StorageError          a study database cannot be opened, read or written
│   └── StorageAway       it does not answer now, and may later: a full disk, a lost server
├── StudyError            a study is missing, busy, or asks another question
│   └── LeaseLost         another run has taken this one for dead, and its trials over
├── JournalError          a newer energyopt wrote a trial's journal
├── TrialError            a trial ended without a result (exception, crash, rubbish)
└── LauncherError         what runs the trials died: they are lost, not failed

Expected outcomes are data, not exceptions: a missed target is a `TrialResult`.
"""


class EnergyoptError(Exception):
    """Base of all errors that a user can mend; the message is one whole sentence."""


class ConfigError(EnergyoptError, ValueError):
    """A key, a value, a type or a combination of options is wrong."""


class HardwareError(EnergyoptError):
    """A sensor or a device refuses, or is not there."""


class GpusTaken(HardwareError):  # noqa: N818  # what happened, not what it is
    """Other trials hold the GPUs that would do; they will give them back."""


class PowerLimitRefused(HardwareError):  # noqa: N818  # what happened, not what it is
    """A GPU's power limit may not be set, or is not in force after it was."""


class StorageError(EnergyoptError):
    """A study database cannot be opened, read or written."""


class StorageAway(StorageError):  # noqa: N818  # what happened, not what it is
    """A study database does not answer now, and may later."""


class StudyError(EnergyoptError):
    """A study does not exist, is being run elsewhere, or asks another question."""


class LeaseLost(StudyError):  # noqa: N818  # what happened, not what it is
    """Another run has taken this one for dead, and its trials over."""


class TrialError(EnergyoptError):
    """A trial ended without a result: it raised, crashed, or returned rubbish."""


class JournalError(EnergyoptError):
    """A newer energyopt wrote a trial's journal: read without it, joules would be missing."""


class LauncherError(EnergyoptError):
    """The server that runs the trials died; its trials are lost, not failed."""
