"""Whole studies as folders: written, read back, looked at, refused."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from optuna.samplers import RandomSampler
from sqlalchemy import make_url

from energyopt.errors import ConfigError, EnergyoptError, StorageError, StudyError
from energyopt.report.export.study_folder import FILES, write_folder
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.database import open_database
from energyopt.storage.exchange.folder import read_folder
from energyopt.storage.exchange.importer import import_study
from energyopt.storage.exchange.plain import PlainStudy, _plain, _snapshot, plain_study
from energyopt.storage.exchange.reader import study_at
from energyopt.storage.reader import read_study
from energyopt.storage.study_store import StudyStore
from tests.conftest import OWN_MODEL, ROOT, TINY, Program, Ran, trials_of
from tests.plain_studies import plain_studies
from tests.small_study import IDENTITY, NAME, run


def same(found: PlainStudy, expected: PlainStudy) -> None:
    """Return data for comparison: without its author, and with NaN equal to itself."""
    for one, other in (
        ({**found.study, "written_by": ""}, {**expected.study, "written_by": ""}),
        *zip(found.trials, expected.trials, strict=True),
        *zip(found.confirmations, expected.confirmations, strict=True),
    ):
        assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("round") / "a.db"


@given(plain=plain_studies())
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_exported_is_what_is_imported(plain: PlainStudy, database: Path) -> None:
    name = f"study-{len(list(database.parent.iterdir()))}"
    plain = PlainStudy({**plain.study, "name": name}, plain.trials, plain.confirmations)
    folder = database.with_name(name)
    written = write_folder(plain, folder)
    same(read_folder(folder), plain)
    import_study(folder, str(database))
    same(plain_study(str(database), name), plain)
    # As a record, what a database says is what the folder says: all reports are made of it.
    assert repr(read_study(str(database), name)) == repr(written)
    # Each sample of a GPU is a row of a table.
    trainings = [(trial.number, trial.result) for trial in written.trials]
    trainings += [(each.number, each.result) for each in written.confirmations]
    samples = [
        (str(number), str(sample.time_s), str(sample.power_w))
        for number, result in trainings
        for sample in (result.trace.samples() if result is not None else ())
    ]
    with (folder / "traces.csv").open() as file:
        rows = [(row["number"], row["time_s"], row["power_w"]) for row in csv.DictReader(file)]
    assert rows == samples


@pytest.mark.slow
def test_a_server_keeps_the_same(postgres: str, studied: Program, tmp_path: Path) -> None:
    plain = plain_study(str(studied.folder / "studies/energyopt.db"), "toy")
    folder = tmp_path / "toy-export"
    study = write_folder(plain, folder)
    import_study(folder, postgres, "theirs")
    found = plain_study(postgres, "theirs")
    same(PlainStudy({**found.study, "name": "toy"}, found.trials, found.confirmations), plain)
    assert repr(read_study(postgres, "theirs").trials) == repr(study.trials)


@pytest.fixture(scope="module")
def exported(studied: Program) -> Path:
    """The export of the study "toy"."""
    studied.ok("export", "toy")
    return studied.folder / "toy-export"


def unplaced(ran: Ran, name: str) -> str:
    """Return an output without the place of the study in the commands that it names."""
    text = ran.text.replace("\\", "").replace(" --storage other.db", "")
    return " ".join(re.sub(rf"(\./)?{name}-export", name, text).split())


@pytest.mark.slow
def test_commands_say_the_same_of_a_study_of_its_export_and_of_its_import(
    studied: Program, exported: Path
) -> None:
    ran = studied.ok("import", "toy-export", "--storage", "other.db")
    assert ran.out == "study toy: 6 trials from toy-export\n"
    for words in (["show"], ["pareto"], ["pareto", "--points", "final"], ["recommend"]):
        said = unplaced(studied.ok(*words, "toy"), "toy")
        assert "simulated" in said
        assert unplaced(studied.ok(*words, "toy-export"), "toy") == said
        assert unplaced(studied.ok(*words, "toy", "--storage", "other.db"), "toy") == said
    (tested,) = re.findall(r"Test accuracy 0\.\d{4}, .*", studied.ok("retrain", "toy").text)
    assert tested in studied.ok("retrain", "toy-export").text
    refused = studied("confirm", "toy-export", "--seeds", "1")
    assert refused.code == 2
    assert "toy-export is an export: `energyopt import toy-export` brings it there" in refused.text
    studied.ok("export", "toy", "--storage", "other.db", "--out", "again")
    for name in FILES:
        assert (studied.folder / "again" / name).read_bytes() == (exported / name).read_bytes()
    ran = studied("import", "toy-export", "--storage", "other.db")
    assert ran.code == 2
    assert "there is a study toy in sqlite:///other.db; it was left as it is" in ran.text
    studied.ok("import", "toy-export", "--storage", "other.db", "--study", "toy.2")
    assert studied.ok("studies", "--storage", "other.db").out.count("\n") > 4


@pytest.mark.slow
def test_a_study_of_all_sorts_survives(energyopt: Program) -> None:
    shutil.copy(ROOT / "tests" / "two_heads.py", energyopt.folder)
    (energyopt.folder / "own_net.py").write_text(OWN_MODEL)
    energyopt.ok(
        "-m", "task=own", "task._target_=two_heads.TwoHeads", "+task.n_train=300",
        "hardware=simulated", "model=mlp", "epochs=2", "target=0.6", "sampler=tpe",
        "stopping=[dominance]", "paradigm=choice(scratch,multitask)", "lr=choice(0.01,1e-6)",
        "n_trials=5", "study=heads", "inference_s=0.01",
    )  # fmt: skip
    own = "task._target_=two_heads.TwoHeads"
    energyopt.ok("confirm", "heads", own, "--seeds", "1", "--top", "1")
    energyopt(
        "-m", *TINY, "model=own", "model._target_=own_net.build", "+model.hidden=choice(8,13)",
        "sampler=grid", "study=broken", "n_trials=2",
    )  # fmt: skip
    assert "failed" in {t.state for t in study_at(*storage_of(energyopt, "broken")).trials}
    for name in ("heads", "broken"):
        energyopt.ok("export", name)
        energyopt.ok("import", f"{name}-export", "--storage", "other.db")
        for command in ("show", "pareto"):
            said = unplaced(energyopt.ok(command, name), name)
            assert unplaced(energyopt.ok(command, f"./{name}-export"), name) == said
            assert unplaced(energyopt.ok(command, name, "--storage", "other.db"), name) == said


def storage_of(program: Program, name: str) -> tuple[str, str]:
    return str(program.folder / "studies/energyopt.db"), name


def test_an_imported_study_goes_on(tmp_path: Path) -> None:
    first, second = str(tmp_path / "first.db"), str(tmp_path / "second.db")
    run(first, tmp_path / "runs", 3)
    store = StudyStore.open(first, NAME, IDENTITY, RandomSampler)
    trial = store.ask()  # a run that dies: its trial is exported as one that runs
    assert trial is not None
    trial.suggest_float("lr", 0, 1)
    store._storage.engine.dispose()
    write_folder(plain_study(first, NAME), tmp_path / "out")
    import_study(tmp_path / "out", second)
    assert [t.state for t in read_study(second, NAME).trials] == [*["complete"] * 3, "running"]
    run(second, tmp_path / "other", 5)
    states = [t.state for t in read_study(second, NAME).trials]
    assert states.count("complete") == 5
    assert states.count("failed") == 1


def test_an_export_sees_one_moment(where: str) -> None:
    store = StudyStore.open(where, NAME, IDENTITY, RandomSampler)
    assert store.ask() is not None
    storage = open_database(where, create=False)
    with quiet_optuna(), _snapshot(storage) as connection:
        before = _plain(storage, connection, NAME)
        assert store.ask() is not None  # a run continues meanwhile
        assert _plain(storage, connection, NAME) == before
    assert len(plain_study(where, NAME).trials) == 2
    storage.engine.dispose()
    store.close()


def test_of_two_at_once_one_is_refused(studied: Program) -> None:
    both = [studied.start("export", "toy", "--out", "two") for _ in range(2)]
    said = sorted((process.communicate(timeout=60)[1], process.returncode) for process in both)
    assert [code for _, code in said] == [0, 2]
    assert re.search("two (exists; add --force|cannot be written: Directory not empty)", said[1][0])
    assert {path.name for path in (studied.folder / "two").iterdir()} == set(FILES)


def test_tables_add_up(studied: Program, exported: Path) -> None:
    study = read_study(*storage_of(studied, "toy"))
    tables = {}
    for name in ("trials", "curves", "ledger"):
        with (exported / f"{name}.csv").open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    assert len(tables["trials"]) == len(study.trials)
    burnt_j = sum(float(row["total_j"]) for row in tables["ledger"])
    assert burnt_j == pytest.approx(study.search_energy_j)
    for trial in study.trials:
        assert trial.result is not None
        rows = [row for row in tables["curves"] if row["trial"] == str(trial.number)]
        found = [float(row["training_j"]) for row in rows]
        assert found == pytest.approx(trial.result.curve.training_j)
    assert {row["provenance"] for row in tables["ledger"]} == {"simulated"}
    missed = [row for row in tables["trials"] if row["feasible"] == "False"]
    assert all(row["energy_to_target_j"] == "" for row in missed)
    readme = (exported / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in FILES if name != "README.md")


@pytest.mark.slow
def test_nothing_names_a_person_or_a_machine(energyopt: Program, postgres: str) -> None:
    (energyopt.folder / "configs" / "model").mkdir(parents=True)
    config = "_target_: energyopt.models.mlp.MLP\n"
    (energyopt.folder / "configs" / "model" / "mine.yaml").write_text(config)
    folder = energyopt.folder / "configs"
    url = make_url(postgres).set(password="pa55word")  # which the server does not ask for
    secret = url.render_as_string(hide_password=False)
    energyopt.ok(
        f"--config-dir={folder}", "-m", *(word for word in TINY if word != "model=mlp"),
        "model=mine", f"knowledge={folder.parent}/knowledge", "lr=interval(0.01,0.1)",
        "n_trials=1", "study=mine", ENERGYOPT_STORAGE=secret,
    )  # fmt: skip
    energyopt.ok("export", "mine", ENERGYOPT_STORAGE=secret)
    text = "".join(path.read_text() for path in (energyopt.folder / "mine-export").iterdir())
    for name in (str(energyopt.folder), str(ROOT), socket.gethostname(), "pa55word", postgres):
        assert name not in text
    assert "--config-dir=.../configs" in text
    assert '"host": "host-1"' in text


# Which is meant ------------------------------------------------------------------------------


def test_a_name_is_a_study_first_and_a_slash_makes_it_a_folder(
    studied: Program, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _ = storage_of(studied, "toy")
    shutil.copytree(exported, tmp_path / "toy")
    monkeypatch.chdir(tmp_path)
    lines = (tmp_path / "toy/trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "toy/trials.jsonl").write_text("".join(lines[:2]))
    study = json.loads((tmp_path / "toy/study.json").read_text())
    del study["search_energy_j"]  # of six
    (tmp_path / "toy/study.json").write_text(json.dumps({**study, "trials": 2}))
    assert len(study_at(database, "toy").trials) == 6
    assert len(study_at(database, "./toy").trials) == 2
    assert len(study_at("none.db", "toy").trials) == 2  # no other study has that name
    with pytest.raises(StudyError, match=r"\./none is neither a study's name nor a folder"):
        study_at(database, "./none")
    with pytest.raises(StudyError, match="there is no study 'none'"):
        study_at(database, "none")
    with quiet_optuna():  # another program may call its studies as it likes
        optuna.create_study(storage="sqlite:///theirs.db", study_name="any/name at all")
    assert study_at("theirs.db", "any/name at all").trials == ()


# What is refused -----------------------------------------------------------------------------


def rewritten(folder: Path, name: str, change: Callable[[str], str]) -> None:
    path = folder / name
    path.write_text(change(path.read_text()))


_DEEP = "[" * 700 + "]" * 700  # JSON that can be parsed, and no more
DAMAGES: dict[str, tuple[str, Callable[[str], str], str]] = {
    "foreign": ("study.json", lambda _: "[]", "study.json: this is no study that energyopt"),
    "newer": (
        "study.json",
        lambda text: text.replace('"version": 2', '"version": 3'),
        "a newer energyopt wrote it (format 3, this one reads up to 2); update energyopt",
    ),
    "no json": ("study.json", lambda text: text[:-20], "study.json: it is not JSON: "),
    "empty": ("study.json", lambda _: "", "study.json: it is not JSON: "),
    "truncated": (
        "trials.jsonl",
        lambda text: text[: len(text) // 2],
        "trials.jsonl, line 4: the file ends here, and has 6 lines in study.json",
    ),
    "a line less": (
        "trials.jsonl",
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),
        "trials.jsonl, line 6: the file ends here",
    ),
    "a line more": ("trials.jsonl", lambda text: text + "{}\n", "line 7: there are more lines"),
    "a key less": (
        "trials.jsonl",
        lambda text: text.replace('"feasible"', "").replace('"planned"', '"planed"', 1),
        "trials.jsonl, line 1: the key 'planned' is missing",
    ),
    "another key": (
        "trials.jsonl",
        lambda text: text.replace('"gpu_j": null', '"gpu_j": null, "npu_j": 1.0', 1),
        "trials.jsonl, line 1: result.checkpoints.training.npu_j: there is no such key",
    ),
    "another type": (
        "trials.jsonl",
        lambda text: text.replace('"number": 3', '"number": "3"'),
        "trials.jsonl, line 4: number: '3' is no integer",
    ),
    "another order": (
        "trials.jsonl",
        lambda text: text.replace('"number": 3', '"number": 4'),
        "trials.jsonl, line 4: number: 4 stands where 3 belongs",
    ),
    "no such choice": (
        "trials.jsonl",
        lambda text: text.replace('"batch_size": 8}', '"batch_size": 9}')
        .replace('"batch_size": 32}', '"batch_size": 9}'),
        "trials.jsonl, line 1: ",
    ),
    "no words": (
        "trials.jsonl",
        lambda text: text.replace('"state": "complete"', '"state": "done"', 1),
        "state: 'done' is none of 'complete', 'pruned', 'failed'",
    ),
    "no number": ("trials.jsonl", lambda text: text.replace("0.9", "NaN", 1), "NaN is no number"),
    "infinite": (
        "trials.jsonl",
        lambda text: text.replace('"target": 0.9', '"target": 1e999', 1),
        "result.start.target: inf is no number",
    ),
    "columns": (
        "trials.jsonl",
        lambda text: text.replace('"samples": [', '"samples": [1, ', 1),
        "its columns are not equally long",
    ),
    "deep": ("study.json", lambda _: "[" * 100_000, "study.json: it is nested too deeply"),
    "deep attributes": (
        "study.json",
        lambda text: text.replace('"attributes": {', f'"attributes": {{"x": {_DEEP}, ', 1),
        "study.json: it is nested too deeply",
    ),
    "out of range": (
        "trials.jsonl",
        lambda text: text.replace('"number": 3', '"number": -3'),
        "trials.jsonl, line 4: number: -3 is below 0",
    ),
    "digits": ("study.json", lambda _: "1" * 10_000, "study.json: "),
    "surrogate": (
        "trials.jsonl",
        lambda text: text.replace('"reason": "', '"reason": "\\ud800', 1),
        "is not text in UTF-8",
    ),
    "date": (
        "trials.jsonl",
        lambda text: text.replace('"began": "2', '"began": "X', 1),
        "line 1: Invalid isoformat",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_folder_is_a_sentence(exported: Path, tmp_path: Path, what: str) -> None:
    name, change, says = DAMAGES[what]
    folder = shutil.copytree(exported, tmp_path / "damaged")
    rewritten(folder, name, change)
    readings: list[Callable[[], object]] = [
        lambda: study_at("none.db", str(folder)),
        lambda: import_study(folder, str(tmp_path / "a.db")),
    ]
    for reading in readings:
        with pytest.raises(StorageError) as raised:
            reading()
        assert says in str(raised.value)
        assert str(folder / name) in str(raised.value)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "a.db").exists()


def test_files_that_are_none_are_refused(exported: Path, tmp_path: Path) -> None:
    def a_link(path: Path) -> None:
        path.symlink_to("/etc/passwd")

    def a_pipe(path: Path) -> None:
        os.mkfifo(path)

    def nothing(path: Path) -> None:
        del path

    makers: list[Callable[[Path], None]] = [a_link, a_pipe, Path.mkdir, nothing]
    for number, make in enumerate(makers):
        folder = shutil.copytree(exported, tmp_path / str(number))
        (folder / "trials.jsonl").unlink()
        make(folder / "trials.jsonl")
        with pytest.raises(StorageError, match=r"trials\.jsonl (cannot be read|is no plain file)"):
            study_at("none.db", str(folder))


def test_a_line_without_end_is_not_read_to_its_end(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "huge")
    with (folder / "trials.jsonl").open("wb") as file:
        file.truncate(1 << 40)  # takes no place, and never ends
    with pytest.raises(StorageError, match=r"line 1: it is longer than 64 MiB"):
        study_at("none.db", str(folder))


def test_nothing_of_a_folder_is_run(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "evil")
    evil = '{"_target_": "os.system", "_args_": ["touch %s"]}' % (tmp_path / "struck")
    rewritten(
        folder,
        "trials.jsonl",
        lambda text: text.replace('"planned": {', f'"planned": {{"x": {evil}, ', 1),
    )
    rewritten(
        folder,
        "study.json",
        lambda text: text.replace('"config": {', f'"config": {{"model": {evil}, '),
    )
    import_study(folder, str(tmp_path / "a.db"))
    read_study(str(tmp_path / "a.db"), "toy")
    study_at("none.db", str(folder))
    assert not (tmp_path / "struck").exists()


def test_names_are_names(exported: Path, tmp_path: Path) -> None:
    for name in ("../a", "", "a b", "-x", "a" * 101):
        with pytest.raises(StudyError, match="is not a name"):
            import_study(exported, str(tmp_path / "a.db"), name)


def test_a_study_of_another_app_is_imported_under_any_name(exported: Path, tmp_path: Path) -> None:
    folder, database = tmp_path / "copy", str(tmp_path / "a.db")
    shutil.copytree(exported, folder)
    rewritten(folder, "study.json", lambda text: text.replace('"name": "toy"', '"name": "a/b c"'))
    assert import_study(folder, database).name == "a/b c"
    rewritten(folder, "study.json", lambda text: text.replace('"a/b c"', '"a\\nb"'))
    with pytest.raises(StudyError, match="is not a name"):
        import_study(folder, database)


def test_what_is_there_is_kept(studied: Program, exported: Path, tmp_path: Path) -> None:
    plain = plain_study(*storage_of(studied, "toy"))
    with pytest.raises(ConfigError, match="exists; add --force to replace it"):
        write_folder(plain, exported)
    folder = shutil.copytree(exported, tmp_path / "mine")
    (folder / "trials.csv").write_text("old")
    write_folder(plain, folder, force=True)
    assert (folder / "trials.csv").read_text() != "old"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds notes\.txt, which is no file of an export"):
        write_folder(plain, folder, force=True)
    (tmp_path / "link").symlink_to(exported)
    with pytest.raises(ConfigError, match="is no folder"):
        write_folder(plain, tmp_path / "link", force=True)
    with pytest.raises(StorageError, match="cannot be written: File exists"):
        write_folder(plain, folder / "notes.txt" / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "link"}
    write_folder(plain, tmp_path / "none" / "out")
    assert (tmp_path / "none" / "out" / "study.json").is_file()


@contextmanager
def full_disk(room_bytes: int) -> Iterator[None]:
    """No file of this process may become larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing(studied: Program, exported: Path, tmp_path: Path) -> None:
    plain = plain_study(*storage_of(studied, "toy"))
    with full_disk(4096), pytest.raises(StorageError, match="out cannot be written: File too"):
        write_folder(plain, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    shutil.copy(storage_of(studied, "toy")[0], tmp_path / "a.db")
    database = str(tmp_path / "a.db")
    before = trials_in(database)
    # Enough for SQLite's shared memory, and not for the log of the transaction.
    with full_disk(40_000), pytest.raises(EnergyoptError, match="cannot be used"):
        import_study(exported, database, "second")
    assert trials_in(database) == before  # all of it or nothing


def trials_in(database: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(database) as connection:
        found = connection.execute(
            "select s.study_name, t.number from studies s left join trials t using (study_id)"
        )
        return sorted(found, key=str)


@pytest.mark.slow
def test_mistakes_of_words_are_sentences(studied: Program) -> None:
    for words, says in (
        (["export", "tyo"], "there is no study 'tyo'"),
        (["export", "a/b"], "there is no study 'a/b'"),
        (["export", "toy", "--storage", "gone.db"], "there is no study database gone.db"),
        (["import", "studies"], "studies/study.json cannot be read: No such file or directory"),
        (["import", "none"], "none/study.json cannot be read"),
        (["show", "studies"], "there is no study 'studies'"),
    ):
        ran = studied(*words)
        assert (ran.code, ran.out) == (2, "")
        assert says in ran.text
        assert ran.err.count("\n") == 1
    assert trials_of(studied, "toy")
