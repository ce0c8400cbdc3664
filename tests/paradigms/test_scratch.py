"""Training from random weights keeps the paradigm's contract and repeats bit by bit."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from energyopt.core.protocols import Task
from energyopt.models.mlp import MLP
from energyopt.paradigms.scratch import Scratch
from energyopt.tasks.digits import Digits
from energyopt.testing import Trainable
from energyopt.testing.pytest import ParadigmContract


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads are slower than one at this size, and wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


TASK: Task = Digits(n_train=200, n_validation=40, n_test=30)


def scratch(seed: int = 0, *, n_train: int = 200, batch_size: int = 32, **options: Any) -> Scratch:
    torch.manual_seed(seed)
    task = TASK if n_train == 200 else Digits(n_train=n_train, n_validation=40, n_test=30)
    defaults: dict[str, Any] = {
        "model": MLP(input_shape=(1, 8, 8), num_classes=10, width=8, depth=1),
        "optimizer": functools.partial(torch.optim.SGD, lr=0.1),
        "epochs": 2,
        "device": "cpu",
    }
    return Scratch(task=task, batch_size=batch_size, seed=seed, **defaults | options)


def noisy() -> nn.Module:
    """A network that keeps statistics and draws random numbers."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 10)
    )


MAKERS: dict[str, Callable[[int], Scratch]] = {
    "plain": scratch,
    "a sample a step": lambda seed: scratch(seed, batch_size=1),
    "one batch": lambda seed: scratch(seed, batch_size=1000),
    "left-over skipped": lambda seed: scratch(seed, n_train=193, batch_size=32),
}


def _noisy(seed: int) -> Scratch:
    torch.manual_seed(seed)
    model = noisy()
    return scratch(
        seed,
        model=model,
        optimizer=functools.partial(torch.optim.Adam, lr=0.01),
        scheduler=lambda optimizer, total_steps: LambdaLR(
            optimizer, lambda step: 1 - step / (total_steps + 1)
        ),
    )


MAKERS["statistics, dropout, adam, schedule"] = _noisy


class TestScratch(ParadigmContract):
    @pytest.fixture(params=MAKERS)
    def make(self, request: pytest.FixtureRequest) -> Callable[[int], Trainable]:
        return MAKERS[request.param]


def steps_of_epoch(paradigm: Scratch) -> list[int]:
    """Sizes of the batches of one epoch."""
    sizes: list[int] = []
    while sum(sizes) < paradigm.epoch_samples:
        sizes.append(paradigm.train(1).samples)
    return sizes


@pytest.mark.parametrize(
    ("n_train", "batch_size", "sizes"),
    [
        (200, 64, [64, 64, 64, 8]),
        (200, 100, [100, 100]),
        (200, 1000, [200]),
        (193, 64, [64, 64, 64]),
        (3, 1, [1, 1, 1]),
        (1, 64, [1]),
    ],
)
def test_an_epoch_has_whole_batches_and_no_left_over_of_one(
    n_train: int, batch_size: int, sizes: list[int]
):
    paradigm = scratch(n_train=n_train, batch_size=batch_size)
    assert paradigm.epoch_samples == sum(sizes)
    assert steps_of_epoch(paradigm) == steps_of_epoch(paradigm) == sizes


def test_an_epoch_sees_each_sample_once_in_a_new_order():
    seen: list[torch.Tensor] = []

    class Watch(MLP):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(inputs.detach().clone())
            return super().forward(inputs)

    paradigm = scratch(model=Watch(input_shape=(1, 8, 8), num_classes=10))
    paradigm.train(200)
    first = torch.cat(seen)
    seen.clear()
    paradigm.train(200)
    second = torch.cat(seen)
    assert not torch.equal(first, second)
    everything = {tuple(row) for row in TASK.train.inputs.flatten(1).tolist()}
    for epoch in (first, second):
        assert {tuple(row) for row in epoch.flatten(1).tolist()} == everything


def test_it_learns():
    paradigm = scratch(batch_size=16)
    before = paradigm.evaluate()
    first = paradigm.train(200).loss
    last = paradigm.train(10 * 200).loss
    assert last < first
    assert paradigm.evaluate() > max(before, 0.6)
    assert paradigm.test() > 0.6


@pytest.mark.parametrize(("epochs", "total_steps"), [(2, 14), (0.5, 4), (0.01, 1)])
def test_a_schedule_is_as_long_as_the_training_and_moves_each_step(epochs: float, total_steps: int):
    rates: list[float] = []
    told: list[int] = []

    def schedule(optimizer: torch.optim.Optimizer, total_steps: int) -> LambdaLR:
        told.append(total_steps)

        def factor(step: int) -> float:
            rates.append(step)
            return 1.0

        return LambdaLR(optimizer, factor)

    paradigm = scratch(epochs=epochs, scheduler=schedule)
    assert told == [total_steps]
    paradigm.train(96)
    paradigm.train(1)
    assert rates == [0, 1, 2, 3, 4]


def test_a_schedule_of_none_keeps_the_rate():
    paradigm = scratch(scheduler=lambda optimizer, total_steps: None)
    assert paradigm.train(64).steps == 2


def curve() -> str:
    paradigm = _noisy(5)
    paradigm.warm_up()
    return str([(paradigm.train(50), paradigm.evaluate()) for _ in range(4)])


def test_the_curve_is_the_same_in_another_process():
    lines = (
        "import torch\ntorch.set_num_threads(1)\nfrom tests.paradigms import test_scratch as t\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", lines + "print(t.curve())"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == curve()
