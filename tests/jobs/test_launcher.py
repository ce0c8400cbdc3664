"""Each job runs in a process of its own; whatever it does, it costs itself alone."""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import ConfigCompositionException
from hydra.types import HydraContext, RunMode
from hydra.version import setbase
from omegaconf import DictConfig

from energyopt.errors import ConfigError, LauncherError, TrialError
from energyopt.jobs.launcher import LocalLauncher
from energyopt.jobs.worker import OUTPUT
from tests.conftest import children_of, gone

ROOT = Path(__file__).parents[2]
Wait = Callable[..., None]
BIG = 5_000_000
warm: list[str] = []

# Python 3.12 warns of forks in processes with threads, which other tests leave.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


# --- what jobs do


class AwkwardError(Exception):
    """Pickles, and breaks where it is read."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} because {why}")


class UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lambda")
        self.hold = lambda: None


def leave_a_child(_: DictConfig) -> int:
    return subprocess.Popen(["sleep", "60"]).pid


def tell(cfg: DictConfig) -> dict[str, Any]:
    hydra = HydraConfig.get()
    return {"x": cfg.x, "pid": os.getpid(), "number": hydra.job.num, "id": hydra.job.id}


def crash(_: DictConfig) -> None:
    faulthandler.disable()
    ctypes.string_at(0)


def press_ctrl_c(_: DictConfig) -> str:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    return "still here"


def hold_all(_: DictConfig) -> None:
    """Hang with the interpreter's lock held, deaf to all signals that can be kept out."""
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(60)


def hang_with_a_child(cfg: DictConfig) -> None:
    Path(cfg.x).write_text(str(subprocess.Popen(["sleep", "60"]).pid))
    time.sleep(60)


def leave_daemons(cfg: DictConfig, n_daemons: int = 2) -> None:
    """Start processes that leave the job's session, and lose their parents; write their numbers."""
    for _ in range(n_daemons):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                with Path(cfg.x).open("a") as file:
                    file.write(f"{os.getpid()}\n")
                time.sleep(60)
            os._exit(0)
    while not Path(cfg.x).exists() or Path(cfg.x).read_text().count("\n") < n_daemons:
        time.sleep(0.01)


def hang_in_another_group(cfg: DictConfig) -> None:
    leave_daemons(cfg)
    os.setpgid(0, os.getpgid(os.getppid()))
    time.sleep(60)


def leave_daemons_and_wait(cfg: DictConfig) -> None:
    leave_daemons(cfg)
    while not Path(cfg.x).with_name("proceed").exists():
        time.sleep(0.01)


def die_with_daemons(cfg: DictConfig) -> None:
    leave_daemons(cfg)
    os.kill(os.getpid(), signal.SIGKILL)


def write_at_exit(cfg: DictConfig) -> None:
    def write() -> None:
        time.sleep(0.3)
        Path(cfg.x).write_text("written")

    atexit.register(write)


def meet_three_others(cfg: DictConfig) -> bool:
    """Return True once four jobs have left their mark in a folder, False after a minute."""
    folder = Path(cfg.x)
    (folder / str(os.getpid())).touch()
    for _ in range(1200):
        if len(list(folder.iterdir())) == 4:
            return True
        time.sleep(0.05)
    return False


def throw(error: BaseException) -> None:
    raise error


ACTS: dict[str, Callable[[DictConfig], Any]] = {
    "tell": tell,
    "warm": lambda _: list(warm),
    "big": lambda cfg: bytes([cfg.x]) * BIG,
    "raise": lambda _: throw(ValueError("odd")),
    "raise big": lambda _: throw(ValueError("odd" * BIG)),
    "raise awkward": lambda _: throw(AwkwardError("it broke", "it could")),
    "raise unpicklable": lambda _: throw(UnpicklableError()),
    "raise out of memory": lambda _: throw(MemoryError()),
    "interrupt": lambda _: throw(KeyboardInterrupt()),
    "sys.exit": lambda _: sys.exit(3),
    "os._exit": lambda _: os._exit(9),
    "os._exit(0)": lambda _: os._exit(0),
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "terminate": lambda _: os.kill(os.getpid(), signal.SIGTERM),
    "crash": crash,
    "lambda": lambda _: lambda: None,
    "ctrl-c": press_ctrl_c,
    "read": lambda _: os.read(0, 1),
    "child": leave_a_child,
    "hold all": hold_all,
    "hang with a child": hang_with_a_child,
    "daemons": leave_daemons,
    "daemons and a wait": leave_daemons_and_wait,
    "daemons and death": die_with_daemons,
    "hang in another group": hang_in_another_group,
    "write at exit": write_at_exit,
    "meet three others": meet_three_others,
    "sleep": lambda cfg: time.sleep(cfg.x),
}


def task(cfg: DictConfig) -> Any:
    return ACTS[cfg.act](cfg)


# --- a launcher to run them


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "config.yaml").write_text("act: tell\nx: 0\n")
    return folder


def make(folder: Path, **options: Any) -> LocalLauncher:
    setup_globals()
    setbase("1.3")  # as hydra.main does
    loader = ConfigLoaderImpl(create_config_search_path(str(folder)))
    words = [f"hydra.sweep.dir={folder}/sweep", "hydra.sweep.subdir=${hydra.job.num}"]
    config = loader.load_configuration("config", words, RunMode.MULTIRUN)
    launcher = LocalLauncher(**options)
    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    launcher.setup(hydra_context=context, task_function=task, config=config)
    return launcher


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[LocalLauncher]:
    launcher = make(folder, **options)
    launcher.open()
    try:
        yield launcher
    finally:
        launcher.close()


LAUNCHERS = ["fork", pytest.param("spawn", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest, folder: Path) -> Iterator[LocalLauncher]:
    with opened(folder, start_method=request.param) as launcher:
        yield launcher


@pytest.fixture(scope="module")
def forking(folder: Path) -> Iterator[LocalLauncher]:
    with opened(folder, start_method="fork") as launcher:
        yield launcher


def run(launcher: LocalLauncher, act: str, x: float | Path = 0, number: int = 0) -> JobReturn:
    (returned,) = launcher.launch([[f"act={act!r}", f"x={x}"]], number)
    return returned


def server_of(launcher: LocalLauncher) -> int:
    assert launcher._server is not None
    return launcher._server._pid


# --- answers


def test_jobs_run_one_after_the_other_with_numbers_and_folders_of_their_own(launcher, folder):
    answers = launcher.launch([[f"x={x}"] for x in (3, 1, 2)], initial_job_idx=5)
    assert [answer.status for answer in answers] == [JobStatus.COMPLETED] * 3
    values = [answer.return_value for answer in answers]
    assert [(v["x"], v["number"], v["id"]) for v in values] == [
        (3, 5, "5"),
        (1, 6, "6"),
        (2, 7, "7"),
    ]
    assert len({os.getpid(), *(value["pid"] for value in values)}) == 4
    assert [list(answer.overrides or ()) for answer in answers] == [["x=3"], ["x=1"], ["x=2"]]
    assert (folder / "sweep/6/.hydra/overrides.yaml").read_text() == "- x=1\n"


def test_a_large_answer_arrives_whole(launcher):
    assert run(launcher, "big", 7).return_value == b"\x07" * BIG


ENDS: list[tuple[str, type[BaseException], str]] = [
    ("raise", ValueError, "odd"),
    ("raise unpicklable", TrialError, "UnpicklableError: holds a lambda"),
    ("sys.exit", TrialError, "SystemExit: 3"),
    ("os._exit", TrialError, "the trial's process ended with exit code 9 before it answered"),
    ("kill", TrialError, "the trial's process was killed by SIGKILL (out of memory?)"),
    ("raise out of memory", MemoryError, ""),
    ("raise awkward", TrialError, "AwkwardError: it broke because it could"),
    ("interrupt", TrialError, "KeyboardInterrupt: "),
    ("lambda", TrialError, "the job returned a function, which cannot be sent back: "),
    ("os._exit(0)", TrialError, "the trial's process ended with exit code 0 before it answered"),
    ("terminate", TrialError, "the trial's process was killed by SIGTERM"),
    ("crash", TrialError, "the trial's process was killed by SIGSEGV"),
    ("not there", KeyError, "'not there'"),
]


def check_end(returned: JobReturn, kind: type[BaseException], words: str) -> None:
    assert returned.status == JobStatus.FAILED
    error = returned._return_value
    assert type(error) is kind
    assert str(error).startswith(words)


@pytest.mark.parametrize(("act", "kind", "words"), ENDS)
def test_whatever_a_job_does_is_an_answer(forking, act, kind, words):
    check_end(run(forking, act), kind, words)


@pytest.mark.parametrize(("act", "kind", "words"), ENDS[:5])
@pytest.mark.slow
def test_whatever_a_fresh_process_does_is_an_answer(folder, act, kind, words):
    check_end(run(make(folder, start_method="spawn"), act), kind, words)


def test_a_job_that_cannot_be_composed_fails_alone(launcher):
    good, bad = launcher.launch([["x=1"], ["no_such_key=1"]], 0)
    assert good.status == JobStatus.COMPLETED
    assert bad.status == JobStatus.FAILED
    assert isinstance(bad._return_value, ConfigCompositionException)


def test_a_large_error_arrives_whole(forking):
    assert len(str(run(forking, "raise big")._return_value)) == 3 * BIG


def test_ctrl_c_is_not_a_jobs_business(launcher):
    assert run(launcher, "ctrl-c").return_value == "still here"


def test_a_job_has_no_input(launcher):
    assert run(launcher, "read").return_value == b""


def test_what_a_job_leaves_running_is_ended_with_it(forking, wait_for):
    child = run(forking, "child").return_value
    wait_for(lambda: gone(child), 2)


@pytest.mark.parametrize("start_method", LAUNCHERS)
@pytest.mark.parametrize("act", ["daemons", "daemons and death"])
def test_what_left_the_jobs_session_is_ended_with_it_and_said(
    folder, tmp_path, capfd, start_method, act
):
    with opened(folder, start_method=start_method) as launcher:
        status = run(launcher, act, tmp_path / "pids").status
    assert status == (JobStatus.COMPLETED if act == "daemons" else JobStatus.FAILED)
    daemons = (tmp_path / "pids").read_text().split()
    assert len(daemons) == 2
    assert all(gone(int(pid)) for pid in daemons)
    said = capfd.readouterr().err
    assert all(f"({pid})" in said for pid in daemons)
    assert "was ended as well" in said


def test_what_was_started_before_any_job_is_left_alone(folder):
    helpers = folder / "helpers"

    def warm_up() -> None:
        helpers.write_text(str(subprocess.Popen(["sleep", "60"]).pid))

    launcher = make(folder, start_method="fork")
    launcher.open(warm_up)
    assert run(launcher, "child").status == JobStatus.COMPLETED
    helper = int(helpers.read_text())
    assert not gone(helper)
    launcher.close()
    assert not gone(helper)
    os.kill(helper, signal.SIGKILL)


@pytest.mark.slow
def test_a_fresh_process_ends_by_itself_after_its_answer(folder, tmp_path):
    with opened(folder, start_method="spawn") as launcher:
        assert run(launcher, "write at exit", tmp_path / "end").status == JobStatus.COMPLETED
    assert (tmp_path / "end").read_text() == "written"


def test_daemons_of_a_job_that_runs_on_are_left_alone(forking, tmp_path):
    pids = tmp_path / "pids"
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(run, forking, "daemons and a wait", pids)
        while not pids.exists() or pids.read_text().count("\n") < 2:
            time.sleep(0.01)
        assert run(forking, "daemons and death", tmp_path / "others").status == JobStatus.FAILED
        assert not any(gone(int(pid)) for pid in pids.read_text().split())
        (tmp_path / "proceed").touch()
        assert job.result().status == JobStatus.COMPLETED
    assert all(gone(int(pid)) for pid in pids.read_text().split())


@pytest.mark.parametrize("start_method", LAUNCHERS)
def test_a_late_job_ends_with_what_left_its_session(folder, tmp_path, start_method):
    timeout_s = 3 if start_method == "fork" else 15
    with opened(folder, start_method=start_method, timeout_s=timeout_s) as launcher:
        late = run(launcher, "hang in another group", tmp_path / "pids")
        check_end(late, TrialError, "the trial's process took longer")
        daemons = (tmp_path / "pids").read_text().split()
        assert len(daemons) == 2
        assert all(gone(int(pid)) for pid in daemons)
        assert run(launcher, "tell", 2).return_value["x"] == 2


def test_closing_ends_what_left_the_session_of_a_job(folder, tmp_path):
    pids = tmp_path / "pids"
    with opened(folder, start_method="fork") as launcher, ThreadPoolExecutor(1) as pool:
        job = pool.submit(run, launcher, "hang in another group", pids)
        while not pids.exists() or pids.read_text().count("\n") < 2:
            time.sleep(0.01)
        launcher.close()
        assert isinstance(job.exception(), LauncherError)
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_many_threads_get_each_their_own_answers(forking):
    def ask(x: int) -> tuple[int, int]:
        value = run(forking, "tell", x, number=x).return_value
        return value["x"], value["number"]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(24))) == [(x, x) for x in range(24)]


def test_jobs_of_several_threads_run_at_the_same_time(forking, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        jobs = pool.map(lambda _: run(forking, "meet three others", tmp_path), range(4))
        assert [job.return_value for job in jobs] == [True] * 4


def test_a_job_that_dies_leaves_the_others_alone(forking):
    acts = ["kill", "tell", "crash", "tell", "os._exit", "big", "sys.exit", "tell"] * 2
    with ThreadPoolExecutor(4) as pool:
        states = [returned.status for returned in pool.map(lambda a: run(forking, a), acts)]
    fine = {"tell", "big"}
    assert states == [JobStatus.COMPLETED if a in fine else JobStatus.FAILED for a in acts]


def test_no_descriptors_or_processes_are_left_behind(forking):
    def held() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    server = server_of(forking)

    def held_by_server() -> int:
        return len(list(Path(f"/proc/{server}/fd").iterdir()))

    run(forking, "tell")
    before, of_server = held(), held_by_server()
    for act in ("tell", "raise", "kill", "big") * 2:
        run(forking, act)
    assert held() == before
    assert children_of(server) == []
    assert held_by_server() <= of_server  # the last ones may just be being closed


# --- the server


def test_the_server_is_warmed_once_and_jobs_inherit_that(folder, tmp_path, capfd):
    marker = tmp_path / "warm"

    def warm_up() -> None:
        sys.stdout.write("warming")
        warm.append("warm")
        with marker.open("a") as file:
            file.write("once")

    launcher = make(folder, start_method="fork")
    launcher.open(warm_up)
    launcher.open(warm_up)  # it is open already
    assert [run(launcher, "warm").return_value for _ in range(3)] == [["warm"]] * 3
    launcher.close()
    launcher.close()
    assert marker.read_text() == "once"
    assert warm == []
    assert capfd.readouterr().out.count("warming") == 1


def test_launch_opens_and_closes_the_server_where_nobody_did(folder):
    launcher = make(folder, start_method="fork")
    assert run(launcher, "tell", 4).return_value["x"] == 4
    assert launcher._server is None


def test_closing_ends_jobs_that_run(folder, wait_for):
    launcher = make(folder, start_method="fork")
    launcher.open()
    server = server_of(launcher)
    errors: list[Exception] = []

    def wait_in_vain() -> None:
        try:
            run(launcher, "sleep", 60)
        except LauncherError as error:
            errors.append(error)

    thread = threading.Thread(target=wait_in_vain)
    thread.start()
    wait_for(lambda: children_of(server) != [])
    (job,) = children_of(server)
    launcher.close()
    thread.join(2)
    assert gone(server)
    wait_for(lambda: gone(job), 1)
    assert len(errors) == 1


def test_a_server_that_dies_is_said(folder):
    with opened(folder, start_method="fork") as launcher:
        os.kill(server_of(launcher), signal.SIGKILL)
        for _ in range(3):
            with pytest.raises(LauncherError, match="the server that runs the trials died"):
                run(launcher, "tell")


def test_closing_ends_fresh_processes(folder, wait_for):
    launcher = make(folder, start_method="spawn")
    returned: list[JobReturn] = []
    thread = threading.Thread(target=lambda: returned.append(run(launcher, "sleep", 60)))
    thread.start()
    wait_for(lambda: len(launcher._fresh) == 1)
    launcher.close()
    thread.join(5)
    # SIGTERM where the process had just begun
    assert re.search("was killed by SIG(KILL|TERM)", str(returned[0]._return_value))
    assert not launcher._fresh


# --- time


@pytest.mark.slow
@pytest.mark.parametrize(("start_method", "timeout_s"), [("fork", 4), ("spawn", 15)])
def test_a_job_that_takes_too_long_costs_itself_alone(
    folder, tmp_path, wait_for, start_method, timeout_s
):
    """A fresh process has its imports to do in that time, on a busy machine."""
    with opened(folder, start_method=start_method, timeout_s=timeout_s) as launcher:
        acts = {"hold all": 0, "hang with a child": tmp_path / "pid", "tell": 1, "child": 0}
        with ThreadPoolExecutor(4) as pool:
            hung, parent, fine, _ = pool.map(lambda act: run(launcher, act, acts[act]), acts)
        for late in (hung, parent):
            longer = f"longer than hydra.launcher.timeout_s={timeout_s} and was ended"
            check_end(late, TrialError, f"the trial's process took {longer}")
        assert fine.return_value["x"] == 1
        wait_for(lambda: gone(int((tmp_path / "pid").read_text())), 2)
        assert run(launcher, "tell", 2).return_value["x"] == 2


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_long_time_is_a_time_too(folder, start_method):
    with opened(folder, start_method=start_method, timeout_s=1e12) as launcher:
        assert run(launcher, "tell", 3).return_value["x"] == 3


def test_no_time_at_all_ends_each_job(folder):
    with opened(folder, start_method="fork", timeout_s=1e-9) as launcher:
        for _ in range(5):
            check_end(run(launcher, "sleep", 60), TrialError, "the trial's process took longer")


# --- options and order


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "no"}, r"hydra\.launcher\.output=no: choose auto, inherit or file"),
        ({"start_method": "no"}, r"hydra\.launcher\.start_method=no: choose auto, fork or spawn"),
        *(
            (
                {"timeout_s": value},
                rf"hydra\.launcher\.timeout_s={value}: a number of seconds above 0 is needed, "
                "or null",
            )
            for value in (0, -1, float("nan"), float("inf"), "1", True)
        ),
    ],
)
def test_options_that_are_none_are_refused(options, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        LocalLauncher(**options)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_launch_needs_setup(start_method):
    launcher = LocalLauncher(start_method=start_method)
    with pytest.raises(RuntimeError, match="launch\\(\\) before setup\\(\\)"):
        launcher.launch([["x=1"]], 0)


# --- in an app of its own

APP = """
import os, signal, subprocess, sys, time
from pathlib import Path
import hydra

class Answer:  # of __main__
    def __init__(self, x): self.x = x

@hydra.main(version_base="1.3", config_path=None, config_name=None)
def main(cfg):
    x = cfg.x
    Path(f"ran-{x}").write_text(str(os.getpid()))
    print("printed", x)
    print("complained", x, file=sys.stderr)
    subprocess.run(["echo", "echoed", str(x)], check=True)
    if x == "bad":
        raise ValueError("x is bad")
    if x == "slow":
        child = subprocess.Popen(["sleep", "300"])
        Path("pids").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(300)
    return Answer(x)

main()
"""


def app(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "app.py").write_text(dedent(APP))
    path = os.pathsep.join((str(ROOT), str(ROOT / "energyopt" / "_hydra")))
    return subprocess.Popen(
        [sys.executable, "app.py", "-m", "hydra/launcher=energyopt", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_another_apps_jobs_run_each_in_its_process(tmp_path):
    with app(tmp_path, "+x=1,2,3") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    pids = {(tmp_path / f"ran-{x}").read_text() for x in (1, 2, 3)}
    assert len(pids | {str(process.pid)}) == 4


def test_another_apps_error_is_raised_where_hydra_reports_it(tmp_path):
    with app(tmp_path, "+x=1,bad,3", "hydra.launcher.start_method=spawn") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ValueError: x is bad" in err
    assert (tmp_path / "ran-3").exists()


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_prints_are_kept_in_the_jobs_folder(tmp_path, start_method):
    words = ("hydra.launcher.output=file", f"hydra.launcher.start_method={start_method}")
    with app(tmp_path, "+x=1,bad", *words, "hydra.sweep.dir=jobs") as process:
        out, err = process.communicate(timeout=60)
    kept = (tmp_path / "jobs" / "0" / OUTPUT).read_text()
    assert sorted(kept.splitlines()) == ["complained 1", "echoed 1", "printed 1"]
    assert "ValueError: x is bad" in (tmp_path / "jobs" / "1" / OUTPUT).read_text()
    for text in ("printed", "complained", "echoed"):
        assert text not in out + err


@pytest.mark.parametrize("output", ["inherit", "auto"])
def test_prints_go_to_the_terminal(tmp_path, output):
    words = (f"hydra.launcher.output={output}", "hydra.sweep.dir=jobs")
    with app(tmp_path, "+x=1", *words) as process:
        out, err = process.communicate(timeout=60)
    assert {"printed 1", "echoed 1"} <= set(out.splitlines())
    assert "complained 1" in err
    assert not (tmp_path / "jobs" / "0" / OUTPUT).exists()


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_jobs_and_their_children_end_with_the_coordinator(tmp_path, wait_for, start_method, how):
    pids = tmp_path / "pids"
    with app(tmp_path, "+x=slow", f"hydra.launcher.start_method={start_method}") as process:
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        job, child = map(int, pids.read_text().split())
        assert not gone(job)
        assert not gone(child)
        process.send_signal(how)
        wait_for(lambda: gone(job) and gone(child), 2)
        process.communicate(timeout=5)
    assert process.returncode == -how
