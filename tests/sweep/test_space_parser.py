"""Sweep words become distributions, values become words again, and nothing is lost between."""

from __future__ import annotations

import math
import string

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString
from hydra.errors import OverrideParseException
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from energyopt.config.overrides import override_for
from energyopt.errors import ConfigError
from energyopt.search.space import Dimension, Space, Value
from energyopt.sweep.space_parser import parse_space
from tests.composing import config_loader

few = settings(max_examples=60, deadline=None)
MODELS = ("char_transformer", "cnn", "cnn1d", "gru", "mlp", "own", "resnet18", "transformer")


def parse(*words: str) -> Space:
    return parse_space(words, config_loader())


def dimension(word: str) -> Dimension:
    (only,) = parse(word).dimensions
    return only


def floats(
    low: float, high: float, *, log: bool = False, step: float | None = None
) -> FloatDistribution:
    return FloatDistribution(low, high, log=log, step=step)


def ints(low: int, high: int, *, log: bool = False, step: int = 1) -> IntDistribution:
    return IntDistribution(low, high, log=log, step=step)


def among(*choices: Value) -> CategoricalDistribution:
    return CategoricalDistribution(choices)


# --- the grammar


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        # intervals: floats, unless cast
        ("tag(log,interval(1e-4,1e-1))", floats(1e-4, 1e-1, log=True)),
        ("tag(log, interval(1e-4, 1e-1))", floats(1e-4, 1e-1, log=True)),
        ("tag(log,interval(1,100))", floats(1, 100, log=True)),
        ("interval(0,1)", floats(0, 1)),
        ("interval(-1,1)", floats(-1, 1)),
        ("interval(3,3)", floats(3, 3)),
        ("interval(start=1,end=10)", floats(1, 10)),
        ("float(interval(1,2))", floats(1, 2)),
        ("tag(interval(1,2))", floats(1, 2)),
        ("int(interval(1,10))", ints(1, 10)),
        ("int(interval(1.5,10.5))", ints(1, 10)),
        ("tag(log,int(interval(1,100)))", ints(1, 100, log=True)),
        ("int(tag(log,interval(1,100)))", ints(1, 100, log=True)),
        # ranges: the stop is exclusive, the order means nothing
        ("range(10)", ints(0, 9)),
        ("range(start=10)", ints(0, 9)),
        ("range(1,10)", ints(1, 9)),
        ("range(1,10,2)", ints(1, 9, step=2)),
        ("range(1,9,2)", ints(1, 7, step=2)),
        ("range(1,10,5)", ints(1, 6, step=5)),
        ("range(5,1,-1)", ints(2, 5)),
        ("range(10,1,-3)", ints(4, 10, step=3)),
        ("range(3,4)", ints(3, 3)),
        ("range(3,4,10)", ints(3, 3, step=10)),
        ("shuffle(range(1,5))", ints(1, 4)),
        ("sort(range(1,5),reverse=true)", ints(1, 4)),
        ("range(0,10000000000)", ints(0, 9_999_999_999)),
        ("float(range(1,5))", floats(1, 4, step=1)),
        ("range(1,4.5)", floats(1, 4, step=1)),
        ("range(0,1,0.25)", floats(0, 0.75, step=0.25)),
        ("range(1,0,-0.25)", floats(0.25, 1, step=0.25)),
        ("range(0,0.9,0.3)", floats(0, 0.6, step=0.3)),  # 3 * 0.3 < 0.9 in binary
        ("range(0,1,0.3)", floats(0, 0.9, step=0.3)),
        ("range(0.1,1.0,0.1)", floats(0.1, 0.9, step=0.1)),
        ("range(0,1e9,0.5)", floats(0, 999_999_999.5, step=0.5)),
        # choices, in the order given
        ("choice(16,32)", among(16, 32)),
        ("16,32", among(16, 32)),
        ("choice(16)", among(16)),
        ("choice(1e-4,1e-3)", among(1e-4, 1e-3)),
        ("choice(1_000,2)", among(1000, 2)),
        ("choice(true,false)", among(True, False)),
        ("choice(relu,gelu)", among("relu", "gelu")),
        ("choice(relu,1,0.5,false)", among("relu", 1, 0.5, False)),
        ("choice('1',1)", among("1", 1)),
        ('"c,d",e', among("c,d", "e")),
        ('choice("c,d",e)', among("c,d", "e")),
        ("null,1", among(None, 1)),
        ("choice([1,2],[3,4])", among("[1,2]", "[3,4]")),
        ("[1,2],[3,4]", among("[1,2]", "[3,4]")),
        ("[[1,'x y'],[]],[4]", among("[[1,'x y'],[]]", "[4]")),
        ("choice({a:1},{b:2})", among("{a:1}", "{b:2}")),
        ("choice(${target},${epochs})", among("${target}", "${epochs}")),
        ("sort(3,1,2)", among(1, 2, 3)),
        ("sort(3,1,2,reverse=true)", among(3, 2, 1)),
        ("shuffle(3,1,2)", among(3, 1, 2)),
        ("shuffle(choice(3,1,2))", among(3, 1, 2)),
        ("int(choice(1.5,2.5))", among(1, 2)),
        ("float(choice(1,2))", among(1.0, 2.0)),
        ("str(choice(1,2))", among("1", "2")),
        ("bool(choice(0,1))", among(False, True)),
    ],
)
def test_a_sweep_becomes_a_distribution(axis: str, expected: BaseDistribution):
    parsed = dimension(f"lr={axis}")
    assert parsed.distribution == expected
    if isinstance(expected, CategoricalDistribution):  # 1 == 1.0 == True: look at the types
        assert isinstance(parsed.distribution, CategoricalDistribution)
        types = [type(choice) for choice in parsed.distribution.choices]
        assert types == [type(choice) for choice in expected.choices]
    assert (parsed.key, parsed.element, parsed.is_group) == ("lr", "lr", False)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ("tag(log,interval(0,1))", r"lr=tag\(log,interval\(0,1\)\): a log interval begins above 0"),
        ("tag(log,interval(-1,1))", "begins above 0"),
        ("int(tag(log,interval(0.5,3)))", "begins above 0"),
        ("interval(5,1)", r"lr=interval\(5,1\): the lower end comes first"),
        ("interval(0,inf)", "both ends must be finite"),
        ("interval(nan,1)", "both ends must be finite"),
        ("tag(foo,interval(0,1))", "the tag foo means nothing here; intervals can be tagged log"),
        ("tag(log,foo,interval(1,2))", "the tag foo means nothing"),
        ("tag(log,range(1,9))", "the tag log means nothing here; only intervals can be tagged"),
        ("tag(log,choice(1,2))", "the tag log means nothing here; only intervals"),
        ("range(5,1)", r"lr=range\(5,1,1\) is empty: the stop is exclusive"),
        ("range(3,3)", "is empty"),
        ("range(1,5,-1)", "is empty"),
        ("range(1,5,0)", r"lr=range\(1,5,0\): .* a step other than 0"),
        ("range(0,inf)", "two finite ends"),
        ("range(0,nan)", "two finite ends"),
        ("choice(1,1.0)", "the choices 1.0 and 1 are equal; drop one"),
        ("choice(1,true)", "the choices True and 1 are equal"),
        ("0,false", "the choices False and 0 are equal"),
        ("choice(1e3,1000)", "are equal"),
        ("choice(a,a)", "the choices 'a' and 'a' are equal"),
        ("choice(a,'a')", "are equal"),
        ("choice([1],'[1]')", "are equal"),
        ("nan,1", "the choice nan is not finite"),
        ("choice(1,inf)", "the choice inf is not finite"),
        ("interval(0,1),interval(2,3)", "a choice of ranges cannot be searched"),
        ("glob(*)", r"lr=glob\(\*\) leaves nothing to choose from"),
    ],
)
def test_a_sweep_that_cannot_be_searched_is_refused_in_one_sentence(axis, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse(f"lr={axis}")
    assert str(caught.value).startswith(("lr=", "lr: "))
    assert not str(caught.value).startswith("lr: lr")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "axis",
    [
        "interval(1,10,2)",
        "interval(0,1",
        "choice()",
        "choice(null,1)",
        "choice(interval(0,1),2)",
        "shuffle(interval(0,1))",
        "range(stop=3)",
        "tag(log,1)",
    ],
)
def test_what_the_grammar_of_hydra_forbids_stays_its_own_error(axis):
    with pytest.raises(OverrideParseException):
        parse(f"lr={axis}")


@pytest.mark.parametrize(
    ("word", "key", "element", "choices"),
    [
        ("model=choice(mlp,cnn)", "model", "model", ("mlp", "cnn")),
        ("model=mlp,cnn", "model", "model", ("mlp", "cnn")),
        ("model=glob(*)", "model", "model", tuple(m for m in MODELS if m != "own")),
        ("model=glob(cnn*)", "model", "model", ("cnn", "cnn1d")),
        ("model=glob([cn*,m*],exclude=cnn1d)", "model", "model", ("cnn", "mlp")),
        ("model=glob(*,exclude=[own,*n*])", "model", "model", ("gru", "mlp")),
        ("+model@teacher=choice(mlp,cnn)", "model@teacher", "+model@teacher", ("mlp", "cnn")),
        ("hydra/sweeper=choice(energyopt,basic)", "hydra/sweeper", None, ("energyopt", "basic")),
    ],
)
def test_a_choice_of_a_config_group_is_known_as_one(word, key, element, choices):
    parsed = dimension(word)
    assert parsed.is_group
    assert parsed.always
    assert (parsed.key, parsed.element) == (key, element or key)
    assert parsed.distribution == among(*choices)
    assert parsed.override(choices[0]) == f"{parsed.element}={choices[0]}"


def test_a_glob_without_a_match_is_refused():
    with pytest.raises(ConfigError, match=r"model=glob\(zzz\*\) leaves nothing to choose from"):
        parse("model=glob(zzz*)")


@pytest.mark.parametrize(
    ("word", "element"),
    [("lr=choice(1,2)", "lr"), ("+lr=choice(1,2)", "+lr"), ("++lr=choice(1,2)", "++lr")],
)
def test_an_axis_keeps_the_plus_signs_that_add_its_key(word, element):
    parsed = dimension(word)
    assert (parsed.key, parsed.element) == ("lr", element)
    assert parsed.always == element.startswith("+")
    assert parsed.override(2) == f"{element}=2"


def test_fixed_words_pass_untouched_and_groups_are_drawn_first():
    fixed = (
        "~scheduler",
        "+key=1",
        "++key=1e-07",
        "target=${oc.env:TARGET,0.9}",
        "study='a b'",
        "task=digits",
        "trusted_targets=[torchvision, timm]",
        "+note='\\'quoted\\' \\\\'",
        "epochs=",
    )
    swept = ("lr=interval(0,1)", "model=choice(mlp,cnn)", "batch_size=16,32")
    space = parse(fixed[0], swept[0], *fixed[1:], *swept[1:])
    assert space.fixed == fixed
    assert space.sweep == swept
    assert [d.key for d in space.dimensions] == ["model", "lr", "batch_size"]
    assert [d.key for d in space.groups] == ["model"]
    assert [d.key for d in space.scalars] == ["lr", "batch_size"]


def test_words_set_the_given_values_in_the_order_of_the_axes():
    space = parse("lr=interval(0,1)", "model=mlp,cnn", "+note=choice('a b',c)")
    assert space.overrides({"lr": 0.1, "model": "cnn", "+note": "?"}) == ("model=cnn", "lr=0.1")
    assert space.overrides({"note": "a b"}) == ("+note='a b'",)
    assert space.overrides({}) == ()


@pytest.mark.parametrize("words", [("lr=1,2", "lr=3,4"), ("lr=1,2", "+lr=interval(0,1)")])
def test_an_axis_that_is_given_twice_is_refused(words):
    with pytest.raises(ConfigError, match="lr is swept twice"):
        parse(*words)


# --- from values to words, without loss

AWKWARD_TEXT = [
    "",
    " ",
    " padded ",
    "a b",
    "a,b",
    "a=b",
    "'",
    "''",
    '"',
    "'single' \"double\"",
    "\\",
    "\\\\",
    "ends in \\",
    "\\'",
    "'\\",
    "C:\\temp\\new",
    "true",
    "False",
    "null",
    "1",
    "-1",
    "1e3",
    "0.5",
    "nan",
    "inf",
    "1_000",
    "0x10",
    "[1,2]",
    "{a:1}",
    "(",
    "choice(1,2)",
    "range(3)",
    "${lr}",
    "\\${lr}",
    "$",
    "#",
    "~key",
    "+key",
    "a:b@c/d",
    "naïve 漢字 🌍",
    "tab\there",
    "line\nbreak",
]
AWKWARD_NUMBERS = [
    0, -1, 10**30, 0.0, -0.0, 1.0, 0.1, 1e-07, 1e16, 1e300, 5e-324, math.pi, -2.5e-10, 1 / 3,
    True, False, None,
]  # fmt: skip


def reparsed(word: str) -> object:
    """Return the value that Hydra parses from an override."""
    (override,) = OverridesParser.create().parse_overrides([word])
    assert not override.is_sweep_override()
    value = override.value()
    return value.text if isinstance(value, QuotedString) else value


def assert_same(found: object, value: object) -> None:
    assert type(found) is type(value)
    assert found == value
    assert repr(found) == repr(value)  # -0.0


@pytest.mark.parametrize("value", [*AWKWARD_TEXT, *AWKWARD_NUMBERS], ids=repr)
def test_a_word_sets_exactly_the_value(value):
    plain = override_for("key", value)
    assert_same(reparsed(plain), value)
    other = "other" if value is None else None
    axis = dimension(f"key={plain.partition('=')[2]},{override_for('k', other)[2:]}")
    assert isinstance(axis.distribution, CategoricalDistribution)
    assert_same(axis.distribution.choices[0], value)
    assert_same(reparsed(axis.override(value)), value)


@few
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(value):
    assert_same(reparsed(override_for("key", value)), value)


@few
@given(st.text(string.printable + "'\"\\", max_size=8))
def test_any_text_of_quotes_and_backslashes_survives(value):
    assert_same(reparsed(override_for("key", value)), value)


@few
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_any_number_survives(value):
    assert_same(reparsed(override_for("key", value)), value)
    assert_same(reparsed(Dimension("key", "+key", floats(0, 1)).override(value)), value)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("key=[1,2],[3,{a: 'x,y'}]", ["[1,2]", "[3,{a:'x,y'}]"]),
        ("key={a:1,b:[]},{c:null}", ["{a:1,b:[]}", "{c:null}"]),
        ("key=[' '],['\\'', \"\\\"\"]", ["[' ']", "['\\'',\"\\\"\"]"]),
    ],
)
def test_lists_and_dicts_are_the_text_that_makes_them(word, expected):
    axis = dimension(word)
    assert axis.grid() == expected
    choices = OverridesParser.create().parse_override(word).value()
    assert isinstance(choices, ChoiceSweep)
    again = [OverridesParser.create().parse_override(axis.override(text)) for text in expected]
    assert [override._value for override in again] == choices.list


# --- nearest


@pytest.mark.parametrize(
    ("axis", "value", "expected"),
    [
        ("interval(0,1)", 0.25, 0.25),
        ("interval(0,1)", 2, 1.0),
        ("interval(0,1)", -1, 0.0),
        ("interval(0.5,1)", None, 0.5),
        ("interval(0.5,1)", "word", 0.5),
        ("interval(0.5,2)", True, 0.5),
        ("tag(log,interval(1e-4,1e-1))", 1e-3, 1e-3),
        ("int(interval(1,10))", 3.4, 3),
        ("int(interval(1,10))", 99, 10),
        ("range(1,10,4)", 4, 5),
        ("range(1,10,4)", 100, 9),
        ("range(0.1,1.0,0.1)", 0.3, 0.3),
        ("range(0.1,1.0,0.1)", 0.34, 0.3),
        ("range(0,1,0.3)", 5, 0.9),
        ("choice(16,32,64)", 32, 32),
        ("choice(16,32,64)", 50, 64),
        ("choice(16,32,64)", 32.0, 32),
        ("choice(16,32,64)", "32", 32),
        ("choice(16,32,64)", None, 16),
        ("choice(a,b)", "b", "b"),
        ("choice(a,b)", "c", "a"),
        ("choice(a,1)", 1, 1),
        ("choice(a,1)", 2, "a"),
        ("choice(true,false)", False, False),
        ("choice(true,false)", 0, False),
        ("null,1", None, None),
    ],
)
def test_nearest_value_of_an_axis(axis, value, expected):
    assert_same(dimension(f"lr={axis}").nearest(value), expected)


numbers = st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6)
steps = st.sampled_from([1, 2, 7, 0.1, 0.25, 0.3, 1e-3])


@few
@given(numbers, numbers, st.one_of(numbers, st.none(), st.text(), st.booleans()))
def test_nearest_lies_in_the_interval(a, b, value):
    low, high = sorted((a, b))
    for at in (floats(low, high), ints(math.floor(low), math.ceil(high))):
        nearest = Dimension("key", "key", at).nearest(value)
        assert isinstance(nearest, int | float)
        assert at._contains(nearest)
        assert isinstance(nearest, int) == isinstance(at, IntDistribution)
        assert Dimension("key", "key", at).nearest(nearest) == nearest


@few
@given(st.integers(-50, 50), steps, st.integers(1, 30), numbers)
def test_nearest_lies_on_the_grid(start, step, count, value):
    stop = start + step * (count - 0.5)
    axis = dimension(f"lr=range({start},{stop!r},{step!r})")
    grid = axis.grid()
    nearest = axis.nearest(value)
    assert len(grid) == count
    assert nearest in grid
    assert all(axis.nearest(point) == point for point in grid)
    distances = [abs(float(str(point)) - value) for point in grid]
    assert abs(float(str(nearest)) - value) <= min(distances) * (1 + 1e-9) + 1e-9


# --- grid


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ("choice(b,a,1)", ["b", "a", 1]),
        ("range(1,10,4)", [1, 5, 9]),
        ("range(5,1,-1)", [2, 3, 4, 5]),
        ("int(interval(1,3))", [1, 2, 3]),
        ("range(0.1,0.6,0.1)", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("range(0,1,0.3)", [0.0, 0.3, 0.6, 0.9]),
        ("range(3,4)", [3]),
    ],
)
def test_grid_lists_all_values_in_order(axis, expected):
    found = dimension(f"lr={axis}").grid()
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize("axis", ["interval(0,1)", "int(tag(log,interval(1,9)))"])
def test_grid_refuses_what_cannot_be_counted(axis):
    with pytest.raises(ConfigError, match=r"sampler=grid cannot count lr: give it choices"):
        dimension(f"lr={axis}").grid()


# --- describe


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("lr=tag(log,interval(1e-4,1e-1))", "lr 0.0001..0.1 (log)"),
        ("lr=interval(0,1)", "lr 0..1"),
        ("batch_size=int(tag(log,interval(8,64)))", "batch_size 8..64 (log)"),
        ("epochs=range(1,10)", "epochs 1..9"),
        ("epochs=range(1,10,2)", "epochs 1..9 step 2"),
        ("lr=range(0,1,0.25)", "lr 0..0.75 step 0.25"),
        ("+width=choice(8,16)", "width {8, 16}"),
        ("model=mlp,cnn", "model {mlp, cnn}"),
        ("x=null,a", "x {None, a}"),
    ],
)
def test_describe_says_what_is_searched(word, expected):
    assert dimension(word).describe() == expected
