"""Synthetic windows of wearable sensors, modelled on PAMAP2: activities and subjects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from energyopt.core.number_checks import is_number, is_whole_number
from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._labels import select_labels
from energyopt.tasks._splits import DataSet, Splits, check_int, standardised

_CHANNELS = 6
_STEPS = 64
_RATE_HZ = 32.0
_HARMONIC_DAMPING = (1.0, 1.6, 2.4)  # higher harmonics of a movement are weaker


class Har(DataSet):
    """Human activity recognition on SYNTHETIC windows of 6 channels x 64 steps (2 s at 32 Hz).

    No person was measured: the windows come from a small model of periodic movement that resembles
    PAMAP2 (A. Reiss, D. Stricker, ISWC 2012), for use without a download. An activity has a base
    frequency, a posture (the constant part, gravity) and three harmonics per channel; a subject has
    a pace, an amplitude, a sensor placement and a lag between the limbs. Each window starts at a
    random phase, varies a little in pace and strength, and has coloured noise. All subjects share
    the activities' parameters, so a model of some subjects transfers to others by construction.

    The splits are drawn independently; validation and test do not depend on `n_train`.

    Args:
        n_train: Training windows.
        n_validation: Validation windows.
        n_test: Test windows.
        n_activities: Number of activities in the world.
        n_subjects: Number of subjects in the world.
        noise: Standard deviation of the sensor noise; movements are of the order of 1.
        subject_strength: Size of the differences in placement and lag between subjects; 0 makes
            them equal.
        label: Label to classify: the "activity", the "subject", or "both". The inputs are the same.
        subjects: Numbers (from 0) of the subjects to draw from; None takes all. One world can thus
            provide users to pretrain on and a new one to fine-tune for.
        world_seed: Seed of the activities and subjects.
        sample_seed: Seed of the windows drawn from that world.
    """

    input_shape: tuple[int, ...] = (_CHANNELS, _STEPS)

    def __init__(
        self,
        *,
        n_train: int = 4000,
        n_validation: int = 1000,
        n_test: int = 1000,
        n_activities: int = 8,
        n_subjects: int = 6,
        noise: float = 1.0,
        subject_strength: float = 0.6,
        label: Literal["activity", "subject", "both"] = "activity",
        subjects: Sequence[int] | None = None,
        world_seed: int = 7,
        sample_seed: int = 0,
    ) -> None:
        sizes = {"n_train": n_train, "n_validation": n_validation, "n_test": n_test}
        for name, size in sizes.items():
            check_int(name, size, 1)
        check_int("n_activities", n_activities, 2)
        check_int("n_subjects", n_subjects, 1 if label == "activity" else 2)
        check_int("world_seed", world_seed, 0)
        check_int("sample_seed", sample_seed, 0)
        for name, value in {"noise": noise, "subject_strength": subject_strength}.items():
            if not is_number(value) or value < 0:
                raise ConfigError(f"task.{name}={value} must be a finite number of at least 0.")
        heads = select_labels(label, {"activity": n_activities, "subject": n_subjects})
        drawn_subjects = _checked_subjects(subjects, n_subjects)
        world = _World.draw(n_activities, n_subjects, subject_strength, world_seed)
        parts = []
        for index, size in enumerate(sizes.values()):
            # A generator per split: validation and test do not change with n_train.
            generator = torch.Generator().manual_seed(len(sizes) * sample_seed + index)
            inputs, labels = world.draw_windows(size, drawn_subjects, noise, generator)
            parts.append(Split(inputs, heads.select(labels)))
        self._set_heads(heads)
        self.train, self.validation, self.test = standardised(Splits(*parts))


def _checked_subjects(subjects: Sequence[int] | None, n_subjects: int) -> torch.Tensor:
    """Return the numbers of the subjects to draw from."""
    if subjects is None:
        return torch.arange(n_subjects)
    numbers = list(subjects)
    if not numbers or not all(is_whole_number(n) and n < n_subjects for n in numbers):
        raise ConfigError(
            f"task.subjects={numbers} must name at least one of the subjects 0 to "
            f"{n_subjects - 1}, or be null for all."
        )
    return torch.tensor(numbers)


@dataclass(frozen=True)
class _World:
    """The fixed parameters of all activities and subjects."""

    frequency_hz: torch.Tensor  # of shape (activities,)
    amplitude: torch.Tensor  # of each harmonic, of shape (activities, channels, harmonics)
    phase: torch.Tensor  # likewise, in rad
    posture: torch.Tensor  # constant part, of shape (activities, channels)
    pace: torch.Tensor  # factor on the frequency, of shape (subjects,)
    strength: torch.Tensor  # factor on the amplitudes, of shape (subjects, channels)
    placement: torch.Tensor  # offset of the sensors, of shape (subjects, channels)
    lag: torch.Tensor  # of the limbs' phase in rad, of shape (subjects, channels)

    @classmethod
    def draw(cls, activities: int, subjects: int, subject_strength: float, seed: int) -> _World:
        """Draw activities and subjects from a seed."""
        rng = np.random.default_rng(seed)
        waves = (activities, _CHANNELS, len(_HARMONIC_DAMPING))
        limbs = (subjects, _CHANNELS)
        parameters = (
            np.sort(rng.uniform(0.7, 3.0, activities)),
            rng.normal(0.0, 1.0, waves) / np.array(_HARMONIC_DAMPING),
            rng.uniform(0.0, 2 * np.pi, waves),
            rng.normal(0.0, 0.5, (activities, _CHANNELS)),
            np.exp(rng.normal(0.0, 0.10, subjects)),
            np.exp(rng.normal(0.0, 0.25, limbs)),
            rng.normal(0.0, 0.5 * subject_strength, limbs),
            rng.normal(0.0, subject_strength, limbs),
        )
        return cls(*(torch.from_numpy(values).float() for values in parameters))

    def draw_windows(
        self, count: int, subjects: torch.Tensor, noise: float, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw windows of random activities and subjects.

        A channel is posture + placement + sum over harmonics h of
        amplitude_h * sin(2 pi h f t + phase_h + lag), plus noise.

        Returns:
            Windows of shape (count, channels, steps), and their labels (activity, subject) of shape
            (count, 2).
        """
        activity = torch.randint(len(self.frequency_hz), (count,), generator=generator)
        subject = subjects[torch.randint(len(subjects), (count,), generator=generator)]
        wobble = 1 + 0.05 * torch.randn(count, generator=generator)
        start = 2 * math.pi * torch.rand(count, generator=generator)
        vigour = 1 + 0.2 * torch.randn(count, generator=generator)

        frequency_hz = self.frequency_hz[activity] * self.pace[subject] * wobble
        time_s = torch.arange(_STEPS) / _RATE_HZ
        cycle = 2 * math.pi * frequency_hz[:, None] * time_s + start[:, None]
        lag = self.lag[subject]
        strength = vigour[:, None] * self.strength[subject]

        white = torch.randn(count, _CHANNELS, _STEPS, generator=generator)
        windows = noise * white
        windows[..., 1:] += 0.6 * noise * white[..., :-1]  # coloured: a moving average, MA(1)
        windows += (self.posture[activity] + self.placement[subject])[..., None]
        for harmonic in range(len(_HARMONIC_DAMPING)):
            phase = self.phase[activity, :, harmonic] + lag
            amplitude = self.amplitude[activity, :, harmonic] * strength
            wave = torch.sin((harmonic + 1) * cycle[:, None, :] + phase[..., None])
            windows += amplitude[..., None] * wave
        return windows, torch.stack([activity, subject], dim=1)
