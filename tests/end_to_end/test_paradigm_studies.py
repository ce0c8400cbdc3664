"""Paradigms through the command line: swept, with sources trained once, as the page says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from energyopt.core.journal import NAME, JournalReader
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.storage.reader import read_study
from tests.conftest import ROOT, Program

QUICK = (
    *("hardware=simulated", "model=mlp", "model.width=16", "lr=0.01", "batch_size=16", "epochs=3"),
    *("task.n_train=300", "target=0.8"),
)
SOURCE = ("paradigm.source.lr=0.01", "paradigm.source.epochs=2", "paradigm.source.batch_size=32")
TO_THE_END = ("sampler=tpe", "stopping=none")


def results(study: StudyRecord) -> list[TrialResult]:
    return [trial.result for trial in study.trials if trial.result is not None]


def pretrained(study: StudyRecord) -> list[TrialResult]:
    return [result for result in results(study) if result.upfront]


def study_in(program: Program, name: str) -> StudyRecord:
    return read_study(str(program.folder / "studies" / "energyopt.db"), name)


@pytest.mark.parametrize(
    "how",
    [pytest.param(TO_THE_END, id="tpe", marks=pytest.mark.slow), pytest.param((), id="joule")],
)
def test_paradigms_are_searched_and_the_source_is_paid_once(
    energyopt: Program, how: tuple[str, ...]
) -> None:
    ran = energyopt.ok(
        "-m", *QUICK, *how, "n_trials=6", "study=which",
        "paradigm=choice(scratch,multitask,pretrained)",
        "paradigm.source.epochs=choice(2)", "paradigm.source.lr=choice(0.01)",
        "paradigm.trainable=choice(all,head)",
    )  # fmt: skip
    study = study_in(energyopt, "which")
    with_source = pretrained(study)
    assert with_source, ran.text
    assert 3 <= len(results(study)) <= 6  # a search may end by itself
    paid = [result for result in results(study) if result.booked("pretraining").total_j > 0]
    assert len(paid) == 1
    share_j = with_source[0].upfront_j
    assert all(each.upfront_j == share_j for each in with_source)
    assert all(each.curve.training_j[0] > share_j for each in with_source)
    assert study.search_energy_j == pytest.approx(sum(result.spent_j for result in results(study)))
    # Conditional: what belongs to a paradigm is searched with it alone.
    for trial in study.trials:
        is_pretrained = trial.params["paradigm"] == "pretrained"
        assert ("paradigm.trainable" in trial.params) == is_pretrained
    assert "pretraining" in energyopt.ok("show", "which", "--all").text
    assert len(list((energyopt.folder / "studies" / "knowledge").glob("*/record.json"))) == 1


@pytest.mark.slow
def test_two_processes_at_once_train_a_source_once(energyopt: Program) -> None:
    words = (*QUICK, *SOURCE, "paradigm=pretrained", "paradigm.source.epochs=20")
    both = [energyopt.start(*words, "paradigm.source.target=1") for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    journals = sorted((energyopt.folder / "studies" / "runs").glob(f"*/{NAME}"))
    upfront = [JournalReader(path).read().upfront for path in journals]
    assert sorted(each.fresh for (each,) in upfront) == [False, True]
    assert upfront[0][0].energy == upfront[1][0].energy


@pytest.mark.slow
def test_a_trial_killed_after_its_source_keeps_its_joules_and_the_next_takes_the_weights(
    energyopt: Program,
) -> None:
    words = (*QUICK, *SOURCE, *TO_THE_END, "paradigm=pretrained", "lr=choice(0.01,0.02,0.03)")
    energyopt.ok("-m", *words, "n_trials=3", "study=killed",
                 ENERGYOPT_FAILPOINT="learnt:kill")  # fmt: skip
    study = study_in(energyopt, "killed")
    first, *others = study.trials
    assert first.state == "failed"
    assert first.result is not None
    used_j = first.result.booked("pretraining").total_j + first.result.booked("restarted").total_j
    assert used_j > 0
    for trial in others:
        assert trial.result is not None
        assert trial.result.booked("pretraining").total_j == 0
        assert not trial.result.upfront[0].fresh
        assert trial.result.upfront[0].total_j < used_j  # without its evaluations
    assert study.search_energy_j == pytest.approx(sum(result.spent_j for result in results(study)))


@pytest.mark.slow
def test_a_setup_that_began_with_a_source_is_trained_again(energyopt: Program) -> None:
    words = (*QUICK, *SOURCE, *TO_THE_END, "paradigm=pretrained", "lr=choice(0.01,0.02)")
    energyopt.ok("-m", *words, "n_trials=2", "study=again")
    ran = energyopt.ok("retrain", "again", "--out", "model.safetensors")
    assert "It began with a source of" in ran.text
    assert "(kept, accuracy" in ran.text
    assert (energyopt.folder / "model.safetensors").exists()


@pytest.mark.slow
def test_heads_and_answers_are_told(energyopt: Program) -> None:
    shutil.copy(ROOT / "tests" / "two_heads.py", energyopt.folder)
    overrides = ("task=own", "task._target_=two_heads.TwoHeads", "+task.n_train=300")
    words = [word for word in QUICK if not word.startswith("task.")]
    targets = "paradigm.targets={digit: 0.6, odd: 0.7}"
    ran = energyopt.ok(*words, *overrides, "paradigm=multitask", targets, "inference_s=0.05")
    assert "Head odd at 0.7 first after" in ran.text
    assert "Head digit at 0.6 first after" in ran.text
    assert "1,000 answers cost: model" in ran.text
    ran = energyopt.ok(
        "-m", *words, *overrides, *TO_THE_END, "paradigm=choice(scratch,multitask)", "n_trials=3",
        "study=heads", "objective=life_cycle", "objective.n_inferences=1000", "inference_s=0.05",
    )  # fmt: skip
    for record in results(study_in(energyopt, "heads")):
        assert record.head_targets == {"digit": 0.8, "odd": 0.8}
        assert set(record.checkpoints.heads) == {"digit", "odd"}
        assert record.inference_j_per_1000["model"] > 0


# --- the page


PAGE = (ROOT / "docs" / "paradigms.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def named(text: str) -> str:
    """The file's name, which its first line says."""
    return text.splitlines()[0].lstrip("# ").split()[0].rstrip(",:")


@pytest.mark.slow
def test_the_page_shows_a_paradigm_of_ones_own_that_runs(energyopt: Program) -> None:
    for text in (*blocks("python"), *blocks("yaml")):
        path = energyopt.folder / Path(named(text))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lines = [line for text in blocks("sh") for line in text.splitlines() if line[:1] != "#"]
    assert len(lines) >= 5
    for line in lines:
        python, m, module, *words = shlex.split(line)
        assert (python, m, module) == ("python", "-m", "energyopt")
        energyopt.ok(*words)


def test_the_page_names_every_paradigm_and_its_keys() -> None:
    from energyopt.utils.paths import conf_dir

    for file in (conf_dir() / "paradigm").glob("*.yaml"):
        assert f"`{file.stem}`" in PAGE, file.stem
        keys = re.findall(r"^ *([a-z_]+):", file.read_text(), re.MULTILINE)
        for key in set(keys) - {"defaults", "width", "model", "power_limit_w"}:
            assert f"`{key}`" in PAGE or f".{key}" in PAGE, f"{file.stem}: {key}"
