"""Each paradigm keeps the contract, with one head and with two; what each does beyond it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from energyopt.core.protocols import (
    MultiHeadTask,
    PretrainedModel,
    Split,
    SupportsHeads,
    SupportsInference,
    SupportsPrepare,
    Task,
)
from energyopt.errors import ConfigError
from energyopt.models.mlp import MLP
from energyopt.paradigms._heads import score
from energyopt.paradigms.distillation import Distillation
from energyopt.paradigms.frozen import Frozen
from energyopt.paradigms.multitask import Multitask
from energyopt.paradigms.pretrained import Pretrained
from energyopt.paradigms.scratch import Scratch
from energyopt.tasks.digits import Digits
from energyopt.testing import Trainable
from energyopt.testing.pytest import ParadigmContract
from tests.two_heads import TwoHeads

ONE: Task = Digits(n_train=200, n_validation=40, n_test=30)
TWO: Task = TwoHeads()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(num_classes: int = 10, width: int = 8) -> nn.Module:
    """A network that keeps statistics and draws random numbers."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, width),
        nn.BatchNorm1d(width),
        nn.Dropout(0.1),
        nn.Linear(width, num_classes),
    )


def knowledge(num_classes: int, width: int = 8) -> PretrainedModel:
    """Return the state of a network with another seed, trained or not."""
    with torch.random.fork_rng():
        torch.manual_seed(99)
        known = network(num_classes, width)
    return PretrainedModel(known.state_dict(), lambda: known)


def build(kind: type, task: Task = ONE, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    more: dict[str, Any] = {}
    if kind is Scratch:
        more["make_model"] = network
    if kind is Pretrained:
        more["source"] = knowledge(7)
    if kind is Distillation:
        more["teacher"] = knowledge(task.num_classes, 16)
    defaults: dict[str, Any] = {
        "model": network(task.num_classes),
        "optimizer": functools.partial(torch.optim.Adam, lr=0.01),
        "batch_size": 32,
        "epochs": 2,
    }
    return kind(task=task, seed=seed, **defaults | more | options)


MAKERS: dict[str, Callable[[int], Trainable]] = {
    f"{kind.__name__} {name}": functools.partial(_make, kind, task, options)
    for _make in [lambda kind, task, options, seed: build(kind, task, seed, **options)]
    for kind in (Scratch, Multitask, Frozen, Pretrained, Distillation)
    for name, task, options in (
        ("one head", ONE, {}),
        ("two heads", TWO, {"targets": {"digit": 0.9, "odd": 0.8}}),
        ("bf16", ONE, {"precision": "bf16"}),
    )
}
MAKERS["Pretrained head alone"] = lambda seed: build(Pretrained, seed=seed, trainable="head")
MAKERS["Multitask weights"] = lambda seed: build(
    Multitask, TWO, seed, weights={"odd": 0.1, "digit": 2}
)


SEVERAL = MAKERS.pop("Scratch two heads")


class TestParadigms(ParadigmContract):
    @pytest.fixture(params=MAKERS)
    def make(self, request: pytest.FixtureRequest) -> Callable[[int], Trainable]:
        return MAKERS[request.param]


class TestScratchOfTwoHeads(ParadigmContract):
    models = 2

    @pytest.fixture
    def make(self) -> Callable[[int], Trainable]:
        return SEVERAL


def is_a(paradigm: object, seam: type) -> bool:
    return isinstance(paradigm, seam)


# --- heads


def test_a_task_says_its_heads() -> None:
    assert isinstance(TWO, MultiHeadTask)
    assert not isinstance(ONE, MultiHeadTask)


@pytest.mark.parametrize("kind", [Scratch, Multitask, Frozen, Pretrained, Distillation])
def test_each_head_is_scored_and_the_worst_counts(kind: type) -> None:
    paradigm = build(kind, TWO, target=0.9)
    assert is_a(paradigm, SupportsHeads)
    assert paradigm.head_targets == {"digit": 0.9, "odd": 0.9}
    paradigm.train(800)
    accuracy = paradigm.evaluate()
    assert list(paradigm.head_accuracies) == ["digit", "odd"]
    assert accuracy == min(paradigm.head_accuracies.values())
    assert paradigm.head_accuracies["odd"] > 0.6


def test_one_head_is_not_scored_apart() -> None:
    paradigm = build(Multitask)
    paradigm.evaluate()
    assert paradigm.head_accuracies == paradigm.head_targets == {}


def test_multitask_on_one_head_is_scratch(tmp_path: Path) -> None:
    seen = []
    for kind in (Scratch, Multitask):
        paradigm = build(kind, seed=3)
        seen.append([(paradigm.train(100), paradigm.evaluate()) for _ in range(3)])
    assert seen[0] == seen[1]


def test_the_weights_of_losses_decide_what_is_learnt() -> None:
    def accuracy(weights: Mapping[str, float]) -> Mapping[str, float]:
        paradigm = build(Multitask, TWO, weights=weights)
        paradigm.train(1000)
        paradigm.evaluate()
        known: Mapping[str, float] = paradigm.head_accuracies
        return known

    digit, odd = accuracy({"digit": 1, "odd": 1e-6}), accuracy({"digit": 1e-6, "odd": 1})
    assert digit["digit"] > odd["digit"] + 0.3
    assert odd["odd"] > digit["odd"]


@pytest.mark.parametrize(
    ("accuracies", "targets", "expected"),
    [
        ((0.8, 0.9), (0.7, 0.7), 0.8),  # the same for all: the worst
        ((0.8, 0.9), (0.75, 0.95), 0.65),  # else the target and the smallest margin
        ((0.8, 1.0), (0.75, 0.95), 0.75),
        ((0.0, 1.0), (0.9, 0.1), 0.0),
        ((1.0, 1.0), (0.1, 0.2), 1.0),
    ],
)
def test_one_number_says_whether_all_are_at_their_targets(accuracies, targets, expected) -> None:
    names = ("a", "b")
    own, reach = dict(zip(names, accuracies, strict=True)), dict(zip(names, targets, strict=True))
    value = score(own, reach, 0.7)
    assert value == pytest.approx(expected)
    assert (value >= 0.7) == all(own[name] >= reach[name] for name in names)


def test_scratch_trains_a_head_until_it_is_at_its_target_and_all_once_all_are() -> None:
    paradigm = build(Scratch, TWO, targets={"digit": 0.5, "odd": 0.01})
    one = paradigm.train(32)
    assert (one.samples, one.steps) == (32, 2)  # a step of each model
    paradigm.evaluate()
    assert paradigm.train(32).steps == 1  # odd has reached it
    state = paradigm.state()
    again = build(Scratch, TWO, targets={"digit": 0.5, "odd": 0.01})
    again.load_state(state)
    assert again.train(32).steps == 1
    paradigm.train(4000)
    assert paradigm.evaluate() >= 0.5
    assert paradigm.train(32).steps == 2


def test_scratch_has_a_model_for_each_head(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    paradigm = build(Scratch, TWO)
    paradigm.save(tmp_path / "model.safetensors")
    weights = load_file(tmp_path / "model.safetensors")
    assert weights["digit.4.weight"].shape == (10, 8)
    assert weights["odd.4.weight"].shape == (2, 8)


class Wrong:
    """A task whose parts do not fit."""

    heads: Mapping[str, int] = {"digit": 10, "odd": 2}
    num_classes = 12
    input_shape = (1, 8, 8)

    def __init__(self, **parts: Any) -> None:
        self.train, self.validation, self.test = TWO.train, TWO.validation, TWO.test
        for name, part in parts.items():
            setattr(self, name, part)


@pytest.mark.parametrize(
    ("task", "options", "says"),
    [
        (Wrong(train=ONE.train), {}, r"labels of shape \(200,\); \(samples, heads\) is needed"),
        (Wrong(num_classes=10), {}, "num_classes=10, and its heads have"),
        (Wrong(heads={"a.b": 10, "odd": 2}), {}, "names without dots"),
        (Wrong(heads={}), {}, "the heads none"),
        (
            TWO,
            {"targets": {"digit": 0.9}},
            "paradigm.targets names digit; all of the task's heads are needed: di",
        ),
        (TWO, {"targets": {"digit": 0.9, "odd": 1.5}}, "at most 1"),
        (TWO, {"weights": {"digit": 0, "odd": 1}}, "numbers above 0"),
        (TWO, {"weights": {"digit": 1, "even": 1}}, "names digit, even"),
        (ONE, {"weights": {"digit": 1}}, "this task has no heads"),
        (ONE, {"precision": "fp8"}, "precision=fp8 is unknown"),
        (ONE, {"precision": "amp"}, "choose bf16 or fp32"),
    ],
)
def test_what_does_not_fit_is_said(task, options, says) -> None:
    with pytest.raises(ConfigError, match=says):
        build(Multitask, task, **options)


def test_scratch_of_several_heads_needs_a_maker_of_models() -> None:
    with pytest.raises(ConfigError, match="make_model is needed"):
        build(Scratch, TWO, make_model=None)


# --- precision and compile


def test_bfloat16_is_another_arithmetic_and_learns(tmp_path: Path) -> None:
    wide, narrow = build(Multitask), build(Multitask, precision="bf16")
    assert wide.train(32).loss != narrow.train(32).loss
    narrow.train(2000)
    assert narrow.evaluate() > 0.7
    assert all(p.dtype == torch.float32 for p in narrow.model.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own compiler
def test_compiling_is_done_in_the_warm_up_and_changes_no_state(tmp_path: Path) -> None:
    plain, compiled = build(Multitask), build(Multitask, compile=True)
    before = {name: of.clone() for name, of in compiled.model.state_dict().items()}
    compiled.warm_up()
    for name, of in compiled.model.state_dict().items():
        assert torch.equal(of, before[name]), name
    from torch._dynamo.utils import counters

    programs = counters["stats"]["unique_graphs"]
    one, other = plain.train(400), compiled.train(400)
    compiled.evaluate()
    assert counters["stats"]["unique_graphs"] == programs  # none later
    assert other.loss == pytest.approx(one.loss, rel=0.05)


# --- pretrained


def test_the_trunk_is_the_source_and_the_head_is_fresh() -> None:
    source = knowledge(7)
    paradigm = build(Pretrained, source=source)
    own = paradigm.model.state_dict()
    for name, of in source.state.items():
        if name.startswith("4."):
            assert own[name].shape[0] == 10
        else:
            assert torch.equal(own[name], of), name


def test_a_frozen_trunk_stays_as_it_is_and_its_head_learns() -> None:
    paradigm = build(Pretrained, trainable="head")
    before = {name: of.clone() for name, of in paradigm.model.state_dict().items()}
    first = paradigm.train(200).loss
    assert paradigm.train(1000).loss < first
    for name, of in paradigm.model.state_dict().items():
        assert torch.equal(of, before[name]) != name.startswith("4."), name
    assert all(of.grad is None for name, of in paradigm.model.named_parameters() if name[0] != "4")


def test_the_control_of_fine_tuning_trains_the_head_alone_and_keeps_its_random_trunk() -> None:
    paradigm = build(Frozen)
    before = {name: of.clone() for name, of in paradigm.model.state_dict().items()}
    first = paradigm.train(200).loss
    assert paradigm.train(1000).loss < first
    after = paradigm.model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith("4.") for name in changed)


def test_our_models_name_their_head() -> None:
    def mlp(num_classes: int) -> nn.Module:
        return MLP(input_shape=(1, 8, 8), num_classes=num_classes, width=8)

    known = mlp(3)
    paradigm = build(
        Pretrained, model=mlp(10), source=PretrainedModel(known.state_dict(), lambda: known)
    )
    assert torch.equal(paradigm.model.trunk[1].weight, known.trunk[1].weight)  # type: ignore[index,union-attr]


def _changed(change: Callable[[dict[str, torch.Tensor]], object]) -> PretrainedModel:
    state = {name: of.clone() for name, of in knowledge(7).state.items()}
    change(state)
    return PretrainedModel(state, nn.Identity)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": _changed(lambda s: s.pop("1.weight"))}, "the weights lack 1.weight"),
        ({"source": _changed(lambda s: s.update(x=s["1.bias"]))}, "have x, which the model has"),
        (
            {"source": _changed(lambda s: s.update({"1.bias": torch.ones(3)}))},
            r"have 1.bias of shape \(3,\), and the model \(8,\)",
        ),
        (
            {"source": _changed(lambda s: s["1.bias"].fill_(float("nan")))},
            "have numbers in 1.bias that are not finite",
        ),
        ({"trainable": "some"}, "paradigm.trainable=some is unknown: choose all or head"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Conv1d(1, 1, 1))}, "neither a module named head"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}, "a head without a trunk"),
    ],
)
def test_a_source_that_does_not_fit_is_said(options, says) -> None:
    with pytest.raises(ConfigError, match=says):
        build(Pretrained, **options)


# --- distillation


def test_a_student_learns_from_its_teacher_alone() -> None:
    """With alpha=1 labels mean nothing: it answers as a teacher does that was trained."""
    teacher = build(Multitask, model=network(width=64))
    teacher.train(4000)
    assert teacher.evaluate() > 0.75
    unlabelled = replace_labels(ONE)
    known = PretrainedModel(teacher.model.state_dict(), lambda: teacher.model)
    student = build(Distillation, unlabelled, teacher=known, alpha=1.0)
    student.prepare()
    student.train(6000)
    assert student.evaluate() > 0.6


def replace_labels(task: Task) -> Task:
    """Return the task with random training labels."""
    blind = Digits(n_train=200, n_validation=40, n_test=30)
    blind.train = replace(task.train, labels=torch.zeros_like(task.train.labels))
    return blind


def test_without_weight_the_teacher_changes_nothing() -> None:
    losses = []
    for paradigm in (build(Multitask, seed=2), build(Distillation, seed=2, alpha=0.0)):
        torch.manual_seed(5)  # of the dropout
        losses.append(paradigm.train(200).loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_teacher_is_asked_once() -> None:
    asked: list[int] = []

    class Teacher(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            asked.append(len(inputs))
            return torch.zeros(len(inputs), 10)

    paradigm = build(Distillation, teacher=PretrainedModel({}, Teacher))
    assert is_a(paradigm, SupportsPrepare)
    paradigm.prepare()
    paradigm.train(400)
    assert asked == [200]


def test_student_and_teacher_can_be_asked() -> None:
    paradigm = build(Distillation)
    assert isinstance(paradigm, SupportsInference)
    ways = paradigm.inference()
    assert {name: ask() for name, ask in ways.items()} == {"student": 40, "teacher": 40}
    for kind, task in ((Scratch, TWO), (Scratch, ONE), (Multitask, TWO)):
        assert {name: ask() for name, ask in build(kind, task).inference().items()} == {"model": 40}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"alpha": 1.5}, r"paradigm.alpha=1.5: a number in \[0, 1\]"),
        ({"temperature": 0}, "paradigm.temperature=0: a number above 0"),
    ],
)
def test_options_of_distillation_that_cannot_be(options, says) -> None:
    with pytest.raises(ConfigError, match=says):
        build(Distillation, **options)


def test_splits_say_their_shapes() -> None:
    assert isinstance(TWO.train, Split)
    assert TWO.train.labels.shape == (200, 2)
