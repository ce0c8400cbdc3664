"""The tasks keep their contract, read their files, and refuse what does not fit."""

from __future__ import annotations

import gzip
import importlib
import inspect
import math
import os
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from energyopt.errors import ConfigError
from energyopt.protocols import Split, Task
from energyopt.tasks import _splits
from energyopt.tasks.digits import Digits
from energyopt.tasks.fashion_mnist import FashionMNIST
from energyopt.tasks.har import Har
from energyopt.tasks.tabular import Tabular

ROOT = Path(__file__).parents[1]


@cache
def build(name: str) -> Task:
    return make(name)


def make(name: str) -> Task:
    match name:
        case "digits":
            return Digits()
        case "har":
            return Har(n_train=600, n_validation=150, n_test=120)
        case "wine":
            return Tabular("wine")
        case "breast_cancer":
            return Tabular("breast_cancer")
    raise AssertionError(name)


SIZES = {
    "digits": (1348, 225, 224),
    "har": (600, 150, 120),
    "wine": (106, 36, 36),
    "breast_cancer": (497, 36, 36),
}
every_task = pytest.mark.parametrize("name", SIZES)


def classes(part: Split) -> list[int]:
    return sorted(set(part.labels.tolist()))


def parts_of(task: Task) -> tuple[Split, Split, Split]:
    return task.train, task.validation, task.test


# --- the contract of all tasks


@every_task
def test_splits_have_the_shapes_and_types_the_protocol_promises(name):
    task = build(name)
    assert isinstance(task, Task)
    assert tuple(len(part.labels) for part in parts_of(task)) == SIZES[name]
    for part in parts_of(task):
        assert part.inputs.shape == (len(part.labels), *task.input_shape)
        assert part.inputs.dtype == torch.float32
        assert part.labels.dtype == torch.int64
        assert part.labels.ndim == 1
        assert bool(part.inputs.isfinite().all())


@every_task
def test_every_class_occurs_in_every_split_and_no_other(name):
    task = build(name)
    for part in parts_of(task):
        assert classes(part) == list(range(task.num_classes))


@every_task
def test_inputs_are_standardised_with_the_training_statistics_only(name):
    task = build(name)
    others = [d for d in range(task.train.inputs.ndim) if d != 1]
    deviation, mean = torch.std_mean(task.train.inputs, dim=others, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
    torch.testing.assert_close(deviation, torch.ones_like(deviation), atol=1e-4, rtol=0)
    # Own statistics of the held-out parts would make these exactly 0 as well.
    assert task.validation.inputs.mean(dim=others).abs().max() > 1e-4
    assert task.test.inputs.mean(dim=others).abs().max() > 1e-4


@every_task
def test_splits_do_not_overlap(name):
    rows = [row.numpy().tobytes() for part in parts_of(build(name)) for row in part.inputs]
    assert len(set(rows)) == len(rows)


@every_task
def test_building_twice_gives_the_same_data(name):
    for first, second in zip(parts_of(build(name)), parts_of(make(name)), strict=True):
        assert torch.equal(first.inputs, second.inputs)
        assert torch.equal(first.labels, second.labels)


@every_task
def test_building_leaves_the_global_random_state_alone(name):
    before = torch.get_rng_state()
    make(name)
    assert torch.equal(torch.get_rng_state(), before)


@every_task
def test_training_samples_are_not_ordered_by_class(name):
    labels = build(name).train.labels
    changes = int((labels[1:] != labels[:-1]).sum())
    assert changes > len(labels) / 4


OPTIONS = sorted(set((ROOT / "conf/task").glob("*.yaml")) - {ROOT / "conf/task/own.yaml"})


@pytest.mark.parametrize("path", OPTIONS, ids=lambda p: p.stem)
def test_yaml_offers_every_option_of_the_constructor(path):
    config = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(config, dict)
    target = str(config.pop("_target_"))
    module, _, name = target.rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(module), name))
    assert set(config) == set(signature.parameters)


# --- digits


def test_digits_hold_the_images_of_scikit_learn():
    with gzip.open(_splits.sklearn_data_file("digits.csv.gz")) as file:
        table = np.loadtxt(file, delimiter=",")
    task = build("digits")
    labels = torch.cat([part.labels for part in parts_of(task)])
    assert torch.bincount(labels).tolist() == np.bincount(table[:, -1].astype(int)).tolist()
    # Standardising is linear, so each image correlates perfectly with its original.
    original = table[:, :-1] - table[:, :-1].mean(axis=1, keepdims=True)
    image = task.test.inputs[0].flatten().double().numpy()
    image = image - image.mean()
    norms = np.linalg.norm(original, axis=1) * np.linalg.norm(image)
    match = int(np.argmax(original @ image / norms))
    assert (original @ image / norms)[match] == pytest.approx(1.0, abs=1e-5)
    assert table[match, -1] == task.test.labels[0]


def test_loading_digits_does_not_import_sklearn():
    code = (
        "import sys; from energyopt.tasks.digits import Digits; Digits();"
        "print([m for m in sys.modules if m.split('.')[0] in ('sklearn', 'scipy', 'pandas')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "[]"


def test_missing_scikit_learn_is_a_config_error(monkeypatch):
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigError, match=r"datasets/data/digits\.csv\.gz.*pip install"):
        Digits()


def test_missing_data_file_is_a_config_error():
    with pytest.raises(ConfigError, match=r"nothing\.csv of the installed scikit-learn"):
        _splits.sklearn_data_file("nothing.csv")


def test_damaged_table_is_a_config_error(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("1,2,3\n4,five,6\n")
    with pytest.raises(ConfigError, match=r"table\.csv cannot be read"):
        _splits.read_table(path)


def test_fewer_training_digits_keep_the_same_held_out_images():
    few, many = Digits(n_train=100), build("digits")
    assert len(few.train.labels) == 100
    assert torch.bincount(few.train.labels, minlength=10).min() >= 8
    assert torch.equal(few.validation.labels, many.validation.labels)
    assert torch.equal(few.test.labels, many.test.labels)


def test_another_split_seed_gives_other_held_out_images():
    other = Digits(split_seed=2)
    assert not torch.equal(other.validation.labels, build("digits").validation.labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": 1349}, r"n_train=1349 is more than the 1348 of 1797 .* at most 1348"),
        ({"n_train": 0}, r"n_train=0 must be a whole number of at least 1"),
        ({"n_train": 0.5}, r"n_train=0\.5 must be a whole number"),
        ({"n_validation": 1573}, r"leave none of the 1797 samples"),
        ({"n_validation": 0}, r"n_validation=0 must be"),
        ({"n_test": -1}, r"n_test=-1 must be"),
        ({"split_seed": -1}, r"split_seed=-1 must be"),
    ],
)
def test_impossible_sizes_are_config_errors(options, message):
    with pytest.raises(ConfigError, match=message):
        Digits(**options)


# --- tabular


def test_tables_have_the_published_sizes():
    wine, cancer = build("wine"), build("breast_cancer")
    assert (tuple(wine.input_shape), wine.num_classes) == ((13,), 3)
    assert (tuple(cancer.input_shape), cancer.num_classes) == ((30,), 2)
    labels = torch.cat([part.labels for part in parts_of(cancer)])
    assert torch.bincount(labels).tolist() == [212, 357]


def test_unknown_table_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"task\.name=iris is unknown: choose wine or breast"):
        Tabular("iris")  # type: ignore[arg-type]


# --- synthetic activity recognition


def small_har(**options: Any) -> Har:
    return Har(**({"n_train": 400, "n_validation": 50, "n_test": 50} | options))


def test_har_held_out_windows_do_not_depend_on_the_training_size():
    few, many = small_har(n_train=100), small_har(n_train=200)
    assert torch.equal(few.validation.labels, many.validation.labels)
    assert torch.equal(few.test.labels, many.test.labels)


@pytest.mark.parametrize("seed", ["world_seed", "sample_seed"])
def test_har_seeds_change_the_data(seed):
    assert not torch.equal(small_har().train.inputs, small_har(**{seed: 11}).train.inputs)


def test_har_labels_activity_or_subject_of_the_same_windows():
    activity = small_har(n_activities=4, n_subjects=3)
    subject = small_har(n_activities=4, n_subjects=3, label="subject")
    assert torch.equal(activity.train.inputs, subject.train.inputs)
    assert (activity.num_classes, subject.num_classes) == (4, 3)
    assert classes(subject.train) == [0, 1, 2]
    together = activity.train.labels * 3 + subject.train.labels
    assert len(set(together.tolist())) == 12


def test_har_can_draw_from_some_subjects_only():
    task = small_har(subjects=[1, 4], label="subject")
    assert classes(task.train) == [1, 4]
    assert task.num_classes == 6


def test_har_without_noise_repeats_with_the_frequency_of_the_activity():
    # One activity a class: windows of a class share their strongest frequency, others differ.
    task = small_har(noise=0.0, subject_strength=0.0, n_subjects=1)
    spectrum = torch.fft.rfft(task.train.inputs, n=512).abs().sum(dim=1)[:, 8:]
    strongest = spectrum.argmax(dim=1).float()
    within = torch.stack([strongest[task.train.labels == c].std() for c in range(8)])
    assert within.median() < strongest.std() / 2


def test_har_noise_is_coloured_and_has_the_asked_strength():
    quiet, loud = small_har(noise=0.0), small_har(noise=100.0)
    assert not torch.equal(quiet.train.inputs, loud.train.inputs)
    noise = loud.train.inputs
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean()
    # A moving average 1, 0.6 has the autocorrelation 0.6 / (1 + 0.36) at lag one.
    assert float(neighbours) == pytest.approx(0.6 / 1.36, abs=0.02)


def test_har_activities_can_be_told_apart_by_a_linear_probe_of_the_spectrum():
    task = small_har(n_train=1500, n_validation=500)

    def features(part: Split) -> torch.Tensor:
        spectrum = torch.fft.rfft(part.inputs).abs().flatten(1)
        return torch.cat([spectrum, torch.ones(len(spectrum), 1)], dim=1)

    one_hot = torch.nn.functional.one_hot(task.train.labels).float()
    design = features(task.train)
    ridge = 100.0 * torch.eye(design.shape[1])
    weights = torch.linalg.solve(design.T @ design + ridge, design.T @ one_hot)
    guess = (features(task.validation) @ weights).argmax(dim=1)
    assert (guess == task.validation.labels).float().mean() > 0.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": 0}, r"n_train=0 must be"),
        ({"n_test": 0}, r"n_test=0 must be"),
        ({"n_activities": 1}, r"n_activities=1 must be .* at least 2"),
        ({"n_subjects": 0}, r"n_subjects=0 must be .* at least 1"),
        ({"n_subjects": 1, "label": "subject"}, r"n_subjects=1 must be .* at least 2"),
        ({"noise": -1.0}, r"noise=-1\.0 must be"),
        ({"noise": math.nan}, r"noise=nan must be"),
        ({"subject_strength": math.inf}, r"subject_strength=inf must be"),
        ({"label": "mood"}, r"label=mood is unknown: choose activity or subject"),
        ({"subjects": []}, r"subjects=\[\] must name at least one of the subjects 0 to 5"),
        ({"subjects": [6]}, r"subjects=\[6\] must name"),
        ({"world_seed": -1}, r"world_seed=-1 must be"),
    ],
)
def test_har_refuses_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        small_har(**options)


# --- Fashion-MNIST, from files in the original format


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def fashion_files(n_train: int = 60, n_test: int = 20, side: int = 28) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for name, count in (("train", n_train), ("t10k", n_test)):
        files[f"{name}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (count, side, side)))
        files[f"{name}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files


def write(folder: Path, files: dict[str, bytes], zipped: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (name + ".gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)


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


# --- the shared helpers


def test_a_constant_channel_becomes_zero():
    inputs = torch.cat([torch.full((6, 1), 3.0), torch.arange(6.0)[:, None]], dim=1)
    part = Split(inputs, torch.zeros(6, dtype=torch.int64))
    train = _splits.standardised(_splits.Splits(part, part, part)).train
    assert train.inputs[:, 0].tolist() == [0.0] * 6
    assert torch.equal(part.inputs, inputs)


@pytest.mark.parametrize("seed", range(3))
def test_every_part_holds_the_classes_in_proportion(seed):
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    parts = _splits.split(
        torch.arange(1000.0)[:, None],
        labels,
        n_train=200,
        n_validation=100,
        n_test=50,
        seed=seed,
    )
    for part, size in zip(parts, (200, 100, 50), strict=True):
        counts = torch.bincount(part.labels)
        expected = size * torch.tensor([0.6, 0.3, 0.1])
        assert (counts - expected).abs().max() <= 1.0
    chosen = torch.cat([part.inputs[:, 0] for part in parts])
    assert len(set(chosen.tolist())) == 350
