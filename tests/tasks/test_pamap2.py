"""PAMAP2: files in the original format become windows that keep to themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._pamap2 import ACTIVITIES, columns_of, read_recording
from energyopt.tasks.pamap2 import Pamap2
from tests.small_data import pamap2_table, write_pamap2

SMALL: dict[str, Any] = {"window_s": 0.64, "stride_s": 0.32, "validation_share": 0.25}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pamap2(tmp_path_factory.mktemp("pamap2"))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "pamap2-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def saved(folder: Path, table: np.ndarray, name: str = "subject101.dat") -> Path:
    path = folder / "Protocol" / name
    path.parent.mkdir(exist_ok=True)
    np.savetxt(path, table, fmt="%.6g")
    return path


def parts_of(task: Pamap2) -> tuple[Split, Split, Split]:
    return task.train, task.validation, task.test


def test_windows_hold_the_chosen_columns_of_the_file(tmp_path):
    # Each column counts samples from a start of its own, so a value says where it was read.
    table = pamap2_table(101, codes=[1, 4], gaps=0.0)
    table[:, 3:] = np.arange(len(table))[:, None] + 10_000.0 * np.arange(51)
    path = saved(tmp_path, table)
    columns = columns_of(["chest", "hand"], ["gyro", "acc16"])
    assert columns == [27, 28, 29, 21, 22, 23, 10, 11, 12, 4, 5, 6]
    recording = read_recording(path, columns, rate_hz=25)
    assert recording.samples.shape == (200, 12)
    assert recording.samples[:2, 0].tolist() == [240_001.5, 240_005.5]  # the means of four samples
    assert np.bincount(recording.bout).tolist() == [100, 100]
    assert recording.activity[[0, -1]].tolist() == [1, 4]


def test_gaps_are_filled_by_straight_lines(tmp_path):
    table = pamap2_table(101, codes=[1], gaps=0.0)
    table[:, 4] = np.arange(len(table))
    table[10:30, 4] = np.nan
    table[:5, 4] = np.nan
    found = read_recording(saved(tmp_path, table), [4], rate_hz=100).samples[:, 0]
    assert found[5:].tolist() == list(range(5, len(table)))
    assert found[:5].tolist() == 5 * [5.0]


def test_windows_straddle_neither_activities_nor_interruptions(tmp_path):
    table = pamap2_table(101, codes=[1, 4, 0, 4, 5], gaps=0.0)
    table[:, 3:] = table[:, 1][:, None]  # a sample says what was done
    late = table[table[:, 1] == 5]
    late[:, 0] += 60
    late[:, 3:] += 0.5
    root = saved(tmp_path, np.vstack([table, late])).parents[1]
    task = Pamap2(root, held_out_subject=None, **SMALL)
    for part in parts_of(task):
        flat = part.inputs.flatten(1)
        assert bool((flat == flat[:, :1]).all())
        assert len(set(zip(flat[:, 0].tolist(), part.labels.tolist(), strict=True))) == 4


def test_parts_share_no_sample(tmp_path):
    # Rising numbers: the time of each sample can be read from it.
    table = pamap2_table(101, codes=[1, 4, 5], seconds=8, gaps=0.0)
    table[:, 3:] = np.arange(len(table))[:, None]
    root = saved(tmp_path, table).parents[1]
    task = Pamap2(root, held_out_subject=None, rate_hz=100, **SMALL)
    train, validation, test = (set(part.inputs[:, 0].flatten().tolist()) for part in parts_of(task))
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert len(train) > len(validation) > 100


def test_the_subject_held_out_is_the_test_part_and_no_other(root):
    held_out = Pamap2(root, held_out_subject=102, **SMALL)
    alone = Pamap2(root, held_out_subject=None, subjects=[102], **SMALL)
    assert len(held_out.test.labels) == 12 * 11  # all of four seconds of each activity
    others = Pamap2(root, held_out_subject=102, subjects=[101, 103], **SMALL)
    assert torch.equal(held_out.train.inputs, others.train.inputs)
    assert len(alone.train.labels) < len(held_out.train.labels)
    assert held_out.num_classes == 12
    few = Pamap2(root, held_out_subject=102, subjects=[101], **SMALL)
    assert len(few.train.labels) * 2 == len(held_out.train.labels)


def test_activity_subject_or_both_are_told_of_the_same_windows(root):
    options: dict[str, Any] = {"held_out_subject": None, **SMALL}
    activity, subject, both = (
        Pamap2(root, label=label, **options) for label in ("activity", "subject", "both")
    )
    assert both.heads == {"activity": 12, "subject": 3}
    for one, other, all_told in zip(*map(parts_of, (activity, subject, both)), strict=True):
        rows = [
            sorted(
                (row.numpy().tobytes(), *label)
                for row, label in zip(part.inputs, told, strict=True)
            )
            for part, told in (
                (one, [[k] for k in one.labels.tolist()]),
                (other, [[k] for k in other.labels.tolist()]),
                (all_told, all_told.labels.tolist()),
            )
        ]
        assert [(row, *a, *b) for (row, *a), (_, *b) in zip(*rows[:2], strict=True)] == rows[2]


def test_fewer_training_windows_keep_the_held_out_ones(root):
    few, many = (Pamap2(root, held_out_subject=102, n_train=n, **SMALL) for n in (60, None))
    assert torch.bincount(few.train.labels).tolist() == 12 * [5]
    assert torch.equal(few.validation.labels, many.validation.labels)
    with pytest.raises(ConfigError, match=r"n_train=999 is more than the 192 training windows"):
        Pamap2(root, held_out_subject=102, n_train=999, **SMALL)


def test_a_file_is_read_once_and_gives_the_same_windows(tmp_path, cache):
    write_pamap2(tmp_path, subjects=(101, 102))
    first = Pamap2(tmp_path, held_out_subject=102, **SMALL)
    kept = len(list(cache.rglob("pamap2-*.npz")))
    again = Pamap2(tmp_path, held_out_subject=102, **SMALL)
    assert len(list(cache.rglob("pamap2-*.npz"))) == kept
    for one, other in zip(parts_of(first), parts_of(again), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)
    write_pamap2(tmp_path, subjects=(101,), seconds=5.0)  # another file under the same name
    changed = Pamap2(tmp_path, held_out_subject=102, **SMALL)
    assert len(changed.train.labels) > len(first.train.labels)


def test_a_missing_folder_names_files_places_and_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv("ENERGYOPT_DATA", str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        Pamap2()
    for words in ("Protocol/subject101.dat to Protocol/subject109.dat", str(tmp_path),
                  "https://archive.ics.uci.edu/dataset/231", "Nothing is downloaded"):  # fmt: skip
        assert words in str(caught.value)
    (tmp_path / "Protocol").mkdir()
    with pytest.raises(ConfigError, match=r"holds none of the files subject101\.dat to"):
        Pamap2()


TABLE = pamap2_table(101, codes=[1], gaps=0.0, seconds=0.1)


def text(table: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:.6g}" for value in row) for row in table) + "\n"


def changed(row: int, column: int, value: float) -> Callable[[], str]:
    def make() -> str:
        table = TABLE.copy()
        table[row, column] = value
        return text(table)

    return make


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: "", r"cannot be read as a table of numbers"),
        (lambda: "\n\n", r"cannot be read as a table of numbers"),
        (lambda: text(TABLE) + "9.1 1 NaN 3 4\n", r"cannot be read .*(columns|row 11)"),
        (lambda: text(TABLE)[:-40], r"cannot be read .*columns"),
        (lambda: text(TABLE).replace("NaN", "n/a").replace("nan", "n/a"), r"cannot be read .*n/a"),
        (lambda: text(TABLE[:, :40]), r"has 40 columns, but files of PAMAP2 have 54"),
        (lambda: "\x00\x01\x02" * 50, r"cannot be read as a table of numbers"),
        (changed(3, 1, 25), r"row 4: time 5\.03 and activity 25, .* 0 to 24"),
        (changed(3, 1, 1.5), r"row 4: .*activity 1\.5"),
        (changed(3, 1, np.nan), r"row 4: .*activity nan"),
        (changed(3, 0, np.nan), r"row 4: time nan"),
        (lambda: text(TABLE).replace(" 1 ", " 0 "), r"holds no activity of the protocol"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, message):
    path = tmp_path / "Protocol" / "subject101.dat"
    path.parent.mkdir()
    path.write_text(content())
    with pytest.raises(ConfigError, match=message) as caught:
        Pamap2(tmp_path, held_out_subject=None)
    assert "subject101.dat" in str(caught.value)


def test_a_sensor_that_never_spoke_is_named(tmp_path):
    table = pamap2_table(101, codes=[1], gaps=0.0)
    table[:, 21] = np.nan
    root = saved(tmp_path, table).parents[1]
    with pytest.raises(ConfigError, match=r"no number in column 22: leave that sensor or signal"):
        Pamap2(root, held_out_subject=None, **SMALL)
    hand = Pamap2(root, held_out_subject=None, sensors=["hand"], **SMALL)
    assert hand.num_classes == len(ACTIVITIES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "mood"}, r"label=mood is unknown: choose activity, subject or both"),
        ({"label": "both"}, r"label=both tells 2 subjects .*=102: set held_out_subject=null"),
        ({"label": "subject", "held_out_subject": None, "subjects": [101]}, r"tells 1 subjects"),
        ({"held_out_subject": 109}, r"no file of subject 109, .*: there are 101, 102, 103"),
        ({"subjects": [101, 7]}, r"no file of subject 7"),
        ({"subjects": [102]}, r"subjects=\[102\] leaves nobody to train on"),
        ({"subjects": []}, r"leaves nobody to train on"),
        (
            {"sensors": ["foot"]},
            r"sensors=\['foot'\] must be a list of at least 1 of hand, chest, ankle",
        ),
        ({"sensors": "hand"}, r"sensors=hand must be a list"),
        ({"sensors": []}, r"sensors=\[\] must be a list"),
        ({"signals": ["acc16", "acc16"]}, r"names one twice"),
        ({"signals": ["orientation"]}, r"signals=\['orientation'\] must be a list of"),
        ({"rate_hz": 30}, r"rate_hz=30 must divide 100"),
        ({"rate_hz": 0}, r"rate_hz=0 must be"),
        ({"window_s": 0.01}, r"window_s=0\.01 must be .* at least 2 samples at task\.rate_hz=25"),
        ({"window_s": float("nan")}, r"window_s=nan must be"),
        ({"window_s": "long"}, r"window_s=long must be"),
        ({"window_s": 60}, r"The train part has no windows: .* 1500 samples; choose a shorter"),
        ({"stride_s": 0}, r"stride_s=0 must be"),
        ({"validation_share": 0.5}, r"validation_share=0\.5 must be a number above 0 and below"),
        ({"n_train": 0}, r"n_train=0 must be"),
    ],
)
def test_impossible_options_are_refused(root, options, message):
    with pytest.raises(ConfigError, match=message):
        Pamap2(root, **{"held_out_subject": 102, **SMALL, **options})
