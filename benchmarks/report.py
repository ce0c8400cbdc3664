"""How long a report takes to write and to open, and how large it is.

    python benchmarks/report.py [--quick] [--trials 1000] [--opens 5]

The study is made up (`made_up.py`): 30 evaluations a trial. It is written by the command and opened
in chromium, from the call to all figures drawn; the median of several. The first opening of the
browser is left out.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a bare checkout

from benchmarks.made_up import make_up  # noqa: E402
from benchmarks.scale import machine  # noqa: E402

_NAME = "made-up"


def write(folder: Path) -> float:
    """Write the report of the study in a folder; how long that took, in s."""
    words = [sys.executable, "-m", "energyopt", "report", _NAME]
    began = time.perf_counter()
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def open_times(page: Path, opens: int) -> list[float]:
    """How long opening takes until all is drawn, in s."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is missing: apt-get install chromium")
    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(opens + 1):
            tab = browser.new_page()
            began = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_selector("html[data-drawn=all]", state="attached")
            times.append(time.perf_counter() - began)
            tab.close()
        browser.close()
    return times[1:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 trials, opened once")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--opens", type=int, default=5)
    options = parser.parse_args()
    trials, opens = (20, 1) if options.quick else (options.trials, options.opens)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "studies").mkdir()
        make_up(str(folder / "studies" / "energyopt.db"), _NAME, trials)
        wrote_s = write(folder)
        page = folder / "studies" / _NAME / "report" / "report.html"
        size = page.stat().st_size
        times = open_times(page, opens)
    print(f"{trials} trials: written in {wrote_s:.1f} s, {size / 1e6:.2f} MB")
    median = statistics.median(times)
    print(f"opened in {median:.2f} s ({min(times):.2f} to {max(times):.2f}, {len(times)} times)")


if __name__ == "__main__":
    main()
