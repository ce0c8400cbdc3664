"""PAMAP2 from local files: activities and subjects of real wearable sensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from energyopt.core.number_checks import is_number
from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._labels import select_labels
from energyopt.tasks._local_data import LocalData
from energyopt.tasks._pamap2 import (
    ACTIVITIES,
    RATE_HZ,
    SENSORS,
    SIGNALS,
    SubjectRecording,
    columns_of,
    read_recording,
)
from energyopt.tasks._splits import (
    DataSet,
    Splits,
    check_int,
    check_selection,
    check_share,
    standardised,
    stratified_order,
)

_DATA = LocalData(
    name="PAMAP2",
    folders=("", "PAMAP2_Dataset", "pamap2"),
    files=(("Protocol",),),
    expects="Protocol/subject101.dat to Protocol/subject109.dat",
    page="https://archive.ics.uci.edu/dataset/231/pamap2+physical+activity+monitoring",
)
_MAX_WINDOW_S = 1e6


class Pamap2(DataSet):
    """Windows of wearable sensors: 12 activities of up to 9 subjects, from text files.

    Source: A. Reiss, D. Stricker, "Introducing a New Benchmarked Dataset for Activity Monitoring",
    ISWC 2012. Nothing is downloaded. Each file is read once (a minute at most for all) and cached.
    A window lies within one uninterrupted stretch of one activity, whose last part is for
    validation, so windows of different parts share no sample.
    The shape of a window is (channels, steps), by default (18, 128).

    Args:
        root: Folder that contains `Protocol`; None looks in ENERGYOPT_DATA.
        label: Label to classify: the "activity", the "subject", or "both". The inputs are the same.
        held_out_subject: Subject whose windows are the test part, and in no other part (leave one
            subject out). None tests on the last part of each stretch and validates on the one
            before it; this is needed to classify subjects, as all must be in the training part.
        subjects: Numbers (101 to 109) of the subjects to train and validate on; None takes all
            whose files exist, except the one held out.
        sensors: Positions on the body: "hand", "chest", "ankle".
        signals: Measured quantities: "acc16", "acc6" (m/s^2), "gyro" (rad/s), "mag" (uT),
            "temperature" (deg C).
        rate_hz: Samples per second, by averaging neighbours; divides 100.
        window_s: Length of a window, in s.
        stride_s: Time from one window's start to the next one's, in s.
        validation_share: Share of each stretch, by time.
        n_train: Training windows, stratified by label; None takes all.
        sample_seed: Seed of the choice and order of training windows.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        label: Literal["activity", "subject", "both"] = "activity",
        held_out_subject: int | None = 105,
        subjects: Sequence[int] | None = None,
        sensors: Sequence[str] = ("hand", "chest", "ankle"),
        signals: Sequence[str] = ("acc16", "gyro"),
        rate_hz: int = 25,
        window_s: float = 5.12,
        stride_s: float = 2.56,
        validation_share: float = 0.2,
        n_train: int | None = None,
        sample_seed: int = 0,
    ) -> None:
        check_int("rate_hz", rate_hz, 1)
        if RATE_HZ % rate_hz:
            raise ConfigError(f"task.rate_hz={rate_hz} must divide {RATE_HZ}: choose 20, 25 or 50.")
        windowing = _Windowing(
            steps=_to_steps("window_s", window_s, rate_hz, 2),
            stride=_to_steps("stride_s", stride_s, rate_hz, 1),
            validation_share=validation_share,
            test_share=validation_share if held_out_subject is None else 0.0,
        )
        check_share("validation_share", validation_share, 0.5)
        check_int("sample_seed", sample_seed, 0)
        check_selection("sensors", sensors, SENSORS)
        check_selection("signals", signals, tuple(SIGNALS))
        files = _find_files(root)
        training_subjects = _select_subjects(subjects, held_out_subject, files)
        n_subjects = len(training_subjects)
        heads = select_labels(label, {"activity": len(ACTIVITIES), "subject": n_subjects})
        if label != "activity" and (held_out_subject is not None or n_subjects < 2):  # noqa: PLR2004
            raise ConfigError(
                f"task.label={label} tells {n_subjects} subjects with task.held_out_subject="
                f"{held_out_subject}: set held_out_subject=null, and take at least two subjects."
            )

        columns = columns_of(sensors, signals)
        parts: tuple[list[_Windows], ...] = ([], [], [])
        for label_number, subject in enumerate(training_subjects):
            recording = read_recording(files[subject], columns, rate_hz)
            pieces = windowing.split(recording, label_number)
            for part, windows in zip(parts, pieces, strict=True):
                part.append(windows)
        if held_out_subject is not None:
            recording = read_recording(files[held_out_subject], columns, rate_hz)
            parts[2].append(windowing.cut_whole(recording))
        train, validation, test = (
            _to_split(name, part, windowing.steps)
            for name, part in zip(("train", "validation", "test"), parts, strict=True)
        )
        train = _draw(train, heads.select(train.labels), n_train, sample_seed)
        splits = Splits(
            *(Split(part.inputs, heads.select(part.labels)) for part in (train, validation, test))
        )
        self.input_shape = (len(columns), windowing.steps)
        self._set_heads(heads)
        self.train, self.validation, self.test = standardised(splits)


class _Windows(NamedTuple):
    """Windows of shape (windows, channels, steps), and their (activity, subject) labels."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Windowing:
    """Cuts recordings into windows."""

    steps: int  # in a window
    stride: int  # samples from one window's start to the next one's
    validation_share: float  # of each stretch
    test_share: float  # of each stretch: its end

    def split(
        self, recording: SubjectRecording, subject: int
    ) -> tuple[_Windows, _Windows, _Windows]:
        """Cut each stretch into its training, validation and test part, and these into windows."""
        pieces: tuple[list[_Windows], ...] = ([], [], [])
        for samples, activity in _bouts(recording):
            length = len(samples)
            ends = (
                round(length * (1 - self.validation_share - self.test_share)),
                round(length * (1 - self.test_share)),
                length,
            )
            begin = 0
            for piece, end in zip(pieces, ends, strict=True):
                piece.append(self._cut(samples[begin:end], activity, subject))
                begin = end
        train, validation, test = map(_concatenate, pieces)
        return train, validation, test

    def cut_whole(self, recording: SubjectRecording) -> _Windows:
        """Cut the whole stretches of a subject who is in no training part into windows."""
        return _concatenate(
            [self._cut(samples, activity, 0) for samples, activity in _bouts(recording)]
        )

    def _cut(self, samples: NDArray[np.float32], activity: int, subject: int) -> _Windows:
        if len(samples) < self.steps:
            empty = np.empty((0, samples.shape[1], self.steps), np.float32)
            return _Windows(empty, np.empty((0, 2), np.int64))
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.steps, axis=0)
        windows = windows[:: self.stride]
        return _Windows(windows, np.tile(np.array([activity, subject]), (len(windows), 1)))


def _bouts(recording: SubjectRecording) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Yield the samples of each stretch, with the number of its activity from 0."""
    numbers = {code: number for number, code in enumerate(ACTIVITIES)}
    begins = np.flatnonzero(np.diff(recording.bout, prepend=-1))
    for begin, end in zip(begins, [*begins[1:], len(recording.bout)], strict=True):
        yield recording.samples[begin:end], numbers[int(recording.activity[begin])]


def _concatenate(parts: Sequence[_Windows]) -> _Windows:
    return _Windows(
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _to_split(name: str, parts: Sequence[_Windows], steps: int) -> Split:
    windows = _concatenate(parts)
    if not len(windows.labels):
        raise ConfigError(
            f"The {name} part has no windows: no stretch of an activity leaves it {steps} "
            f"samples; choose a shorter task.window_s or another task.validation_share."
        )
    return Split(torch.from_numpy(windows.inputs), torch.from_numpy(windows.labels))


def _draw(train: Split, labels: torch.Tensor, n_train: int | None, seed: int) -> Split:
    """Draw training windows, stratified by the labels to classify."""
    count = len(train.labels)
    if n_train is not None:
        check_int("n_train", n_train, 1)
        if n_train > count:
            raise ConfigError(
                f"task.n_train={n_train} is more than the {count} training windows that there "
                f"are: choose at most {count}, or null for all."
            )
    if labels.ndim == 1:
        classes = labels
    else:  # a class for each combination
        classes = labels[:, 0] * (int(labels[:, 1].max()) + 1) + labels[:, 1]
    order = stratified_order(classes.numpy(), np.random.default_rng(seed))[:n_train]
    return Split(train.inputs[order], train.labels[order])


def _to_steps(name: str, time_s: object, rate_hz: int, minimum: int) -> int:
    """Return the number of samples in a time."""
    steps = round(time_s * rate_hz) if is_number(time_s) and 0 < time_s < _MAX_WINDOW_S else 0
    if steps < minimum:
        raise ConfigError(
            f"task.{name}={time_s} must be a number of seconds that holds at least {minimum} "
            f"samples at task.rate_hz={rate_hz}."
        )
    return steps


def _find_files(root: str | Path | None) -> dict[int, Path]:
    """Return the subjects' files by the subject's number."""
    (folder,) = _DATA.find(root)
    files = {int(path.stem[-3:]): path for path in sorted(folder.glob("subject10[1-9].dat"))}
    if not files:
        raise ConfigError(
            f"{folder} holds none of the files subject101.dat to subject109.dat: unpack the "
            f"whole archive from {_DATA.page}."
        )
    return files


def _select_subjects(
    subjects: Sequence[int] | None, held_out: int | None, files: Mapping[int, Path]
) -> list[int]:
    """Return the subjects to train and validate on."""
    requested = list(files) if subjects is None else list(subjects)
    missing = [
        subject
        for subject in (*requested, held_out)
        if subject is not None and subject not in files
    ]
    if missing:
        raise ConfigError(
            f"There is no file of subject {missing[0]}, whom task.subjects or "
            f"task.held_out_subject names: there are {', '.join(map(str, files))}."
        )
    selected = sorted(set(requested) - {held_out})
    if not selected:
        raise ConfigError(
            f"task.subjects={subjects} leaves nobody to train on, only "
            f"task.held_out_subject={held_out}: name another subject."
        )
    return selected
