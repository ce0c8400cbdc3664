"""Run one Hydra job in a process of its own and send its answer back.

Shared by both ways of starting one: forked from a warm server, or in a fresh interpreter.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import pickle
import signal
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from energyopt.core.run_context import VARIABLE
from energyopt.errors import TrialError
from energyopt.jobs.failed_job import carried
from energyopt.jobs.supervisor import supervise
from energyopt.utils.disk import as_disk_full
from energyopt.utils.failure import has_all_frames, show_all_frames
from energyopt.utils.paths import STORAGE_VARIABLE

OUTPUT = "output.log"
"""Name of the file in a job's folder for its output, if the launcher redirects it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job: its overrides and its number."""

    overrides: tuple[str, ...]
    number: int


class JobRunner(Protocol):
    """Runs the jobs of a launcher."""

    @property
    def timeout_s(self) -> float:
        """Time limit of a job, in s; infinite for none."""

    def remember_configs(self) -> None:
        """Cache the configs in a process from which jobs are forked."""

    def run(self, job: Job) -> bytes:
        """Run a job in its own process. Returns the pickled `JobReturn`."""


@dataclass(frozen=True, slots=True)
class HydraJobs:
    """Runs the jobs of a Hydra app.

    Attributes:
        context: Hydra's, with the config loader.
        task_function: Called by each job.
        config: The multirun's own config.
        output: "inherit" prints to the terminal, "file" into the job's folder.
        timeout_s: Time limit of a job, in s; infinite for none.
        all_frames: Whether tracebacks have the frames of energyopt and Hydra as well.
    """

    context: HydraContext
    task_function: TaskFunction
    config: DictConfig
    output: str
    timeout_s: float = math.inf
    all_frames: bool = field(default_factory=has_all_frames)

    def remember_configs(self) -> None:
        """Cache what composing a job reads, in a process from which jobs are forked."""
        loader = self.context.config_loader
        if not isinstance(loader, ConfigLoaderImpl):
            return
        cached = _CachedConfigs(loader.repository)
        loader.repository = cached  # type: ignore[assignment]  # it has the same methods
        # A value that only jobs set may be missing.
        with contextlib.suppress(HydraException, OmegaConfBaseException):
            loader.load_sweep_config(self.config, [])
        cached.reload()

    def run(self, job: Job) -> bytes:
        """Compose and run a job. Returns a pickled `JobReturn` that any process can read."""
        try:
            returned = run_job(
                hydra_context=self.context,
                task_function=self.task_function,
                config=self._compose(job),
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        # The boundary of the process: whatever user code raises, sys.exit included, is an answer.
        except BaseException as error:
            returned = JobReturn(status=JobStatus.FAILED, _return_value=error)
        returned.cfg = returned.hydra_cfg = None  # large, and known to the coordinator
        show_all_frames(self.all_frames)
        # A study shows the failures of its jobs itself, and each of them has this variable.
        keys = (override.partition("=")[0] for override in job.overrides)
        is_in_study = any(key.rpartition(".")[2] == VARIABLE for key in keys)
        return pickled(returned, prints=self.output == "file" or not is_in_study)

    def _compose(self, job: Job) -> DictConfig:
        setup_globals()
        config = self.context.config_loader.load_sweep_config(self.config, list(job.overrides))
        with open_dict(config):
            config.hydra.job.id = str(job.number)
            config.hydra.job.num = job.number
        if self.output == "file":
            HydraConfig.instance().set_config(
                config
            )  # the name of the subfolder depends on the job
            folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
            folder.mkdir(parents=True, exist_ok=True)
            redirect_output(folder / OUTPUT)
        return config


class _CachedConfigs(CachingConfigRepository):
    """A cache of Hydra's configs: reading files is 40 % of composing a job.

    Composing modifies the cached configs, so a process may compose once only: its job.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> _CachedConfigs:
        """Return a copy for one composition, which may set other sources."""
        twin = copy.copy(self)
        twin.delegate = copy.copy(self.delegate)
        return twin

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Set other sources, and drop what was read from the old ones."""
        self.cache = {}
        super().initialize_sources(config_search_path)

    def reload(self) -> None:
        """Read the cached configs again, since a composition modified them."""
        for key in self.cache:
            self.cache[key] = self.delegate.load_config(key.removeprefix("config_path="))


def setup_job_process() -> None:
    """Set up a job's process: the coordinator handles Ctrl-C; no input, no database."""
    os.environ.pop(STORAGE_VARIABLE, None)  # it may hold a password
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def redirect_output(path: Path) -> None:
    """Redirect standard output and error of this process to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def pickled(returned: JobReturn, *, prints: bool) -> bytes:
    """Return an answer as bytes; an exception that cannot be pickled becomes its text.

    Args:
        returned: The answer.
        prints: Whether to print the traceback of an exception on standard error.
    """
    value = returned._return_value  # noqa: SLF001  # the property raises a job's exception
    if isinstance(value, BaseException):
        # Here: pickling loses what it is raised from.
        full = as_disk_full(value, *_output_folder(), is_write=False)
        returned._return_value = full or carried(value, prints=prints)  # noqa: SLF001
    try:
        return pickle.dumps(returned)
    except Exception as error:  # pickle raises whatever user types raise
        returned.status = JobStatus.FAILED
        returned._return_value = TrialError(  # noqa: SLF001
            f"the job returned a {type(value).__name__}, which cannot be sent back: {error}"
        )
        return pickle.dumps(returned)


def _output_folder() -> tuple[Path, ...]:
    """Return the folder of the job that runs in this process, if one does."""
    with contextlib.suppress(ValueError, OmegaConfBaseException):  # it was not composed
        sweep = HydraConfig.get().sweep  # `runtime.output_dir` is set while the job runs only
        return (Path(str(sweep.dir)) / str(sweep.subdir),)
    return ()


def main() -> None:
    """Run a job in a fresh interpreter: read it from standard input, answer on a pipe."""
    answer = int(sys.argv[1])
    is_supervised = supervise(sys.stdin.fileno(), answer)
    payload: dict[str, Any] = pickle.load(sys.stdin.buffer)  # noqa: S301  # from our parent
    sys.path[:] = payload["path"]
    if not is_supervised:
        lifeline = os.dup(sys.stdin.fileno())
        threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    with os.fdopen(answer, "wb") as pipe:
        pipe.write(_run(payload["program"]))


def _run(program: bytes) -> bytes:
    """Run a job in this fresh interpreter. Returns its pickled answer.

    Reading it imports the app's modules, which may fail here alone.
    """
    from hydra.core.singleton import Singleton

    try:
        runner, job, singletons = pickle.loads(program)  # noqa: S301  # from our parent
    except BaseException as error:  # the boundary of the process, as in `HydraJobs.run`
        returned = JobReturn(status=JobStatus.FAILED, _return_value=error)
        return pickled(returned, prints=False)
    setup_globals()
    Singleton.set_state(singletons)
    setup_job_process()
    answer: bytes = runner.run(job)
    return answer


def _end_with(lifeline: int) -> None:
    """End this process and its children when the other end of a pipe is closed."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def send(data: bytes, descriptor: int) -> None:
    """Write all bytes to a descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    main()
