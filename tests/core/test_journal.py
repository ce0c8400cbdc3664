"""A journal is read while it grows, and as far as it is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energyopt.core.conditions import NOT_MEASURED
from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy, total
from energyopt.core.gpu_trace import TraceSample
from energyopt.core.journal import (
    NAME,
    Journal,
    JournalReader,
    JournalWriter,
    Record,
    TrialEnd,
    read_result,
)
from energyopt.core.trial_result import PausePoint, Purpose, TrialResult, TrialStart, Window
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import DamagedFileError, JournalError
from energyopt.training.recorder import Recorder
from tests.damage import flip, flips
from tests.toys import ESTIMATED, Counter, ToyMeter

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
    """Return the number of records, which must be the first of `RECORDS`."""
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
        b'{"a": 1, "b": 2}',
    ],
)
def test_a_damaged_line_says_nothing(tmp_path: Path, line: bytes):
    path = tmp_path / NAME
    first, rest = written(path).split(b"\n", 1)
    path.write_bytes(first + b"\n" + line + b"\n" + rest)
    assert kept(JournalReader(path).read()) == len(RECORDS)


def test_any_flipped_bit_is_noticed_or_harmless(tmp_path: Path):
    path = tmp_path / NAME
    written(path)
    assert JournalReader(path).read().damaged == []
    n_noticed = 0
    for place in flips(path, 400):
        journal = JournalReader(path).read()
        is_last = place == path.stat().st_size - 1  # the end of the last line: it waits
        assert journal.damaged or is_last
        n_noticed += bool(journal.damaged)
    assert n_noticed > 390


def test_a_changed_journal_is_not_resumed(tmp_path: Path):
    path = tmp_path / NAME
    written(path)
    JournalWriter(path, is_rerun=True).append(START, TRAINING, PausePoint(1, 1, 0.5, Energy()))
    assert JournalWriter(path, is_rerun=True, pause=0).resumed is not None
    flip(path, path.read_bytes().index(b"gpu_j") + 9)
    with pytest.raises(DamagedFileError, match=r"progress\.jsonl was changed on the disk in line"):
        JournalWriter(path, is_rerun=True, pause=0)
    with pytest.raises(DamagedFileError, match="cannot be relied upon"):
        read_result(tmp_path)


def test_lines_of_earlier_versions_have_no_digest(tmp_path: Path):
    path = tmp_path / NAME
    lines = [json.loads(line) for line in written(path).splitlines()]
    for line in lines:
        del line["blake2b"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    journal = JournalReader(path).read()
    assert (kept(journal), journal.damaged) == (len(RECORDS), [])


def test_what_a_newer_version_wrote_is_an_error_that_names_it(tmp_path: Path):
    """Without that record a trial would seem to have used less energy than it did."""
    path = tmp_path / NAME
    whole = written(path)
    begun = whole.index(b'{"Checkpoint"')
    path.write_bytes(whole[:begun] + b'{"Phase": {"joules": 7}}\n' + whole[begun:])
    reader = JournalReader(path)
    for _ in range(2):  # asked again it says so again
        with pytest.raises(JournalError, match=r"progress\.jsonl was .* newer .* record 'Phase'"):
            reader.read()
        assert kept(reader.journal) == len(RECORDS) - 1
    for samples in (None, 100):
        with pytest.raises(JournalError, match="update energyopt"):
            JournalWriter(path, is_rerun=True, samples=samples)
    assert path.read_bytes().endswith(whole[begun:])  # nothing of it is lost


def test_each_class_of_a_record_has_the_tag_that_is_on_disk(tmp_path: Path):
    path = tmp_path / NAME
    writer = JournalWriter(path)
    records: dict[str, Record] = {
        "TrialStart": START,
        "Window": TRAINING,
        "Checkpoint": CHECKPOINT,
        "Conditions": NOT_MEASURED,
        "Pause": PausePoint(100, 10, 0.5, Energy()),
        "Upfront": UpfrontCost("source", "trained", Energy(1.0, cpu_j=2.0)),
        "End": TrialEnd("epochs", "trained all 4 epochs"),
        "Trace": TraceSample(0.0, 0, 1000.0),
    }
    assert set(map(type, records.values())) == set(get_args(Record))
    for record in records.values():
        writer.append(record)
    writer.began("loading")
    lines = map(json.loads, path.read_text().splitlines())
    tags = [tag for line in lines for tag in line if tag != "blake2b"]
    assert tags == [*records, "Began"]
    journal = JournalReader(path).read()
    assert journal.now == "loading"
    assert journal.upfront == [records["Upfront"]]
    assert journal.end == records["End"]
    assert [paused.at for paused in journal.pauses] == [records["Pause"]]


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


JOULES = st.floats(0, 1e6)
SPENT = st.builds(
    Energy,
    JOULES,
    gpu_j=st.none() | JOULES,
    cpu_j=st.none() | JOULES,
    dram_j=st.none() | JOULES,
    gpus_j=st.lists(JOULES, max_size=2).map(tuple),
)
WINDOWS = st.lists(st.builds(Window, st.sampled_from(get_args(Purpose)), SPENT), max_size=4)
CUT = st.tuples(WINDOWS, st.sampled_from(["", '{"Window": {"purp', "{}"]), st.booleans())


def parts_of(energy: Energy) -> tuple[float | None, ...]:
    return (energy.time_s, energy.gpu_j, energy.cpu_j, energy.dram_j)


@given(st.lists(CUT, max_size=5), WINDOWS)
def test_joules_are_kept_over_any_sequence_of_cuts(
    cuts: list[tuple[list[Window], str, bool]], last: list[Window]
):
    used = [window.energy for windows, _, _ in cuts for window in windows]
    with TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        for windows, torn, began in cuts:  # some are cut before they say that they begin
            writer = JournalWriter(path, is_rerun=True)
            writer.append(*([START] if began or windows else []), *windows)
            with path.open("a") as file:
                file.write(torn)
        writer = JournalWriter(path, is_rerun=True)
        kept_then = JournalReader(path).read().result("lost", "")
        writer.append(START, *last)
        result = JournalReader(path).read().result("epochs", "")
    known = total(kept_then.books.values()) if kept_then else Energy()
    assert parts_of(known) == pytest.approx(parts_of(total(used)))
    assert result is not None
    whole = total([*used, *(window.energy for window in last)])
    assert parts_of(total(result.books.values())) == pytest.approx(parts_of(whole))
    assert parts_of(total(w.energy for w in writer.carried)) == pytest.approx(parts_of(total(used)))


COUNT = st.none() | st.integers(0, 10**9)  # of a training that does not count: None
CHECKPOINTS = st.builds(
    Checkpoint,
    samples=COUNT,
    steps=COUNT,
    epoch=st.floats(0, 1e4),
    accuracy=st.floats(0, 1),
    loss=st.none() | st.floats(allow_nan=False),
    training=SPENT,
    evaluation=SPENT,
    heads=st.dictionaries(st.sampled_from(["digit", "odd"]), st.floats(0, 1)),
)
PAUSES = st.builds(PausePoint, COUNT, COUNT, st.none() | st.floats(allow_nan=False), SPENT)
CURVES = st.lists(CHECKPOINTS, max_size=6)
CORRECTIONS = st.lists(st.tuples(st.integers(0, 5), SPENT), max_size=6)


def recorder(journal: JournalWriter) -> Recorder:
    return Recorder(ToyMeter(Counter()), journal, START)


@given(CURVES, CORRECTIONS)
def test_an_evaluation_is_told_by_its_number(
    curve: list[Checkpoint], corrections: list[tuple[int, Energy]]
):
    """Whatever was not counted; and one whose joules are booked anew stays where it is."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        kept_too = recorder(JournalWriter(path))
        for checkpoint in curve:
            kept_too.add(checkpoint)
        for at, energy in corrections:
            if at < len(curve):
                kept_too.correct(at, energy)
        checkpoints = JournalReader(path).read().checkpoints
    corrected = {at: energy for at, energy in corrections if at < len(curve)}
    assert checkpoints == kept_too.checkpoints
    assert [each.index for each in checkpoints] == list(range(len(curve)))
    for at, each in enumerate(checkpoints):
        assert each == replace(curve[at], training=corrected.get(at, curve[at].training))


def test_a_pause_keeps_the_trace_up_to_it(tmp_path: Path):
    path = tmp_path / NAME
    whole = recorder(JournalWriter(path))
    before, after = (TraceSample(time_s, 0, 50 * time_s, 50.0) for time_s in (1.0, 2.0))
    whole.add_sample(before)
    whole.pause(PausePoint(100, 10, 0.5, Energy(), 0))
    whole.add_sample(after)
    assert JournalReader(path).read().trace == [before, after]
    writer = JournalWriter(path, is_rerun=True, pause=0)
    going_on = Recorder(ToyMeter(Counter()), writer, START, writer.resumed)
    going_on.add_sample(after)
    assert going_on.trace == JournalReader(path).read().trace == [before, after]
    stored = going_on.result("target", "", checked=False).trace
    assert stored.samples() == (before, after)


@given(st.lists(st.tuples(CURVES, PAUSES), min_size=1, max_size=4), st.data())
def test_a_trial_goes_on_from_any_of_its_pauses(
    parts: list[tuple[list[Checkpoint], PausePoint]], data: st.DataObject
):
    """It is told by its number, also where another one was after as many samples."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        whole = recorder(JournalWriter(path))
        for number, (curve, pause) in enumerate(parts):
            for checkpoint in curve:
                whole.add(checkpoint)
            whole.pause(replace(pause, index=number))
        number = data.draw(st.integers(0, len(parts) - 1))
        writer = JournalWriter(path, is_rerun=True, pause=number)
        assert writer.resumed is not None
        assert (writer.resumed.at, writer.resumed.at.index) == (parts[number][1], number)
        before = [point for curve, _ in parts[: number + 1] for point in curve]
        assert list(writer.resumed.checkpoints) == before
        going_on = Recorder(ToyMeter(Counter()), writer, START, writer.resumed)
        assert going_on.next_pause == number + 1
        going_on.add(CHECKPOINT)
        journal = JournalReader(path).read()
    assert journal.checkpoints == [*before, CHECKPOINT]
    assert [checkpoint.index for checkpoint in journal.checkpoints] == list(range(len(before) + 1))
    assert [paused.at.index for paused in journal.pauses] == [number]


def without_numbers(path: Path) -> None:
    """Make the lines what they were before they had numbers."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["blake2b"]
        for data in line.values():
            data.pop("index", None)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


RISING = st.lists(st.integers(1, 10**6), unique=True, max_size=6).map(sorted)


@given(RISING, CORRECTIONS)
def test_lines_of_old_are_told_by_their_samples(
    samples: list[int], corrections: list[tuple[int, Energy]]
):
    with TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        old = recorder(JournalWriter(path))
        for count in samples:
            old.add(replace(CHECKPOINT, samples=count))
        for at, energy in corrections:
            if at < len(samples):
                old.correct(at, energy)
        for count in samples:
            old.pause(PausePoint(count, 1, 0.5, Energy()))
        without_numbers(path)
        journal = JournalReader(path).read()
        assert journal.checkpoints == old.checkpoints
        assert [checkpoint.index for checkpoint in journal.checkpoints] == list(range(len(samples)))
        for number, count in enumerate(samples):
            found = journal.paused(samples=count)
            assert found is not None
            assert (found.at.samples, found.at.index) == (count, number)
        assert journal.paused(samples=0) is None
        assert journal.paused(len(samples)) is None
        assert journal.paused() == (journal.pauses[-1] if samples else None)


def test_an_evaluation_whose_line_was_lost_leaves_the_others_their_numbers(tmp_path: Path):
    path = tmp_path / NAME
    damaged = recorder(JournalWriter(path))
    for samples in (10, 20, 30):
        damaged.add(replace(CHECKPOINT, samples=samples))
    first, second, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, second, '{"Checkpoint": {"sam\n', *others[1:]]))
    damaged.correct(2, Energy(1.0, cpu_j=7.0))
    checkpoints = JournalReader(path).read().checkpoints
    assert [(each.samples, each.index) for each in checkpoints] == [(10, 0), (30, 2)]
    assert checkpoints[1].training.total_j == 7


def test_what_cut_executions_burnt_is_spent_and_on_no_curve(tmp_path: Path):
    path = tmp_path / NAME
    for _ in range(3):
        writer = JournalWriter(path, is_rerun=True)
        for record in RECORDS:
            writer.append(record)
    result = JournalReader(path).read().result("epochs", "")
    assert result is not None
    once_j = sum(window.energy.total_j for window in (LOADING, TRAINING, EVALUATION))
    assert result.booked("restarted").total_j == 2 * once_j
    assert result.spent_j == 3 * once_j
    assert result.training_j == TRAINING.energy.total_j
    assert len(result.curve) == 1


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_cut_while_joules_are_carried_loses_none(tmp_path: Path, at: str):
    path = tmp_path / NAME
    written(path)
    before = path.read_bytes()
    die = (
        "import os, pathlib, sys; from energyopt.core.journal import JournalWriter\n"
        f"{'os.fsync' if at == 'fsync' else 'pathlib.Path.replace'} = lambda *_: os._exit(9)\n"
        "JournalWriter(pathlib.Path(sys.argv[1]), is_rerun=True)"
    )
    assert subprocess.run([sys.executable, "-c", die, path], check=False).returncode == 9
    assert path.read_bytes() == before
    (carried,) = JournalWriter(path, is_rerun=True).carried
    assert carried.energy.total_j == 12.75


def test_a_reader_follows_the_journal_of_the_next_execution(tmp_path: Path):
    path = tmp_path / NAME
    written(path)
    reader = JournalReader(path)
    reader.read()
    writer = JournalWriter(path, is_rerun=True)
    journal = reader.read()
    assert [window.purpose for window in journal.windows] == ["restarted"]
    assert journal.checkpoints == []
    writer.append(LOADING)
    assert reader.read().windows[1:] == [LOADING]


def test_a_journal_without_a_file_keeps_nothing(tmp_path: Path):
    JournalWriter(None).append(START)
    assert JournalReader(tmp_path / NAME).read().result("lost", "") is None
