"""Our own local launcher: each job in a process of its own.

A process is forked from a warm server (`jobs/fork_server.py`); where forking is unsafe (macOS) it
is a fresh interpreter.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import pickle
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from energyopt.core.key_rule import above_zero
from energyopt.errors import ConfigError, TrialError
from energyopt.jobs.fork_safety import fork_hazard
from energyopt.jobs.fork_safety import warm_up as warm_up_app
from energyopt.jobs.fork_server import LATE, ForkedJob, ForkServer, start
from energyopt.jobs.worker import HydraJobs, Job, JobRunner
from energyopt.search.sweep_keys import OWN
from energyopt.utils.paths import STORAGE_VARIABLE
from energyopt.utils.process import kill_groups

_TIMEOUT = above_zero("a number of seconds").or_null()
_EXIT_S = 5.0  # for a job's last output, and its functions for the exit
_LONG_S = 3600.0  # no poll waits for more than some days
_KEY = "hydra.job.env_set."
_ENVIRONMENT = f"++{_KEY}"


class LocalLauncher(Launcher):
    """Runs each job in a process of its own on this host; `launch` may be called from threads.

    Args:
        output: "inherit" lets jobs print to the terminal, "file" redirects them to `output.log`
            in the job's folder; "auto" means "file" in our own app, which shows progress on the
            terminal.
        start_method: "fork" from a warm server, "spawn" a fresh interpreter a job, or "auto".
        timeout_s: A job that takes longer, in s, is ended with its children; None for no limit.
            It counts from the start of its process, including the wait for a GPU.

    Raises:
        ConfigError: If an option has another value.
    """

    def __init__(
        self,
        output: Literal["auto", "inherit", "file"] = "auto",
        start_method: Literal["auto", "fork", "spawn"] = "auto",
        timeout_s: float | None = None,
    ) -> None:
        if output not in ("auto", "inherit", "file"):
            raise ConfigError(f"hydra.launcher.output={output}: choose auto, inherit or file")
        if start_method not in ("auto", "fork", "spawn"):
            raise ConfigError(
                f"hydra.launcher.start_method={start_method}: choose auto, fork or spawn"
            )
        if not _TIMEOUT.permits(timeout_s):
            raise ConfigError(
                f"hydra.launcher.timeout_s={timeout_s}: {_TIMEOUT.says} is needed, or null"
            )
        self._output = output
        self._timeout_s = timeout_s
        self._fork = start_method == "fork" or (
            start_method == "auto" and sys.platform.startswith("linux")
        )
        self._timeout_setting = ""
        self._program: JobRunner | None = None
        self._server: ForkServer | None = None
        self._fresh: set[subprocess.Popen[bytes]] = set()
        self._start_method = start_method
        self._lock = threading.Lock()

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Set what all jobs share; called by Hydra."""
        app = config.hydra.sweeper.get("app")
        if app == OWN:
            from energyopt.jobs.job import job

            task_function = job  # what the app's own function calls, with one stack frame less
        output = self._output
        if output == "auto":
            output = "inherit" if app is None else "file"
        self._timeout_setting = (
            f"{'hydra.launcher.' if app is None else 'trial_'}timeout_s={self._timeout_s}"
        )
        timeout_s = math.inf if self._timeout_s is None else self._timeout_s
        self._program = HydraJobs(hydra_context, task_function, config, output, timeout_s)

    @property
    def redirects_output(self) -> bool:
        """True if what jobs print goes into files."""
        return isinstance(self._program, HydraJobs) and self._program.output == "file"

    def take(self, program: JobRunner) -> None:
        """Run the jobs of a program instead of a multirun's."""
        self._program = program

    def fork(
        self,
        warm_up: Callable[[], str | None] | None = None,
        clean_up: Callable[[], object] | None = None,
    ) -> ForkedJob | None:
        """Fork the server. Call it before there are threads or database connections.

        Args:
            warm_up: Run once in the server, so that jobs do not repeat it; returns why no job must
                be forked from it then, or None.
            clean_up: Run by the server after it has killed jobs: the coordinator may be dead.

        Returns:
            None in this process. In the process of each job, later, that job: the caller returns
            with it to a short stack, and runs it.
        """
        if not self._fork or self._server is not None:
            return None
        forked = start(self._ready(), warm_up, clean_up)
        if isinstance(forked, ForkedJob):
            return forked
        self._server = forked
        return None

    def fork_if_safe(
        self, modules: Sequence[str], clean_up: Callable[[], object] | None = None
    ) -> ForkedJob | None:
        """Fork the server of another app, which may run any code where it is imported.

        Args:
            modules: Modules of the app that jobs import.
            clean_up: See `fork`.

        Returns:
            See `fork`.
        """
        hazard = fork_hazard() if self._start_method == "auto" and self._fork else None
        if hazard is not None:
            self._start_fresh(hazard)
            return None
        return self.fork(partial(warm_up_app, modules), clean_up)

    def open(
        self,
        warm_up: Callable[[], str | None] | None = None,
        clean_up: Callable[[], object] | None = None,
    ) -> None:
        """Fork the server; each job runs on top of this call. See `fork`."""
        job = self.fork(warm_up, clean_up)
        if job is not None:
            job.run()

    def close(self) -> None:
        """End the server and all jobs that still run."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for process in list(self._fresh):
            _end(process)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs one after the other; several threads run several at a time."""
        opened_here = self._fork and self._server is None
        if opened_here:
            self.open()
        try:
            return [
                self._launch(Job(tuple(overrides), initial_job_idx + i))
                for i, overrides in enumerate(job_overrides)
            ]
        finally:
            if opened_here:
                self.close()

    def _ready(self) -> JobRunner:
        if self._program is None:
            raise RuntimeError("launch() before setup()")
        return self._program

    def _launch(self, job: Job) -> JobReturn:
        server = self._safe_server()
        answer, status = server.run(job) if server else self._spawn(job)
        with contextlib.suppress(pickle.UnpicklingError, EOFError):
            returned = pickle.load(io.BytesIO(answer))  # noqa: S301  # bytes of our own process
            if isinstance(returned, JobReturn):
                return returned
        return JobReturn(
            overrides=list(job.overrides),
            status=JobStatus.FAILED,
            _return_value=TrialError(f"the trial's process {self._describe_exit(status)}"),
        )

    def _safe_server(self) -> ForkServer | None:
        """Return the server, once it is warm; None where jobs start in fresh processes."""
        with self._lock:
            if self._server is None or self._start_method == "fork":
                return self._server
            hazard = self._server.hazard()
            if hazard is not None:
                self._server.close()
                self._server = None
                self._start_fresh(hazard)
            return self._server

    def _start_fresh(self, hazard: str) -> None:
        """Start all jobs in fresh processes from now on, and say so."""
        self._fork = False
        text = f"trials start in fresh processes, and import everything again: {hazard}"
        sys.stderr.write(f"{text}\n")

    def _describe_exit(self, status: int) -> str:
        """Return how a process ended, from its exit code (negative: a signal)."""
        if status == LATE:
            return f"took longer than {self._timeout_setting} and was ended"
        if status < 0:
            name = signal.Signals(-status).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"was killed by {name}{hint}"
        return f"ended with exit code {status} before it answered"

    def _spawn(self, job: Job) -> tuple[bytes, int]:
        import cloudpickle
        from hydra.core.singleton import Singleton

        payload = {
            "path": sys.path,
            "program": cloudpickle.dumps((self._ready(), job, Singleton.get_state())),
        }
        reader, writer = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603  # this interpreter, our own module
                [sys.executable, "-m", "energyopt.jobs.worker", str(writer)],
                stdin=subprocess.PIPE,
                pass_fds=[writer],
                env=_environment(job),
                process_group=0,  # so that what the job starts can be ended with it
            )
        finally:
            os.close(writer)
        self._fresh.add(process)
        answer, late = b"", False
        lifeline = process.stdin
        assert lifeline is not None  # noqa: S101  # for the type checker
        with contextlib.suppress(BrokenPipeError), lifeline:
            # The job ends when the lifeline is closed, also by our death.
            with os.fdopen(reader, "rb") as pipe:
                pickle.dump(payload, lifeline)
                lifeline.flush()
                late = _is_late(pipe, self._ready().timeout_s)
                if late:
                    _end(process)
                answer = pipe.read()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_S)
        status = process.wait()
        kill_groups([process.pid])  # children of the job, where it has no supervisor
        self._fresh.discard(process)
        return answer, LATE if late else status


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a fresh process with what it started, through its supervisor where it has one."""
    if sys.platform.startswith("linux"):
        process.terminate()
    else:
        kill_groups([process.pid])


def _environment(job: Job) -> dict[str, str]:
    """Return the environment of a fresh process: with what Hydra will set only later.

    The app's modules are imported before, and may begin CUDA.
    """
    inherited = {k: v for k, v in os.environ.items() if k != STORAGE_VARIABLE}
    hydra_overrides = [override for override in job.overrides if override.startswith(_ENVIRONMENT)]
    parsed = OverridesParser.create().parse_overrides(hydra_overrides)
    variables = {o.key_or_group.removeprefix(_KEY): str(o.value()) for o in parsed}
    return inherited | variables


def _is_late(pipe: io.BufferedReader, timeout_s: float) -> bool:
    """Return True if the job does not answer in time; it writes its whole answer at its end."""
    deadline_s = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while not ready.select(min(deadline_s - time.monotonic(), _LONG_S)):
            if time.monotonic() >= deadline_s:
                return True
    return False
