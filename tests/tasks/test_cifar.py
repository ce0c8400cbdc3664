"""CIFAR: pickles in the original format are read, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energyopt.errors import ConfigError
from energyopt.tasks._pickles import read_pickled_dict
from energyopt.tasks.cifar import CIFAR10, CIFAR100
from tests.small_data import cifar_batch, pickled, write_cifar10, write_cifar100

GOOD = cifar_batch(20, 0, {"labels": 10})


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def with_batch(root: Path, content: bytes) -> Path:
    (write_cifar10(root) / "cifar-10-batches-py" / "data_batch_3").write_bytes(content)
    return root


@pytest.mark.parametrize("python", [2, 3])
def test_arrays_of_either_python_are_read_as_they_were(tmp_path, python):
    path = tmp_path / "batch"
    path.write_bytes(pickled(GOOD, python))
    if python == 2:
        assert b"numpy.core.multiarray" in path.read_bytes()
    contents = read_pickled_dict(path)
    assert np.array_equal(contents[b"data"], GOOD["data"])
    assert contents[b"data"].dtype == np.uint8
    assert contents[b"labels"] == GOOD["labels"]


def test_an_array_in_the_order_of_fortran_is_read(tmp_path):
    array = np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": array}, protocol=2))
    assert np.array_equal(read_pickled_dict(tmp_path / "batch")[b"data"], array)


@pytest.mark.parametrize("folder", ["", "cifar-10-batches-py"])
def test_cifar10_keeps_images_and_labels_together(tmp_path, folder):
    task = CIFAR10(write_cifar10(tmp_path) / folder, n_validation=20)
    original = cifar_batch(20, 5, {"labels": 10})
    assert task.test.labels.tolist() == original["labels"]
    channel = task.test.inputs[7, 1].flatten().double().numpy()  # red, then green, then blue
    assert np.corrcoef(channel, original["data"][7, 1024:2048])[0, 1] == pytest.approx(1, abs=1e-5)
    batches = [cifar_batch(20, seed, {"labels": 10}) for seed in range(5)]
    data = np.concatenate([batch["data"] for batch in batches])[:, :1024].astype(float)
    labels = np.concatenate([batch["labels"] for batch in batches])
    for part in (task.train, task.validation):
        channel = part.inputs[0, 0].flatten().double().numpy()
        alike = np.array([np.corrcoef(channel, row)[0, 1] for row in data])
        assert alike.max() == pytest.approx(1, abs=1e-5)
        assert labels[alike.argmax()] == part.labels[0]


def test_cifar100_tells_classes_or_their_kinds(tmp_path):
    write_cifar100(tmp_path)
    fine = CIFAR100(tmp_path, n_validation=100)
    coarse = CIFAR100(tmp_path, n_validation=100, label="coarse")
    assert (fine.num_classes, coarse.num_classes) == (100, 20)
    assert torch.equal(fine.test.labels % 20, coarse.test.labels)
    with pytest.raises(ConfigError, match=r"label=both is unknown: choose fine or coarse"):
        CIFAR100(tmp_path, label="both")  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", [CIFAR10, CIFAR100])
def test_a_missing_folder_names_files_places_and_the_page(tmp_path, cls):
    with pytest.raises(ConfigError) as caught:
        cls(tmp_path)
    name = "cifar-10-batches-py/data_batch_5" if cls is CIFAR10 else "cifar-100-python/train"
    for words in (name, str(tmp_path), "https://www.cs.toronto.edu/~kriz/cifar.html",
                  "ENERGYOPT_DATA", "Nothing is downloaded"):  # fmt: skip
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch"])
def test_all_files_are_needed(tmp_path, name):
    (write_cifar10(tmp_path) / "cifar-10-batches-py" / name).unlink()
    with pytest.raises(ConfigError, match=r"does not hold the CIFAR-10 files"):
        CIFAR10(tmp_path)


@pytest.mark.parametrize("wrap", ["bare", "value", "key"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, wrap):
    marker = tmp_path / "marker"
    bad = Malicious(marker)
    content = {"bare": bad, "value": {b"data": bad}, "key": {bad: b"data"}}[wrap]
    root = with_batch(tmp_path, pickle.dumps(content, protocol=2))
    with pytest.raises(ConfigError, match=r"data_batch_3 is refused: it names .*mkdir.*not") as e:
        CIFAR10(root)
    assert "nothing of it was run" in str(e.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nfromstring\n.",
        b"ccopyreg\n_reconstructor\n.",
        b"c__builtin__\nobject\n.",
        b"\x80\x02ccodecs\nencode\n.",
        b"Pid\n.",
    ],
)
def test_no_other_name_is_called(tmp_path, content):
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(ConfigError, match=r"batch is refused"):
        read_pickled_dict(tmp_path / "batch")


@pytest.mark.parametrize(
    "value", [np.arange(3.0), np.array([{}]), np.array(["a"]), np.array([(1, 2)], dtype="u1,u1")]
)
def test_arrays_of_anything_but_bytes_are_refused(tmp_path, value):
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": value}, protocol=4))
    with pytest.raises(ConfigError, match=r"batch is refused: .*where bytes were expected"):
        read_pickled_dict(tmp_path / "batch")


def test_a_codec_is_not_the_files_choice(tmp_path):
    (tmp_path / "batch").write_bytes(
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR."
    )
    with pytest.raises(ConfigError, match=r"refused: text in the code"):
        read_pickled_dict(tmp_path / "batch")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_a_config_error_or_harmless(tmp_path, data):
    good = pickled(cifar_batch(2, 0, {"labels": 10}))
    place = data.draw(st.integers(0, len(good) - 1))
    content = data.draw(
        st.sampled_from([good[:place], good[:place] + b"\xff" + good[place + 1 :]])
        | st.binary(max_size=60)
        | st.binary(min_size=1, max_size=4).map(lambda b: good[:place] + b + good[place + len(b) :])
    )
    path = tmp_path / "batch"
    path.write_bytes(content)
    with suppress(ConfigError):
        assert isinstance(read_pickled_dict(path), dict)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": GOOD["data"][:19]}, r"has 19 images but 20 labels"),
        ({"data": GOOD["data"][:, :3000]}, r"data of shape \(20, 3000\), but images .* 3072"),
        ({"data": GOOD["data"][:0], "labels": []}, r"data_batch_3 is refused"),
        ({"data": GOOD["data"].reshape(-1)}, r"data of shape \(61440,\)"),
        ({"data": [1, 2]}, r"data of shape \(\)"),
        ({"labels": [10] + 19 * [0]}, r"has a label 10; allowed are 0 to 9"),
        ({"labels": [-1] + 19 * [0]}, r"has a label -1"),
        ({"labels": ["a"] + 19 * [0]}, r"has a label"),
        ({"labels": None}, r"20 images but no labels"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        CIFAR10(with_batch(tmp_path, pickled(GOOD | change)))
    assert "data_batch_3" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickled(GOOD)[:-100], r"data_batch_3 is (truncated|refused)"),
        (b"", r"data_batch_3 is truncated or damaged"),
        (pickle.dumps([1]), r"holds a list instead of a dict"),
        (pickled({"data": GOOD["data"]}), r"has no labels: is it of another data set"),
        (pickled({"labels": []}), r"has no data"),
    ],
)
def test_damaged_batches_are_refused(tmp_path, content, message):
    with pytest.raises(ConfigError, match=message):
        CIFAR10(with_batch(tmp_path, content))
