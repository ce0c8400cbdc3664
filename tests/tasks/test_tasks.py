"""The tasks keep their contract, read their files, and refuse what does not fit."""

from __future__ import annotations

import gzip
import importlib
import inspect
import math
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from energyopt.core.protocols import Split, Task
from energyopt.errors import ConfigError
from energyopt.tasks import _splits
from energyopt.tasks.digits import Digits
from energyopt.tasks.digits_overlay import DigitsOverlay
from energyopt.tasks.har import Har
from energyopt.tasks.tabular import Tabular
from energyopt.testing import TASK_CHECKS, TaskCase, tasks
from tests.small_data import TASKS

ROOT = Path(__file__).parents[2]


SIZES = {
    "digits": (1348, 225, 224),
    "digits 5-9": (447, 225, 224),
    "digits rotation": (1348, 225, 224),
    "digits both": (1348, 225, 224),
    "digits_overlay both": (300, 80, 70),
    "digits_overlay left": (300, 80, 70),
    "har": (600, 150, 120),
    "har both": (600, 150, 120),
    "wine": (106, 36, 36),
    "breast_cancer": (497, 36, 36),
    "diabetes": (266, 88, 88),
    "fashion_mnist": (40, 20, 20),
    "mnist": (40, 20, 20),
    "mnist 8x8": (40, 20, 20),
    "cifar10": (80, 20, 20),
    "cifar100 fine": (200, 100, 100),
    "cifar100 coarse": (260, 40, 100),
    "pamap2 activity": (192, 48, 132),
    "pamap2 subject": (180, 72, 72),
    "pamap2 both": (180, 72, 72),
    "celeba attributes": (32, 8, 8),
    "celeba Smiling": (32, 8, 8),
    "celeba identity": (32, 8, 8),
    "text": (300, 80, 70),
}
every_task = pytest.mark.parametrize("name", SIZES)
NO_CLASSES_CHECKED = ("text", "diabetes")  # not all characters occur; measurements are no classes
every_task_of_classes = pytest.mark.parametrize(
    "name", [name for name in SIZES if name not in NO_CLASSES_CHECKED]
)
every_measured_task = pytest.mark.parametrize("name", [name for name in SIZES if name != "text"])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@cache
def case(name: str) -> TaskCase:
    return TaskCase(TASKS[name])


def build(name: str) -> Task:
    return case(name).task


def classes(part: Split) -> list[int]:
    return sorted(set(part.labels.tolist()))


def parts_of(task: Task) -> tuple[Split, Split, Split]:
    return task.train, task.validation, task.test


# --- the contract of all tasks


def test_every_task_is_tried():
    options = {path.stem for path in (ROOT / "conf/task").glob("*.yaml")} - {"own", "replay"}
    assert {name.partition(" ")[0] for name in SIZES} == options
    assert SIZES.keys() == TASKS.keys()


@every_task
def test_splits_have_the_shapes_and_types_the_protocol_promises(name):
    tasks.is_a_task(case(name))
    tasks.splits_have_the_shapes_and_types_the_protocol_promises(case(name))
    assert tuple(len(part.labels) for part in parts_of(build(name))) == SIZES[name]


@every_task
def test_a_task_of_several_heads_has_a_column_of_labels_each(name):
    several = "heads" in vars(build(name))
    assert several == name.endswith((" both", " attributes"))
    assert len(case(name).heads) == 1 or several
    tasks.a_task_of_several_heads_has_a_column_of_labels_each(case(name))


@every_task_of_classes
def test_every_class_occurs_in_every_split_and_no_other(name):
    tasks.every_class_occurs_in_every_split_and_no_other(case(name))


@every_measured_task
def test_inputs_are_standardised_with_the_training_statistics_only(name):
    tasks.inputs_are_standardised_with_the_training_statistics_only(case(name))


@every_task
def test_splits_do_not_overlap(name):
    tasks.splits_do_not_overlap(case(name))


@every_task
def test_building_twice_gives_the_same_data(name):
    tasks.building_twice_gives_the_same_data(case(name))


@every_task
def test_building_leaves_the_global_random_state_alone(name):
    tasks.building_leaves_the_global_random_state_alone(case(name))


@every_task
def test_training_samples_are_not_ordered_by_class(name):
    tasks.training_samples_are_not_ordered_by_class(case(name))


@every_task
def test_the_checks_that_are_left_out_are_those_of_measurements(name):
    skipped = [check for check in TASK_CHECKS if check.why_skipped(case(name))]
    expected = []
    if name in NO_CLASSES_CHECKED:
        expected.append(tasks.every_class_occurs_in_every_split_and_no_other)
    if name == "text":
        expected.append(tasks.inputs_are_standardised_with_the_training_statistics_only)
    assert skipped == expected


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


def test_a_class_split_of_digits_numbers_them_by_their_place():
    low, high = Digits(classes=[0, 1, 2, 3, 4]), Digits(classes=[9, 5], n_validation=40, n_test=40)
    assert (low.num_classes, high.num_classes) == (5, 2)
    with gzip.open(_splits.sklearn_data_file("digits.csv.gz")) as file:
        labels = np.loadtxt(file, delimiter=",")[:, -1]
    told = torch.cat([part.labels for part in parts_of(high)])
    assert torch.bincount(told).tolist() == [(labels == 9).sum(), (labels == 5).sum()]


def test_rotation_is_told_of_the_same_images_as_the_class_and_both():
    options: dict[str, Any] = {"n_train": 200, "rotation_seed": 3}
    turned = Digits(label="class", rotated=True, **options)
    rotation, both = Digits(label="rotation", **options), Digits(label="both", **options)
    for one, other, all_told in zip(*map(parts_of, (turned, rotation, both)), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.inputs, all_told.inputs)
        assert torch.equal(torch.stack([one.labels, other.labels], dim=1), all_told.labels)
    assert both.heads == {"class": 10, "rotation": 4}
    assert not torch.equal(turned.train.inputs, Digits(n_train=200).train.inputs)
    assert torch.equal(turned.train.labels, Digits(n_train=200).train.labels)


def test_a_turned_digit_turned_back_is_the_digit():
    upright, turned = Digits(), Digits(label="rotation")
    assert torch.bincount(turned.train.labels).min() > 250
    # All pixels are scaled alike in each, so images compare by their order of pixels.
    for turns in range(4):
        place = int((turned.test.labels == turns).nonzero()[0])
        back = torch.rot90(turned.test.inputs[place], -turns, dims=(1, 2))
        pair = torch.stack([back.flatten(), upright.test.inputs[place].flatten()])
        assert float(torch.corrcoef(pair)[0, 1]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": [3]}, r"classes=\[3\] must be a list of at least 2 of 0, 1, 2"),
        ({"classes": [3, 10]}, r"classes=\[3, 10\] must be"),
        ({"classes": 5}, r"classes=5 must be"),
        ({"classes": [3, 3]}, r"classes=\[3, 3\] names one twice"),
        ({"classes": [0, 1]}, r"n_validation=225 and n_test=224 leave none of the 360 samples"),
        ({"label": "parity"}, r"label=parity is unknown: choose class, rotation or both"),
        ({"label": "both", "rotated": False}, r"rotated=false leaves no rotation to tell"),
        ({"rotated": "yes"}, r"rotated=yes must be true, false or null"),
        ({"rotation_seed": -1}, r"rotation_seed=-1 must be"),
    ],
)
def test_digits_refuse_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        Digits(**options)


# --- two digits in one image


def test_overlay_shows_the_digit_it_tells_on_each_side():
    task = DigitsOverlay(n_train=300)
    with gzip.open(_splits.sklearn_data_file("digits.csv.gz")) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    digits = torch.from_numpy(table[:, :-1]).reshape(-1, 8, 8)
    for place in range(20):
        image, (left, right) = task.test.inputs[place, 0], task.test.labels[place].tolist()
        for told, ours, theirs in (
            (left, image[:8, :4], digits[:, :, :4]),  # where the other one never is
            (right, image[4:, 8:], digits[:, :, 4:]),
        ):
            seen = torch.cat([ours.reshape(1, -1), theirs.reshape(len(digits), -1)])
            nearest = torch.corrcoef(seen)[0, 1:].nan_to_num(-1).max(dim=0)
            assert float(nearest.values) == pytest.approx(1.0, abs=1e-4)
            alike = torch.corrcoef(seen)[0, 1:] > float(nearest.values) - 1e-4
            assert told in table[alike.numpy(), -1]


def test_overlay_tells_one_side_or_both_of_the_same_images():
    left, right, both = (
        DigitsOverlay(n_train=100, label=label) for label in ("left", "right", "both")
    )
    for one, other, all_told in zip(*map(parts_of, (left, right, both)), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.inputs, all_told.inputs)
        assert torch.equal(torch.stack([one.labels, other.labels], dim=1), all_told.labels)
    assert both.heads == {"left": 10, "right": 10}


def test_overlay_parts_share_no_digit():
    # Every left digit is seen whole in its corner, but for where the right one lies over it.
    corners = [
        {row.numpy().round(3).tobytes() for row in part.inputs[:, 0, :4, :8]}
        for part in parts_of(DigitsOverlay())
    ]
    blank = min(len(corner) for corner in corners) // 50  # two digits may share their upper half
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert len(corners[one] & corners[other]) <= blank


def test_overlay_held_out_pairs_do_not_depend_on_the_training_size():
    few, many = DigitsOverlay(n_train=100), DigitsOverlay(n_train=200)
    assert torch.equal(few.validation.labels, many.validation.labels)
    assert torch.equal(few.test.labels, many.test.labels)
    assert not torch.equal(few.test.labels, DigitsOverlay(n_train=100, pair_seed=1).test.labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_test": 0}, r"n_test=0 must be"),
        ({"n_test": 225**2 + 1}, r"n_test=50626 is more than the 50625 pairs of the 225 digits"),
        ({"label": "top"}, r"label=top is unknown: choose left, right or both"),
        ({"pair_seed": -1}, r"pair_seed=-1 must be"),
        ({"split_seed": None}, r"split_seed=None must be"),
    ],
)
def test_overlay_refuses_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        DigitsOverlay(**options)


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


def test_har_tells_both_of_the_same_windows():
    activity, both = small_har(), small_har(label="both")
    subject = small_har(label="subject")
    assert both.heads == {"activity": 8, "subject": 6}
    for one, other, all_told in zip(*map(parts_of, (activity, subject, both)), strict=True):
        assert torch.equal(one.inputs, all_told.inputs)
        assert torch.equal(torch.stack([one.labels, other.labels], dim=1), all_told.labels)


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
        ({"label": "mood"}, r"label=mood is unknown: choose activity, subject or both"),
        ({"subjects": []}, r"subjects=\[\] must name at least one of the subjects 0 to 5"),
        ({"subjects": [6]}, r"subjects=\[6\] must name"),
        ({"world_seed": -1}, r"world_seed=-1 must be"),
    ],
)
def test_har_refuses_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        small_har(**options)


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
