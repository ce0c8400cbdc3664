"""A GPU belongs to one process at a time, whoever runs it, and is free when that is dead."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from energyopt.errors import GpusBusyError, HardwareError
from energyopt.hardware import run_folder
from energyopt.hardware.lease import PACKAGES, Lease, leased, take_packages, take_some
from energyopt.hardware.run_folder import make_run_dir, run_dir

HOLD = """
import sys
from energyopt.hardware.lease import Lease
assert Lease(sys.argv[1]).take()
print("held", flush=True)
sys.stdin.read()
"""


def holder(uuid: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, uuid],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def own_file(uuid: str) -> Path:
    return run_dir() / f"{uuid}.{os.geteuid()}.lease"


def test_a_lease_is_taken_once():
    one, other = Lease("GPU-a"), Lease("GPU-a")
    assert one.take()
    assert not other.take()
    assert Lease("GPU-b").take()
    one.release()
    assert other.take()


def test_another_process_holds_it_until_it_dies():
    with holder("GPU-a") as process:
        lease = Lease("GPU-a")
        assert not lease.take()
        owner = lease.owner()
        assert owner is not None
        assert owner.pid == process.pid
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lease.owner() is None
        assert lease.take()


def test_a_program_that_the_holder_starts_does_not_hold_it():
    lease = Lease("GPU-a")
    assert lease.take()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        lease.release()
        assert Lease("GPU-a").take()
        child.kill()


def test_the_first_free_ones_are_taken():
    held = Lease("GPU-a")
    assert held.take()
    leases = take_some({"GPU-a": "GPU 0", "GPU-b": "GPU 1", "GPU-c": "GPU 2"}, 1, wait_s=0)
    assert [lease.uuid for lease in leases] == ["GPU-b"]


def test_too_few_free_ones_are_none_taken_and_who_holds_them_is_said():
    with holder("GPU-a") as process:
        with pytest.raises(
            HardwareError, match=rf"GPU 0 is held by process {process.pid} of .*lease_wait"
        ):
            take_some({"GPU-a": "GPU 0", "GPU-b": "GPU 1"}, 2, wait_s=0)
        assert Lease("GPU-b").take()
        process.kill()


def test_a_lease_is_waited_for():
    with holder("GPU-a") as process:
        threading.Timer(0.3, process.kill).start()
        messages: list[str] = []
        assert take_some({"GPU-a": "GPU 0"}, 1, 60, messages.append)
        (message,) = messages
        assert f"process {process.pid}" in message


def test_the_cpu_packages_are_of_one_trial_and_free_when_it_is_dead():
    with holder(PACKAGES) as process:
        busy = rf"CPU packages for itself, and .*RAPL.* process {process.pid} .*hardware=estimate"
        with pytest.raises(GpusBusyError, match=busy):
            take_packages(wait_s=0)
        threading.Timer(0.3, process.kill).start()
        messages: list[str] = []
        take_packages(60, messages.append).release()
        (message,) = messages
        assert message.startswith("waiting for the CPU: ")
        assert f"process {process.pid}" in message


def test_other_users_may_use_the_folder_and_the_files():
    lease = Lease("GPU-a")
    assert lease.take()
    assert run_dir().stat().st_mode & 0o7777 == (0o755 if os.geteuid() else 0o1777)
    assert own_file("GPU-a").stat().st_mode & 0o777 == 0o644


@pytest.fixture
def shared_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run folder that any user can reach, as /tmp/energyopt is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setenv("ENERGYOPT_RUN_DIR", str(Path(folder) / "run"))
        make_run_dir()
        yield run_dir()


def as_nobody(takes: Callable[[], bool]) -> bool:
    """Return the answer of a process of another user."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os._exit(0 if takes() else 1)
        finally:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1)
    return code == 0


@AS_ROOT
@pytest.mark.usefixtures("shared_dir")
def test_another_user_is_kept_out_and_let_in():
    lease = Lease("GPU-a")
    assert lease.take()
    assert not as_nobody(Lease("GPU-a").take)
    lease.release()
    assert as_nobody(Lease("GPU-a").take)
    assert as_nobody(Lease("GPU-b").take)  # a file of theirs
    assert Lease("GPU-b").take()


def test_a_folder_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENERGYOPT_RUN_DIR", str(tmp_path / "missing" / "run"))
    with pytest.raises(HardwareError, match="ENERGYOPT_RUN_DIR"):
        make_run_dir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("ENERGYOPT_RUN_DIR", str(tmp_path / "link"))
    with pytest.raises(HardwareError, match=r"not a folder .*link.*rm .*ENERGYOPT_RUN_DIR"):
        Lease("GPU-a").take()
    (tmp_path / "link").unlink()
    (tmp_path / "link").write_text("a file")
    with pytest.raises(HardwareError, match=r"not a folder .*rm .*ENERGYOPT_RUN_DIR"):
        Lease("GPU-a").take()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(HardwareError, match="not a folder"):
        Lease("GPU-a").take()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o770])
def test_a_folder_in_which_others_may_delete_is_refused(mode: int):
    make_run_dir()
    (run_dir() / "mine").touch()
    run_dir().chmod(mode)
    with pytest.raises(HardwareError, match=rf"mode {mode:o}.*chmod \+t .*ENERGYOPT_RUN_DIR"):
        Lease("GPU-a").take()
    run_dir().chmod(mode | 0o1000)
    assert Lease("GPU-a").take()


def test_a_folder_that_holds_other_files_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "notes").touch()
    monkeypatch.setenv("ENERGYOPT_RUN_DIR", str(tmp_path / "home"))
    assert Lease("GPU-a").take()
    assert (tmp_path / "home").stat().st_mode & 0o7777 == 0o700


@AS_ROOT
@pytest.mark.parametrize("mode", [0o1777, 0o755, 0o777])
def test_a_folder_of_another_user_is_refused(shared_dir: Path, mode: int):
    shared_dir.chmod(mode)
    os.chown(shared_dir, 65534, 65534)
    with pytest.raises(HardwareError, match=rf"uid 65534.*chown root {shared_dir} .*RUN_DIR"):
        Lease("GPU-a").take()
    assert list(shared_dir.iterdir()) == []


@pytest.fixture
def machine(shared_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set no variable, and return what stands for /tmp: a folder that any user can write."""
    temporary = shared_dir.parent / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.delenv("ENERGYOPT_RUN_DIR")
    monkeypatch.setattr(run_folder, "_FIRST", temporary / "energyopt")
    monkeypatch.setattr(run_folder, "_SYSTEM", shared_dir.parent / "run-energyopt")
    return temporary


@AS_ROOT
def test_users_without_a_common_folder_see_each_others_leases(machine: Path):
    assert as_nobody(Lease("GPU-a").take)  # makes the folder that root does not trust
    assert (machine / "energyopt").stat().st_uid == 65534
    lease = Lease("GPU-a")
    assert lease.take()
    assert run_dir() == machine / "energyopt-0"
    assert not as_nobody(Lease("GPU-a").take)
    assert leased() == ["GPU-a"]
    lease.release()
    assert as_nobody(Lease("GPU-a").take)


@AS_ROOT
def test_the_lease_of_another_user_holds_and_says_whose_it_is(machine: Path):
    reader, writer = os.pipe()
    ready, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.setgid(65534)
        os.setuid(65534)
        os.write(answer, b"y" if Lease("GPU-a").take() else b"n")
        os.read(reader, 1)  # until the test ends
        os._exit(0)
    assert os.read(ready, 1) == b"y"
    owner = Lease("GPU-a").owner()
    assert owner is not None
    assert owner.pid == pid
    assert not Lease("GPU-a").take()
    with pytest.raises(GpusBusyError, match=f"GPU 0 is held by process {pid}"):
        take_some({"GPU-a": "GPU 0"}, 1, wait_s=0)
    os.close(writer)
    assert os.waitpid(pid, 0)[1] == 0
    assert Lease("GPU-a").take()
    assert (machine / "energyopt-0").is_dir()


def test_a_folder_of_the_administrator_comes_first(machine: Path):
    system = machine.parent / "run-energyopt"
    system.mkdir()
    assert run_dir() == system
    system.chmod(0o777)  # others could delete there
    assert run_dir() == machine / "energyopt"


def test_a_planted_file_in_the_place_of_a_folder_is_refused_with_a_remedy(machine: Path):
    (machine / "energyopt").symlink_to(machine)  # as another user might
    place = machine / f"energyopt-{os.geteuid()}"
    place.write_text("not a folder")
    with pytest.raises(HardwareError, match=f"rm {place}"):
        Lease("GPU-a").take()
    place.unlink()
    assert Lease("GPU-a").take()
    assert place.is_dir()


def test_a_lock_on_the_file_of_an_earlier_version_is_respected():
    make_run_dir()
    old = run_dir() / "GPU-a.lease"
    old.touch()
    with old.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not Lease("GPU-a").take()
        assert Lease("GPU-ab").take()
    assert Lease("GPU-a").take()


def test_a_lease_that_is_a_link_is_not_followed(tmp_path: Path):
    make_run_dir()
    target = tmp_path / "precious"
    target.write_text("keep")
    own_file("GPU-a").symlink_to(target)
    with pytest.raises(HardwareError, match="cannot be opened"):
        Lease("GPU-a").take()
    own_file("GPU-b").hardlink_to(target)
    with pytest.raises(HardwareError, match="link to a file: remove it with `rm "):
        Lease("GPU-b").take()
    os.mkfifo(own_file("GPU-c"))
    with pytest.raises(HardwareError, match="no plain file of yours"):
        Lease("GPU-c").take()
    for planted in ("GPU-d.1.lease", "GPU-d.2.lease"):  # others' are looked at, and do not hold
        os.mkfifo(run_dir() / planted)
    (run_dir() / "GPU-d.3.lease").symlink_to(target)
    assert Lease("GPU-d").take()
    assert target.read_text() == "keep"
