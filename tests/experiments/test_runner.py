"""Experiments: plans are read or refused, and small ones are run, killed and resumed."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from energyopt.errors import ConfigError, EnergyoptError
from energyopt.experiments.collect import study_overrides
from energyopt.experiments.plan import Experiment, experiment_names, read_experiment
from energyopt.experiments.rows import GRID, RAW, read_raw
from energyopt.experiments.runner import ExperimentRequest
from energyopt.experiments.runner import run as run_experiment
from energyopt.utils.paths import conf_dir
from tests.composing import composed
from tests.conftest import ROOT, Program, Wait, gone, journal, size, trials_of
from tests.small_experiments import write_experiment

# Made-up joules, so that numbers are the same on each machine.
SMALL = """
kind: recycled
about: What wine teaches about wine.
words: [task=wine, model=mlp, hardware=simulated, epochs=4, target=0.8, lr=0.01]
seeds: [0, 1]
again: [10, 11]
arms:
  scratch:
    grid: {batch_size: [8, 16]}
  tuned:
    words:
      - paradigm=pretrained
      - task@paradigm.source.task=wine
      - paradigm.source.epochs=2
      - paradigm.source.lr=0.01
      - 'paradigm.source.seed=${seed}'
    grid: {batch_size: [8, 16]}
  elsewhere:
    words: [task=mnist]
    grid: {batch_size: [8]}
    needs: [task=mnist, task.root=nowhere]
comparisons:
  wine: {scratch: scratch, pretrained: tuned}
  mnist: {scratch: elsewhere, pretrained: tuned, control: true}
"""
PARADIGMS = """
kind: paradigms
about: Two ways to learn digits.
words: [task=digits, task.n_train=200, model=mlp, hardware=simulated, epochs=2, target=0.5,
        objective=energy_vs_accuracy, lr=0.01]
seeds: [0, 1]
again: [10, 11]
arms:
  all:
    grid:
      paradigm: [scratch, pretrained]
      batch_size: [8]
      paradigm.source.epochs: [1]
      paradigm.source.lr: [0.01]
comparisons:
  all: {cells: all}
"""
FOLDER = ("--config-dir", "own")


def small(program: Program, name: str = "small", text: str = SMALL) -> tuple[str, ...]:
    """Write an experiment into the folder, and give the words that run it."""
    write_experiment(program.folder / "own", name, text)
    return ("-m", *FOLDER, f"experiment={name}")


def whole(program: Program, name: str = "small") -> None:
    """Each training of the small experiment is there once."""
    raw = read_raw(program.folder / "studies" / "summaries" / name)
    assert len({row.key for row in raw.rows}) == len(raw.rows) == 2 * (2 * 2 + 2)
    assert all(row.upfront_j > 0 for row in raw.select("tuned"))


# --- run


@pytest.mark.slow
def test_an_experiment_runs_skips_what_is_not_there_and_goes_on_where_it_was(
    energyopt: Program,
) -> None:
    words = small(energyopt)
    ran = energyopt.ok(*words)
    assert "arm elsewhere is skipped: task.root=nowhere" in ran.text
    assert "arm 1 of 2, scratch: to choose its setup, 4 trainings" in ran.text
    assert "arm 2 of 2, tuned: its best setup with new seeds, 2 trainings" in ran.text
    assert "left" in ran.text
    assert "SIMULATED" in ran.text
    folder = energyopt.folder / "studies" / "summaries" / "small"
    whole(energyopt)
    data = json.loads((folder / "summary.json").read_text())
    assert [row["status"] for row in data["rows"]] == ["compared", "skipped"]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"summary.csv", "summary.txt", "figure.svg", RAW} <= set(before)

    again = energyopt.ok(*words)
    assert "trainings" not in again.text.partition("The best setup")[0]  # nothing was left to do
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    energyopt.ok("summarize", "small", "--out", "exported")
    for name in before.keys() - {"experiment.json"}:
        assert (energyopt.folder / "exported" / name).read_bytes() == before[name]
    assert "best" in energyopt.ok("show", "small-tuned-best").text  # an ordinary study


@pytest.mark.slow
def test_paradigms_are_one_study_whose_axes_exist_in_some_of_them(energyopt: Program) -> None:
    ran = energyopt.ok(*small(energyopt, "ways", PARADIGMS), "study=mine", "epochs=1")
    assert "times scratch's" in ran.text
    setups = [trial["overrides"] for trial in trials_of(energyopt, "mine-all")]
    assert len(setups) == 4
    for words in setups:
        has_source = any(word.startswith("paradigm.source") for word in words)
        assert has_source == ("paradigm=pretrained" in words)
    assert len(trials_of(energyopt, "mine-all-pretrained")) == 2
    assert read_raw(energyopt.folder / "studies" / "summaries" / "mine").words == ("epochs=1",)


@pytest.mark.slow
def test_killed_between_two_studies_it_goes_on_with_the_next(energyopt: Program) -> None:
    words = small(energyopt)
    assert energyopt(*words, ENERGYOPT_FAILPOINT="studied:kill").code == -signal.SIGKILL
    before = trials_of(energyopt, "small-scratch")
    assert len(before) == 4
    energyopt.ok(*words)
    assert trials_of(energyopt, "small-scratch") == before
    whole(energyopt)


@pytest.mark.slow
def test_killed_in_a_study_it_leaves_nothing_running_and_trains_the_rest(
    energyopt: Program, wait_for: Wait
) -> None:
    words = small(energyopt)
    with energyopt.start(*words) as process:
        wait_for(lambda: journal(energyopt, "small-scratch", 1).exists())
        process.kill()
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    wait_for(lambda: gone(process.pid))
    energyopt.ok(*words)
    whole(energyopt)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_the_experiment_alone_ends_it_at_once_with_its_accounts(
    energyopt: Program, wait_for: Wait, number: signal.Signals
) -> None:
    words = small(energyopt)
    never = ("epochs=1000000", "target=1", "lr=1e-7")  # such a training does not end by itself
    with energyopt.start(*words, *never) as process:
        wait_for((energyopt.folder / "studies" / "energyopt.db").exists)
        wait_for(lambda: size(journal(energyopt, "small-scratch", 0)) > 4000)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "Traceback" not in out + err
    assert (out + err).count("the same command") == 1
    ends = [row["result"] and row["result"]["end"] for row in trials_of(energyopt, "small-scratch")]
    assert "interrupted" in ends


@pytest.mark.slow
def test_a_study_that_fails_ends_the_experiment_with_its_sentence(energyopt: Program) -> None:
    ran = energyopt(*small(energyopt), "model.width=0")
    assert ran.code == 2
    assert "width" in ran.text
    assert "Traceback" not in ran.text


# --- refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("experiment=x",), "experiment=x is several studies: run it with -m"),
        (("-m", "experiment=x", "seed=3"), "seed is part of an experiment's plan"),
        (("-m", "experiment=x", "sampler=tpe"), "sampler is part of"),
        (("-m", "experiment=x", "lr=choice(1,2)"), "an experiment has its own axes"),
        (("-m", "experiment=x", "size=huge"), "size=huge is neither usual nor large"),
        (("-m", "experiment=x", "splits=odd"), "splits=odd is neither seed nor fixed"),
        (("-m", "experiment=x", "--cfg", "job"), "--cfg is not for an experiment"),
        (("-m", "experiment=x", "hydra.verbose=true"), "hydra.verbose=true is not for"),
        (("-m", "experiment=x", "study=a/b"), "is not a name"),
    ],
)
def test_words_that_are_not_for_an_experiment_are_refused(words: Any, message: str) -> None:
    with pytest.raises(EnergyoptError, match=message):
        ExperimentRequest.parse(words)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("lr=0.1", "experiment shared_knowledge searches lr"),
        ("task=wine", "experiment shared_knowledge sets task for its arm turned-both"),
        ("+model.width=8", "experiment shared_knowledge sets model.width for its arm"),
    ],
)
def test_what_tells_its_arms_apart_is_not_for_words(word: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"{re.escape(says)}.*; leave it out"):
        run_experiment(["-m", "experiment=shared_knowledge", word])


@pytest.mark.parametrize("name", ["", "nothing"])
def test_an_unknown_name_is_answered_with_those_there_are(energyopt: Program, name: str) -> None:
    ran = energyopt("-m", f"experiment={name}")
    assert ran.code == 2
    assert f"there is no experiment {name!r}; there are {', '.join(experiment_names())}" in ran.text


def test_a_key_that_is_searched_is_not_set(energyopt: Program) -> None:
    ran = energyopt(*small(energyopt), "batch_size=4")
    assert ran.code == 2
    assert "experiment small searches batch_size" in ran.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "odd"}, "kind: odd is none of training, recycled"),
        ({"seeds": []}, r"seeds: \[\] is no list of different whole numbers"),
        ({"seeds": [1, 1]}, "is no list of different"),
        ({"seeds": [True]}, "is no list of different"),
        ({"again": [0, 9]}, "seeds that chose a setup do not judge it"),
        ({"arms": {}}, "arms: keys with values are needed"),
        ({"arms": {"a": {"grid": {"lr": 1}}}}, "arms.a.grid.lr: 1 is no list of values"),
        ({"arms": {"a": {"grid": {"seed": [1]}}}}, "seeds are those of the experiment"),
        ({"arms": {"a": {"grids": {}}}}, "there is no key grids; there are grid, larger"),
        ({"words": ["lr"]}, "words: lr is no key=value word"),
        ({"words": "lr=1"}, "words: lr=1 is no list"),
        ({"wrong": 1}, "there is no key wrong"),
        ({"comparisons": {"c": {"scratch": "x", "pretrained": "tuned"}}}, "x is none of the arms"),
    ],
)
def test_a_wrong_plan_is_refused_with_its_file_and_key(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write_experiment(tmp_path, "wrong", yaml.safe_dump(yaml.safe_load(SMALL) | change))
    with pytest.raises(ConfigError, match=message) as caught:
        read_experiment("wrong", tmp_path)
    assert "wrong.yaml" in str(caught.value)


def test_what_is_no_yaml_is_refused(tmp_path: Path) -> None:
    write_experiment(tmp_path, "wrong", "a: [")
    with pytest.raises(ConfigError, match=r"wrong\.yaml cannot be read as YAML"):
        read_experiment("wrong", tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        read_experiment("wrong", tmp_path / "nowhere")


# --- those that we ship


@pytest.mark.parametrize("name", experiment_names())
def test_splits_vary_with_the_seed_unless_they_are_fixed(name: str) -> None:
    varying, fixed = read_experiment(name), read_experiment(name, splits="fixed")
    assert all(arm.varies_splits for arm in varying.arms)
    assert not any(arm.varies_splits for arm in fixed.arms)
    for arm, other in zip(varying.arms, fixed.arms, strict=True):
        assert {*other.words} < {*arm.words}
    words = ("-m", f"experiment={name}", "splits=fixed")
    assert ExperimentRequest.parse(words).splits == "fixed"


@pytest.mark.parametrize("large", [False, True], ids=["usual", "large"])
@pytest.mark.parametrize("name", experiment_names())
@pytest.mark.slow
def test_a_shipped_experiment_composes_and_comes_back(name: str, large: bool) -> None:
    found = read_experiment(name, large=large)
    assert Experiment.from_dict(json.loads(json.dumps(found.to_dict()))).name == name
    for arm in found.arms:
        words = study_overrides(found, arm, GRID, None)
        composed(*(word for word in words if "choice(" not in word))
    axes = [dict(arm.grid) for arm in found.arms]
    assert all(grid == axes[0] for grid in axes), "all arms search the same axes"
    for comparison in found.comparisons:
        assert found.kind != "recycled" or "random" in comparison.arms, "a control is needed"


def test_the_page_and_the_help_name_each_experiment_and_kind() -> None:
    page = (ROOT / "docs" / "experiments.md").read_text()
    for name in experiment_names():
        assert f"`{name}`" in page, name
    assert "experiment=" in (conf_dir() / "hydra/help/energyopt.yaml").read_text()
