"""A GPU belongs to one process at a time, whoever runs it, and is free when that is dead."""

from __future__ import annotations

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
from energyopt.hardware.lease import (
    PACKAGES,
    Lease,
    make_run_dir,
    run_dir,
    take_packages,
    take_some,
)

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
    assert run_dir().stat().st_mode & 0o7777 == 0o1777
    assert (run_dir() / "GPU-a.lease").stat().st_mode & 0o777 == 0o666


@pytest.fixture
def shared_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run folder that any user can reach, as /tmp/energyopt is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "run").mkdir()
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
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
    with pytest.raises(HardwareError, match="not a folder"):
        Lease("GPU-a").take()


def test_a_lease_that_is_a_link_is_not_followed(tmp_path: Path):
    make_run_dir()
    target = tmp_path / "precious"
    target.write_text("keep")
    (run_dir() / "GPU-a.lease").symlink_to(target)
    with pytest.raises(HardwareError, match="cannot be opened"):
        Lease("GPU-a").take()
    assert target.read_text() == "keep"
