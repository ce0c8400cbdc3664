"""A pretend SLURM of one node: the commands that submitit and people type, over files in a folder.

`install` puts `sbatch`, `srun`, `sacct`, `squeue`, `scontrol` and `scancel` into a folder for PATH;
each is this file, run under that name. A job is a folder with its script, its state and its
process; it runs in a session of its own, as on another host. Signals go to a job's
steps (what `srun` started, with all descendants), not to its batch script, as in SLURM.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "squeue", "scontrol", "scancel")
_KILL_WAIT_S = 5.0
_HEARD_S = 0.5  # a controller far away hears of a job's own wish before it signals the job
_POLL_S = 0.05
_QUEUED_S = 30.0  # at most, for the folder of the output


@dataclass(frozen=True)
class Job:
    """A submitted job, or one element of an array."""

    folder: Path

    @property
    def number(self) -> str:
        """Its id, as sacct says it."""
        return self.folder.name

    @property
    def script(self) -> str:
        return (self.folder / "script").read_text()

    @property
    def options(self) -> dict[str, str]:
        """Return the options that the script requests."""
        found = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", self.script, re.MULTILINE)
        return {key: " ".join(shlex.split(value)) for key, value in found}

    @property
    def state(self) -> str:
        return self.read("state", "PENDING")

    @property
    def restarts(self) -> int:
        return int(self.read("restarts", "0"))

    @property
    def output(self) -> str:
        """Return the output of its script, printed or redirected to a file."""
        return self.read("output", "")

    @property
    def times(self) -> tuple[float, float]:
        """When it began and ended, in s."""
        began_s, ended_s = self.read("times", "").split()
        return float(began_s), float(ended_s)

    def read(self, name: str, otherwise: str) -> str:
        try:
            return (self.folder / name).read_text()
        except FileNotFoundError:
            return otherwise

    def write(self, name: str, text: str) -> None:
        temporary = self.folder / f".{name}"
        temporary.write_text(text)
        temporary.replace(self.folder / name)

    def signal(self, number: int, *, steps: bool = True) -> None:
        """Signal its steps, or all of it."""
        for pid in descendants(int(self.read("step" if steps else "pid", "0"))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@dataclass(frozen=True)
class FakeSlurm:
    """The cluster, as a test sees it."""

    folder: Path

    @property
    def jobs(self) -> list[Job]:
        """All jobs, in the order of their numbers."""
        folders = sorted(self.folder.glob("jobs/*"), key=lambda f: [*map(int, f.name.split("_"))])
        return [Job(folder) for folder in folders]

    def job(self, number: str) -> Job:
        return Job(self.folder / "jobs" / number)

    def submit(self, script: str, cwd: Path, env: Mapping[str, str]) -> list[Job]:
        """Submit a batch script, as a person does."""
        file = cwd / "study.sbatch"
        file.write_text(script)
        command = [self.folder / "bin" / "sbatch", file]
        said = subprocess.run(
            command, cwd=cwd, env=dict(env), capture_output=True, text=True, check=True
        )
        number = said.stdout.split()[-1]
        return [job for job in self.jobs if job.number.split("_")[0] == number]

    def preempt(self, job: Job, signals: Iterable[int]) -> None:
        """Tell a job's steps that it has to go, without taking its node."""
        for number in (signal.SIGCONT, *signals):
            job.signal(number)

    def end(self) -> None:
        """End what still runs."""
        for job in self.jobs:
            cancel(job)


def install(folder: Path) -> FakeSlurm:
    """Make a cluster in a folder; its commands are in `bin`."""
    (folder / "bin").mkdir(parents=True)
    (folder / "jobs").mkdir()
    for name in COMMANDS:
        file = folder / "bin" / name
        main = f"import sys; sys.argv[0] = '{name}'; exec(open({str(Path(__file__))!r}).read())"
        file.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{main}" "$@"\n')
        file.chmod(0o755)
    return FakeSlurm(folder)


def descendants(pid: int) -> list[int]:
    """A process and all that it started and that started again."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = stat.read_text()
            parent = int(text.rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid] if pid else []
    for each in found:
        found += parents.get(each, [])
    return found


# The commands -------------------------------------------------------------------------------


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def sbatch(cluster: FakeSlurm, words: list[str]) -> int:
    script = Path(words[-1]).read_text()
    number = _new_number(cluster)
    array = re.search(r"^#SBATCH --array=(\d+)-(\d+)", script, re.MULTILINE)
    elements = [] if array is None else range(int(array[1]), int(array[2]) + 1)
    names = [f"{number}_{element}" for element in elements] or [str(number)]
    for index, name in enumerate(names):
        job = cluster.job(name)
        job.folder.mkdir()
        job.write("script", script)
        numbers = {"SLURM_JOB_ID": str(number + index)}
        if elements:
            numbers |= {
                "SLURM_ARRAY_JOB_ID": str(number),
                "SLURM_ARRAY_TASK_ID": str(elements[index]),
            }
        job.write("env", json.dumps(numbers))
        subprocess.Popen(
            [cluster.folder / "bin" / "scontrol", "run", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    say(f"Submitted batch job {number}")
    return 0


def _new_number(cluster: FakeSlurm) -> int:
    """The next free number; several may submit at the same time."""
    number = 1
    while True:
        with contextlib.suppress(FileExistsError):
            (cluster.folder / f"number-{number}").mkdir()
            return number
        number += 10  # an array takes some


def srun(_: FakeSlurm, words: list[str]) -> int:
    """Become the step of the job that the command runs in."""
    files = {}
    while words[0].startswith("--"):
        option = words.pop(0)
        if option in ("--output", "--error"):
            files[option] = words.pop(0).replace("%j", _job_id()).replace("%t", "0")
    for option, descriptor in (("--output", 1), ("--error", 2)):
        if option in files:
            # A real queue is slower than submitit, which makes the folder once it has a number.
            _wait_for(Path(files[option]).parent)
            file = os.open(files[option], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(file, descriptor)
    job = Job(Path(os.environ["FAKE_SLURM_JOB"]))
    job.write("step", str(os.getpid()))
    ranks = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    os.execvpe(words[0], words, os.environ | ranks)


def _wait_for(folder: Path) -> None:
    give_up = time.monotonic() + _QUEUED_S
    while not folder.exists() and time.monotonic() < give_up:
        time.sleep(_POLL_S)


def _job_id() -> str:
    return os.environ["SLURM_JOB_ID"]


def sacct(cluster: FakeSlurm, words: list[str]) -> int:
    asked = [words[index + 1] for index, word in enumerate(words) if word == "-j"]
    say("JobID|State|NodeList")
    for job in cluster.jobs:
        if not asked or job.number.split("_")[0] in asked:
            say(f"{job.number}|{job.state}|localhost")
    return 0


def squeue(cluster: FakeSlurm, _: list[str]) -> int:
    say("JOBID ST")
    for job in cluster.jobs:
        if job.state in ("PENDING", "RUNNING"):
            say(f"{job.number} {job.state}")
    return 0


def scontrol(cluster: FakeSlurm, words: list[str]) -> int:
    """`requeue`, and our own `run`, which is the node at work on a job."""
    verb, number = words
    job = next(
        job
        for job in cluster.jobs
        if number in (job.number, json.loads(job.read("env", "{}")).get("SLURM_JOB_ID"))
    )
    if verb == "requeue":
        job.write("requeue", "")
    elif verb == "run":
        _run(job)
    return 0


def scancel(cluster: FakeSlurm, words: list[str]) -> int:
    number = None
    if "--signal" in words:
        at = words.index("--signal")
        number = signal.Signals["SIG" + words[at + 1].removeprefix("SIG")]
        del words[at : at + 2]
    for word in words:
        if number is None:
            cancel(cluster.job(word))
        else:
            cluster.job(word).signal(number)
    return 0


def cancel(job: Job) -> None:
    """End a job for good."""
    if job.state in ("PENDING", "RUNNING"):
        job.write("cancelled", "")
        job.signal(signal.SIGKILL, steps=False)


def _run(job: Job) -> None:
    """Run a job's script; once more each time it is requeued."""
    while True:
        began_s = time.time()
        code = _run_once(job)
        job.write("times", f"{began_s} {time.time()}")
        if not (job.folder / "requeue").exists():
            break
        (job.folder / "requeue").unlink()
        job.write("restarts", str(job.restarts + 1))
        job.write("state", "PENDING")
    ended = "COMPLETED" if code == 0 else "OUT_OF_MEMORY" if code == 137 else "FAILED"
    job.write("state", "CANCELLED" if (job.folder / "cancelled").exists() else ended)


def _run_once(job: Job) -> int:
    numbers = json.loads(job.read("env", "{}"))
    one = dict.fromkeys(("SLURM_JOB_NUM_NODES", "SLURM_NTASKS"), "1")
    env = os.environ | one | numbers
    env |= {"SLURM_JOB_NODELIST": "localhost", "SLURM_RESTART_COUNT": str(job.restarts)}
    env["FAKE_SLURM_JOB"] = str(job.folder)
    with (job.folder / "output").open("a") as output:
        process = subprocess.Popen(
            ["/bin/bash", job.folder / "script"], env=env, stdout=output, stderr=output
        )
        job.write("pid", str(process.pid))
        job.write("state", "RUNNING")
        requeued_s = None
        while process.poll() is None:
            time.sleep(_POLL_S)
            if requeued_s is None and (job.folder / "requeue").exists():
                requeued_s = time.monotonic()
                time.sleep(_HEARD_S)
                job.signal(signal.SIGTERM)
            if requeued_s is not None and time.monotonic() > requeued_s + _KILL_WAIT_S:
                job.signal(signal.SIGKILL, steps=False)
    return process.returncode


def main() -> int:
    """One of the commands, by the name it was called by."""
    name = Path(sys.argv[0]).name
    return globals()[name](FakeSlurm(Path(os.environ["FAKE_SLURM"])), sys.argv[1:])  # type: ignore[no-any-return]


if __name__ == "__main__" and Path(sys.argv[0]).name in COMMANDS:
    sys.exit(main())
