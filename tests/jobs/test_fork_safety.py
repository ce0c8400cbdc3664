"""Jobs are forked only from a process that has one thread, but for those of OpenBLAS."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("code", "hazard"),
    [
        ("import numpy, scipy.linalg", "None"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True)"
            ".start()",
            "the app starts 1 thread where it is imported",
        ),
    ],
)
def test_threads_are_a_hazard_and_those_of_openblas_are_none(code: str, hazard: str) -> None:
    program = f"{code}\nfrom energyopt.jobs.fork_safety import fork_hazard\nprint(fork_hazard())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hazard
