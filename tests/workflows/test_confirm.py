"""`confirm`: the best setups and the default, with the same seeds, in the study's books."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from energyopt.analysis.confirmation_stats import confirmed_setups
from energyopt.core.energy import Energies, Energy
from energyopt.core.study_record import Confirmation, StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.errors import StudyError
from energyopt.report.confirmation_view import confirmation_lines, confirmation_view
from energyopt.workflows.confirm import ConfirmRequest, finalists, interleaved
from tests.conftest import OWN_MODEL, TINY, Program, Wait, gone, trials_of
from tests.toys import result, study, trial

LR = "lr=tag(log,interval(1e-2,1e-1))"


def rows_of(program: Program) -> list[dict[str, Any]]:
    """The rows of all confirmations, by number."""
    with sqlite3.connect(program.folder / "studies/energyopt.db") as database:
        database.row_factory = sqlite3.Row
        query = "select * from energyopt_confirmations order by number"
        rows = [dict(row) for row in database.execute(query)]
    for row in rows:
        row["result"] = json.loads(row["result"] or "null")
        row["overrides"] = json.loads(row["overrides"])
    return rows


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A folder with a study of four trials."""
    program = Program(Path(sys.executable), tmp_path_factory.mktemp("searched"))
    words = ("batch_size=8", "sampler=tpe", "n_trials=4", "study=toy", "seed=3")
    program.ok("-m", *TINY, LR, *words)
    return program


@pytest.fixture
def toy(searched: Program, tmp_path: Path) -> Program:
    """A copy in a separate folder."""
    shutil.copytree(searched.folder / "studies", tmp_path / "studies")
    return Program(searched.python, tmp_path)


# What is compared --------------------------------------------------------------------------


def mixed(**more: Any) -> StudyRecord:
    return study(
        [
            trial(0, result([(100, 8, 0.9)]), default=True),
            trial(1, result([(100, 4, 0.9)])),
            trial(2, result([(100, 2, 0.9)])),
            trial(3, result([(100, 1, 0.3)])),
            trial(4, result([(100, 3, 0.9)])),
        ],
        **more,
    )


def test_the_best_setups_and_the_default_are_compared():
    chosen = finalists(mixed(), ConfirmRequest(top=2))
    assert [each.number for each in chosen] == [2, 4, 0]
    assert [finalist.number for finalist in finalists(mixed(), ConfirmRequest(top=9))] == [
        2,
        4,
        1,
        0,
    ]
    assert [
        finalist.number for finalist in finalists(mixed(), ConfirmRequest(target=0.2, top=1))
    ] == [3, 0]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(StudyError, match=r"no trial of study toy reached 0\.95; search on, or"):
        finalists(mixed(), ConfirmRequest(target=0.95))
    with pytest.raises(StudyError, match="has trial 0 to confirm, and nothing to compare it with"):
        finalists(study([trial(0, result([(100, 8, 0.9)]), default=True)]), ConfirmRequest())
    with pytest.raises(StudyError, match="is another app's"):
        finalists(mixed(target=None), ConfirmRequest())


def test_seeds_are_the_same_for_all_and_each_setup_is_first_in_turn():
    toy = mixed(overrides=("task=digits", "objective.weight=1"))
    plan = interleaved(toy, finalists(toy, ConfirmRequest(top=1)), ConfirmRequest(seeds=3))
    assert [(each.seed, each.trial.number) for each in plan] == [
        (1000, 2), (1000, 0), (1001, 0), (1001, 2), (1002, 2), (1002, 0),
    ]  # fmt: skip
    words = ("task=digits", "lr=0.03", "objective=energy_to_target", "seed=1000")
    assert sorted(plan[0].overrides) == sorted(words)


def confirmed(energies: dict[int, list[float | None]]) -> StudyRecord:
    """A study of confirmations alone: for each trial the energy with each seed, None if missed."""
    return StudyRecord(
        *("toy", (), (), (), 0.9),
        trials=tuple(trial(n, default=n == 0) for n in energies),
        confirmations=tuple(
            Confirmation(
                *(10 * number + seed, number, seed, (f"lr={number}", f"seed={seed}"), "complete"),
                result=result([(100, energy_j or 1.0, 0.9 if energy_j else 0.5)]),
                test_accuracy=0.8,
            )
            for number, energy in energies.items()
            for seed, energy_j in enumerate(energy)
        ),
    )


def lines(energies: dict[int, list[float | None]]) -> list[str]:
    return list(confirmation_lines(confirmed_setups(confirmed(energies))))


def test_a_setup_wins_where_the_interval_excludes_one():
    assert lines({0: [4.0, 8.0, 6.0], 1: [1.0, 2.0, 1.6]}) == [
        "Trial 1 against the default setup: 0.255x the joules (95 % interval 0.233 to 0.28, 3 "
        "paired seeds): trial 1 wins."
    ]
    assert lines({0: [1.0, 2.0, 1.6], 1: [4.0, 8.0, 6.0]})[0].endswith(": the default setup wins.")


def test_nobody_wins_where_it_does_not():
    (line,) = lines({0: [1.0, 2.0, 1.5], 1: [1.2, 1.1, 1.6]})
    assert line.endswith("): no winner; more --seeds may tell them apart.")


def test_what_missed_the_target_is_not_compared_by_joules():
    assert lines({0: [4.0, None, None], 1: [1.0, 2.0, 1.0]}) == [
        "Trial 1 against the default setup: the default setup missed the target with 2 of 3 "
        "seeds, so their joules are not compared."
    ]
    assert lines({0: [4.0], 1: [1.0]}) == [
        "Trial 1 against the default setup: too few seeds; give --seeds 2 or more."
    ]
    assert lines({0: [4.0], 1: [None]}) == []


def shown(of: StudyRecord, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(confirmation_view(of, confirmed_setups(of)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_mean_has_its_interval_and_the_test_metric_its_error():
    text = shown(confirmed({0: [4.0, 8.0, 6.0], 1: [1.0, 2.0, 1.6]}))
    # exp(mean +- t(2) s / sqrt(3)) of the logs; t(2) = 4.303
    assert re.search(
        r"^trial 1: lr=0\.02 +1\.47 J \(0\.612 to 3\.55 J\) .* 3/3 .*0\.8000", text, re.MULTILINE
    )
    assert "Trial 1 reaches the target 0.9 on test data 0 of 3 times; test accuracy 0.8000" in text
    single = shown(confirmed({0: [4.0], 1: [1.0]}))
    assert re.search(r"^trial 1: lr=0\.02 +1 J \(one seed\)", single, re.MULTILINE)


def test_a_verdict_that_evaluation_turns_around_says_so():
    def trained(energy_j: float, evaluation_j: float, seed: int) -> TrialResult:
        record = result([(100, energy_j * (1 + 0.01 * seed), 0.9)])
        spent = Energies.of([Energy(1.0, cpu_j=evaluation_j)])
        return replace(record, checkpoints=replace(record.checkpoints, evaluation=spent))

    of = confirmed({0: [1.0] * 3, 1: [1.0] * 3})
    energies_j = {0: (10.0, 1.0), 1: (5.0, 20.0)}
    rows = [replace(c, result=trained(*energies_j[c.trial], c.seed)) for c in of.confirmations]
    alone, whole = confirmation_lines(confirmed_setups(replace(of, confirmations=tuple(rows))))
    assert alone.endswith("trial 1 wins.")
    assert whole.startswith("Evaluation costs 396.0 % of the training of trial 1 and 9.9 % of")
    assert whole.endswith(": the default setup wins, so the verdict depends on evaluation.")


# The command -------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_trains_with_the_same_seeds_and_says_who_wins(toy: Program) -> None:
    before = toy.ok("show", "toy", "--all").text
    ran = toy.ok("confirm", "toy", "--seeds", "3", "--top", "1")
    assert "study toy: 6 trainings, 2 setups with 3 seeds each" in ran.text
    assert re.search(
        r"\[2/6\] seed 1000, nearest to the default, trial 0 \(lr=0.01\): .* test accuracy",
        ran.text,
    )
    assert "Confirmed: energy to the target with the same seeds for all (simulated" in ran.text
    assert re.search(
        r"against the setup nearest to the default: [\d.]+x the joules \(95 % interval", ran.text
    )
    rows = rows_of(toy)
    assert [(row["seed"], row["state"]) for row in rows] == [
        (1000 + n // 2, "complete") for n in range(6)
    ]
    assert all(row["test_accuracy"] > 0.3 for row in rows)
    assert {row["result"]["end"] for row in rows} <= {"target", "epochs"}
    assert len(trials_of(toy, "toy")) == 4  # no trials that a sampler would see
    after = toy.ok("show", "toy", "--all").text
    cost = r"The search cost ([\d.]+) J"
    reported = re.findall(r"Confirming cost ([\d.]+) J", ran.text)
    spent = [float(re.findall(cost, text)[0]) for text in (before, after)]
    assert spent[1] - spent[0] == pytest.approx(float(reported[0]), abs=0.11)


@pytest.mark.slow
def test_a_second_call_trains_what_is_missing(toy: Program) -> None:
    toy.ok("confirm", "toy", "--seeds", "1", "--top", "1")
    again = toy.ok("confirm", "toy", "--seeds", "1", "--top", "1")
    assert "2 of them done before" in again.text
    assert "seed 1000," not in again.text
    assert "too few seeds" in again.text
    more = toy.ok("confirm", "toy", "--seeds", "2", "--top", "1")
    assert "[3/4] seed 1001, nearest to the default" in more.text
    assert [row["seed"] for row in rows_of(toy)] == [1000, 1000, 1001, 1001]


@pytest.mark.slow
def test_other_words_are_other_trainings(toy: Program) -> None:
    toy.ok("confirm", "toy", "--seeds", "1", "--top", "1")
    toy.ok("confirm", "toy", "epochs=2", "--target", "0.5", "--seeds", "1", "--top", "1")
    rows = rows_of(toy)
    assert [row["result"]["start"]["target"] for row in rows] == [0.9, 0.9, 0.5, 0.5]
    assert "epochs=2" in rows[2]["overrides"]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["confirming", "confirmed"])
def test_killed_it_loses_the_running_training_and_books_its_joules(
    toy: Program, place: str
) -> None:
    ran = toy("confirm", "toy", "--seeds", "2", "--top", "1", ENERGYOPT_FAILPOINT=f"{place}#2:kill")
    assert ran.code == -signal.SIGKILL
    assert [row["state"] for row in rows_of(toy)] == ["complete", "running"]
    again = toy.ok("confirm", "toy", "--seeds", "2", "--top", "1")
    assert "1 of them done before" in again.text
    rows = rows_of(toy)
    assert [row["state"] for row in rows] == ["complete", "lost", *["complete"] * 3]
    assert rows[1]["reason"] == "what ran it died"
    assert (rows[1]["result"] is not None) == (place == "confirmed")
    assert rows[1]["overrides"] == rows[2]["overrides"]


@pytest.mark.slow
def test_interrupted_it_keeps_what_was_done(toy: Program, wait_for: Wait) -> None:
    words = ("confirm", "toy", "epochs=2000", "--target", "1", "patience=null", "--seeds", "1")
    process = toy.start(*words, "lr=1e-9")
    journal = toy.folder / "studies/toy/confirm/0/progress.jsonl"
    wait_for(lambda: journal.exists() and '"Checkpoint"' in journal.read_text())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "the same command resumes there" in out
    assert gone(process.pid)
    (row,) = rows_of(toy)
    assert (row["state"], row["reason"]) == ("lost", "interrupted")
    assert row["result"]["books"]["training"]


@pytest.mark.slow
def test_a_training_that_fails_says_why(toy: Program) -> None:
    ran = toy("confirm", "toy", "model.width=0", "--seeds", "1")
    assert ran.code == 2
    assert "model" in ran.err
    assert "Traceback" not in ran.err + ran.out
    assert [row["state"] for row in rows_of(toy)] == ["failed"]


@pytest.mark.slow
def test_code_that_only_a_database_names_is_not_run(energyopt: Program) -> None:
    (energyopt.folder / "my_net.py").write_text(OWN_MODEL)
    overrides = ("model=own", "model._target_=my_net.build")
    energyopt.ok(
        "-m", *TINY, *overrides, LR, "batch_size=8", "sampler=random", "n_trials=2", "study=own"
    )
    ran = energyopt("confirm", "own", "--seeds", "1", "--target", "0.2")
    assert ran.code == 2
    assert "nothing that a database names is run: type that again" in ran.text
    vouched = "model._target_=my_net.build"
    energyopt.ok("confirm", "own", vouched, "--seeds", "1", "--target", "0.2", "--top", "1")


@pytest.mark.mostly_slow(every=3)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nope",), "there is no study 'nope'"),
        (("toy", "--seeds", "0"), "argument --seeds: must be a whole number of at least 1, got 0"),
        (
            ("toy", "--seeds", "few"),
            "must be a whole number of at least 1, got few",
        ),
        (("toy", "--top", "-1"), "must be a whole number of at least 1, got -1"),
        (("toy", "--target", "2"), "must be above 0 and at most 1, got 2"),
        (("toy", "epochs=many", "--seeds", "1"), "epochs=many is not allowed"),
        (("toy", "nonsense=1", "--seeds", "1"), "nonsense"),
        (("toy", "--storage", "none.db"), "there is no study database"),
        ((), "study"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    toy: Program, words: tuple[str, ...], says: str
) -> None:
    ran = toy("confirm", *words)
    assert ran.code == 2
    assert says in ran.text
    assert "Traceback" not in ran.text


def test_a_study_that_runs_is_not_confirmed_beside_it(toy: Program) -> None:
    import fcntl

    lock = toy.folder / "studies/.energyopt.db.toy.lock"
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = toy("confirm", "toy", "--seeds", "1")
    assert ran.code == 2
    assert "study toy is being run by process" in ran.text
