"""Supervised paradigms evaluate the metric that is monitored, and minimise the loss that fits."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from energyopt.config.trial_factory import TrialFactory
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.protocols import PretrainedModel, Split
from energyopt.errors import ConfigError
from energyopt.models.mlp import MLP
from energyopt.paradigms._metrics import PERPLEXITY, RMSE, VAL_LOSS, metric_of_loss
from energyopt.paradigms.distillation import Distillation
from energyopt.paradigms.multitask import Multitask
from energyopt.paradigms.scratch import Scratch
from energyopt.tasks.diabetes import Diabetes
from energyopt.tasks.tabular import Tabular
from energyopt.testing.pytest import ParadigmContract
from tests.composing import composed
from tests.two_heads import TwoHeads

CLASSES, MEASUREMENTS = Tabular("wine"), Diabetes()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(task: Any, monitor: Monitor, seed: int = 0, kind: Any = Scratch, **options: Any) -> Any:
    torch.manual_seed(seed)
    return kind(
        task=task,
        model=MLP(input_shape=task.input_shape, num_classes=task.num_classes),
        optimizer=functools.partial(torch.optim.Adam, lr=0.01),
        batch_size=32,
        epochs=2,
        seed=seed,
        monitor=monitor,
        **options,
    )


@torch.inference_mode()
def predicted(paradigm: Any, split: Split) -> torch.Tensor:
    outputs: torch.Tensor = paradigm.model.eval()(split.inputs)
    return outputs


def test_a_loss_and_a_perplexity_of_classes_follow_from_the_cross_entropy() -> None:
    for monitor in (VAL_LOSS, PERPLEXITY):
        paradigm = build(CLASSES, monitor)
        paradigm.train(200)
        for score, split in (("evaluate", CLASSES.validation), ("test", CLASSES.test)):
            loss = float(
                torch.nn.functional.cross_entropy(predicted(paradigm, split), split.labels)
            )
            expected = loss if monitor == VAL_LOSS else math.exp(loss)
            assert getattr(paradigm, score)() == pytest.approx(expected)


def test_the_metric_does_not_change_what_is_trained() -> None:
    losses = [build(CLASSES, monitor).train(200).loss for monitor in (ACCURACY, PERPLEXITY)]
    assert losses[0] == losses[1]


def test_a_regression_learns_measurements() -> None:
    paradigm = build(MEASUREMENTS, RMSE)
    before = paradigm.evaluate()
    paradigm.train(20 * paradigm.epoch_samples)
    errors = predicted(paradigm, MEASUREMENTS.validation)[:, 0] - MEASUREMENTS.validation.labels
    assert paradigm.evaluate() == pytest.approx(math.sqrt(float((errors**2).mean())))
    assert paradigm.evaluate() < 0.85 < before  # 1 is what the mean gives


@dataclass(frozen=True)
class Measured:
    """The regression with labels of another shape, or another number of outputs."""

    shape: tuple[int, ...] = ()
    num_classes: int = 1
    input_shape: tuple[int, ...] = (10,)

    def __getattr__(self, name: str) -> Split:
        if name not in ("train", "validation", "test"):
            raise AttributeError(name)
        split = getattr(MEASUREMENTS, name)
        return Split(split.inputs, split.labels.reshape(-1, 1).expand(-1, *self.shape))


def test_labels_may_have_a_column() -> None:
    plain, column = build(MEASUREMENTS, VAL_LOSS), build(Measured((1,)), VAL_LOSS)
    assert plain.train(300) == column.train(300)
    assert plain.evaluate() == pytest.approx(column.evaluate())


@pytest.mark.parametrize(
    ("task", "monitor", "message"),
    [
        (CLASSES, RMSE, "monitor=rmse mode=min is not evaluated for this task: choose monitor=acc"),
        (CLASSES, Monitor("f1", "max"), "monitor=f1 mode=max is not evaluated"),
        (CLASSES, Monitor("val_loss", "max"), "choose .*monitor=val_loss mode=min"),
        (MEASUREMENTS, ACCURACY, "choose monitor=rmse mode=min, monitor=val_loss mode=min"),
        (TwoHeads(), VAL_LOSS, "choose monitor=accuracy mode=max$"),
        (Measured((2,)), RMSE, r"measurements of shape \(266, 2\) as labels and num_classes=1"),
        (Measured((1,), 2), RMSE, r"num_classes=2; a regression needs"),
    ],
)
@pytest.mark.parametrize("kind", [Scratch, Multitask])
def test_a_metric_that_does_not_fit_is_refused(
    kind: type, task: Any, monitor: Monitor, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(task, monitor, kind=kind)


def test_a_regression_has_no_teacher() -> None:
    teacher = PretrainedModel({}, lambda: MLP(input_shape=(10,), num_classes=1))
    with pytest.raises(ConfigError, match="this task is a regression: choose paradigm=scratch"):
        build(MEASUREMENTS, RMSE, kind=Distillation, teacher=teacher)


def test_a_loss_beyond_all_numbers_is_an_infinite_perplexity() -> None:
    assert metric_of_loss(PERPLEXITY, 1e6) == math.inf
    assert math.isnan(metric_of_loss(RMSE, math.nan))
    assert metric_of_loss(PERPLEXITY, math.nan) == math.inf


@pytest.mark.parametrize(
    ("words", "monitor"),
    [
        (("task=wine", "monitor=perplexity", "mode=min", "target=2"), PERPLEXITY),
        (("task=diabetes", "target=0.75"), RMSE),
        (("task=wine",), ACCURACY),
    ],
)
def test_the_task_or_the_root_keys_choose_the_metric(
    words: tuple[str, ...], monitor: Monitor
) -> None:
    factory = TrialFactory(composed("model=mlp", "device=cpu", "hardware=estimate", *words))
    assert factory.monitor == monitor
    assert factory.make_paradigm().monitor == monitor  # type: ignore[attr-defined]


class TestRegression(ParadigmContract):
    monitor = RMSE

    @pytest.fixture
    def make(self) -> Any:
        return lambda seed: build(MEASUREMENTS, RMSE, seed)
