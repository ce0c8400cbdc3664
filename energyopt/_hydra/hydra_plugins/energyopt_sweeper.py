"""Hydra plugins of energyopt: the sweeper, the launcher, the options of sampler and pruner.

Hydra imports this module at every start of every app, so it imports nothing slow.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, StringNode

from energyopt.search.pruner_names import PRUNERS
from energyopt.search.sampler_names import sweeper_options
from energyopt.search.sweep_keys import sweeper_schema

_REPLACED = "hydra_plugins.hydra_optuna_sweeper."


class SweeperTarget(StringNode):
    """The `_target_` of `hydra/sweeper=energyopt`, which keeps naming our sweeper.

    Configs for hydra-optuna-sweeper often name its class as well. Hydra would look for that class,
    whatever `hydra/sweeper` says: there may be none, or it would be given keys that it lacks.
    """

    def _validate_and_convert_impl(self, value: Any) -> str:
        target: str = super()._validate_and_convert_impl(value)
        return _TARGET if target.startswith(_REPLACED) else target

    def __deepcopy__(self, memo: dict[int, Any]) -> SweeperTarget:
        copied = SweeperTarget()
        self._deepcopy_impl(copied, memo)
        return copied


_ERROR = 1  # exit code of Hydra


class EnergyoptSweeper(Sweeper):
    """Optuna study as a Hydra sweeper; see `energyopt.sweep.sweeper`."""

    def __init__(self, **options: Any) -> None:
        from energyopt.storage.credentials import withheld, withhold_storage

        withhold_storage()  # the environment's, also where another storage is used
        storage = options.get("storage")
        if isinstance(storage, str):
            options["storage"] = withheld(storage)
        elif isinstance(storage, Mapping) and isinstance(storage.get("url"), str):
            options["storage"] = {**storage, "url": withheld(storage["url"])}
        self._options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store the arguments of the multirun for `sweep`."""
        self._multirun: dict[str, Any] = {
            "hydra_context": hydra_context,
            "task_function": task_function,
            "config": config,
        }

    def sweep(self, arguments: list[str]) -> None:
        """Run the study; an error that the user can fix is printed, and ends the program.

        A forked job returns to here before it runs, so few frames lie below its training.
        """
        from energyopt.errors import EnergyoptError, TrialsFailedError
        from energyopt.sweep.key_names import in_keys_of
        from energyopt.sweep.sweeper import StudySweeper
        from energyopt.utils.failure import FULL_ERROR, attached_traceback

        job = None
        try:
            study = StudySweeper(self._options, arguments, **self._multirun)
            job = study.fork()
            if job is None:
                study.run()
        except EnergyoptError as error:
            app = self._options.get("app")
            text = in_keys_of(app, str(error))
            error.args = (text,)
            job_traceback = attached_traceback(error)
            sys.stderr.write(f"{job_traceback}\n" if job_traceback else "")
            if app is not None:
                raise CompactHydraException(text) from error
            # Hydra would add that HYDRA_FULL_ERROR shows more; it adds nothing to a whole sentence.
            if os.environ.get(FULL_ERROR) == "1":
                traceback.print_exception(error)
            sys.stderr.write(f"{text}\n")
            sys.exit(error.exit_code if isinstance(error, TrialsFailedError) else _ERROR)
        if job is not None:
            job.run()

    def search(self, arguments: list[str]) -> None:
        """Run the study for a caller in Python, with jobs in fresh processes.

        Raises:
            EnergyoptError: In the words of such a caller, with the traceback of a job as a note.
        """
        from energyopt.errors import EnergyoptError
        from energyopt.sweep.key_names import in_keys_of_other_app
        from energyopt.sweep.sweeper import StudySweeper
        from energyopt.utils.failure import attached_traceback

        try:
            StudySweeper(self._options, arguments, **self._multirun).run()
        except EnergyoptError as error:
            text = in_keys_of_other_app(str(error))
            for prefix in ("hydra.sweeper.", "hydra/sweeper/"):
                text = text.replace(prefix, "")
            in_words = type(error)(text)
            if job_traceback := attached_traceback(error):
                in_words.add_note(job_traceback)
            raise in_words from None


class EnergyoptLauncher(Launcher):
    """Runs each job in its own process on this host; see `energyopt.jobs.launcher`."""

    def __init__(self, **options: Any) -> None:
        from energyopt.jobs.launcher import LocalLauncher

        self.local = LocalLauncher(**options)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Set up what all jobs share."""
        self.local.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and return their results."""
        return self.local.launch(job_overrides, initial_job_idx)


_TARGET = f"{__name__}.{EnergyoptSweeper.__name__}"
EnergyoptSweeperConf = sweeper_schema("EnergyoptSweeperConf", __name__, _TARGET)


def _schema() -> DictConfig:
    """Return the schema of `hydra.sweeper`.

    It takes unknown keys, on the command line as well: the sweeper refuses them, and says which
    key is near, which OmegaConf does not.
    """
    schema: DictConfig = OmegaConf.structured(EnergyoptSweeperConf, flags={"struct": False})
    schema["_target_"] = SweeperTarget(_TARGET)
    return schema


def _store(group: str, name: str, node: object) -> None:
    ConfigStore.instance().store(group=group, name=name, node=node, provider="energyopt")


_store("hydra/sweeper", "energyopt", _schema())
_store(
    "hydra/launcher",
    "energyopt",
    {
        "_target_": f"{__name__}.EnergyoptLauncher",
        "output": "auto",
        "start_method": "auto",
        "timeout_s": "${oc.select:trial_timeout_s,null}",
    },
)
for _name, _node in sweeper_options():
    _store("hydra/sweeper/sampler", _name, _node)
for _name, _options in PRUNERS.items():
    _store("hydra/sweeper/pruner", _name, dict(_options))
# Without a pruner the key exists all the same, so that it can be set without the group.
ConfigStore.instance().store(
    group="hydra/sweeper/pruner",
    name="none",
    node={"pruner": None},
    package="hydra.sweeper",
    provider="energyopt",
)
