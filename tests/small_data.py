"""Small made-up files in the original formats of the data sets, and tasks made from them."""

from __future__ import annotations

import atexit
import gzip
import importlib
import os
import pickle
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energyopt.core.protocols import Task
from energyopt.tasks._pamap2 import ACTIVITIES
from energyopt.tasks.celeba import CelebA
from energyopt.tasks.cifar import CIFAR10, CIFAR100
from energyopt.tasks.diabetes import Diabetes
from energyopt.tasks.digits import Digits
from energyopt.tasks.digits_overlay import DigitsOverlay
from energyopt.tasks.fashion_mnist import FashionMNIST
from energyopt.tasks.har import Har
from energyopt.tasks.mnist import MNIST
from energyopt.tasks.pamap2 import Pamap2
from energyopt.tasks.tabular import Tabular
from energyopt.tasks.text import Text

SUBJECTS = (101, 102, 103)


# --- IDX: MNIST and Fashion-MNIST


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def idx_files(n_train: int = 60, n_test: int = 20, side: int = 28) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for name, count in (("train", n_train), ("t10k", n_test)):
        files[f"{name}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (count, side, side)))
        files[f"{name}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files


def write(folder: Path, files: Mapping[str, bytes], zipped: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (name + ".gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)


# --- CIFAR


def pickled(content: Mapping[str, Any], python: int = 2) -> bytes:
    """A dict as Python 2 or 3 would have pickled it, with an array under "data"."""
    if python == 3:
        return pickle.dumps(dict(content), protocol=4)
    keyed = {key.encode("ascii"): value for key, value in content.items()}
    names = (b"numpy._core.multiarray", b"numpy.core.multiarray")
    return pickle.dumps(keyed, protocol=2).replace(*names)


def cifar_batch(count: int, seed: int, labels: Mapping[str, int]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    told = {name: (np.arange(count) % classes).tolist() for name, classes in labels.items()}
    data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": data, "batch_label": b"batch", **told}


def write_cifar10(root: Path, count: int = 20) -> Path:
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    batches = {
        name: pickled(cifar_batch(count, seed, {"labels": 10})) for seed, name in enumerate(names)
    }
    write(root / "cifar-10-batches-py", batches)
    return root


def write_cifar100(root: Path) -> Path:
    labels = {"fine_labels": 100, "coarse_labels": 20}
    sizes = {"train": 300, "test": 100}
    files = {
        name: pickled(cifar_batch(size, seed, labels))
        for seed, (name, size) in enumerate(sizes.items())
    }
    write(root / "cifar-100-python", files)
    return root


# --- PAMAP2


def pamap2_table(
    subject: int, seconds: float = 4.0, codes: Sequence[int] = (0, *ACTIVITIES), gaps: float = 0.02
) -> np.ndarray:
    """Rows of a recording: sines, each activity and subject with its own frequency."""
    rng = np.random.default_rng(subject)
    count = round(seconds * 100)
    activity = np.repeat(np.array(codes), count)
    time_s = 5.0 + 0.01 * np.arange(len(activity))
    phase = 2 * np.pi * (0.5 + 0.1 * activity + 0.03 * (subject - 100)) * time_s
    values = 3 * np.sin(phase[:, None] + np.arange(51)) + 0.1 * rng.normal(size=(len(phase), 51))
    values[rng.random(values.shape) < gaps] = np.nan
    heart = np.where(np.arange(len(phase)) % 11 == 0, 104.0, np.nan)
    return np.column_stack([time_s, activity, heart, values])


def write_pamap2(root: Path, subjects: Sequence[int] = SUBJECTS, **options: Any) -> Path:
    (root / "Protocol").mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        table = pamap2_table(subject, **options)
        formats = ["%.2f", "%d", "%.4g", *51 * ["%.5g"]]
        text = root / "Protocol" / f"subject{subject}.dat"
        np.savetxt(text, table, fmt=formats)
        text.write_text(text.read_text().replace("nan", "NaN"))
    return root


# --- CelebA


def pillow() -> Any:
    """Pillow; where it is missing a test is skipped, but not in CI."""
    if os.environ.get("CI"):
        return importlib.import_module("PIL.Image")
    return pytest.importorskip("PIL.Image")


ATTRIBUTES = ("5_o_Clock_Shadow", "Male", "Smiling", "Young")


def write_celeba(root: Path, people: int = 4, images: int = 12) -> Path:
    """`images` of each of some people, the lists, and a partition 4 : 1 : 1."""
    image_module = pillow()
    folder = root / "img_align_celeba"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    names = [f"{number:06d}.jpg" for number in range(1, people * images + 1)]
    attributes = [f"{len(names)}", " ".join(ATTRIBUTES) + " "]
    identities, partitions = [], []
    for place, name in enumerate(names):
        pixels = rng.integers(0, 256, (218, 178, 3), dtype=np.uint8)
        image_module.fromarray(pixels).save(folder / name)
        values = rng.choice([-1, 1], len(ATTRIBUTES))
        attributes.append(name + " " + " ".join(f"{value:2d}" for value in values))
        identities.append(f"{name} {2000 - place % people}")
        partitions.append(f"{name} {(0, 0, 0, 0, 1, 2)[(place // 2) % 6]}")
    for file, lines in (
        ("list_attr_celeba.txt", attributes),
        ("identity_CelebA.txt", identities),
        ("list_eval_partition.txt", partitions),
    ):
        (root / file).write_text("\n".join(lines) + "\n")
    return root


# --- text


def write_text(path: Path, characters: int = 4000, alphabet: str = "abcdefgh ä\n") -> Path:
    rng = np.random.default_rng(0)
    path.write_text("".join(rng.choice(list(alphabet), characters)), encoding="utf-8", newline="")
    return path


# --- all tasks, small


@cache
def data_root() -> Path:
    """One folder with all of it, made when first asked for."""
    root = Path(tempfile.mkdtemp(prefix="energyopt-data-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    write(root / "fashion-mnist", idx_files())
    write(root / "mnist", idx_files())
    write_cifar10(root)
    write_cifar100(root)
    write_pamap2(root / "pamap2")
    write_text(root / "text.txt")
    return root


@cache
def celeba_root() -> Path:
    return write_celeba(data_root() / "celeba")


PAMAP2: dict[str, Any] = {
    "held_out_subject": None,
    "window_s": 0.64,
    "stride_s": 0.32,
    "validation_share": 0.25,
}
CHOICES: dict[str, Any] = {"n_train": 300, "n_validation": 80, "n_test": 70}

TASKS: Mapping[str, Callable[[], Task]] = {
    "digits": Digits,
    "digits 5-9": lambda: Digits(classes=[5, 6, 7, 8, 9]),
    "digits rotation": lambda: Digits(label="rotation"),
    "digits both": lambda: Digits(label="both"),
    "digits_overlay both": lambda: DigitsOverlay(**CHOICES),
    "digits_overlay left": lambda: DigitsOverlay(**CHOICES, label="left"),
    "har": lambda: Har(n_train=600, n_validation=150, n_test=120),
    "har both": lambda: Har(n_train=600, n_validation=150, n_test=120, label="both"),
    "wine": lambda: Tabular("wine"),
    "breast_cancer": lambda: Tabular("breast_cancer"),
    "diabetes": Diabetes,
    "fashion_mnist": lambda: FashionMNIST(data_root(), n_validation=20),
    "mnist": lambda: MNIST(data_root(), n_validation=20),
    "mnist 8x8": lambda: MNIST(data_root(), n_validation=20, resize=8),
    "cifar10": lambda: CIFAR10(data_root(), n_validation=20),
    "cifar100 fine": lambda: CIFAR100(data_root(), n_validation=100),
    "cifar100 coarse": lambda: CIFAR100(data_root(), n_validation=40, label="coarse"),
    "pamap2 activity": lambda: Pamap2(data_root(), **PAMAP2 | {"held_out_subject": 102}),
    "pamap2 subject": lambda: Pamap2(data_root(), **PAMAP2, label="subject"),
    "pamap2 both": lambda: Pamap2(data_root(), **PAMAP2, label="both"),
    "celeba attributes": lambda: CelebA(celeba_root()),
    "celeba Smiling": lambda: CelebA(celeba_root(), label="Smiling"),
    "celeba identity": lambda: CelebA(celeba_root(), label="identity", min_images=10),
    "text": lambda: Text(data_root() / "text.txt", context=16, **CHOICES),
}
"""A maker of each task, by its name and what it tells."""
