"""An error is one clear message, affects only its own trial, and loses nothing."""

from __future__ import annotations

import pytest

from tests.conftest import (
    OWN_MODEL,
    SPACE,
    TINY,
    Program,
    trials_of,
)


@pytest.mark.mostly_slow(every=4)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lrr=3"], "lrr: there is no such key; did you mean lr?"),
        (
            ["model=foo"],
            "model=foo: there is no such option; choose one of char_transformer, cnn, cnn1d",
        ),
        (["nothing"], "there is no command 'nothing'; the commands are search, studies, show"),
        (["lr=choice(1,2"], "cannot be read"),
        (["lr=abc"], "lr=abc is not allowed: a number above 0 is needed"),
        (["batch_size=0"], "batch_size=0 is not allowed: a whole number of at least 1"),
        (["batch_size=1.5"], "batch_size=1.5 is not allowed"),
        (["target=95"], "target=95 is not allowed: a number above 0 and at most 1"),
        (["epochs=-1"], "epochs=-1 is not allowed"),
        (["device=tpu"], "device=tpu is not known; choose auto, cpu, cuda"),
        (["task=har"], "model=cnn needs images of shape (channels, height, width)"),
        (["+model.wdith=3"], "got an unexpected keyword argument 'wdith'"),
        (["hardware=replay"], "hardware.meter"),
        (["hardware=replay", "hardware.meter.path=no"], "hardware.meter.path=no: there is no such"),
        (["hardware.meter.watts_per_core=0"], "watts_per_core=0: a positive number"),
        (["--config-name", "gone"], "there is no config 'gone'"),
        (["-m", "lr=0.1"], "nothing to search: sweep at least one key"),
        (["-m", "lr=interval(1,0)"], "lr=interval(1,0): the lower end comes first"),
        (["-m", "lr=tag(log,interval(0,1))"], "a log interval begins above 0"),
        (["-m", "lrr=interval(0,1)"], "lrr is swept, but no such key exists"),
        (["-m", "target=choice(0.8,0.9)"], "target cannot be swept: one curve answers"),
        (["-m", "seed=choice(1,2)"], "seed cannot be swept except with sampler=grid"),
        (["-m", "hardware=choice(auto,estimate)"], "hardware cannot be swept"),
        (["-m", "lr=interval(0,1)", "n_trials=0"], "n_trials=0"),
        (["-m", "model=choice(cnn,gru)"], "model=gru cannot be trained here (model=gru needs"),
        (["lr=tag(log,interval(1e-4,1e-1))"], "is a search: add -m"),
        (["max_samples=0"], "max_samples=0 is not allowed"),
        (
            ["-m", "lr=interval(0,1)", "sampler=magic"],
            "sampler=magic is not known; choose joule, tpe",
        ),
        (["-m", "lr=interval(0,1)", "sampler=grid"], "sampler=grid cannot count lr"),
        (["-m", "lr=interval(0.1,1)", "study=../x"], "study='../x' is not a name"),
        (["-m", "lr=interval(0.1,1)", "model=mlp", "task=har", "model.width=0"], "width"),
        (["-m", *SPACE, "storage='postgresql://me:secret@host/db'"], "ENERGYOPT_STORAGE instead"),
        (
            ["-m", *SPACE, "n_trials=${gone}"],
            "n_trials=${gone}: ${gone} refers to the key gone, which does not exist",
        ),
        (["show", "gone"], "there is no study database studies/energyopt.db"),
        (["show"], "the following arguments are required: study"),
        (["pareto", "x", "--target", "nan"], "must be a finite number, got nan"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    energyopt: Program, words: list[str], says: str
) -> None:
    ran = energyopt(*words)
    assert ran.code == 2, ran.text
    assert says in " ".join(ran.err.split())
    assert ran.err.startswith("energyopt: ")
    assert len(ran.err.strip().splitlines()) == 1
    assert "Traceback" not in ran.text


def test_the_traceback_is_there_for_those_who_ask(energyopt: Program) -> None:
    assert "Traceback" in energyopt("batch_size=0", HYDRA_FULL_ERROR="1").err


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look at", b"dir"])
def test_a_storage_that_is_none_is_left_alone(energyopt: Program, content: bytes) -> None:
    file = energyopt.folder / "studies.db"
    if content == b"dir":
        file.mkdir()
    else:
        file.write_bytes(content)
    for words in (["-m", *TINY, *SPACE, f"storage={file}"], ["show", "x", "--storage", str(file)]):
        ran = energyopt(*words)
        assert ran.code == 2
        assert f"storage={file}" in ran.text
    assert content == b"dir" or file.read_bytes() == content


@pytest.mark.slow
def test_a_study_that_cannot_be_built_is_not_begun(energyopt: Program) -> None:
    ran = energyopt("-m", *TINY, *SPACE, "+model.nonsense=1", "study=toy")
    assert ran.code == 2
    assert "model (energyopt.models.mlp.MLP) cannot be built" in ran.text
    assert not (energyopt.folder / "studies/energyopt.db").exists()


@pytest.mark.slow
def test_failed_trials_are_counted_and_end_a_hopeless_run(energyopt: Program) -> None:
    (energyopt.folder / "my_net.py").write_text(OWN_MODEL.replace("== 13", ">= 9"))
    overrides = ("model=own", "model._target_=my_net.build", "+model.hidden=int(interval(8,99))")
    ran = energyopt("-m", *TINY, *overrides, "max_failures=2", "sampler=random", "study=f")
    assert ran.code == 3
    assert "study f was ended: max_failures=2 is reached; the last trial failed" in ran.text
    rows = trials_of(energyopt, "f")
    assert [row["state"] for row in rows].count("FAIL") == 2
    assert "thirteen is unlucky" in next(r["reason"] for r in rows if r["state"] == "FAIL")


DYING = """
import os
from energyopt import TrainStep

class Dying:
    epoch_samples = 8

    def __init__(self, lr):
        self.lr, self.calls = lr, 0

    def train(self, samples):
        sum(i * i for i in range(200_000))
        self.calls += 1
        if self.lr > 0.5 and self.calls == 3:
            os._exit(9)
        return TrainStep(samples, 1, 1.0)

    def evaluate(self):
        return 0.5
"""


@pytest.mark.slow
def test_a_trial_that_dies_costs_itself_and_its_joules_are_kept(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(DYING)
    overrides = ("paradigm=own", "paradigm._target_=mine.Dying", "+paradigm.lr=${lr}")
    words = ("sampler=grid", "hardware=estimate", "epochs=2", "study=d")
    ran = energyopt.ok("-m", *overrides, "lr=choice(0.9,0.1)", *words)
    assert "the trial's process ended with exit code 9 before it answered" in ran.text
    dead, fine = trials_of(energyopt, "d")
    assert (dead["state"], fine["state"]) == ("FAIL", "COMPLETE")
    assert dead["result"]["end"] == "failed"
    assert dead["result"]["books"]["training"]["cpu_j"] > 0


@pytest.mark.slow
def test_a_wrong_sampler_leaves_no_study_behind(energyopt: Program) -> None:
    assert energyopt("-m", *TINY, *SPACE, "n_trials=1", "study=zz", "sampler=tpee").code == 2
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=1", "study=zz")
