"""energyopt: which training setup reaches this accuracy with the least energy?

What is imported from here is meant for users, and imported when it is first asked for: `import
energyopt` alone loads no framework. docs/reference/api.md describes each name.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from energyopt import integrations as integrations  # a package, not a name
    from energyopt.core.energy import Energy
    from energyopt.core.metric import Monitor
    from energyopt.core.protocols import (
        EnergyMeter,
        Objective,
        Paradigm,
        StoppingRule,
        TrainStep,
    )
    from energyopt.core.study_record import StudyRecord
    from energyopt.core.trial_result import Provenance, TrialResult
    from energyopt.errors import EnergyoptError, RunPaused, RunStopped
    from energyopt.integrations.optuna import create_study
    from energyopt.search.joule import JouleSampler
    from energyopt.training.run import Run
    from energyopt.workflows.load_study import load_study
    from energyopt.workflows.optimize import optimize

__version__ = "0.1.0"

__all__ = [
    "Energy",
    "EnergyMeter",
    "EnergyoptError",
    "JouleSampler",
    "Monitor",
    "Objective",
    "Paradigm",
    "Provenance",
    "Run",
    "RunPaused",
    "RunStopped",
    "StoppingRule",
    "StudyRecord",
    "TrainStep",
    "TrialResult",
    "__version__",
    "create_study",
    "load_study",
    "optimize",
]

_MODULES = {
    "Energy": "energyopt.core.energy",
    "EnergyMeter": "energyopt.core.protocols",
    "EnergyoptError": "energyopt.errors",
    "JouleSampler": "energyopt.search.joule",
    "Monitor": "energyopt.core.metric",
    "Objective": "energyopt.core.protocols",
    "Paradigm": "energyopt.core.protocols",
    "Provenance": "energyopt.core.trial_result",
    "Run": "energyopt.training.run",
    "RunPaused": "energyopt.errors",
    "RunStopped": "energyopt.errors",
    "StoppingRule": "energyopt.core.protocols",
    "StudyRecord": "energyopt.core.study_record",
    "TrainStep": "energyopt.core.protocols",
    "TrialResult": "energyopt.core.trial_result",
    "create_study": "energyopt.integrations.optuna",
    "load_study": "energyopt.workflows.load_study",
    "optimize": "energyopt.workflows.optimize",
}

if not TYPE_CHECKING:  # a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        if name in _MODULES:
            value = getattr(import_module(_MODULES[name]), name)
            globals()[name] = value  # from now on it is found without this function
            return value
        if name == "integrations":
            return import_module("energyopt.integrations")
        from energyopt.utils.deprecation import deprecated_names

        deprecated = deprecated_names(__name__, {"Trained": "energyopt.TrainStep"}, stacklevel=3)
        return deprecated(name)


def __dir__() -> list[str]:
    return sorted(__all__)
