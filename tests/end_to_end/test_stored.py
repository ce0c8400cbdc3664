"""Data stored by older versions is read and continued, with all its energy.

The files are described in tests/stored/README.md.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import sqlalchemy as sa
import torch

from energyopt.core.journal import JournalReader
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import End, Kind, Purpose, TrialResult
from energyopt.core.upfront_cost import Origin
from energyopt.storage.reader import read_study
from tests.conftest import Program

STORED = Path(__file__).parents[1] / "stored" / "v0_1_0"
EXPECTED: Mapping[str, Any] = json.loads((STORED / "expected.json").read_text())

# The words of make.sh.
OWN_METER = ("hardware=own", "hardware.meter._target_=parts.Meter")
OWN = ("model=own", "model._target_=parts.Net", *OWN_METER)
WINE = ("task=wine", *OWN, "epochs=8", "target=0.9")
SPACE = (
    "lr=tag(log,interval(1e-4,100))",
    "+model.width=choice(8,12,13)",
    "batch_size=choice(8,32)",
)
SCHEDULE = ("stopping=halving", "stopping.schedule.rungs=2", "stopping.schedule.eta=2")
HALVING = ("-m", *WINE, *SPACE, *SCHEDULE, "sampler=random", "n_trials=12", "study=halving")
JOULE = ("-m", *WINE, SPACE[0], "n_trials=6", "study=joule", "reuse=100", "report.pue=1.2")
SOURCE = (
    *("paradigm=pretrained", "paradigm.source.epochs=2", "paradigm.source.lr=0.01"),
    "paradigm.source.batch_size=32",
)
PRETRAINED = (
    *("-m", "task=digits", "task.n_train=300", "model=mlp", "model.width=8", *OWN_METER),
    *("epochs=1", "target=0.5", "lr=choice(0.003,0.01)", "batch_size=32", *SOURCE),
    *("sampler=grid", "study=pretrained"),
)


def near(value: Any) -> Any:
    """Compare up to the last digits, which the order of a sum may change."""
    return pytest.approx(value, rel=1e-12)


@pytest.fixture
def stored(energyopt: Program) -> Program:
    """The program in a folder with all that is stored."""
    shutil.copytree(STORED, energyopt.folder, dirs_exist_ok=True)
    return energyopt


def study_in(program: Program, name: str) -> StudyRecord:
    return read_study(str(program.folder / "studies" / "energyopt.db"), name)


def burnt_j(study: StudyRecord) -> float:
    return sum(trial.result.spent_j for trial in study.trials if trial.result is not None)


def check_trial(trial: TrialRecord, expected: Mapping[str, Any]) -> None:
    """A trial is read as the version that wrote it did."""
    result = trial.result
    found: dict[str, Any] = {
        "state": trial.state,
        "values": list(trial.values),
        "feasible": trial.feasible,
    }
    if result is not None:
        found |= {"end": result.end, "checkpoints": len(result.checkpoints)}
        for name in ("spent_j", "training_j", "upfront_j", "energy_to_target_j", "best_accuracy"):
            found[name] = getattr(result, name)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == (near(value) if isinstance(value, float) else value), key


def check_study(study: StudyRecord, name: str) -> None:
    """A study is read as the version that wrote it did."""
    expected = EXPECTED["studies"][name]
    assert study.search_energy_j == near(expected["search_energy_j"])
    for trial, of in zip(study.trials, expected["trials"], strict=True):
        check_trial(trial, of)
    confirmed = [
        confirmation.result.spent_j
        for confirmation in study.confirmations
        if confirmation.result is not None
    ]
    assert confirmed == near(expected["confirmations_j"])


# --- read


@pytest.mark.parametrize("name", ["halving", "joule", "pretrained"])
def test_a_study_is_read_with_each_joule(name: str) -> None:
    study = read_study(str(STORED / "studies" / "energyopt.db"), name)
    check_study(study, name)
    curves = [trial.result.curve for trial in study.trials if trial.result is not None]
    assert sum(len(curve) for curve in curves) > 0


def test_a_study_of_another_app_is_read_with_its_values() -> None:
    study = read_study(str(STORED / "sphere.db"), "sphere")
    check_study(study, "sphere")
    for trial in study.trials:
        if trial.state == "complete":
            x, y = trial.params["x"], trial.params["y"]
            assert trial.values == near((x**2 + y**2, x))


@pytest.mark.parametrize("place", sorted(EXPECTED["journals"]))
def test_a_journal_is_read_with_each_joule(place: str) -> None:
    expected = EXPECTED["journals"][place]
    journal = JournalReader(STORED / place).read()
    result = journal.result("lost", "")
    assert result is not None
    assert result.spent_j == near(expected["spent_j"])
    books_j = {purpose: energy.total_j for purpose, energy in result.books.items()}
    assert books_j == near(expected["books_j"])
    assert list(result.curve.training_j) == near(expected["training_j"])
    assert list(result.curve.accuracy) == expected["accuracy"]
    assert result.upfront_j == near(expected["upfront_j"])
    assert len(journal.windows) == expected["windows"]
    assert [paused.at.samples for paused in journal.pauses] == expected["pauses"]
    assert journal.conditions.limit_w == expected["limit_w"]
    profile = journal.conditions.profile
    tried = profile.points if profile is not None else ()
    assert [point.limit_w for point in tried] == expected["limits_w"]


def test_journals_say_what_the_study_says() -> None:
    """The records of dead runs are made of journals: they hold the same joules."""
    for name in ("halving", "pretrained"):
        for number, trial in enumerate(EXPECTED["studies"][name]["trials"]):
            if "spent_j" in trial:
                journal = EXPECTED["journals"][f"studies/{name}/{number}/progress.jsonl"]
                assert journal["spent_j"] == near(trial["spent_j"])


@pytest.mark.parametrize("word", ["halving", pytest.param("exported/", marks=pytest.mark.slow)])
def test_each_command_reads_it(stored: Program, word: str) -> None:
    """From the database and from the folder that it was exported to."""
    expected = EXPECTED["studies"]["halving"]
    assert "halving 6 4 184 mJ 18.5 J" in stored.ok("studies").text
    shown = stored.ok("show", word, "--all").text
    assert "11 trials (2 complete, 3 failed, 4 paused, 1 pruned, 1 waiting)" in shown
    assert "The search cost 18.5 J" in shown
    stored.ok("pareto", word, "--out", "front.json")
    front = json.loads((stored.folder / "front.json").read_text())
    assert front["search_energy_j"] == near(expected["search_energy_j"])
    assert sum(front["books"]["by_purpose_j"].values()) == near(expected["search_energy_j"])
    to_target_j = [t["energy_to_target_j"] for t in expected["trials"] if "spent_j" in t]
    cheapest_j = min(energy_j for energy_j in to_target_j if energy_j is not None)
    reached = [at["energy_j"] for at in front["points"] if at["accuracy"] >= 0.9]
    assert min(reached) == near(cheapest_j)
    recommended = json.loads(stored.ok("recommend", word, "--json").out)
    assert recommended["setups"]


@pytest.mark.slow
@pytest.mark.parametrize("word", ["halving", "exported/", "joule", "pretrained"])
def test_it_is_reported(stored: Program, word: str) -> None:
    name = {"exported/": "halving"}.get(word, word)
    stored.ok("report", word, "--out", "page")
    (page,) = (stored.folder / "page").glob("*.html")
    search_j = EXPECTED["studies"][name]["search_energy_j"]
    assert f"{search_j:.3g} J" in page.read_text()


def test_it_is_exported_as_it_was(stored: Program) -> None:
    """The folder of today has all that the folder of then has, in the same places."""
    stored.ok("export", "halving", "--out", "again")
    for name in ("study.json", "trials.jsonl", "confirmations.jsonl"):
        then, now = (
            [json.loads(line) for line in text.splitlines()]
            if name.endswith("l")
            else [json.loads(text)]
            for text in ((stored.folder / at / name).read_text() for at in ("exported", "again"))
        )
        for old, new in zip(then, now, strict=True):
            check_holds(new, old, ignored={"written_by", "version"})


def check_holds(new: Any, old: Any, ignored: set[str]) -> None:
    """All of the old is in the new."""
    if isinstance(old, dict):
        for key in old.keys() - ignored:
            check_holds(new[key], old[key], ignored)
    else:
        assert new == old


def test_what_was_exported_is_imported(stored: Program) -> None:
    stored.ok("import", "exported/", "--storage", "other.db")
    check_study(read_study(str(stored.folder / "other.db"), "halving"), "halving")


# --- continued


def check_kept(before: StudyRecord, after: StudyRecord) -> None:
    """Check that finished trials have not changed."""
    for old, new in zip(before.trials, after.trials, strict=False):
        if old.state in ("complete", "pruned", "failed"):
            assert new == old
        elif old.result is not None:
            assert new.result is not None
            assert new.result.spent_j >= old.result.spent_j


def went_on(old: TrialResult, new: TrialResult) -> bool:
    """Return True if a trial was resumed; its beginning and energy must be unchanged."""
    many = len(old.curve)
    assert new.curve.training_j[:many] == near(old.curve.training_j)
    assert new.curve.accuracy[:many] == old.curve.accuracy
    return len(new.curve) > many


def test_an_interrupted_study_goes_on(stored: Program) -> None:
    before = study_in(stored, "halving")
    ran = stored.ok(*HALVING)
    assert "4 trials are paused, and may go on" in ran.text
    assert "Traceback" not in ran.text
    after = study_in(stored, "halving")
    check_kept(before, after)
    assert not [trial for trial in after.trials if trial.state in ("paused", "waiting", "running")]
    assert after.trials[10].params == before.trials[9].params  # what waited was trained
    assert after.trials[10].result is not None
    resumed = [
        went_on(old.result, new.result)
        for old, new in zip(before.trials, after.trials, strict=False)
        if old.state == "paused" and old.result is not None and new.result is not None
    ]
    assert any(resumed)
    assert len(resumed) == 4
    paths = (stored.folder / "studies" / "halving").glob("*/progress.jsonl")
    journals = [JournalReader(path).read().result("lost", "") for path in paths]
    assert burnt_j(after) == near(
        sum(journal.spent_j for journal in journals if journal is not None)
    )
    assert after.search_energy_j == near(burnt_j(after) + before.confirmation_j)


@pytest.mark.slow
def test_a_study_that_is_over_asks_the_same(stored: Program) -> None:
    """Its config is what it was, `_target_` paths included: nothing is refused."""
    before = study_in(stored, "joule")
    ran = stored.ok(*JOULE)
    assert "6 of them done before" in ran.text
    after = study_in(stored, "joule")
    check_kept(before, after)
    assert after.search_energy_j == before.search_energy_j


@pytest.mark.slow
def test_a_kept_source_is_not_trained_again(stored: Program) -> None:
    """Its joules are no part of the books of those who find it, and of what their training cost."""
    _as_of_this_torch(stored.folder / "studies" / "knowledge")
    before = study_in(stored, "pretrained")
    stored.ok(*PRETRAINED, "n_trials=2")
    after = study_in(stored, "pretrained")
    check_kept(before, after)
    (first, second) = (trial.result for trial in after.trials)
    assert first is not None
    assert second is not None
    assert first.booked("pretraining").total_j > 0
    assert second.booked("pretraining").total_j == 0
    assert not second.upfront[0].fresh
    assert second.upfront_j == first.upfront_j
    assert after.search_energy_j == near(before.search_energy_j + second.spent_j)


def _as_of_this_torch(folder: Path) -> None:
    """Let what is kept be what this torch would have made: another one trains its own."""
    (record,) = folder.glob("*/record.json")
    kept = json.loads(record.read_text())
    same = kept["asked"]["torch"] == str(torch.__version__)
    kept["asked"]["torch"] = str(torch.__version__)
    record.write_text(json.dumps(kept))
    asked = json.dumps(kept["asked"], sort_keys=True)
    name = hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()
    assert not same or name == record.parent.name
    record.parent.rename(folder / name)


@pytest.mark.slow
def test_a_stored_setup_is_trained_again(stored: Program) -> None:
    ran = stored.ok("retrain", "halving", *OWN, "--out", "model.safetensors")
    assert "Traceback" not in ran.text
    assert (stored.folder / "model.safetensors").exists()


@pytest.mark.slow
def test_a_stored_training_is_played_back(stored: Program) -> None:
    """Its journal meters the same training again, on any machine."""
    stored.ok(
        *("task=wine", "model=own", "model._target_=parts.Net", "target=0.9", "lr=0.05"),
        *("batch_size=8", "epochs=2", "eval_every=50", "patience=null", "hydra.run.dir=again"),
        *("hardware=replay", "hardware.meter.path=journals/once.jsonl"),
    )
    result = JournalReader(stored.folder / "again" / "progress.jsonl").read().result("lost", "")
    assert result is not None
    assert result.spent_j == near(EXPECTED["journals"]["journals/once.jsonl"]["spent_j"])


@pytest.mark.slow
def test_the_study_of_another_app_goes_on(stored: Program) -> None:
    before = read_study(str(stored.folder / "sphere.db"), "sphere")
    done = subprocess.run(
        [stored.python, "app.py", "-m", "hydra.sweeper.n_trials=6", "hydra.sweep.dir=sphere"],
        cwd=stored.folder,
        env=stored.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    after = read_study(str(stored.folder / "sphere.db"), "sphere")
    assert after.trials[:5] == before.trials
    assert len(after.trials) == 6


# --- what a newer version has stored


NEWER = '{"Phase": {"joules": 7}}\n'


@pytest.mark.slow
def test_a_newer_journal_is_named_and_left_as_it_is(stored: Program) -> None:
    """Its trial is not lost by those who cannot read it, and none of its joules."""
    paused = stored.folder / "studies" / "halving" / "6" / "progress.jsonl"
    with paused.open("a") as file:
        file.write(NEWER)
    before = paused.read_bytes()
    ran = stored(*HALVING)
    assert ran.code == 2
    assert "6/progress.jsonl was written by a newer energyopt: it has a record 'Phase'" in ran.text
    assert "update energyopt" in ran.text
    assert "Traceback" not in ran.text
    assert paused.read_bytes() == before
    again = stored(*HALVING)
    assert again.code == 2
    assert "record 'Phase'" in again.text
    kept = {trial.number: trial for trial in study_in(stored, "halving").trials}
    assert kept[6].state == "running"  # without an owner, until a newer version reads it
    paused.write_bytes(before.removesuffix(NEWER.encode()))
    stored.ok(*HALVING)
    after = study_in(stored, "halving")
    assert not [trial for trial in after.trials if trial.state in ("paused", "waiting", "running")]
    check_kept(read_study(str(STORED / "studies" / "energyopt.db"), "halving"), after)


@pytest.mark.slow
def test_a_newer_journal_is_not_played_back(stored: Program) -> None:
    with (stored.folder / "journals" / "once.jsonl").open("a") as file:
        file.write(NEWER)
    ran = stored("task=wine", "hardware=replay", "hardware.meter.path=journals/once.jsonl")
    assert ran.code == 2
    assert "journals/once.jsonl was written by a newer energyopt" in ran.text


# --- words


WORDS: Mapping[Any, str] = {
    Kind: "measured estimated replayed simulated",
    Purpose: "restarted idle pretraining loading warmup preparation profiling training evaluation "
    "inference",
    End: "target epochs plateau diverged stopped paused failed interrupted lost",
    Origin: "trained loaded prepared",
}


@pytest.mark.parametrize("kind", WORDS)
def test_a_word_that_is_stored_is_there_for_ever(kind: Any) -> None:
    assert set(WORDS[kind].split()) <= set(get_args(kind))


# --- on a server


@pytest.fixture
def server(postgres: str) -> str:
    """The URL of a database into which the dump was loaded."""
    engine = sa.create_engine(postgres)
    with engine.begin() as connection:
        connection.exec_driver_sql((STORED / "server.sql").read_text())
    engine.dispose()
    return postgres


def test_a_study_on_a_server_is_read_with_each_joule(server: str) -> None:
    check_study(read_study(server, "server"), "server")


@pytest.mark.slow
def test_each_command_reads_a_study_on_a_server(server: str, energyopt: Program) -> None:
    shown = energyopt.ok("show", "server", "--all", ENERGYOPT_STORAGE=server).text
    assert "6 trials (2 complete, 1 failed, 2 paused, 1 waiting)" in shown
    assert "The search cost 10.3 J" in shown
    assert "184 mJ 10.3 J" in energyopt.ok("studies", ENERGYOPT_STORAGE=server).text
    energyopt.ok("export", "server", "--out", "exported", ENERGYOPT_STORAGE=server)
    energyopt.ok("report", "exported/", "--out", "page")


@pytest.mark.slow
def test_a_study_on_a_server_goes_on(server: str, energyopt: Program) -> None:
    """Without the folder of its trials: what was paused ends there, its joules count."""
    shutil.copy(STORED / "parts.py", energyopt.folder)
    before = read_study(server, "server")
    words = [word for word in HALVING if not word.startswith(("n_trials", "study"))]
    ran = energyopt.ok(*words, "n_trials=6", "study=server", ENERGYOPT_STORAGE=server)
    assert "Traceback" not in ran.text
    after = read_study(server, "server")
    check_kept(before, after)
    assert after.trials[5].params == before.trials[4].params
    assert after.trials[5].result is not None
