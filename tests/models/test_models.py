"""The models fit the tasks they say they fit, learn, and refuse the rest in whole sentences."""

from __future__ import annotations

import functools
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from energyopt.core.protocols import Tokens
from energyopt.errors import ConfigError
from energyopt.models._validation import fold_time
from energyopt.models.char_transformer import CharTransformer
from energyopt.models.cnn import CNN
from energyopt.models.cnn1d import CNN1d
from energyopt.models.gru import GRU
from energyopt.models.mlp import MLP
from energyopt.models.resnet18 import ResNet18
from energyopt.models.transformer import Transformer
from energyopt.testing import ModelCase, models

ROOT = Path(__file__).parents[2]

MODELS: dict[str, type[nn.Module]] = {
    "mlp": MLP,
    "cnn": CNN,
    "cnn1d": CNN1d,
    "gru": GRU,
    "transformer": Transformer,
    "resnet18": ResNet18,
    "char_transformer": CharTransformer,
}
# Full-width ResNets would take most of the time of these tests.
SMALL: dict[str, dict[str, Any]] = {"resnet18": {"width": 4}}
ROWS: list[tuple[int, ...]] = [(13,), (30,)]
SEQUENCES: list[tuple[int, ...]] = [(6, 64), (12, 28)]
IMAGES: list[tuple[int, ...]] = [(1, 8, 8), (1, 12, 12), (1, 28, 28), (3, 32, 32), (2, 9, 30)]
TEXTS: list[tuple[int, ...]] = [Tokens((16,)), Tokens((1,))]
FITS = {
    "mlp": ROWS + SEQUENCES + IMAGES,
    "cnn": IMAGES,
    "resnet18": IMAGES,
    "cnn1d": SEQUENCES,
    "gru": SEQUENCES,
    "transformer": SEQUENCES,
    "char_transformer": TEXTS,
}
FITTING = [(name, shape) for name, shapes in FITS.items() for shape in shapes]
QUICK = ("mlp", "cnn", "cnn1d")
every_model = pytest.mark.parametrize("name", MODELS)
every_fit = pytest.mark.parametrize(("name", "shape"), FITTING, ids=str)


def build(
    name: str, shape: tuple[int, ...] | None = None, num_classes: int = 5, **options: Any
) -> nn.Module:
    torch.manual_seed(0)
    options = SMALL.get(name, {}) | options
    shape = FITS[name][0] if shape is None else shape
    return MODELS[name](input_shape=shape, num_classes=num_classes, **options)


def case(name: str, shape: tuple[int, ...] | None = None) -> ModelCase:
    options = SMALL.get(name, {})
    return ModelCase(functools.partial(MODELS[name], **options), shape or FITS[name][0])


def samples(count: int, shape: tuple[int, ...]) -> torch.Tensor:
    if isinstance(shape, Tokens):
        return torch.randint(5, (count, *shape), dtype=torch.int32)
    return torch.randn(count, *shape)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@every_fit
def test_gives_one_logit_a_class_and_gradients_to_every_parameter(name, shape):
    models.gives_one_logit_a_class_and_gradients_to_every_parameter(case(name, shape))


@every_model
def test_scores_each_sample_for_itself(name):
    models.scores_each_sample_for_itself(case(name))


@every_model
def test_leaves_its_inputs_as_they_are(name):
    models.leaves_its_inputs_as_they_are(case(name))


@every_model
def test_same_seed_trains_to_the_same_weights_bit_by_bit(name):
    models.same_seed_trains_to_the_same_weights_bit_by_bit(case(name))


@every_model
def test_a_copy_gives_the_same_logits_and_trains_alone(name):
    models.a_copy_gives_the_same_logits_and_trains_alone(case(name))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in MODELS]
)
def test_learns_a_small_batch_by_heart(name):
    models.learns_a_small_batch_by_heart(case(name))


@every_model
def test_last_layer_is_called_head(name):
    model = build(name)
    head = model.head
    assert isinstance(head, nn.Linear)
    model.head = nn.Identity()
    features = model(samples(3, FITS[name][0]))
    assert features.shape == (3, head.in_features)


@pytest.mark.parametrize(
    ("name", "shape", "num_classes", "count"),
    [
        ("mlp", (1, 8, 8), 10, 3_466),
        ("cnn", (1, 8, 8), 10, 3_818),
        ("cnn", (1, 28, 28), 10, 9_098),
        ("cnn1d", (6, 64), 8, 11_816),
        ("gru", (6, 64), 8, 5_832),
        ("transformer", (6, 64), 8, 10_184),
        ("char_transformer", Tokens((64,)), 80, 81_488),
    ],
)
def test_default_sizes_are_those_of_the_workloads(name, shape, num_classes, count):
    assert parameters(build(name, shape, num_classes)) == count


def test_resnet18_has_the_published_size():
    with torch.device("meta"):
        model = ResNet18(input_shape=(3, 32, 32), num_classes=10)
    # The ImageNet form has 11,689,512; its 7x7 stem and 1000 classes make the difference.
    assert parameters(model) == 11_689_512 - 64 * 3 * (49 - 9) - 513 * 990
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in model.modules()) == 17


@every_model
def test_width_makes_it_larger(name):
    assert parameters(build(name, width=8)) < parameters(build(name, width=16))


def test_mlp_without_hidden_layers_is_linear():
    assert parameters(build("mlp", (13,), num_classes=3, depth=0)) == 3 * 14


def test_transformer_tells_the_order_of_time():
    model = build("transformer").eval()
    inputs = torch.randn(1, 6, 64)
    with torch.inference_mode():
        assert not torch.allclose(model(inputs), model(inputs.roll(32, dims=2)), atol=1e-6)


def test_char_transformer_tells_the_order_of_characters():
    model = build("char_transformer").eval()
    inputs = samples(1, TEXTS[0])
    with torch.inference_mode():
        assert not torch.allclose(model(inputs), model(inputs.roll(8, dims=1)), atol=1e-6)


def test_patches_join_neighbouring_steps():
    sequence = torch.tensor([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]])
    assert fold_time(sequence, 4).tolist() == [[[1, 2, 3, 4, 5, 6, 7, 8]]]
    assert fold_time(sequence, 2).tolist() == [[[1, 2, 5, 6], [3, 4, 7, 8]]]
    assert fold_time(sequence, 1).tolist() == [[[1, 5], [2, 6], [3, 7], [4, 8]]]


@every_model
def test_models_of_measurements_refuse_characters_and_the_other_way_round(name):
    if name == "char_transformer":
        with pytest.raises(ConfigError, match=r"needs characters .* \(16,\): choose mlp\.$"):
            build(name, (16,))
        with pytest.raises(ConfigError, match=r"\(6, 64\): choose mlp, cnn1d, gru or transformer"):
            build(name, (6, 64))
        return
    with pytest.raises(ConfigError) as caught:
        build(name, Tokens((16,)))
    assert str(caught.value) == (
        f"model={name} needs measurements; this task has 16 whole numbers a sample, such as "
        f"characters: choose char_transformer."
    )


@every_model
@pytest.mark.parametrize("shape", [ROWS[0], SEQUENCES[0], IMAGES[0]], ids=str)
def test_refuses_other_samples_and_names_exactly_the_models_that_fit(name, shape):
    if shape in FITS[name]:
        build(name, shape)
        return
    with pytest.raises(ConfigError) as caught:
        build(name, shape)
    message = str(caught.value)
    assert message.startswith(f"model={name} needs ")
    assert f"this task has samples of shape {shape}: choose " in message
    named = message.rpartition("choose ")[2].rstrip(".").replace(" or ", ", ").split(", ")
    assert sorted(named) == sorted(model for model in MODELS if shape in FITS[model])


def test_refusal_reads_as_a_sentence():
    with pytest.raises(ConfigError) as caught:
        build("cnn", (6, 64))
    assert str(caught.value) == (
        "model=cnn needs images of shape (channels, height, width); this task has samples of "
        "shape (6, 64): choose mlp, cnn1d, gru or transformer."
    )
    with pytest.raises(ConfigError, match=r"shape \(13,\): choose mlp\.$"):
        build("gru", (13,))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        *((name, {"width": 0}, rf"model\.width=0 does not fit model={name}") for name in MODELS),
        *(
            (name, {"num_classes": 1}, r"num_classes=1 .* at least 2")
            for name in MODELS
            if name != "mlp"
        ),
        *((name, {"shape": (0, 8, 8)}, r"shape \(0, 8, 8\)") for name in MODELS),
        ("mlp", {"shape": ()}, r"shape \(\)"),
        ("mlp", {"width": 2.5}, r"width=2\.5 .* whole number"),
        ("mlp", {"width": True}, r"width=True .* whole number"),
        ("mlp", {"depth": -1}, r"depth=-1 .* at least 0"),
        ("cnn", {"shape": (1, 1, 8)}, r"at least 2 a side; .* \(1, 1, 8\): choose mlp"),
        ("cnn", {"shape": (1, 2, 8, 8)}, r"shape \(1, 2, 8, 8\): choose mlp"),
        ("cnn1d", {"shape": (6, 1)}, r"at least 2 a side; .* \(6, 1\): choose mlp"),
        ("cnn1d", {"kernel_size": 4}, r"kernel_size=4 is even: choose an odd"),
        ("cnn1d", {"kernel_size": 0}, r"kernel_size=0 .* at least 1"),
        ("gru", {"depth": 0}, r"depth=0 .* at least 1"),
        ("gru", {"patch": 0}, r"patch=0 .* at least 1"),
        ("gru", {"patch": 5}, r"patch=5 .* 64 time steps .* 1, 2, 4, 8, 16, 32, 64\."),
        ("transformer", {"patch": 128}, r"patch=128 does not divide the 64"),
        ("transformer", {"heads": 3}, r"heads=3 does not divide model\.width=32"),
        ("transformer", {"heads": 0}, r"heads=0 .* at least 1"),
        ("transformer", {"depth": 0}, r"depth=0 .* at least 1"),
        ("char_transformer", {"heads": 3}, r"heads=3 does not divide model\.width=64"),
        ("char_transformer", {"depth": 0}, r"depth=0 .* at least 1"),
    ],
)
def test_refuses_impossible_options(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build(name, **options)


OPTIONS = sorted(set((ROOT / "conf/model").glob("*.yaml")) - {ROOT / "conf/model/own.yaml"})


@pytest.mark.parametrize("path", OPTIONS, ids=lambda p: p.stem)
def test_yaml_offers_every_option_with_the_default_of_the_constructor(path):
    config = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(config, dict)
    module, _, name = str(config.pop("_target_")).rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(module), name))
    options = {key: p.default for key, p in signature.parameters.items()}
    for given_by_the_builder in ("input_shape", "num_classes"):
        assert options.pop(given_by_the_builder) is inspect.Parameter.empty
    assert config == options
