"""CelebA: lists and images in the original format, attributes and identities."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks.celeba import CelebA
from tests.small_data import ATTRIBUTES, pillow, write_celeba

LISTS = {
    "attributes": "list_attr_celeba.txt",
    "identity": "identity_CelebA.txt",
    "partition": "list_eval_partition.txt",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_celeba(tmp_path_factory.mktemp("celeba"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "energyopt"


def parts_of(task: CelebA) -> tuple[Split, Split, Split]:
    return task.train, task.validation, task.test


def column(root: Path, name: str, place: int = 1) -> list[int]:
    lines = (root / LISTS[name]).read_text().splitlines()[2 if name == "attributes" else 0 :]
    return [int(line.split()[place]) for line in lines]


def test_attributes_follow_the_official_partition(root):
    task = CelebA(root, attributes=["Young", "Male"])
    assert task.heads == {"Young": 2, "Male": 2}
    assert task.num_classes == 4
    partition = np.array(column(root, "partition"))
    young, male = (np.array(column(root, "attributes", place)) for place in (4, 2))
    for number, part in enumerate(parts_of(task)):
        chosen = partition == number
        pairs = sorted(zip((young[chosen] > 0).tolist(), (male[chosen] > 0).tolist(), strict=True))
        assert [(bool(a), bool(b)) for a, b in sorted(part.labels.tolist())] == pairs


def test_an_image_is_the_middle_made_small_and_keeps_its_label(tmp_path):
    image_module = pillow()
    write_celeba(tmp_path)
    smiles = dict(
        zip(
            sorted((tmp_path / "img_align_celeba").iterdir()),
            column(tmp_path, "attributes", 3),
            strict=True,
        )
    )
    for path, smile in smiles.items():  # a bright square between dark bands says who smiles
        pixels = np.zeros((218, 178, 3), dtype=np.uint8)
        pixels[20:198] = (200, 60, 60) if smile > 0 else (60, 60, 200)
        image_module.fromarray(pixels).save(path, quality=95)
    task = CelebA(tmp_path, label="Smiling", size=16)
    assert tuple(task.input_shape) == (3, 16, 16)
    for part in parts_of(task):
        red, blue = part.inputs[:, 0], part.inputs[:, 2]
        assert torch.equal((red > blue).flatten(1).all(dim=1).long(), part.labels)
        assert float(part.inputs[:, [0, 2]].std(dim=(2, 3)).max()) < 0.3  # no band was kept


def test_identities_are_split_within_the_images_of_each(root):
    task = CelebA(root, label="identity", min_images=12, held_out_share=0.25)
    assert task.num_classes == 4
    for part, count in zip(parts_of(task), (6, 3, 3), strict=True):
        assert torch.bincount(part.labels).tolist() == 4 * [count]
    rows = [row.numpy().tobytes() for part in parts_of(task) for row in part.inputs]
    assert len(set(rows)) == 48


def test_people_with_most_images_are_told_first(tmp_path):
    write_celeba(tmp_path)
    path = tmp_path / LISTS["identity"]
    names = [line.split()[0] for line in path.read_text().splitlines()]
    people = [7] * 5 + [3] * 20 + [1] * 8 + [9] * 15
    path.write_text("".join(f"{n} {p}\n" for n, p in zip(names, people, strict=True)))
    task = CelebA(tmp_path, label="identity", min_images=3, n_identities=2)
    assert task.num_classes == 2
    assert torch.bincount(task.train.labels).tolist() == [12, 9]  # of 3 and 9: 20 and 15 images
    assert CelebA(tmp_path, label="identity", min_images=8).num_classes == 3
    with pytest.raises(ConfigError, match=r"min_images=16 leaves 1 people.*most images .* are 20"):
        CelebA(tmp_path, label="identity", min_images=16)


def test_one_attribute_is_a_plain_task(root):
    smiling = CelebA(root, label="Smiling")
    listed = CelebA(root, attributes=["Smiling"])
    assert smiling.num_classes == 2
    for task in (smiling, listed):
        assert not hasattr(task, "heads")
        assert torch.equal(task.train.labels, smiling.train.labels)


def test_all_attributes_are_heads_by_their_names(root):
    assert list(CelebA(root, attributes=None).heads) == list(ATTRIBUTES)


def test_fewer_images_are_the_first_of_the_same_order(root):
    few, many = CelebA(root, n_train=5, n_test=2), CelebA(root)
    assert torch.equal(few.train.labels, many.train.labels[:5])
    assert torch.equal(few.validation.labels, many.validation.labels)
    assert len(few.test.labels) == 2


def test_images_are_read_once(tmp_path, cache):
    root = write_celeba(tmp_path / "celeba")
    first = CelebA(root)
    kept = sorted(cache.iterdir())
    for path in (root / "img_align_celeba").iterdir():
        path.write_bytes(b"")
    again = CelebA(root)
    assert sorted(cache.iterdir()) == kept
    assert torch.equal(first.train.inputs, again.train.inputs)
    with pytest.raises(ConfigError, match=r"The image .*\.jpg cannot be read"):
        CelebA(root, size=16)


@pytest.mark.parametrize(
    "layout", [("", "", ""), ("celeba/", "", ""), ("CelebA/Anno/", "CelebA/Eval/", "CelebA/Img/")]
)
def test_the_folders_of_the_publisher_and_of_torchvision_are_found(tmp_path, layout, monkeypatch):
    flat = write_celeba(tmp_path / "flat")
    lists, evaluation, images = (tmp_path / "root" / (place or layout[0]) for place in layout)
    for folder in (lists, evaluation, images):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("list_attr_celeba.txt", "identity_CelebA.txt"):
        (flat / name).rename(lists / name)
    (flat / "list_eval_partition.txt").rename(evaluation / "list_eval_partition.txt")
    (flat / "img_align_celeba").rename(images / "img_align_celeba")
    monkeypatch.setenv("ENERGYOPT_DATA", str(tmp_path / "root"))
    assert len(CelebA().train.labels) == 32


def test_a_missing_folder_names_files_places_the_page_and_its_terms(tmp_path):
    with pytest.raises(ConfigError) as caught:
        CelebA(tmp_path)
    for words in (*LISTS.values(), "img_align_celeba/*.jpg", str(tmp_path / "celeba"),
                  "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html", "non-commercial",
                  "Nothing is downloaded"):  # fmt: skip
        assert words in str(caught.value)


def test_a_missing_pillow_is_a_sentence(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ConfigError, match=r"Pillow, which is not installed: `pip install 'energy"):
        CelebA(root)


def damage(root: Path, name: str, old: str, new: str) -> None:
    path = root / LISTS[name]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("attributes", "48\n", "49\n", r"says that it lists 49 images, but lists 48"),
        ("attributes", "48\n", "many\n", r"must begin with the number of images"),
        ("attributes", "000003.jpg", "000002.jpg", r"lists 000002\.jpg twice"),
        ("attributes", "000003.jpg", "../../x.jpg", r"lists \.\./\.\./x\.jpg which is not the"),
        ("attributes", "000003.jpg ", "000003.jpg 1 ", r"000003\.jpg must hold 4 whole numbers"),
        ("attributes", "000003.jpg ", "000003.jpg x", r"000003\.jpg must hold 4 whole numbers"),
        ("identity", "000003.jpg 1998\n", "", r"lists 47 images and .* 48; 000003\.jpg, for one"),
        ("identity", "000003.jpg 1998", "000003.jpg", r"must hold 1 whole numbers"),
        ("identity", "000003.jpg 1998", "000003.jpg 1e9", r"must hold 1 whole numbers"),
        ("identity", "000003.jpg 1998", "000003.jpg -1", r"values from -1 to 2000"),
        ("identity", "000003.jpg 1998", f"000003.jpg {10**30}", r"must hold 1 whole numbers"),
        ("partition", "000003.jpg 0", "000003.jpg 3", r"values from 0 to 3, .* 0 to 2"),
        ("partition", "000003.jpg", "100003.jpg", r"lists 48 images and .* is not in both"),
    ],
)
def test_damaged_lists_are_refused(tmp_path, name, old, new, message):
    root = write_celeba(tmp_path / "celeba")
    damage(root, name, old, new)
    with pytest.raises(ConfigError, match=message) as caught:
        CelebA(root)
    assert LISTS[name] in str(caught.value)


def test_an_attribute_that_is_neither_is_refused(tmp_path):
    root = write_celeba(tmp_path / "celeba")
    path = root / LISTS["attributes"]
    lines = path.read_text().splitlines()
    lines[4] = "000003.jpg 1 0 1 1"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"Male of 000003\.jpg is 0, but attributes are 1 or -1"):
        CelebA(root)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x00", "é".encode("latin1")])
@pytest.mark.parametrize("name", LISTS)
def test_lists_that_are_none_are_refused(tmp_path, name, content):
    root = write_celeba(tmp_path / "celeba")
    (root / LISTS[name]).write_bytes(content)
    with pytest.raises(ConfigError, match=LISTS[name]):
        CelebA(root)


def bomb() -> bytes:
    import io

    image_module = pillow()
    file = io.BytesIO()
    image_module.new("L", (5000, 5000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda good: good[:2000], r"cannot be read \(.*truncated"),
        (lambda good: b"", r"cannot be read"),
        (lambda good: b"GIF89a" + good, r"cannot be read"),
        (lambda good: bomb(), r"has 5000x5000 pixels"),
        (lambda good: None, r"cannot be read \(.*No such file"),
    ],
)
def test_damaged_images_are_refused_by_name(tmp_path, content, message):
    root = write_celeba(tmp_path / "celeba")
    path = root / "img_align_celeba" / "000007.jpg"
    bad: bytes | None = content(path.read_bytes())
    path.unlink()
    if bad is not None:
        path.write_bytes(bad)
    with pytest.raises(ConfigError, match=r"000007\.jpg " + message):
        CelebA(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "Happy"}, r"label=Happy is unknown: choose attributes, identity, or one of 5_o"),
        ({"attributes": ["Happy"]}, r"attributes=\['Happy'\] must be a list of at least 1 of 5_o"),
        ({"attributes": []}, r"attributes=\[\] must be"),
        ({"attributes": "Male"}, r"attributes=Male must be"),
        ({"attributes": ["Male", "Male"]}, r"names one twice"),
        ({"size": 1}, r"size=1 must be .* at least 2"),
        ({"n_train": 33}, r"n_train=33 asks for more than the 32 images of the official"),
        ({"n_test": 0}, r"n_test=0 must be"),
        ({"min_images": 2, "label": "identity"}, r"min_images=2 must be .* at least 3"),
        ({"n_identities": 1, "label": "identity", "min_images": 3}, r"n_identities=1 must be"),
        ({"n_train": 9, "label": "identity"}, r"n_train=9 is of the official partition"),
        ({"label": "identity"}, r"min_images=20 leaves 0 people"),
        ({"held_out_share": 0}, r"held_out_share=0 must be a number above 0"),
    ],
)
def test_impossible_options_are_refused(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CelebA(root, **options)
