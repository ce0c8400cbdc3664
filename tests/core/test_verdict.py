"""A verdict goes from the study to a running trial as one file, which is complete or absent."""

from __future__ import annotations

import threading
from pathlib import Path

from energyopt.core.verdict import (
    NAME,
    Verdict,
    await_verdict,
    forget_verdict,
    read_verdict,
    write_verdict,
)


def test_a_verdict_is_read_as_it_was_written(tmp_path: Path) -> None:
    for verdict in (Verdict(0), Verdict(3, "median: at report 4 loss is 0.5")):
        write_verdict(tmp_path, verdict)
        assert read_verdict(tmp_path) == verdict
        assert await_verdict(tmp_path, verdict.report, timeout_s=0) == verdict
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_an_earlier_verdict_is_no_answer(tmp_path: Path) -> None:
    write_verdict(tmp_path, Verdict(1))
    assert await_verdict(tmp_path, 2, timeout_s=0) is None
    forget_verdict(tmp_path)
    assert read_verdict(tmp_path) is None
    forget_verdict(tmp_path)


def test_a_damaged_file_is_no_answer(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"report": null, "reason": null}', '{"report": 1}'):
        (tmp_path / NAME).write_text(text)
        assert read_verdict(tmp_path) is None


def test_an_answer_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    timer = threading.Timer(0.05, write_verdict, (tmp_path, Verdict(0, "enough")))
    timer.start()
    assert await_verdict(tmp_path, 0, timeout_s=30) == Verdict(0, "enough")
    timer.join()
