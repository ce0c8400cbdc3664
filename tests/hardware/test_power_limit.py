"""A power limit is put back however a process ends: each way with a real process and signal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from energyopt.errors import HardwareError, PowerLimitRefusedError
from energyopt.hardware.lease import Lease
from energyopt.hardware.nvml import Board, all_boards
from energyopt.hardware.power_limit import PowerLimit, restore
from energyopt.hardware.power_limit_journal import stale_limits
from energyopt.hardware.power_limit_recovery import restore_all, restore_stale
from energyopt.hardware.run_folder import make_run_dir, run_dir
from tests import fake_nvml, fake_zeusd
from tests.fake_nvml import FakeNvml

# 250 W before, so that the default (300 W) is no answer.
HOLD = """
import os, signal, sys, time
from energyopt.hardware.lease import Lease
from energyopt.hardware.nvml import all_boards
from energyopt.hardware.power_limit import PowerLimit

boards = all_boards()
leases = [Lease(board.uuid) for board in boards]
assert all(lease.take() for lease in leases)
{before}
with PowerLimit(boards, 150):
    print("held", flush=True)
    {inside}
print("after", flush=True)
"""
WAIT = "time.sleep(60)"


def start(
    inside: str, before: str = "", *, stdin: bool = False, **env: str
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(inside=inside, before=before)],
        stdin=subprocess.PIPE if stdin else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def box(gpu_box: FakeNvml) -> FakeNvml:
    for gpu in gpu_box.state.gpu[:2]:
        gpu.limit_mw = 250_000
    return gpu_box


def limits(box: FakeNvml) -> list[float]:
    return [box.limit_w(0), box.limit_w(1)]


# How a process can end ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        ("pass", 0),
        ("raise RuntimeError('broken')", 1),
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGHUP); time.sleep(60)", -signal.SIGHUP),
    ],
    ids=["end", "exception", "exit", "SIGINT", "SIGTERM", "SIGHUP"],
)
def test_the_previous_limit_is_put_back(box: FakeNvml, inside: str, code: int):
    with start(inside) as process:
        process.communicate(timeout=30)
    assert process.returncode == code
    assert [change.value for change in box.changes()].count(150) == 2
    assert limits(box) == [250, 250]
    assert stale_limits() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_from_outside(box: FakeNvml, number: signal.Signals):
    with start(WAIT) as process:
        assert limits(box) == [150, 150]
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == -number
    assert limits(box) == [250, 250]


def test_an_ignored_hangup_ends_nothing(box: FakeNvml):
    ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    with start("os.kill(os.getpid(), signal.SIGHUP)", before=ignore) as process:
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "after\n")
    assert limits(box) == [250, 250]


def test_a_worker_that_is_forked_meanwhile_and_ended_changes_nothing(box: FakeNvml):
    fork = (
        "pid = os.fork()\n"
        "    if pid == 0: time.sleep(60); os._exit(0)\n"
        "    time.sleep(0.5)\n"  # a signal in the moment of a fork is lost in Python
        "    os.kill(pid, signal.SIGTERM)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), boards[0].limit_w())"
    )
    with start(fork) as process:
        out, _ = process.communicate(timeout=30)
    assert out.splitlines() == [f"{-signal.SIGTERM} 150.0", "after"]
    assert limits(box) == [250, 250]


def test_workers_that_outlive_a_killed_trial_keep_nothing_back(box: FakeNvml, gpus_here: None):
    fork = "print(os.fork() or time.sleep(60), flush=True); time.sleep(60)"
    with start(fork) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.kill()
    try:
        assert [each.refusal for each in restore_all()] == [None, None]
        assert limits(box) == [250, 250]
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_second_signal_does_not_end_what_the_first_began(box: FakeNvml):
    slow = (
        "from energyopt.hardware.nvml import Board\n"
        "real = Board.set_limit_w\n"
        "Board.set_limit_w = lambda self, w: (time.sleep(0.3), real(self, w))\n"
        "from energyopt.utils.signals import interrupting\n"
        "context = interrupting(); context.__enter__()\n"
    )
    with start(WAIT, before=slow) as process:
        for _ in range(4):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        process.communicate(timeout=30)
    assert process.returncode != 0
    assert limits(box) == [250, 250]


def test_after_a_kill_the_next_one_puts_it_back(box: FakeNvml):
    with start(WAIT) as process:
        process.kill()
    assert limits(box) == [150, 150]
    with start("pass") as process:  # another trial begins, with the leases of both GPUs
        process.communicate(timeout=30)
    assert limits(box) == [250, 250]  # what was before the first, not before the second


def test_after_a_kill_it_is_put_back_when_asked(box: FakeNvml, gpus_here: None):
    with start(WAIT) as process:
        uuids = [box.uuid(0), box.uuid(1)]
        assert restore_all() == []  # it lives
        process.kill()
    assert sorted(stale_limits()) == uuids
    found = restore_all()
    assert [(each.uuid, each.previous_w, each.refusal) for each in found] == [
        (uuid, 250, None) for uuid in uuids
    ]
    assert "250 W, the power limit of GPU-" in str(found[0])
    assert limits(box) == [250, 250]
    assert restore_all() == []


def test_a_kill_at_any_step_loses_no_limit(box: FakeNvml, gpus_here: None):
    """Killed by a failing call of the driver at each of the calls that change or read a limit."""
    for after in range(8):
        box.state.gpu[0].limit_mw = box.state.gpu[1].limit_mw = 250_000
        calls = (
            "import pynvml\n"
            "real, count = pynvml.nvmlDeviceSetPowerManagementLimit, [0]\n"
            "def dying(*a):\n"
            f"    if count[0] == {after} // 2:\n"
            f"        if {after} % 2: real(*a)\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "    count[0] += 1\n"
            "    real(*a)\n"
            "pynvml.nvmlDeviceSetPowerManagementLimit = dying\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", HOLD.format(before=calls, inside="pass")],
            capture_output=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL
        restore_all()
        assert limits(box) == [250, 250], after


@pytest.fixture
def gpus_here(box: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pretend GPUs of the subprocesses, for this process, too."""
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlLib", box.library)
    monkeypatch.setattr(pynvml, "_nvmlLib_refcount", 0)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})


# What is kept, and what is left alone ------------------------------------------------------


@pytest.fixture
def board(gpus: FakeNvml) -> Board:
    gpus.state.gpu[0].limit_mw = 250_000
    return all_boards()[0]


def test_the_journal_is_there_before_the_limit_is_changed(gpus: FakeNvml, board: Board):
    seen = []
    set_limit = board.set_limit_w

    def watching(limit_w: float) -> None:
        seen.append(json.loads((run_dir() / f"{board.uuid}.limit.json").read_text()))
        set_limit(limit_w)

    board.set_limit_w = watching  # type: ignore[method-assign]
    with PowerLimit([board], 150) as limit:
        limit.set(200)
    assert [(each["previous_w"], each["held_w"]) for each in seen[:2]] == [
        (250, [150]),
        (250, [150, 200]),
    ]
    assert gpus.limits_set(0) == [150, 200, 250]
    assert list(run_dir().glob("*.json*")) == []


def test_a_limit_that_somebody_else_has_set_meanwhile_is_left(gpus: FakeNvml, board: Board):
    with PowerLimit([board], 150):
        gpus.state.gpu[0].limit_mw = 180_000
    assert board.limit_w() == 180
    assert stale_limits() == []


def test_a_reboot_has_put_limits_back_by_itself(gpus: FakeNvml, board: Board):
    entry = run_dir() / f"{board.uuid}.limit.json"
    with PowerLimit([board], 150):
        data = json.loads(entry.read_text()) | {"boot_id": "another"}
    entry.write_text(json.dumps(data))
    assert stale_limits() == []
    assert not entry.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uuid": "x"}', '{"held_w": 3}'])
def test_a_damaged_journal_changes_nothing(gpus: FakeNvml, board: Board, text: str):
    with PowerLimit([board]):
        pass
    Lease(board.uuid).take()
    (run_dir() / f"{board.uuid}.limit.json").write_text(text)
    restore(board)
    assert gpus.limits_set(0) == []
    assert stale_limits() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write another user's journal")
def test_another_users_journal_is_followed_by_root_alone_and_only_when_asked(
    gpus: FakeNvml, board: Board
):
    entry = run_dir() / f"{board.uuid}.limit.json"
    with PowerLimit([board], 150):
        text = entry.read_text()
    board.set_limit_w(150)
    entry.write_text(text)
    os.chown(entry, 65534, 65534)
    assert stale_limits() == []
    assert restore_stale([board]) == []
    # What was before is told there alone: it is not written over, nor forgotten.
    with pytest.raises(PowerLimitRefusedError, match=r"a run of nobody.*root.*energyopt restore"):
        restore(board)
    with pytest.raises(PowerLimitRefusedError, match="a run of nobody"):
        PowerLimit([board], 200).__enter__()
    assert board.limit_w() == 150
    assert [each.refusal for each in restore_stale([board], requested=True)] == [None]
    assert board.limit_w() == 250


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_ones_own_journal_in_a_folder_that_others_may_change_is_told_and_not_followed(
    gpus: FakeNvml, board: Board
):
    entry = run_dir() / f"{board.uuid}.limit.json"
    with PowerLimit([board], 150):
        text = entry.read_text()
    board.set_limit_w(150)
    entry.write_text(text)
    os.chown(run_dir(), 65534, 65534)
    assert restore_stale([board]) == []
    told = rf"only root \(since others may change {run_dir()}.*energyopt restore"
    with pytest.raises(PowerLimitRefusedError, match=told):
        restore(board)
    assert board.limit_w() == 150


def test_what_is_held_is_said_to_those_who_ask(gpus: FakeNvml, board: Board):
    lease = Lease(board.uuid)
    assert lease.take()
    with PowerLimit([board], 150):
        assert restore_stale([board]) == []
        (found,) = restore_stale([board], requested=True)
        assert f"is what a run holds: process {os.getpid()}" in str(found)


def test_no_pipe_or_link_in_the_shared_folder_is_followed(
    gpus: FakeNvml, board: Board, tmp_path: Path
):
    make_run_dir()
    os.mkfifo(run_dir() / f"{board.uuid}.limit.json")
    os.mkfifo(run_dir() / f"GPU-x.{os.geteuid()}.lease")
    restore(board)
    assert Lease("GPU-x").owner() is None
    with pytest.raises(HardwareError, match="no plain file"):
        Lease("GPU-x").take()


def test_a_gpu_that_is_gone_is_said(gpus: FakeNvml, board: Board):
    entry = run_dir() / f"{board.uuid}.limit.json"
    with PowerLimit([board], 150):
        text = entry.read_text()
    entry.write_text(text)
    (found,) = restore_stale([])
    assert "there is no GPU" in str(found)
    assert entry.exists()


def test_limits_of_several_gpus_are_set_together_or_not_at_all(gpus: FakeNvml):
    gpus.state.gpu[1].min_mw = 200_000
    with pytest.raises(PowerLimitRefusedError, match=r"=150 is outside 200 to 300 W of Fake H200"):
        PowerLimit(all_boards(), 150).__enter__()
    assert gpus.limits_set(0) == []


def test_a_refusal_at_the_second_gpu_puts_the_first_back(gpus: FakeNvml):
    gpus.fail("nvmlDeviceSetPowerManagementLimit", fake_nvml.UNKNOWN, gpu=1, times=1)
    with pytest.raises(PowerLimitRefusedError, match="GPU 1"):
        PowerLimit(all_boards(), 150).__enter__()
    assert [gpus.limit_w(0), gpus.limit_w(1)] == [300, 300]
    assert stale_limits() == []


def test_a_limit_that_is_not_in_force_after_it_was_set_is_refused(gpus: FakeNvml, board: Board):
    real = board._send_limit
    board._send_limit = lambda limit_mw: real(limit_mw + 20_000)  # type: ignore[method-assign]
    with pytest.raises(PowerLimitRefusedError, match=r"was told 150 W and has 170 W"):
        board.set_limit_w(150)


# Permission --------------------------------------------------------------------------------


def test_permission_is_asked_for_where_nothing_would_change(gpus: FakeNvml, board: Board):
    assert board.limit_problem() is None
    gpus.unprivileged()
    reason = board.limit_problem()
    assert reason is not None
    for remedy in ("root", "CAP_SYS_ADMIN", "zeusd"):
        assert remedy in reason
    with pytest.raises(PowerLimitRefusedError, match="may not be set"):
        PowerLimit([board], 150).__enter__()


def test_a_laptop_has_no_limit(gpus: FakeNvml, board: Board):
    gpus.fail("nvmlDeviceGetPowerManagementLimitConstraints", fake_nvml.NOT_SUPPORTED)
    reason = board.limit_problem()
    assert reason is not None
    assert "no power limit that can be set" in reason


def test_without_a_journal_no_limit_is_changed(
    gpus: FakeNvml, board: Board, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pathlib.Path.replace", _no_space)
    with pytest.raises(PowerLimitRefusedError, match=r"no power limit is changed.*No space left"):
        PowerLimit([board], 150).__enter__()
    assert gpus.limits_set(0) == []


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_zeusd_that_counts_gpus_otherwise_sets_nothing(
    box: FakeNvml, nvml_library: Path, tmp_path: Path
):
    """In a container number 0 may be the host's number 1."""
    other = tmp_path / "host"
    other.mkdir()
    host = FakeNvml(nvml_library, other, gpus=1, real_clock=True)
    host.state.gpu[0].counter_mj = 9e9
    with fake_zeusd.running(tmp_path / "zeusd.sock", host.environment) as env:
        done = with_zeusd(dict(env))
    assert "zeusd means another GPU by 0" in done.stdout
    assert "PowerLimitRefusedError" in done.stderr
    assert host.changes() == box.changes() == []


def test_a_zeusd_that_dies_is_a_sentence_and_the_journal_stays(box: FakeNvml, tmp_path: Path):
    with fake_zeusd.running(tmp_path / "zeusd.sock", box.environment) as env:
        held = {**env, fake_nvml.UNPRIVILEGED: "1"}
        process = start("sys.stdin.read()", stdin=True, **held)
    _, err = process.communicate("go", timeout=30)
    assert process.returncode == 1
    assert "energyopt.errors.PowerLimitRefusedError: the power limit of GPU 0" in err
    assert len(stale_limits()) == 2


ZEUSD = """
from energyopt.hardware.nvml import all_boards
from energyopt.hardware.power_limit import PowerLimit
board = all_boards()[0]
print(board.limit_problem())
with PowerLimit([board], 150):
    print(board.limit_w())
print(board.limit_w())
"""


def with_zeusd(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    unprivileged = {fake_nvml.UNPRIVILEGED: "1"}
    return subprocess.run(
        [sys.executable, "-c", ZEUSD],
        env=os.environ | env | unprivileged,
        capture_output=True,
        text=True,
        check=False,
    )


def test_zeusd_sets_limits_for_those_who_may_not(box: FakeNvml, tmp_path: Path):
    with fake_zeusd.running(tmp_path / "zeusd.sock", box.environment) as env:
        done = with_zeusd(dict(env))
    assert done.stdout.split() == ["None", "150.0", "250.0"], done.stderr
    assert box.limits_set(0)[-2:] == [150, 250]


@pytest.mark.parametrize("groups", ["gpu-read", None], ids=["without control", "down"])
def test_a_zeusd_that_does_not_is_said(box: FakeNvml, tmp_path: Path, groups: str | None):
    socket = tmp_path / "zeusd.sock"
    if groups is None:
        done = with_zeusd({"ZEUSD_SOCK_PATH": str(socket)})
    else:
        with fake_zeusd.running(socket, box.environment, groups=groups) as env:
            done = with_zeusd(dict(env))
    assert "zeusd" in done.stdout.lower()
    assert "PowerLimitRefusedError" in done.stderr
    assert box.limits_set(0) == []


def test_errors_of_the_driver_are_sentences(gpus: FakeNvml, board: Board):
    gpus.fail("nvmlDeviceGetPowerManagementLimit", fake_nvml.GPU_IS_LOST)
    with pytest.raises(HardwareError, match=r"GPU 0 \(Fake H200\).*lost"):
        board.limit_w()


METER = """
from energyopt.hardware.nvml import all_boards
from energyopt.hardware.zeus import NvmlMeter
NvmlMeter(all_boards(), "cpu")
"""


@pytest.mark.parametrize("groups", ["gpu-read", None], ids=["without control", "down"])
def test_zeus_that_cannot_meter_because_of_zeusd_says_what_to_unset(
    box: FakeNvml, tmp_path: Path, groups: str | None
):
    """Zeus alone would meter nothing, silently."""
    socket = tmp_path / "zeusd.sock"
    with contextlib.ExitStack() as stack:
        env: Mapping[str, str] = {"ZEUSD_SOCK_PATH": str(socket)}
        if groups is not None:
            env = stack.enter_context(fake_zeusd.running(socket, box.environment, groups=groups))
        done = subprocess.run(
            [sys.executable, "-c", METER],
            env=os.environ | env,
            capture_output=True,
            text=True,
            check=False,
        )
    assert "HardwareError" in done.stderr
    assert "unset ZEUSD_SOCK_PATH" in done.stderr
