"""CelebA from local files: attributes of faces, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._celeba import Lists, read_images, read_lists
from energyopt.tasks._local_data import LocalData
from energyopt.tasks._splits import Splits, require_int, require_share, standardised

_DATA = LocalData(
    name="CelebA",
    folders=("", "celeba", "CelebA"),
    files=(
        ("list_attr_celeba.txt", "Anno/list_attr_celeba.txt"),
        ("identity_CelebA.txt", "Anno/identity_CelebA.txt"),
        ("list_eval_partition.txt", "Eval/list_eval_partition.txt"),
        ("img_align_celeba", "Img/img_align_celeba"),
    ),
    expects="list_attr_celeba.txt, identity_CelebA.txt, list_eval_partition.txt, "
    "img_align_celeba/*.jpg (the lists also in Anno and Eval, the images in Img)",
    page="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    remedy="fetch it, for non-commercial research alone",
)


class CelebA:
    """Small colour images of faces with 40 attributes each, of 10,177 people, from local files.

    Source: Z. Liu, P. Luo, X. Wang, X. Tang, "Deep Learning Face Attributes in the Wild", ICCV
    2015 (non-commercial research alone). Nothing is downloaded. The images are made small once and
    kept in the cache; it takes Pillow (`pip install 'energyopt[images]'`).

    Attributes are told with the official partition. That shares no person between its parts, so
    identities have a split of their own, within the images of each person who has enough of
    them: pictures of one occasion may lie in several parts, which makes it easier than it looks.

    Args:
        root: Folder with the lists and `img_align_celeba`; None looks in ENERGYOPT_DATA.
        label: What to tell: "attributes" (a head of two classes each), the name of one
            attribute, such as "Smiling", or "identity".
        attributes: Which attributes "attributes" are; None takes all 40.
        size: Pixels a side, of the square in the middle.
        n_train: Training images of attributes, drawn with `sample_seed`; None takes all.
        n_validation: Validation images, likewise.
        n_test: Test images, likewise.
        min_images: Images that a person must have to be told, at least 3.
        n_identities: How many people to tell, those with the most images; None takes all who have
            enough.
        held_out_share: Of each person's images, for each of validation and test; at least one.
        sample_seed: Seed of what is drawn, and of the split within identities.

    Attributes:
        train: Inputs of shape (images, 3, size, size), standardised per channel, and labels.
        validation: The same.
        test: The same.
        input_shape: (3, size, size).
        num_classes: 2 an attribute, or the people.
        heads: Of "attributes" alone, where these are several: two classes each.

    Raises:
        ConfigError: If a file or Pillow is missing, a file is damaged, or an option is not
            possible.
    """

    input_shape: tuple[int, ...]
    num_classes: int
    heads: Mapping[str, int]
    train: Split
    validation: Split
    test: Split

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        label: str = "attributes",
        attributes: Sequence[str] | None = ("Male", "Smiling", "Young"),
        size: int = 32,
        n_train: int | None = None,
        n_validation: int | None = None,
        n_test: int | None = None,
        min_images: int = 20,
        n_identities: int | None = None,
        held_out_share: float = 0.2,
        sample_seed: int = 0,
    ) -> None:
        require_int("size", size, 2)
        require_int("min_images", min_images, 3)
        require_int("sample_seed", sample_seed, 0)
        require_share("held_out_share", held_out_share, 0.5)
        *paths, folder = _DATA.find(root)
        lists = read_lists(*paths)
        rng = np.random.default_rng(sample_seed)
        sizes = {"n_train": n_train, "n_validation": n_validation, "n_test": n_test}
        if label == "identity":
            _refuse_sizes(sizes)
            people = _people(lists.identity, min_images, n_identities)
            parts = _within(lists.identity, people, held_out_share, rng)
            # Of images of others this is a number, too, but they are in no part.
            labels = np.searchsorted(np.sort(people), lists.identity)
            self.num_classes = len(people)
        else:
            parts = _official(lists.partition, sizes, rng)
            names = _attributes(label, attributes, lists)
            known = lists.attributes.tolist()
            labels = lists.values[:, [known.index(name) for name in names]].astype(np.int64)
            self.num_classes = 2 * len(names)
            if len(names) > 1:
                self.heads = dict.fromkeys(names, 2)
            else:
                labels = labels[:, 0]
        chosen = np.concatenate(parts)
        images = read_images(folder, lists.names[chosen].tolist(), size)
        ends = np.cumsum([len(part) for part in parts])[:-1]
        inputs = map(torch.from_numpy, np.split(images, ends))
        splits = Splits(
            *(
                Split(inputs, torch.from_numpy(labels[part]))
                for inputs, part in zip(inputs, parts, strict=True)
            )
        )
        self.input_shape = (3, size, size)
        self.train, self.validation, self.test = standardised(splits)


_Places = NDArray[np.int64]
"""Numbers of images, in the order of their names."""


def _attributes(label: str, attributes: Sequence[str] | None, lists: Lists) -> list[str]:
    """Names of the attributes to tell."""
    known: list[str] = lists.attributes.tolist()
    if label != "attributes":
        if label not in known:
            raise ConfigError(
                f"task.label={label} is unknown: choose attributes, identity, or one of "
                f"{', '.join(known)}."
            )
        return [label]
    names = known if attributes is None else list(attributes)
    unknown = sorted(set(names) - set(known))
    if unknown or not names or isinstance(attributes, str):
        raise ConfigError(
            f"task.attributes={attributes} must be a list of some of {', '.join(known)}, or null "
            f"for all."
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"task.attributes={names} names one twice: name each once.")
    return names


def _refuse_sizes(sizes: Mapping[str, int | None]) -> None:
    for name, size in sizes.items():
        if size is not None:
            raise ConfigError(
                f"task.{name}={size} is of the official partition, which task.label=identity does "
                f"not follow: leave it null, and choose n_identities and held_out_share."
            )


def _official(
    partition: NDArray[np.int64], sizes: Mapping[str, int | None], rng: np.random.Generator
) -> list[_Places]:
    """Draw from the three parts of the official partition."""
    parts = []
    for part, (name, size) in enumerate(sizes.items()):
        there = rng.permutation(np.flatnonzero(partition == part))
        if size is not None:
            require_int(name, size, 1)
        if len(there) < (size or 1):
            raise ConfigError(
                f"task.{name}={size} asks for more than the {len(there)} images of the official "
                f"partition: choose fewer, or null for all."
            )
        parts.append(there[:size])
    return parts


def _people(identity: NDArray[np.int64], min_images: int, count: int | None) -> NDArray[np.int64]:
    """Numbers of the people to tell: those with the most images first, then by number."""
    people, images = np.unique(identity, return_counts=True)
    order = np.argsort(-images, kind="stable")
    enough = people[order][images[order] >= min_images]
    if count is not None:
        require_int("n_identities", count, 2)
    if len(enough) < max(2, count or 2):
        raise ConfigError(
            f"task.min_images={min_images} leaves {len(enough)} people, fewer than "
            f"task.n_identities={count} or 2: the most images of one are {images.max()}."
        )
    return enough[:count]


def _within(
    identity: NDArray[np.int64], people: NDArray[np.int64], share: float, rng: np.random.Generator
) -> list[_Places]:
    """Split the images of each person, and mix the people of each part."""
    parts: tuple[list[_Places], ...] = ([], [], [])
    order = np.argsort(identity, kind="stable")
    begins = np.searchsorted(identity[order], people)
    ends = np.searchsorted(identity[order], people, side="right")
    for begin, end in zip(begins, ends, strict=True):
        images = rng.permutation(order[begin:end])
        held_out = max(1, round(share * len(images)))
        test, validation, train = np.split(images, [held_out, 2 * held_out])
        for part, places in zip(parts, (train, validation, test), strict=True):
            part.append(places)
    return [rng.permutation(np.concatenate(part)) for part in parts]
