"""Each choice, and both ends of each range, are put into a config before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore

from energyopt.config.root_keys import refusal
from energyopt.errors import ConfigError
from energyopt.sweep.composer import Composer
from energyopt.sweep.space_check import check_options, check_values, whole_number_wanted
from energyopt.sweep.space_parser import parse_space
from tests.composing import config_loader, multirun


class Color(Enum):
    red = 1
    blue = 2


@dataclass
class Net:
    width: int = 4
    depth: int | None = None
    dropout: float = 0.0
    color: Color = Color.red
    flag: bool = False
    name: str = "a"
    sizes: list[int] = field(default_factory=lambda: [1])
    free: Any = 1


@pytest.fixture(autouse=True, scope="module")
def _typed_model() -> Iterator[None]:
    """Offer a structured config, to the tests of this file alone."""
    store = ConfigStore.instance()
    store.store(group="model", name="typed", node=Net)
    yield
    del store.repo["model"]["typed.yaml"]


def check(
    *words: str, rule: Callable[..., str | None] = refusal, folder: Path | None = None
) -> None:
    loader = config_loader(folder)
    space = parse_space(words, loader)
    composer = Composer(loader, multirun(*space.fixed, folder=folder), space)
    check_options(space, composer, is_own_app=True)
    composer.check()
    check_values(space, composer, rule, is_own_app=True)


def refused(*words: str, folder: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        check(*words, folder=folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sweep", "whole"),
    [
        ("interval(1,9)", "int(interval(1,9))"),
        ("float(interval(1,9))", "int(interval(1,9))"),
        ("interval(1.5,9.5)", "int(interval(2,9))"),
        ("interval(0.2,0.7)", "int(interval(0,1))"),
        ("interval(-9,-1)", "int(interval(-9,-1))"),
        ("tag(log,interval(1,9))", "tag(log,int(interval(1,9)))"),
        ("range(1.0,9.0,0.5)", "int(interval(1,8))"),
        ("range(1.0,9.0,2)", "range(1,8,2)"),
        ("float(range(1,9))", "range(1,9)"),
    ],
)
@pytest.mark.parametrize("key", ["model.width", "++model.depth"])
def test_a_range_of_floats_for_whole_numbers_says_what_to_write(key, sweep, whole):
    name = key.lstrip("+")
    text = refused("model=typed", f"{key}={sweep}")
    assert text == f"{key}={sweep}: {name} takes whole numbers; write {key}={whole}"
    check("model=typed", f"{key}={whole}")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("batch_size=interval(16,64)", "batch_size takes whole numbers; write batch_size=int(int"),
        ("batch_size=16.0,32.0", "batch_size=16.0 is not allowed: a whole number of at least 1"),
        ("batch_size=int(interval(0,64))", "batch_size=0 is not allowed: a whole number"),
        ("batch_size=range(0,64,8)", "batch_size=0 is not allowed: a whole number"),
        ("lr=interval(0,1)", "lr=interval(0,1): lr=0.0 is not allowed: a number above 0 is needed"),
        ("lr=choice(0.1,abc)", "lr=abc is not allowed: a number above 0 is needed; leave it out"),
        ("eval_every=null,0", "eval_every=0 is not allowed"),
    ],
)
def test_a_root_key_says_what_it_takes(word, says):
    assert says in refused(word)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("model.width=4,abc", "model.width=abc is not allowed: a whole number is needed; leave it"),
        (
            "model.width=4.0,8.0",
            "model.width=4.0 is not allowed: a whole number is needed; write 4",
        ),
        ("model.dropout=0.5,abc", "model.dropout=abc is not allowed: a number is needed"),
        ("model.color=red,green", "model.color=green is not allowed: choose one of red, blue"),
        ("model.color=interval(0,1)", "model.color=0.0 is not allowed: the name of a Color"),
        ("model.flag=true,maybe", "model.flag=maybe is not allowed: true or false is needed"),
        ("model.sizes=choice([1],[a])", "model.sizes=[a] is not allowed: a whole number is needed"),
        ("model.width=1,null", "model.width=null is not allowed"),
        ("+model.width=1,2", "model.width=1: Could not append to config"),
    ],
)
def test_a_choice_that_the_config_refuses_is_named(word, says):
    assert says in refused("model=typed", word)


def test_the_last_of_many_choices_is_checked_as_well():
    many = ",".join(map(str, range(300)))
    assert refused("model=typed", f"model.width={many},x").startswith("model.width=x is not allow")


@pytest.mark.parametrize(
    "words",
    [
        ("model=typed", "model.width=int(interval(1,9))", "model.depth=null,3"),
        ("model=typed", "model.dropout=interval(0,1)", "model.free=choice(1,a,3.5)"),
        ("model=typed", "model.color=red,blue", "model.flag=true,false", "model.name=a,'b c',3"),
        ("model=typed", "+new=interval(0,1)", "model.sizes=choice([1,2],[3])"),
        ("model=typed,mlp", "model.sizes=choice([1],[2])", "model.width=4,8"),  # conditional
        ("model=mlp,cnn", "optimizer=adam,sgd", "optimizer.momentum=0.5,0.9", "model.depth=1,2"),
        ("+note=choice('a, \\'b\\'',c)", "lr=tag(log,interval(1e-4,1))"),
    ],
    ids=str,
)
def test_what_a_config_takes_is_left_alone(words):
    check(*words)


def test_a_value_must_fit_wherever_its_key_exists():
    text = refused("model=mlp,typed", "model.width=interval(4,8)")
    assert text.startswith("model.width=interval(4,8): model.width takes whole numbers")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "model=mine: there is no such option; choose one of "),
        ("a: : b", "model=mine: mapping values are not allowed here in"),
        ("defaults: [nowhere]", "model=mine: model=nowhere: there is no such option; choose"),
        ("a: 1\na: 2", "model=mine: while constructing a mapping"),
    ],
)
def test_an_option_that_cannot_be_composed_is_named_with_the_choice_without_it(
    tmp_path, content, says
):
    (tmp_path / "model").mkdir()
    if content is not None:
        (tmp_path / "model" / "mine.yaml").write_text(content)
    text = refused("model=choice(mlp,mine,cnn)", folder=tmp_path)
    assert re.sub(r"^model=mine: model=mine", "model=mine", text).startswith(says), text
    assert text.endswith("; leave it out: write model=mlp,cnn")


@pytest.mark.parametrize(
    ("words", "message", "says"),
    [
        (
            ("model.width=interval(8,64)",),
            "model.width=32.0 does not fit model=mlp: choose a whole number of at least 1.",
            "model.width=interval(8,64): model.width takes whole numbers; write "
            "model.width=int(interval(8,64))",
        ),
        (("model.width=8,64",), "model.width=8 does not fit: choose a whole number", None),
        (("lr=interval(1,2)",), "model.width=32.0 does not fit: choose a whole number", None),
        (("lr=interval(1,2)",), "lr=1.0 diverges", None),
    ],
)
def test_a_model_that_wants_whole_numbers_is_told_in_the_words_that_were_typed(
    words, message, says
):
    assert whole_number_wanted(parse_space(words, config_loader()), message) == says
