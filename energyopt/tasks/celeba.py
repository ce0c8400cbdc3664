"""CelebA from local files: attributes of faces, and identities."""

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
from energyopt.tasks._splits import (
    DataSet,
    Splits,
    check_int,
    check_selection,
    check_share,
    standardised,
)

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


class CelebA(DataSet):
    """Small colour images of faces with 40 attributes each, of 10,177 people, from local files.

    Source: Z. Liu, P. Luo, X. Wang, X. Tang, "Deep Learning Face Attributes in the Wild", ICCV
    2015 (only for non-commercial research). Nothing is downloaded. The images are scaled down once
    and cached; this requires Pillow (`pip install 'energyopt[images]'`).

    Attributes are classified with the official partition. Its parts share no person, so identities
    have a different split, within the images of each person who has enough of them: pictures of
    one occasion may lie in several parts, which makes identities easier to classify than they seem.

    Args:
        root: Folder with the lists and `img_align_celeba`; None looks in ENERGYOPT_DATA.
        label: Label to classify: "attributes" (one head of two classes per attribute), the name of
            one attribute, such as "Smiling", or "identity".
        attributes: The attributes of label "attributes"; None takes all 40.
        size: Pixels per side, of the central square.
        n_train: Training images for attributes, drawn with `sample_seed`; None takes all.
        n_validation: Validation images, likewise.
        n_test: Test images, likewise.
        min_images: Images that a person must have to be a class, at least 3.
        n_identities: Number of people to classify, those with the most images; None takes all who
            have enough.
        held_out_share: Share of each person's images for each of validation and test; at least one
            image.
        sample_seed: Seed of the images drawn, and of the split within identities.
    """

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
        check_int("size", size, 2)
        check_int("min_images", min_images, 3)
        check_int("sample_seed", sample_seed, 0)
        check_share("held_out_share", held_out_share, 0.5)
        *paths, folder = _DATA.find(root)
        lists = read_lists(*paths)
        rng = np.random.default_rng(sample_seed)
        sizes = {"n_train": n_train, "n_validation": n_validation, "n_test": n_test}
        if label == "identity":
            _check_no_sizes(sizes)
            people = _select_people(lists.identity, min_images, n_identities)
            parts = _split_within_people(lists.identity, people, held_out_share, rng)
            # Images of other people get a wrong label here, but are in no part.
            labels = np.searchsorted(np.sort(people), lists.identity)
            self.num_classes = len(people)
        else:
            parts = _draw_from_partition(lists.partition, sizes, rng)
            names = _select_attributes(label, attributes, lists)
            all_names = lists.attributes.tolist()
            columns = [all_names.index(name) for name in names]
            labels = lists.values[:, columns].astype(np.int64)
            self.num_classes = 2 * len(names)
            if len(names) > 1:
                self.heads = dict.fromkeys(names, 2)
            else:
                labels = labels[:, 0]
        images = read_images(folder, lists.names[np.concatenate(parts)].tolist(), size)
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


_Indices = NDArray[np.int64]
"""Indices of images, in the order of their names."""


def _select_attributes(label: str, attributes: Sequence[str] | None, lists: Lists) -> list[str]:
    """Return the names of the attributes to classify."""
    all_names: list[str] = lists.attributes.tolist()
    if label != "attributes":
        if label not in all_names:
            raise ConfigError(
                f"task.label={label} is unknown: choose attributes, identity, or one of "
                f"{', '.join(all_names)}."
            )
        return [label]
    if attributes is None:
        return all_names
    check_selection("attributes", attributes, all_names, or_null=True)
    return list(attributes)


def _check_no_sizes(sizes: Mapping[str, int | None]) -> None:
    for name, size in sizes.items():
        if size is not None:
            raise ConfigError(
                f"task.{name}={size} is of the official partition, which task.label=identity does "
                f"not follow: leave it null, and choose n_identities and held_out_share."
            )


def _draw_from_partition(
    partition: NDArray[np.int64], sizes: Mapping[str, int | None], rng: np.random.Generator
) -> list[_Indices]:
    """Draw images from the three parts of the official partition."""
    parts = []
    for part, (name, size) in enumerate(sizes.items()):
        images = rng.permutation(np.flatnonzero(partition == part))
        if size is not None:
            check_int(name, size, 1)
        if len(images) < (size or 1):
            raise ConfigError(
                f"task.{name}={size} asks for more than the {len(images)} images of the official "
                f"partition: choose fewer, or null for all."
            )
        parts.append(images[:size])
    return parts


def _select_people(
    identity: NDArray[np.int64], min_images: int, count: int | None
) -> NDArray[np.int64]:
    """Return the numbers of the people to classify, those with the most images first."""
    people, n_images = np.unique(identity, return_counts=True)
    order = np.argsort(-n_images, kind="stable")
    eligible = people[order][n_images[order] >= min_images]
    if count is not None:
        check_int("n_identities", count, 2)
    if len(eligible) < max(2, count or 2):
        raise ConfigError(
            f"task.min_images={min_images} leaves {len(eligible)} people, fewer than "
            f"task.n_identities={count} or 2: the most images of one are {n_images.max()}."
        )
    return eligible[:count]


def _split_within_people(
    identity: NDArray[np.int64], people: NDArray[np.int64], share: float, rng: np.random.Generator
) -> list[_Indices]:
    """Split the images of each person, and shuffle each part."""
    parts: tuple[list[_Indices], ...] = ([], [], [])
    order = np.argsort(identity, kind="stable")
    begins = np.searchsorted(identity[order], people)
    ends = np.searchsorted(identity[order], people, side="right")
    for begin, end in zip(begins, ends, strict=True):
        images = rng.permutation(order[begin:end])
        held_out = max(1, round(share * len(images)))
        test, validation, train = np.split(images, [held_out, 2 * held_out])
        for part, person_images in zip(parts, (train, validation, test), strict=True):
            part.append(person_images)
    return [rng.permutation(np.concatenate(part)) for part in parts]
