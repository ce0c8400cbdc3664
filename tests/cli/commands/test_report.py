"""`report --watch`: written when the study has changed, and without reloading in the end."""

from __future__ import annotations

import pytest

from energyopt.cli.commands import report
from energyopt.core.study_record import StudyRecord
from tests.toys import result, study, trial


def test_a_watched_report_is_written_when_its_study_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "_RELOAD_S", 0)
    monkeypatch.setattr(report, "_WATCH_SHARE", 1e9)
    one, two = (study(trial(i, result([(100, 1.0, 0.95)])) for i in range(n)) for n in (1, 2))
    states = [one, one, two, two, None, two]
    pages: list[tuple[int, bool]] = []

    def read() -> StudyRecord:
        state = states.pop(0)
        if state is None:
            raise KeyboardInterrupt
        return state

    def write(record: StudyRecord, *, reload_s: int | None = None) -> None:
        pages.append((len(record.trials), reload_s is not None))

    report._watch(one, read, write)
    assert pages == [(1, True), (2, True), (2, False)]
