"""Which value of a space is the user's default, however config, code and choices write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from energyopt.sweep.default_values import UNKNOWN, choice_of, default_of
from energyopt.sweep.space_parser import parse_space
from tests.composing import config_loader


class Color(Enum):
    RED = 1
    GREEN = 2


@dataclass
class Typed:
    color: Color = Color.GREEN
    name: str = "16"
    place: Path = Path("a/b")
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    maybe: int | None = None


class Net:
    def __init__(self, width: int, hidden: int = 16, betas: Any = (0.9, 0.999), **more: Any):
        self.all = (width, hidden, betas, more)


RESOLVERS: dict[str, Callable[..., Any]] = {
    "np_float": lambda: np.float64(1e-3),
    "np_int": lambda: np.int64(16),
    "np_array": lambda: np.array([0.9, 0.999]),
    "product": lambda a, b: a * b,
    "broken": lambda: 1 / 0,
}


@pytest.fixture(autouse=True)
def resolvers():
    for name, function in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, function)
    yield
    for name in RESOLVERS:
        OmegaConf.clear_resolver(name)


def chosen(default: str, word: str) -> Any:
    """The choice of `x=word` that is the default of a YAML config, None without one."""
    return _chosen(OmegaConf.create(f"x: {default}\ny: 7\n"), f"x={word}")


def _chosen(cfg: Any, override: str) -> Any:
    (dimension,) = parse_space([override], config_loader()).dimensions
    found = choice_of(cfg, dimension, default_of(cfg, dimension.key))
    return None if found is None else dimension.override(found[0]).partition("=")[2]


@pytest.mark.parametrize(
    ("default", "word", "text"),
    [
        ("[0.9, 0.999]", "choice([0.5,0.5],[0.9,0.999])", "[0.9,0.999]"),
        ("[0.9, 0.999]", "choice([0.5,0.5],[9e-1,0.9990])", "[0.9,0.999]"),
        ("[1, 2]", "choice([2,1],[1.0,2.0])", "[1.0,2.0]"),
        ("[[1, a], {b: null}]", "choice([[1,b]],[[1,a],{b:null}])", "[[1,a],{b:null}]"),
        ("[]", "choice([1],[])", "[]"),
        ("{a: 1, b: 2}", "choice({a:0},{b:2,a:1})", "{b:2,a:1}"),
        ("{a: 1, b: 2}", "choice({b:3},{a:1})", "{a:1}"),  # merged with what there is
        ("true", "true,false", "True"),
        ("false", "choice(true,false)", "False"),
        ("off", "choice(true,false)", "False"),
        ("true", "choice(0,1)", "1"),
        ("null", "x,null", "null"),
        ("1e-3", "choice(0.1,0.001)", "0.001"),
        ("0.001", "choice(1e-1,1e-3)", "0.001"),
        ("'16'", "choice(8,16)", "16"),
        ("16", "choice('8','16')", "'16'"),
        ("'16'", "16,'16'", "'16'"),
        ("16", "'16',16", "16"),
        ("'true'", "choice(true,'true')", "'true'"),
        ("a b", "choice('a','a b')", "'a b'"),
        ("'[1]'", "choice([1],'[2]')", None),
        ("${y}", "choice(6,7)", "7"),
        ("${product:0.1,3}", "choice(0.3,0.4)", "0.3"),
        ("${np_float:}", "choice(1.0,1e-3)", "0.001"),
        ("${np_int:}", "choice(8,16)", "16"),
        ("${np_array:}", "choice([1,2],[0.9,0.999])", "[0.9,0.999]"),
        ("7", "choice(1,'${y}')", "'${y}'"),
        ("3", "choice(1,2)", None),
        ("null", "choice(1,2)", None),
        ("[1, 2]", "choice([1],[1,2,3])", None),
        ("{a: 1}", "choice({a:2},{a:3})", None),
    ],
)
def test_the_choice_that_means_the_default_is_found(default, word, text):
    assert chosen(default, word) == text


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("color=choice(RED,GREEN)", "GREEN"),
        ("name=choice(8,16)", "16"),
        ("place=choice(a,a/b)", "a/b"),
        ("betas=choice([1,1],[0.9,0.999])", "[0.9,0.999]"),
        ("maybe=1,null", "null"),
        ("color=choice(RED,3)", None),
    ],
)
def test_a_typed_field_converts_the_choices(word, text):
    assert _chosen(OmegaConf.structured(Typed), word) == text


NET = OmegaConf.create({"model": {"_target_": f"{__name__}.Net", "width": 8}, "lr": "${broken:}"})


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("model.hidden", 16),
        ("model.betas", [0.9, 0.999]),
        ("model.width", 8),
        ("model.depth", UNKNOWN),
        ("model.inner.hidden", UNKNOWN),
        ("hidden", UNKNOWN),
        ("lr", UNKNOWN),
    ],
)
def test_a_key_that_is_not_in_the_config_has_the_default_of_the_code(key, default):
    assert default_of(NET, key) == default


@pytest.mark.parametrize("target", ["no.such.module.Net", f"{__name__}.NoSuch", "sys.exit", ""])
def test_code_that_cannot_be_read_states_no_default(target):
    assert default_of(OmegaConf.create({"m": {"_target_": target}}), "m.hidden") is UNKNOWN


def test_a_missing_value_is_no_default():
    assert default_of(OmegaConf.create({"x": "???"}), "x") is UNKNOWN
