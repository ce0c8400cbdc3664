"""PAMAP2 from local files: real wearable sensors, who does what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._labels import choose
from energyopt.tasks._local_data import LocalData
from energyopt.tasks._pamap2 import (
    ACTIVITIES,
    RATE_HZ,
    SENSORS,
    SIGNALS,
    Recording,
    columns_of,
    read_recording,
)
from energyopt.tasks._splits import (
    Splits,
    require_int,
    require_share,
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


class Pamap2:
    """Windows of wearable sensors: 12 activities of up to 9 subjects, from text files.

    Source: A. Reiss, D. Stricker, "Introducing a New Benchmarked Dataset for Activity Monitoring",
    ISWC 2012. Nothing is downloaded. A file is read once (a minute at most for all) and kept in the
    cache. Windows lie within one uninterrupted stretch of one activity; its last part validates,
    so no window of one part shares a sample with one of another.

    Args:
        root: Folder that holds `Protocol`; None looks in ENERGYOPT_DATA.
        label: What to tell: the "activity", the "subject", or "both". The inputs are the same.
        held_out_subject: Its windows are the test part, and none of the others (leave one subject
            out). None tests on the last part of each stretch, and validates on the one before;
            telling subjects needs that, as nobody can know one who was never seen.
        subjects: Numbers (101 to 109) of the subjects to train and validate on; None takes all
            that there are, but for the one held out.
        sensors: Where they were worn: "hand", "chest", "ankle".
        signals: What they measured: "acc16", "acc6" (m/s^2), "gyro" (rad/s), "mag" (uT),
            "temperature" (deg C).
        rate_hz: Samples a second, by the mean of neighbours; divides 100.
        window_s: Length of a window, in s.
        stride_s: From one window's start to the next one's, in s.
        validation_share: Of each stretch, by time.
        n_train: Training windows, the told classes in proportion; None takes all.
        sample_seed: Seed of the choice and order of training windows.

    Attributes:
        train: Inputs of shape (windows, channels, steps), standardised per channel, and labels.
        validation: The same.
        test: The same.
        input_shape: (channels, steps): by default (18, 128).
        num_classes: 12 activities, the subjects, or their sum, after `label`.
        heads: Of "both" alone: activity and subject.

    Raises:
        ConfigError: If a file is missing or damaged, or an option is not possible.
    """

    input_shape: tuple[int, ...]
    num_classes: int
    heads: Mapping[str, int]
    train: Split
    validation: Split
    test: Split

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
        require_int("rate_hz", rate_hz, 1)
        if RATE_HZ % rate_hz:
            raise ConfigError(f"task.rate_hz={rate_hz} must divide {RATE_HZ}: choose 20, 25 or 50.")
        cut = _Cut(
            steps=_steps("window_s", window_s, rate_hz, 2),
            stride=_steps("stride_s", stride_s, rate_hz, 1),
            validation=validation_share,
            test=validation_share if held_out_subject is None else 0.0,
        )
        require_share("validation_share", validation_share, 0.5)
        require_int("sample_seed", sample_seed, 0)
        _require_names("sensors", sensors, SENSORS)
        _require_names("signals", signals, tuple(SIGNALS))
        files = _files(root)
        known = _chosen(subjects, held_out_subject, files)
        told = choose(label, {"activity": len(ACTIVITIES), "subject": len(known)})
        if label != "activity" and (held_out_subject is not None or len(known) < 2):  # noqa: PLR2004
            raise ConfigError(
                f"task.label={label} tells {len(known)} subjects with task.held_out_subject="
                f"{held_out_subject}: set held_out_subject=null, and take at least two subjects."
            )

        columns = columns_of(sensors, signals)
        parts: tuple[list[_Windows], ...] = ([], [], [])
        for number, subject in enumerate(known):
            recording = read_recording(files[subject], columns, rate_hz)
            for part, windows in zip(parts, cut.parts(recording, number), strict=True):
                part.append(windows)
        if held_out_subject is not None:
            recording = read_recording(files[held_out_subject], columns, rate_hz)
            parts[2].append(cut.whole(recording))
        train, validation, test = (
            _joined(name, part, cut)
            for name, part in zip(("train", "validation", "test"), parts, strict=True)
        )
        train = _drawn(train, told.of(train.labels), n_train, sample_seed)
        splits = Splits(
            *(Split(part.inputs, told.of(part.labels)) for part in (train, validation, test))
        )
        self.input_shape = (len(columns), cut.steps)
        self.num_classes = told.num_classes
        if told.several:
            self.heads = told.heads
        self.train, self.validation, self.test = standardised(splits)


class _Windows(NamedTuple):
    """Windows of shape (windows, channels, steps), and their (activity, subject) labels."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Cut:
    """How recordings are cut into windows.

    Attributes:
        steps: Length of a window.
        stride: From one window's start to the next one's.
        validation: Share of each stretch that validates.
        test: Share of each stretch that tests: its end.
    """

    steps: int
    stride: int
    validation: float
    test: float

    def parts(self, recording: Recording, subject: int) -> tuple[_Windows, _Windows, _Windows]:
        """Cut each stretch into its training, validation and test part, and these into windows."""
        pieces: tuple[list[_Windows], ...] = ([], [], [])
        for samples, activity in _bouts(recording):
            length = len(samples)
            ends = (
                round(length * (1 - self.validation - self.test)),
                round(length * (1 - self.test)),
                length,
            )
            begin = 0
            for piece, end in zip(pieces, ends, strict=True):
                piece.append(self._windows(samples[begin:end], activity, subject))
                begin = end
        train, validation, test = (_concatenated(piece) for piece in pieces)
        return train, validation, test

    def whole(self, recording: Recording) -> _Windows:
        """Cut the stretches of a subject who is in no training part into windows."""
        return _concatenated(
            [self._windows(samples, activity, 0) for samples, activity in _bouts(recording)]
        )

    def _windows(self, samples: NDArray[np.float32], activity: int, subject: int) -> _Windows:
        if len(samples) < self.steps:
            empty = np.empty((0, samples.shape[1], self.steps), np.float32)
            return _Windows(empty, np.empty((0, 2), np.int64))
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.steps, axis=0)
        windows = windows[:: self.stride]
        return _Windows(windows, np.tile(np.array([activity, subject]), (len(windows), 1)))


def _bouts(recording: Recording) -> Iterator[tuple[NDArray[np.float32], int]]:
    """The samples of each stretch, with the number of its activity from 0."""
    places = {code: place for place, code in enumerate(ACTIVITIES)}
    begins = np.flatnonzero(np.diff(recording.bout, prepend=-1))
    for begin, end in zip(begins, [*begins[1:], len(recording.bout)], strict=True):
        yield recording.samples[begin:end], places[int(recording.activity[begin])]


def _concatenated(parts: Sequence[_Windows]) -> _Windows:
    return _Windows(
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _joined(name: str, parts: Sequence[_Windows], cut: _Cut) -> Split:
    whole = _concatenated(parts)
    if not len(whole.labels):
        raise ConfigError(
            f"The {name} part has no windows: no stretch of an activity leaves it {cut.steps} "
            f"samples; choose a shorter task.window_s or another task.validation_share."
        )
    return Split(torch.from_numpy(whole.inputs), torch.from_numpy(whole.labels))


def _drawn(train: Split, told: torch.Tensor, n_train: int | None, seed: int) -> Split:
    """Draw training windows, the told classes in proportion."""
    count = len(train.labels)
    if n_train is not None:
        require_int("n_train", n_train, 1)
        if n_train > count:
            raise ConfigError(
                f"task.n_train={n_train} is more than the {count} training windows that there "
                f"are: choose at most {count}, or null for all."
            )
    classes = told if told.ndim == 1 else told[:, 0] * (int(told[:, 1].max()) + 1) + told[:, 1]
    order = stratified_order(classes.numpy(), np.random.default_rng(seed))[:n_train]
    return Split(train.inputs[order], train.labels[order])


def _steps(name: str, seconds: object, rate_hz: int, minimum: int) -> int:
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    steps = round(seconds * rate_hz) if number and 0 < seconds < 1e6 else 0  # type: ignore[operator]  # noqa: PLR2004
    if steps < minimum:
        raise ConfigError(
            f"task.{name}={seconds} must be a number of seconds that holds at least {minimum} "
            f"samples at task.rate_hz={rate_hz}."
        )
    return steps


def _require_names(name: str, chosen: Sequence[str], known: Sequence[str]) -> None:
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    if isinstance(chosen, str) or not names or set(names) - set(known):
        raise ConfigError(f"task.{name}={chosen} must be a list of {', '.join(known)}.")
    if len(set(names)) < len(names):
        raise ConfigError(f"task.{name}={chosen} names one twice: name each once.")


def _files(root: str | Path | None) -> dict[int, Path]:
    """The subjects' files, by subject."""
    (folder,) = _DATA.find(root)
    files = {int(path.stem[-3:]): path for path in sorted(folder.glob("subject10[1-9].dat"))}
    if not files:
        raise ConfigError(
            f"{folder} holds none of the files subject101.dat to subject109.dat: unpack the "
            f"whole archive from {_DATA.page}."
        )
    return files


def _chosen(
    subjects: Sequence[int] | None, held_out: int | None, files: Mapping[int, Path]
) -> list[int]:
    """Who is trained and validated on."""
    asked = list(files) if subjects is None else list(subjects)
    missing = [each for each in (*asked, held_out) if each is not None and each not in files]
    if missing:
        raise ConfigError(
            f"There is no file of subject {missing[0]}, whom task.subjects or "
            f"task.held_out_subject names: there are {', '.join(map(str, files))}."
        )
    known = sorted(set(asked) - {held_out})
    if not known:
        raise ConfigError(
            f"task.subjects={subjects} leaves nobody to train on beside "
            f"task.held_out_subject={held_out}: name another subject."
        )
    return known
