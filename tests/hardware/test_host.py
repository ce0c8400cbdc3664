"""Processes come and go while they are looked at."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from energyopt.hardware import host

SLEEP = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


@pytest.mark.parametrize("listed", [True, False])
def test_descendants_are_found_with_their_fields(
    monkeypatch: pytest.MonkeyPatch, wait_for, listed: bool
):
    if not listed:  # an older kernel
        monkeypatch.setattr(host, "_CHILDREN", Path("/proc/nothing"))
    elif not host._CHILDREN.exists():
        pytest.skip("this kernel lists no children")
    with subprocess.Popen([sys.executable, "-c", SLEEP], stdin=subprocess.PIPE) as child:
        wait_for(lambda: len(host.descendants(child.pid)) == 1)
        found = host.descendants(os.getpid())
        assert child.pid in found
        assert found[child.pid][1] == str(os.getpid())
        assert host.descendants(child.pid).keys() < found.keys()
        child.communicate()
    assert child.pid not in host.descendants(os.getpid())


def test_threads_that_end_meanwhile_do_not_disturb():
    over = threading.Event()

    def make_threads() -> None:
        while not over.is_set():
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()

    maker = threading.Thread(target=make_threads)
    maker.start()
    try:
        for _ in range(2000):
            host.descendants(os.getpid())
    finally:
        over.set()
        maker.join()


def test_a_process_that_is_gone_has_none():
    assert host.descendants(2**22 + 1) == {}
