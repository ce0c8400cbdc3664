"""A study in a notebook: what is read, and that it says what the commands say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from html import escape
from pathlib import Path

import pandas as pd
import pytest

from energyopt.analysis.pareto import curve_front, final_front
from energyopt.errors import ConfigError, EnergyoptError, StorageError, StudyError
from energyopt.report.export.study_folder import write_folder
from energyopt.report.html.sections import report
from energyopt.storage.exchange.plain import plain_study
from energyopt.storage.reader import read_study
from energyopt.workflows.load_study import LoadedStudy, RecommendedConfiguration, load_study
from tests.conftest import Program
from tests.small_study import NAME, run


@pytest.fixture(scope="module")
def database(studied: Program) -> Path:
    return studied.folder / "studies" / "energyopt.db"


@pytest.fixture(scope="module")
def toy(database: Path) -> LoadedStudy:
    return load_study("toy", storage=database)


@pytest.fixture(scope="module")
def exported(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "toy-export"
    write_folder(plain_study(str(database), "toy"), folder)
    return folder


def test_a_name_is_looked_up_where_the_commands_look(
    toy: LoadedStudy, studied: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_study(str(studied.folder / "studies/energyopt.db"), "toy")
    assert (toy.record, toy.name, toy.target, toy.trials) == (record, "toy", 0.9, record.trials)
    monkeypatch.chdir(studied.folder)
    assert load_study("toy").record == record
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"there is no study database studies/energyopt\.db"):
        load_study("toy")
    monkeypatch.setenv("ENERGYOPT_STORAGE", str(studied.folder / "studies/energyopt.db"))
    assert load_study("toy").record == record


def test_an_export_is_read_as_text_and_as_a_path(
    toy: LoadedStudy, exported: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_study(str(exported)).front()[0].energy_j == toy.front()[0].energy_j
    monkeypatch.chdir(exported.parent)
    shutil.copytree(exported, exported.parent / "toy")
    (exported.parent / "toy" / "trials.jsonl").write_text("")  # so that one sees which is read
    assert load_study("toy-export").name == "toy"
    assert len(load_study("toy", storage=database).trials) == 6  # the study comes first
    with pytest.raises(StorageError, match=r"trials\.jsonl, line 1"):
        load_study(Path("toy"), storage=database)


def test_a_url_is_read_where_it_holds_one_study(
    toy: LoadedStudy, database: Path, tmp_path: Path
) -> None:
    assert load_study(f"sqlite:///{database}").record == toy.record
    both = tmp_path / "both.db"
    shutil.copy(database, both)
    run(str(both), tmp_path / "jobs", 1)
    with pytest.raises(StudyError, match=rf"there are 2 studies in .*both\.db: {NAME}, toy; give"):
        load_study(f"sqlite:///{both}")
    assert load_study(NAME, storage=f"sqlite:///{both}").name == NAME


def test_what_is_not_there_is_said(database: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"there is no study 'tiy' in .*; there are: toy"):
        load_study("tiy", storage=database)
    with pytest.raises(StudyError, match=r"neither a study's name nor a folder with a study\.json"):
        load_study(tmp_path / "none", storage=database)
    with pytest.raises(StudyError, match=r"energyopt\.db is a file; give the name of a study in"):
        load_study(database)
    with pytest.raises(StorageError, match=r"there is no study database .*none\.db"):
        load_study(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(StorageError, match=r"mysql://me:\*\*\*@host/name: studies are kept in"):
        load_study("mysql://me:secret@host/name")


@pytest.mark.slow
def test_a_server_is_read_by_its_url(postgres: str, tmp_path: Path) -> None:
    run(postgres, tmp_path / "jobs", 2)
    assert [trial.state for trial in load_study(postgres).trials] == ["complete", "complete"]


def test_it_recommends_what_the_command_recommends(toy: LoadedStudy, studied: Program) -> None:
    data = json.loads(studied.ok("recommend", "toy", "--json").out)
    said, found = data["setups"][0], toy.recommendation
    assert isinstance(found, RecommendedConfiguration)
    assert {name: getattr(found, name) for name in said} == {
        **said,
        "interval_j": tuple(said["interval_j"]),
        "overrides": tuple(said["overrides"]),
    }
    assert set(said) < set(RecommendedConfiguration.__dataclass_fields__)
    assert found.text == data["answer"]
    assert f"trial {found.trial}" in studied.ok("recommend", "toy").text
    assert toy.recommendation is found  # computed once


def test_without_a_trial_at_the_target_there_is_nothing_to_recommend(studied: Program) -> None:
    database = studied.folder / "studies" / "energyopt.db"
    record = read_study(str(database), "toy")
    with pytest.raises(StudyError, match=r"no trial of study toy reached 1.*; search on"):
        _ = LoadedStudy(replace(record, target=1.01)).recommendation
    with pytest.raises(StudyError, match="study toy has no target"):
        _ = LoadedStudy(replace(record, target=None)).recommendation


def test_its_fronts_are_those_of_the_command(toy: LoadedStudy) -> None:
    assert toy.front() == curve_front(toy.record)
    assert toy.front(points="final") == final_front(toy.record)
    best = toy.front()[-1].accuracy
    assert [point.accuracy for point in toy.front(target=best)] == [best]
    with pytest.raises(ConfigError, match="points='all' is not known; give 'curve' or 'final'"):
        toy.front(points="all")  # type: ignore[arg-type]


def test_its_figures_are_those_of_the_report(toy: LoadedStudy) -> None:
    assert list(toy.figures()) == [figure.name for figure in report(toy.record).figures]
    assert toy.plot_front().to_dict()["title"] == "Error against energy"
    with pytest.raises(StudyError, match="has no curves of energy to draw yet"):
        LoadedStudy(replace(toy.record, trials=())).plot_front()


def test_its_table_is_that_of_an_export(toy: LoadedStudy, exported: Path) -> None:
    table = toy.to_pandas()
    assert list(table["trial"]) == [trial.number for trial in toy.trials]
    assert {"state", "params_lr", "energy_to_target_j", "best_accuracy", "provenance"} <= set(table)
    assert set(table["provenance"]) == {"simulated"}
    written = pd.read_csv(exported / "trials.csv")
    assert list(table.columns) == list(written.columns)
    assert table["energy_to_target_j"].tolist() == pytest.approx(
        written["energy_to_target_j"].tolist(), nan_ok=True
    )


def test_a_missing_pandas_is_said(toy: LoadedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EnergyoptError, match=r"to_pandas\(\) needs pandas .*: pip install pandas"):
        toy.to_pandas()


def test_it_says_in_a_line_what_it_is(toy: LoadedStudy, tmp_path: Path) -> None:
    text = repr(toy)
    assert text.startswith("<study toy: target 0.9; 6 trials (")
    assert "J in all; simulated by " in text


def test_reading_loads_neither_torch_nor_pandas(database: Path) -> None:
    code = (
        "import sys; from energyopt.workflows.load_study import load_study\n"
        f"study = load_study('toy', storage={str(database)!r})\n"
        "study.front(), study.recommendation, repr(study)\n"
        "print({'torch', 'zeus', 'hydra', 'pandas'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "set()\n"


def test_a_notebook_shows_the_answer(toy: LoadedStudy) -> None:
    page = toy._repr_html_()
    assert f"<b>{escape(toy.recommendation.text)}</b>" in page
    assert "&lt;study toy: " in page
    empty = LoadedStudy(replace(toy.record, name="<b>", trials=()))
    assert "no trial of study &lt;b&gt; reached" in empty._repr_html_()
