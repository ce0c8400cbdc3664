"""Synthetic wearable-sensor windows: who does what, in the form of PAMAP2."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._labels import choose
from energyopt.tasks._splits import Splits, require_int, standardised

_CHANNELS = 6
_STEPS = 64
_RATE_HZ = 32.0
_HARMONIC_DAMPING = (1.0, 1.6, 2.4)


class Har:
    """Human activity recognition on SYNTHETIC windows of 6 channels x 64 steps (2 s at 32 Hz).

    No person was measured: the windows come from a small model of periodic movement, made to
    resemble PAMAP2 (A. Reiss, D. Stricker, ISWC 2012) where no such data can be had offline. An
    activity has a base frequency, a posture (the constant part, gravity) and three harmonics a
    channel; a subject has a pace, an amplitude, a sensor placement and a lag between the limbs.
    Each window starts at a random phase, varies a little in pace and strength, and carries
    coloured noise. All subjects share the activities' parameters, so what is learnt from some
    carries over to others by construction.

    The splits are drawn independently; validation and test do not depend on `n_train`.

    Args:
        n_train: Training windows.
        n_validation: Validation windows.
        n_test: Test windows.
        n_activities: Activities in the world.
        n_subjects: Subjects in the world.
        noise: Standard deviation of the sensor noise; movements are of the order of 1.
        subject_strength: How much placement and lag differ between subjects; 0 makes them equal.
        label: What to tell: the "activity", the "subject", or "both". The inputs are the same.
        subjects: Numbers (from 0) of the subjects to draw from; None takes all. One world can so
            give known users to pretrain on and a new one to fine-tune for.
        world_seed: Seed of the activities and subjects.
        sample_seed: Seed of the windows drawn from that world.

    Attributes:
        train: Inputs of shape (n_train, 6, 64), standardised, and labels.
        validation: The same for `n_validation` windows.
        test: The same for `n_test` windows.
        input_shape: (6, 64).
        num_classes: `n_activities`, `n_subjects` or their sum, after `label`.
        heads: Of "both" alone: activity and subject.

    Raises:
        ConfigError: If an option is out of its range.
    """

    input_shape: tuple[int, ...] = (_CHANNELS, _STEPS)
    num_classes: int
    heads: Mapping[str, int]
    train: Split
    validation: Split
    test: Split

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
            require_int(name, size, 1)
        require_int("n_activities", n_activities, 2)
        require_int("n_subjects", n_subjects, 1 if label == "activity" else 2)
        require_int("world_seed", world_seed, 0)
        require_int("sample_seed", sample_seed, 0)
        for name, value in {"noise": noise, "subject_strength": subject_strength}.items():
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"task.{name}={value} must be a finite number of at least 0.")
        told = choose(label, {"activity": n_activities, "subject": n_subjects})

        who = _chosen_subjects(subjects, n_subjects)
        world = _World.draw(n_activities, n_subjects, subject_strength, world_seed)
        parts = []
        for index, size in enumerate(sizes.values()):
            # One stream a split keeps validation and test as they are when n_train changes.
            generator = torch.Generator().manual_seed(len(sizes) * sample_seed + index)
            inputs, activity, subject = world.windows(size, who, noise, generator)
            parts.append(Split(inputs, told.of(torch.stack([activity, subject], dim=1))))
        self.num_classes = told.num_classes
        if told.several:
            self.heads = told.heads
        self.train, self.validation, self.test = standardised(Splits(*parts))


def _chosen_subjects(subjects: Sequence[int] | None, n_subjects: int) -> torch.Tensor:
    """Numbers of the subjects to draw from, checked."""
    if subjects is None:
        return torch.arange(n_subjects)
    chosen = list(subjects)
    if not chosen or any(
        not isinstance(s, int) or isinstance(s, bool) or not 0 <= s < n_subjects for s in chosen
    ):
        raise ConfigError(
            f"task.subjects={chosen} must name at least one of the subjects 0 to {n_subjects - 1}, "
            f"or be null for all."
        )
    return torch.tensor(chosen)


@dataclass(frozen=True)
class _World:
    """The fixed parameters of all activities and subjects.

    Attributes:
        frequency_hz: Base frequency of each activity, of shape (activities,).
        amplitude: Of each harmonic, of shape (activities, channels, harmonics).
        phase: Of each harmonic, in rad, of shape (activities, channels, harmonics).
        posture: Constant part of each activity, of shape (activities, channels).
        pace: Factor on the frequency of each subject, of shape (subjects,).
        strength: Factor on the amplitudes of each subject, of shape (subjects, channels).
        placement: Offset of each subject's sensors, of shape (subjects, channels).
        lag: Of each subject's limbs, in rad, of shape (subjects, channels).
    """

    frequency_hz: torch.Tensor
    amplitude: torch.Tensor
    phase: torch.Tensor
    posture: torch.Tensor
    pace: torch.Tensor
    strength: torch.Tensor
    placement: torch.Tensor
    lag: torch.Tensor

    @classmethod
    def draw(cls, activities: int, subjects: int, subject_strength: float, seed: int) -> _World:
        """Make up the activities and subjects of a seed."""
        rng = np.random.default_rng(seed)
        waves = (activities, _CHANNELS, len(_HARMONIC_DAMPING))
        limbs = (subjects, _CHANNELS)
        drawn = (
            np.sort(rng.uniform(0.7, 3.0, activities)),
            rng.normal(0.0, 1.0, waves) / np.array(_HARMONIC_DAMPING),
            rng.uniform(0.0, 2 * np.pi, waves),
            rng.normal(0.0, 0.5, (activities, _CHANNELS)),
            np.exp(rng.normal(0.0, 0.10, subjects)),
            np.exp(rng.normal(0.0, 0.25, limbs)),
            rng.normal(0.0, 0.5 * subject_strength, limbs),
            rng.normal(0.0, subject_strength, limbs),
        )
        return cls(*(torch.from_numpy(values).float() for values in drawn))

    def windows(
        self, count: int, who: torch.Tensor, noise: float, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw windows of random activities and subjects.

        Args:
            count: Windows to draw.
            who: Numbers of the subjects to draw from.
            noise: Standard deviation of the sensor noise.
            generator: Source of all randomness.

        Returns:
            Windows of shape (count, channels, steps), activities and subjects of shape (count,).
        """
        activity = torch.randint(len(self.frequency_hz), (count,), generator=generator)
        subject = who[torch.randint(len(who), (count,), generator=generator)]
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
        windows[..., 1:] += 0.6 * noise * white[..., :-1]
        windows += (self.posture[activity] + self.placement[subject])[..., None]
        for harmonic in range(len(_HARMONIC_DAMPING)):
            phase = self.phase[activity, :, harmonic] + lag
            amplitude = self.amplitude[activity, :, harmonic] * strength
            wave = torch.sin((harmonic + 1) * cycle[:, None, :] + phase[..., None])
            windows += amplitude[..., None] * wave
        return windows, activity, subject
