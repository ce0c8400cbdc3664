"""The CPU time of a process tree, however its processes end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from energyopt.hardware import cgroup
from energyopt.hardware.cgroup import CpuCgroup
from energyopt.hardware.process_tree import ReapedChildren, _missing_s, _Seen

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has what it uses")

BURNT_S = 0.2
HEAD = f"""
import os, signal, subprocess, sys, time
from pathlib import Path
from energyopt.hardware import cgroup
from energyopt.hardware.host import descendants
from energyopt.hardware.process_tree import ProcessTree, ReapedChildren

def spin():
    end = time.process_time() + {BURNT_S}
    while time.process_time() < end:
        pass

def child(*work):
    pid = os.fork()
    if pid == 0:
        for one in work:
            one()
        os._exit(0)
    return pid

def reads_until(enough_s):
    for _ in range(400):
        if tree.others_s() - before_s >= enough_s:
            break
        time.sleep(0.05)
    time.sleep(0.1)

if sys.argv[1] == "seen":
    cgroup._MOUNTS = Path("/nothing")  # no cgroup can be made
"""
BEGIN = "tree = ProcessTree()\nbefore_s = tree.others_s()\n"
END = """
print(tree.others_s() - before_s, flush=True)
for process in descendants(os.getpid()):  # a daemon would keep the output open
    os.kill(process, signal.SIGKILL)
"""
CASES = {
    "a daemon ends": "child(os.setsid, lambda: child(spin))\nos.wait()\nreads_until(0.19)\n",
    "a daemon runs on": "child(os.setsid, lambda: child(spin, signal.pause))\nos.wait()\n"
    "reads_until(0.19)\n",
    "a child is killed between two readings": "pid = child(spin, signal.pause)\nreads_until(0.19)\n"
    "os.kill(pid, signal.SIGKILL)\nos.wait()\n",
    "SIGCHLD is ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    "children = ReapedChildren()\nchildren.begin()\nchild(spin)\nreads_until(0.19)\n"
    "children.end()\n",
    "SIGCHLD is ignored, a child of before ends": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    "pid = child(spin, signal.pause)\nreads_until(0.19)\nos.kill(pid, signal.SIGKILL)\n"
    "time.sleep(0.3)\n",
}


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("way", ["by a cgroup where one can be made", "seen"])
@pytest.mark.parametrize("work", CASES.values(), ids=CASES)
def test_a_descendant_counts_once_however_it_ends(work: str, way: str):
    burnt_s = float(run(HEAD + BEGIN + work + END, way))
    assert BURNT_S - 0.03 <= burnt_s <= BURNT_S + 0.06


def test_a_grandchild_that_its_parent_does_not_wait_for_counts_by_a_cgroup():
    if make_here() is None:
        pytest.skip("no cgroup can be made here")
    work = "child(lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN), lambda: child(spin),"
    work += " lambda: time.sleep(1))\nos.wait()\n"
    assert float(run(HEAD + BEGIN + work + END, "cgroup")) >= BURNT_S - 0.03


def test_a_signal_that_was_ignored_is_ignored_again():
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        children = ReapedChildren()
        children.begin()
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
        children.end()
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, previous)


def seen(parent: int, own_s: float, waited_s: float = 0.0) -> _Seen:
    return _Seen(parent, has_ended=False, own_s=own_s, waited_s=waited_s)


def test_what_a_parent_waited_for_is_not_missing():
    earlier = {(2, "a"): seen(1, 1.0), (3, "b"): seen(2, 5.0)}
    assert _missing_s(earlier, {(2, "a"): seen(1, 1.0, 5.0)}, 0.0) == 0
    assert _missing_s(earlier, {}, 6.0) == 0


def test_what_no_parent_waited_for_is_missing():
    earlier = {(2, "a"): seen(1, 1.0), (3, "b"): seen(2, 5.0)}
    assert _missing_s(earlier, {(2, "a"): seen(1, 1.0)}, 0.0) == 5
    assert _missing_s(earlier, {}, 0.0) == 6
    assert _missing_s(earlier, {}, 4.0) == 2


def test_an_orphan_that_this_process_waited_for_is_not_missing():
    earlier = {(2, "a"): seen(1, 1.0), (3, "b"): seen(2, 2.0), (4, "c"): seen(3, 5.0)}
    latest = {(2, "a"): seen(1, 1.0, 2.0)}
    assert _missing_s(earlier, latest, 5.0) == 0


def test_a_number_that_another_process_has_now_is_not_the_same():
    earlier = {(3, "b"): seen(1, 5.0)}
    assert _missing_s(earlier, {(3, "later"): seen(1, 0.1)}, 0.0) == 5


def make_here() -> str | None:
    """Return the name of the cgroup that a process can make here."""
    code = "import os\nfrom energyopt.hardware.cgroup import CpuCgroup\n"
    code += "made = CpuCgroup.make([])\nprint('' if made is None else made._folder)\n"
    return run(code).strip() or None


def test_a_cgroup_is_gone_when_its_process_has_ended():
    folder = make_here()
    if folder is None:
        pytest.skip("no cgroup can be made here")
    assert not Path(folder).exists()


def test_where_no_cgroup_can_be_made_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(cgroup, "_MEMBERSHIP", tmp_path / "cgroup")
    assert CpuCgroup.make([]) is None
    (tmp_path / "cgroup").write_text("2:cpu:/\n0::/user\n")
    monkeypatch.setattr(cgroup, "_MOUNTS", tmp_path / "mountinfo")
    # a plain folder: the kernel adds no files to a new one
    mount = f"30 20 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    (tmp_path / "mountinfo").write_text(mount)
    (tmp_path / "user").mkdir()
    assert CpuCgroup.make([os.getpid()]) is None
    assert not list((tmp_path / "user").iterdir())


def test_a_cgroup_of_a_dead_process_is_removed_and_that_of_a_living_one_stays(tmp_path: Path):
    dead, own = tmp_path / f"energyopt-{2**22 + 1}", tmp_path / f"energyopt-{os.getpid()}"
    (dead / "energyopt-1").mkdir(parents=True)
    own.mkdir()
    cgroup.remove_left(tmp_path)
    assert not dead.exists()
    assert own.exists()
