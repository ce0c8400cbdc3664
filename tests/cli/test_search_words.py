"""The words of `energyopt search`."""

from __future__ import annotations

from pathlib import Path

import pytest

from energyopt.cli.search_words import read_words
from energyopt.errors import ConfigError

LR = "lr=tag(log,interval(1e-4,1e-1))"
COMMAND = ("python", "train.py", "--lr={lr}")


def test_words_are_those_of_the_sweeper() -> None:
    words = (LR, "study=mine", "n_trials=3", "trial_timeout_s=60", "target=0.5", "default.lr=1e-3")
    search = read_words(words, COMMAND)
    assert "+lr=tag(log,interval(1e-4,1e-1))" in search.arguments
    for argument in (
        *("hydra.sweeper.n_trials=3", "hydra.launcher.timeout_s=60", "hydra.sweeper.target=0.5"),
        *("hydra.sweep.dir=studies/mine", "hydra/sweeper/sampler=joule"),
    ):
        assert argument in search.arguments
    assert search.task.default == {"lr": 1e-3}


def test_a_value_may_be_a_word_as_well() -> None:
    search = read_words([LR, "seed=3", "wd=0.1"], (*COMMAND, "{seed}", "{wd}"))
    assert search.task.fixed == {"seed": 3, "wd": 0.1}
    assert "hydra.sweeper.sampler.seed=3" in search.arguments


def test_a_searched_key_may_have_the_name_of_a_word() -> None:
    search = read_words(["epochs=choice(3,5)"], ("python", "train.py", "{epochs}"))
    assert "+epochs=choice(3,5)" in search.arguments


def test_keys_of_the_hardware_are_added_to_an_option() -> None:
    words = (LR, "hardware=simulated", "hardware.trace_s=0")
    (hardware,) = (a for a in read_words(words, COMMAND).arguments if "hardware=" in a)
    assert "trace_s:0" in hardware
    assert "SimulatedMeter" in hardware


def test_a_study_has_a_name_of_what_is_asked() -> None:
    names = {
        next(a for a in read_words(words, command).arguments if "study_name=" in a)
        for words, command in (
            ((LR,), COMMAND),
            ((LR, "n_trials=3"), COMMAND),  # the same question
            ((LR,), (*COMMAND, "-v")),
            (("lr=interval(0,1)",), COMMAND),
        )
    }
    assert len(names) == 3
    assert all(name.startswith("hydra.sweeper.study_name=train-") for name in names)


@pytest.mark.parametrize(
    ("words", "command", "says"),
    [
        ((LR,), (*COMMAND, "{wd}"), r"\{wd\} is in the command, but wd is not searched"),
        ((LR, "wd=choice(0,1)"), COMMAND, r"wd is searched, but the command has no \{wd\}"),
        ((LR,), (), "no command: write it behind --"),
        ((), COMMAND, "nothing to search"),
        ((LR, "n_trial=3"), COMMAND, "did you mean n_trials"),
        ((LR, "wd=3"), COMMAND, r"the command has no \{wd\}"),
        ((LR, "lr=3"), COMMAND, "lr is searched and has the value 3"),
        ((LR, LR), COMMAND, "lr is given twice"),
        ((LR, "default.wd=3"), COMMAND, "default.wd is given, but wd is not searched"),
        ((LR, "~task"), COMMAND, "leave it out"),
        ((LR, "sampler=best"), COMMAND, "sampler=best: choose joule, tpe"),
        ((LR, "hardware.gpu=3"), COMMAND, "hardware.gpu: there is no such key"),
        ((LR,), ("no-such-program", "{lr}"), "it is in no folder of PATH"),
        ((LR,), ("./no-such-program", "{lr}"), "there is no such file"),
        ((LR,), ("train.py", "{lr}"), "write python train.py"),
        ((LR,), ("run", "{lr}"), "write ./run, and make it executable"),
        ((LR,), ("python train.py {lr}",), "leave out the quotes"),
    ],
)
def test_what_cannot_be_a_search_is_refused(
    words: tuple[str, ...],
    command: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train.py", "run"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=says):
        read_words(words, command)


def test_a_program_may_read_its_values_from_the_run() -> None:
    assert "+lr=choice(1,2)" in read_words(["lr=choice(1,2)", "run_params=true"], ["ls"]).arguments
