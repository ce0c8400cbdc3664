"""Which axes exist under which choice of groups, and where the default setup lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from energyopt.core.default_setup import DefaultSetup
from energyopt.errors import ConfigError
from energyopt.search.space import Value
from energyopt.sweep.composer import Composer, fill_unknown
from energyopt.sweep.space_parser import parse_space
from tests.composing import config_loader, multirun

# Of conf/model: width is a key of all, depth of mlp, gru and transformer, kernel_size of cnn1d.
MODELS = "model=choice(mlp,cnn,cnn1d)"


def composer(*words: str, folder: Path | None = None) -> Composer:
    loader = config_loader(folder)
    space = parse_space(words, loader)
    return Composer(loader, multirun(*space.fixed, folder=folder), space)


def keys(of: Composer, **groups: str) -> list[str]:
    return [dimension.key for dimension in of.present(groups)]


def test_an_axis_is_searched_only_where_its_key_exists():
    words = ("model.depth=1,2", "model.width=4,8", "model.kernel_size=3,5", "lr=interval(0.1,1)")
    it = composer(MODELS, *words)
    assert keys(it, model="mlp") == ["model.depth", "model.width", "lr"]
    assert keys(it, model="cnn") == ["model.width", "lr"]
    assert keys(it, model="cnn1d") == ["model.width", "model.kernel_size", "lr"]
    it.check()


def test_an_axis_that_adds_its_key_exists_everywhere():
    it = composer(MODELS, "+model.dropout=interval(0,1)", "++model.depth=1,2")
    assert keys(it, model="cnn") == ["model.dropout", "model.depth"]
    it.check()


def test_a_key_that_is_null_or_not_set_yet_exists(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: mine.build\nwidth: ???\ndepth: null\n")
    words = ("model=mine", "model.width=4,8", "model.depth=1,2", "eval_every=10,20")
    assert keys(composer(*words, folder=tmp_path)) == ["model.width", "model.depth", "eval_every"]


@pytest.mark.parametrize(
    "default", ["${oc.env:NOT_SET_HERE}", "${hydra:job.num}", "${no_such_key}", "${fails:1}"]
)
def test_what_a_default_resolves_to_does_not_matter(tmp_path, default):
    def fails(_: object) -> None:
        raise ZeroDivisionError

    OmegaConf.register_new_resolver("fails", fails, replace=True)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(f"_target_: mine.build\nwidth: {default}\n")
    it = composer("model=mine", "model.width=choice(4,8)", folder=tmp_path)
    it.check()
    assert it.baseline() == {"model.width": 4}
    setup = it.default_setup(it.baseline())
    assert (dict(setup.outside), setup.unknown) == ({}, ("model.width",))
    config = it.default().copy()
    fill_unknown(config, it._space.scalars)
    assert config.model.width == 4


def test_a_default_that_resolves_is_left_as_it_is():
    it = composer("model=mlp", "model.width=choice(4,8)", "eval_every=10,20")
    config = it.default().copy()
    fill_unknown(config, it._space.scalars)
    assert (config.model.width, config.eval_every) == (32, None)


def test_two_groups_make_a_key_exist_by_their_product():
    it = composer(MODELS, "optimizer=adam,sgd", "optimizer.momentum=0.5,0.9", "model.depth=1,2")
    assert keys(it, model="cnn", optimizer="adam") == []
    assert keys(it, model="cnn", optimizer="sgd") == ["optimizer.momentum"]
    assert keys(it, model="mlp", optimizer="adam") == ["model.depth"]
    it.check()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("lrr=1,2",),
            r"^lrr is swept, but no such key exists; check its spelling .* \+lrr=\.\.\.",
        ),
        (("model.depth=1,2", "model=cnn"), "^model.depth is swept, but no such key exists; check"),
        (
            (MODELS, "model.heads=1,2"),
            "^model.heads is swept, but no such key exists in any choice",
        ),
        ((MODELS, "lr=1,2", "zz=1,2", "yy=1,2"), "^yy is swept"),
    ],
)
def test_an_axis_whose_key_exists_nowhere_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        composer(*words).check()


def test_a_fixed_key_of_params_that_does_not_exist_is_refused_with_the_near_one():
    loader = config_loader()
    it = Composer(loader, multirun(), parse_space(["lr=1,2", "batch_sizes=8"], loader))
    says = (
        r"^hydra\.sweeper\.params\.batch_sizes: .* \+batch_sizes adds it; did you mean batch_size\?"
    )
    with pytest.raises(ConfigError, match=says):
        it.check()


@pytest.mark.parametrize(
    ("words", "baseline", "outside"),
    [
        (("lr=tag(log,interval(1e-4,1e-1))",), {"lr": 1e-3}, {}),
        (("lr=tag(log,interval(1e-2,1e-1))",), {"lr": 1e-2}, {"lr": "0.001"}),
        (("lr=tag(log,interval(1e-5,1e-4))",), {"lr": 1e-4}, {"lr": "0.001"}),
        (("batch_size=choice(16,100)",), {"batch_size": 100}, {"batch_size": "64"}),
        (("batch_size=int(interval(8,128))",), {"batch_size": 64}, {}),
        (("batch_size=choice(32.0,64.0)",), {"batch_size": 64}, {}),
        (("epochs=range(1,50,4)",), {"epochs": 29}, {"epochs": "30"}),
        (("epochs=10", "epochs=range(1,50,3)"), {"epochs": 10}, {}),
        (("eval_every=100,200",), {"eval_every": 100}, {"eval_every": "null"}),
        (("eval_every=100,null",), {"eval_every": None}, {}),
        (("model=choice(mlp,cnn)",), {"model": "cnn"}, {}),
        (("model=choice(mlp,gru)",), {"model": "mlp"}, {"model": "cnn"}),
        (
            (MODELS, "model.depth=1,3", "model.width=4,16"),
            {"model": "cnn", "model.width": 4},
            {"model.width": "8"},
        ),
        (
            ("model=choice(mlp,gru)", "model.depth=1,3", "model.width=4,16"),
            {"model": "mlp", "model.depth": 1, "model.width": 16},
            {"model": "cnn", "model.depth": "2", "model.width": "32"},
        ),
    ],
    ids=str,
)
def test_the_default_setup_is_clipped_into_the_space(words, baseline, outside):
    it = composer(*words)
    params = it.baseline()
    assert params == baseline
    assert list(params) == list(baseline)
    assert it.default_setup(params) == DefaultSetup(outside)
    for dimension in it._space.dimensions:
        if dimension.key in params:
            at = dimension.distribution
            assert at._contains(at.to_internal_repr(params[dimension.key]))


def test_a_default_that_nothing_states_is_said_to_be_unknown():
    it = composer("+dropout=interval(0.2,0.5)", "lr=interval(0,1)")
    default = it.default_setup(it.baseline())
    assert it.baseline() == {"dropout": 0.2, "lr": 1e-3}
    assert default == DefaultSetup(unknown=("dropout",))
    assert default.explanation == "the default of dropout is unknown"


def test_an_assumed_default_is_the_default():
    it = composer("hardware.power_limit_w=100,200,300")
    assert it.default_setup(it.baseline()).outside == {"hardware.power_limit_w": "null"}
    it.assume("hardware.power_limit_w", 300.0)
    assert it.baseline() == {"hardware.power_limit_w": 300}
    assert not it.default_setup(it.baseline()).is_nearest


def test_the_default_config_has_the_chosen_groups_and_the_fixed_words():
    it = composer("model=choice(mlp,gru)", "epochs=3", "lr=1,2")
    config = it.default()
    assert config.hydra.runtime.choices.model == "mlp"
    assert (config.epochs, config.lr) == (3, 1e-3)


def test_words_compose_to_the_values_they_name():
    it = composer(MODELS, "lr=interval(0,1)", "+note=choice('a, \\'b\\'',c)", "epochs=4")
    params: dict[str, Value] = {"model": "cnn1d", "lr": 1e-07, "note": "a, 'b'"}
    config = it.compose(it._space.overrides(params))
    assert (config.lr, config.note, config.epochs) == (1e-07, "a, 'b'", 4)
    assert OmegaConf.select(config, "model.kernel_size") == 5
    assert it.compose(it._space.overrides(params)) is config
