"""Text: the label is the next character, and only characters of the training part count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energyopt.core.protocols import Tokens
from energyopt.errors import ConfigError
from energyopt.models.char_transformer import CharTransformer
from energyopt.tasks.text import Text
from tests.small_data import write_text

ALL: dict[str, Any] = {"n_train": None, "n_validation": None, "n_test": None}


def read(task: Text, row: torch.Tensor) -> str:
    return "".join((task.characters + "?")[number] for number in row.tolist())


def test_a_sample_is_followed_by_its_label(tmp_path):
    text = write_text(tmp_path / "text").read_text(encoding="utf-8")
    task = Text(tmp_path / "text", context=10, n_train=300, n_validation=50, n_test=50)
    assert isinstance(task.input_shape, Tokens)
    assert tuple(task.input_shape) == (10,)
    for part, begin, end in (
        (task.train, 0, 3200),
        (task.validation, 3200, 3600),
        (task.test, 3600, 4000),
    ):
        stretch = text[begin:end]
        assert read(task, part.inputs[0]) == stretch[:10]
        for row, label in zip(part.inputs, part.labels, strict=True):
            assert read(task, row) + read(task, label[None]) in stretch


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(codec="utf-8"), min_size=60, max_size=300).filter(
        lambda text: len(set(text[:40])) > 1 and text[0] != "\ufeff"
    ),
    context=st.integers(1, 4),
)
def test_any_text_is_read_character_by_character(tmp_path, text, context):
    path = tmp_path / "text"
    path.write_bytes(text.encode("utf-8"))
    task = Text(path, context=context, **ALL)
    known = text[: round(len(text) * 0.8)]
    assert task.characters == "".join(sorted(set(known)))
    assert task.num_classes == len(set(known)) + 1
    assert len(task.train.labels) == len(known) - context
    assert (
        "".join(read(task, row[:1]) for row in task.train.inputs)
        == known[: -context - 1] + known[-context - 1]
    )
    assert read(task, task.train.labels) == known[context:]
    for part in (task.train, task.validation, task.test):
        assert 0 <= int(part.inputs.min()) <= int(part.inputs.max()) < task.num_classes


def test_characters_that_training_never_saw_are_one_class(tmp_path):
    path = tmp_path / "text"
    path.write_text(40 * "ab" + 10 * "x" + 10 * "é", encoding="utf-8")
    task = Text(path, context=2, **ALL)
    assert task.characters == "ab"
    assert task.num_classes == 3
    assert set(task.validation.labels.tolist()) == {2}
    assert set(task.test.inputs.flatten().tolist()) == {2}


def test_all_samples_of_a_text_share_its_memory(tmp_path):
    task = Text(write_text(tmp_path / "text", 50_000), context=1000, **ALL)
    assert task.train.inputs.shape == (39_000, 1000)
    assert task.train.inputs.untyped_storage().nbytes() == 40_000 * 4


def test_a_byte_order_mark_is_no_character(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbf" + 50 * b"ab")
    assert Text(path, context=2, **ALL).characters == "ab"


def test_the_model_learns_what_follows(tmp_path):
    path = tmp_path / "text"
    path.write_text(200 * "hello world. ", encoding="utf-8")
    task = Text(path, context=8, n_train=500, n_validation=100, n_test=100)
    torch.manual_seed(0)
    model = CharTransformer(input_shape=task.input_shape, num_classes=task.num_classes, width=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(task.train.inputs), task.train.labels)
        torch.autograd.backward(loss)
        optimizer.step()
    guess = model(task.test.inputs).argmax(dim=1)
    assert (guess == task.test.labels).float().mean() > 0.9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"holds 0 characters"),
        (b"aaaaaaaa", r"holds 8 characters, all of which are alike"),
        (b"ab" * 30, r"n_train=20000 asks for more than the 0 samples of 64 characters"),
        (b"ab" * 100 + b"\xff", r"is no text in UTF-8 \(invalid start byte at byte 200\)"),
        ("caf\xe9 ".encode("latin1") * 50, r"is no text in UTF-8"),
        (b"\x80\x04.", r"is no text in UTF-8"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, message):
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Text(path)


@pytest.mark.parametrize("name", ["nothing.txt", "."])
def test_a_missing_file_is_a_sentence(tmp_path, name):
    with pytest.raises(ConfigError, match=r"cannot be read \(.*let it name a text file"):
        Text(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 0}, r"context=0 must be"),
        ({"context": 400}, r"n_validation=10 asks for more than the 0 samples of 400 characters"),
        ({"n_train": 3191}, r"n_train=3191 asks for more than the 3190 samples of 10"),
        ({"n_test": 0}, r"n_test=0 must be"),
        ({"validation_share": 0.5}, r"validation_share=0\.5 must be"),
        ({"test_share": True}, r"test_share=True must be"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, options, message):
    write_text(tmp_path / "text")
    given_options = {"context": 10, "n_train": 10, "n_validation": 10, "n_test": 10, **options}
    with pytest.raises(ConfigError, match=message):
        Text(tmp_path / "text", **given_options)
