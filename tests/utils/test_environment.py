"""A value that a process takes out of its environment is seen by no other process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows environments")

SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from energyopt.utils.environment import close_memory, reopen_memory, replace_variables

replace_variables({"SECRET": "nothing", "EMPTY": "x"})
here = Path("/proc/self/environ").read_bytes()
fork = subprocess.run(["cat", f"/proc/{os.getpid()}/environ"], capture_output=True).stdout
child = subprocess.run(["env"], capture_output=True, text=True).stdout.splitlines()
assert here == fork
print(b"CANARY" in here, b"OTHER=kept" in here, b"SECRETARY=kept" in here)
print("SECRET=nothing" in child, "OTHER=kept" in child, os.environ["SECRET"])
close_memory()
print(Path("/proc/self/mem").stat().st_uid)
reopen_memory()
print(Path("/proc/self/mem").stat().st_uid == os.geteuid())
"""


def test_the_first_environment_is_overwritten_and_children_get_the_new_one():
    env = os.environ | {
        "SECRET": "CANARY", "SECRETARY": "kept", "OTHER": "kept", "EMPTY": ""
    }  # fmt: skip
    command = [sys.executable, "-c", SCRIPT]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["False True True", "True True nothing", "0", "True"]
