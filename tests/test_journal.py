"""A journal is read while it grows, and as far as it is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energyopt.journal import NAME, Journal, JournalReader, JournalWriter
from energyopt.records import Checkpoint, Energy, TrialResult, TrialStart, Window
from tests.toys import ESTIMATED

START = TrialStart(0.9, 2, seed=1, provenance=ESTIMATED, flags=("hot",))
LOADING = Window("loading", Energy(1.0, cpu_j=4.0))
TRAINING = Window("training", Energy(2.0, gpu_j=3.0, cpu_j=4.5, dram_j=0.25))
EVALUATION = Window("evaluation", Energy(0.5, cpu_j=1.0))
CHECKPOINT = Checkpoint(100, 10, 1.0, 0.8, 0.5, TRAINING.energy, EVALUATION.energy)
RECORDS: list[TrialStart | Window | Checkpoint] = [START, LOADING, TRAINING, EVALUATION, CHECKPOINT]


def written(path: Path) -> bytes:
    writer = JournalWriter(path)
    for record in RECORDS:
        writer.append(record)
    return path.read_bytes()


def kept(journal: Journal) -> int:
    """How many records a journal holds, which must be the first of `RECORDS`."""
    held = [journal.start] if journal.start else []
    records = [*held, *journal.windows, *journal.checkpoints]
    assert records == RECORDS[: len(records)]
    return len(records)


def test_what_is_written_is_read(tmp_path: Path):
    path = tmp_path / "0" / NAME
    written(path)
    journal = JournalReader(path).read()
    assert kept(journal) == len(RECORDS)
    result = journal.result("lost", "its host died")
    windows = [LOADING, TRAINING, EVALUATION]
    assert result == TrialResult.assemble(START, windows, [CHECKPOINT], "lost", "its host died")


def test_a_reader_follows_a_growing_journal(tmp_path: Path):
    path = tmp_path / NAME
    reader = JournalReader(path)
    assert kept(reader.read()) == 0
    writer = JournalWriter(path)
    for count, record in enumerate(RECORDS, start=1):
        writer.append(record)
        assert kept(reader.read()) == kept(reader.read()) == count


def test_a_torn_line_is_taken_when_it_is_whole(tmp_path: Path):
    path = tmp_path / NAME
    whole = written(path)
    path.write_bytes(b"")
    reader = JournalReader(path)
    with path.open("ab", buffering=0) as file:
        for end in range(1, len(whole) + 1):
            file.write(whole[end - 1 : end])
            assert kept(reader.read()) == whole[:end].count(b"\n")


def test_a_journal_cut_anywhere_gives_what_came_before(tmp_path: Path):
    path = tmp_path / NAME
    whole = written(path)
    for end in reversed(range(len(whole))):
        os.truncate(path, end)
        assert kept(JournalReader(path).read()) == whole[:end].count(b"\n")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"7",
        b"[]",
        b"{}",
        b'{"Window": null}',
        b'{"Window": {"purpose": "training"}}',
        b'{"Window": {"purpose": "training", "energy": {"watts": 1}}}',
        b'{"TrialStart": {}}',
        b'{"Checkpoint": {}}',
        b'{"Unknown": {}}',
        b'{"a": 1, "b": 2}',
    ],
)
def test_a_damaged_line_says_nothing(tmp_path: Path, line: bytes):
    path = tmp_path / NAME
    first, rest = written(path).split(b"\n", 1)
    path.write_bytes(first + b"\n" + line + b"\n" + rest)
    assert kept(JournalReader(path).read()) == len(RECORDS)


@given(st.binary(max_size=60).filter(lambda line: b"\n" not in line))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_stops_a_reader(tmp_path: Path, line: bytes):
    path = tmp_path / NAME
    whole = written(path)
    path.write_bytes(line + b"\n" + whole)
    assert kept(JournalReader(path).read()) == len(RECORDS)


def test_a_new_writer_starts_afresh(tmp_path: Path):
    path = tmp_path / NAME
    written(path)
    JournalWriter(path)
    assert kept(JournalReader(path).read()) == 0


def test_a_journal_without_a_file_keeps_nothing(tmp_path: Path):
    JournalWriter(None).append(START)
    assert JournalReader(tmp_path / NAME).read().result("lost", "") is None
