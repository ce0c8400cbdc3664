"""The part of another app's config that makes its study another question."""

from __future__ import annotations

import json

import pytest
from omegaconf import DictConfig, OmegaConf

from energyopt.sweep.app_question import is_harmless, question_of


def question(text: str, *swept: str) -> dict[str, object]:
    return question_of(DictConfig(OmegaConf.create(text)), swept)


@pytest.mark.parametrize(
    "key",
    [
        *("hydra.verbose", "hydra/launcher", "+hydra.job.name", "output_dir", "paths.log_dir"),
        *("verbose", "trainer.enable_progress_bar", "logger.wandb.project", "logger@my.logger"),
        *("db.password", "API_KEY", "tags"),
    ],
)
def test_these_ask_the_same(key):
    assert is_harmless(key)


@pytest.mark.parametrize(
    "key",
    [
        *("y", "seed", "data_dir", "ckpt_path", "max_tokens", "model.tokenizer", "num_workers"),
        *("device", "hydraulics", "model", "verbose_loss"),
    ],
)
def test_these_ask_something_else(key):
    assert not is_harmless(key)


def test_a_question_leaves_out_what_is_searched_and_what_is_harmless():
    text = "{x: 1, y: 2, m: {a: 1, b: 2}, log_dir: /a, db: {password: p, host: h}, g: {k: 1}}"
    assert question(text, "x", "m.a", "g") == {"y": 2, "m": {"b": 2}, "db": {"host": "h"}}


def test_interpolations_stay_as_they_are_written(monkeypatch):
    monkeypatch.setenv("MINE", "hunter2")
    text = "{a: '${oc.env:MINE}', b: '${now:%s}', c: '${hydra:job.num}', d: '???'}"
    assert question(text) == {
        "a": "${oc.env:MINE}",
        "b": "${now:%s}",
        "c": "${hydra:job.num}",
        "d": "???",
    }


def test_a_question_is_equal_to_itself_in_json():
    data = question("{a: .nan, b: .inf, c: [1, .nan], 3: {4: x}}")
    assert json.loads(json.dumps(data)) == data
    assert data == {"a": "nan", "b": "inf", "c": [1, "nan"], "3": {"4": "x"}}
