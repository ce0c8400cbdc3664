"""Run the program as people do: in a process of its own, in an empty folder."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import venv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from tests import fake_nvml, warm_python
from tests.fake_nvml import FakeNvml
from tests.postgres import Postgres

# Under nohup, and so for programs that tests start, it would be ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes is the machine's affair.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

warm_python.remember_migrations()

ROOT = Path(__file__).resolve().parent.parent
_TIMEOUT_S = 180
_CASES = Counter[str]()
_A_SLOW_ONE = 40  # takes as long as so many others

# A study that takes a second: made-up joules, so that numbers are the same on each machine.
TINY = (
    *("task=wine", "model=mlp", "hardware=simulated", "epochs=4", "target=0.9"),
    *("sampler=tpe", "stopping=none"),  # each trial to its end
)


# A study on a pretend GPU (the fixture gpu_box) that takes no longer than it must.
ON_GPU = (
    *("hardware=nvidia", "hardware.idle_s=0.2", "hardware.cool_down_s=0.01"),
    *("paradigm=own", "paradigm._target_=slowed.Slowed", "task=wine", "model=mlp", "batch_size=8"),
    *("sampler=tpe", "stopping=none"),
)

SPACE = ("lr=tag(log,interval(1e-4,1e-1))", "batch_size=choice(8,32)")
Wait = Callable[[Callable[[], bool]], None]

# A user's own model; a width of 13 breaks it.
OWN_MODEL = """
from torch import nn

def build(input_shape, num_classes, hidden=8):
    if hidden == 13:
        raise RuntimeError("thirteen is unlucky")
    return nn.Sequential(
        nn.Linear(input_shape[0], hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
    )
"""


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark cases of a `mostly_slow` test as slow, before slow tests are deselected."""
    mark = item.get_closest_marker("mostly_slow")
    if mark and isinstance(item, pytest.Function):
        test = item.nodeid.partition("[")[0]
        number = _CASES[test]
        _CASES[test] += 1
        if number % mark.kwargs["every"]:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest come first: at the end no worker waits for another one's."""
    weight = Counter[Path]()
    for item in items:
        weight[item.path] += _A_SLOW_ONE if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -weight[item.path])


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of each garbage collection to come."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both streams, with all white space as single blanks: tables and lines wrap."""
        return " ".join((self.out + self.err).split())


@dataclass(frozen=True)
class Program:
    """An energyopt to run: a Python that has it, and the folder to run it in."""

    python: Path
    folder: Path

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k != "ENERGYOPT_STORAGE"}
        return kept | {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"} | extra

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.python, "-m", "energyopt", *words],
            cwd=self.folder,
            env=self.environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, **env: str) -> Ran:
        environment = self.environment(**env)
        if self.python == Path(sys.executable) and warm_python.can_fork(environment):
            return Ran(*warm_python.run(words, self.folder, environment, _TIMEOUT_S))
        with self.start(*words, **env) as process:
            out, err = process.communicate(timeout=_TIMEOUT_S)
        return Ran(process.returncode, out, err)

    def ok(self, *words: str, **env: str) -> Ran:
        ran = self(*words, **env)
        assert ran.code == 0, ran.out + ran.err
        return ran


def children_of(pid: int) -> list[int]:
    """The running children of a process (not all kernels list them in one file)."""
    stats = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            stats.append(stat.read_text())
    fields = [(int(s.partition(" ")[0]), int(s.rpartition(")")[2].split()[1])) for s in stats]
    return [child for child, parent in fields if parent == pid]


def gone(pid: int) -> bool:
    """Return True if a process is dead, including zombies."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def trials_of(program: Program, study: str) -> list[dict[str, Any]]:
    """Return our rows of a study, with Optuna's state, by number."""
    query = """
        select t.number, t.state, e.overrides, e.lost, e.reason, e.result, e.is_default
        from trials t join studies s on s.study_id = t.study_id
        left join energyopt_trials e on e.study_id = s.study_id and e.number = t.number
        where s.study_name = ? order by t.number
    """
    with sqlite3.connect(program.folder / "studies/energyopt.db") as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute(query, [study])]
    for row in rows:
        row["overrides"] = json.loads(row["overrides"] or "[]")
        row["result"] = json.loads(row["result"] or "null")
    return rows


def journal(program: Program, study: str, number: int) -> Path:
    return program.folder / "studies" / study / str(number) / "progress.jsonl"


def pauses_in(folder: Path) -> list[int]:
    """The number of pauses in each journal of a folder."""
    return [path.read_text().count('{"Pause"') for path in folder.rglob("progress.jsonl")]


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def need_package(package: str) -> None:
    """Skip what needs a package that is not installed; in CI each is."""
    if importlib.util.find_spec(package) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{package} is missing: make test SLOW=1 installs it")
        pytest.skip(f"needs {package}")


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def gpus(nvml_library: Path, tmp_path: Path) -> Iterator[FakeNvml]:
    """Two pretend GPUs in this process; their time passes by `advance` alone."""
    with fake_nvml.installed(nvml_library, tmp_path, gpus=2) as fake:
        yield fake


@pytest.fixture
def gpu_box(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Two pretend GPUs for the processes that a test starts, and a training loop for them.

    Their time is real.
    """
    folder = tmp_path / "nvml"
    folder.mkdir()
    fake = FakeNvml(nvml_library, folder, gpus=2, real_clock=True)
    for key, value in (fake.environment | {"PYTHONPATH": str(ROOT)}).items():
        monkeypatch.setenv(key, value)
    shutil.copy(ROOT / "tests" / "slowed.py", tmp_path)
    return fake


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def postgres(postgres_server: Postgres) -> str:
    """The URL of an empty PostgreSQL database."""
    return postgres_server.database()


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty storage of each kind: a file's path, a server's URL."""
    if request.param == "sqlite":
        return str(tmp_path / "studies" / "energyopt.db")
    url: str = request.getfixturevalue("postgres")
    return url


@pytest.fixture(autouse=True)
def _run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPU leases of a test are its own."""
    monkeypatch.setenv("ENERGYOPT_RUN_DIR", str(tmp_path / "run"))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "0")  # so that what a test changes is forgotten
        monkeypatch.delenv(name)


@pytest.fixture
def energyopt(tmp_path: Path) -> Program:
    """The checkout's program, in an empty folder."""
    return Program(Path(sys.executable), tmp_path)


@pytest.fixture(scope="session")
def wheel_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has energyopt from its wheel, and the rest from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", folder, ROOT], check=True, timeout=_TIMEOUT_S)
    (wheel,) = folder.glob("energyopt-*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    # A plain path in a .pth file adds a folder without reading the .pth files in it, so the
    # editable energyopt of this environment stays out.
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "shared.pth").write_text("\n".join(ours) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, timeout=_TIMEOUT_S)
    where = subprocess.run(
        [python, "-c", "import energyopt; print(energyopt.__file__)"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    assert str(packages) in where.stdout
    return python


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A folder in which the study "toy" was run."""
    program = Program(Path(sys.executable), tmp_path_factory.mktemp("studied"))
    program.ok(
        "-m", *TINY, "lr=tag(log,interval(1e-4,1e-1))", "batch_size=choice(8,32)",
        "n_trials=6", "study=toy",
    )  # fmt: skip
    return program


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser, Debian's chromium: without it tests are skipped, where CI is set they fail.

    Not for the whole session: while it is open, its thread cannot run another event loop.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing: apt-get install chromium")
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], None]:
    """Wait until a condition holds."""

    def wait(so: Callable[[], bool], limit_s: float = 60) -> None:
        until = time.monotonic() + limit_s
        while not so():
            assert time.monotonic() < until, "timed out"
            time.sleep(0.05)

    return wait


@pytest.fixture(autouse=True)
def _no_storage_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENERGYOPT_STORAGE", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
