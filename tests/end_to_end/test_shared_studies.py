"""One PostgreSQL study shared by several runs of a command, and servers that fail."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from energyopt.core.study_record import StudyRecord
from energyopt.storage.reader import read_study
from tests.conftest import SPACE, TINY, Program, Wait, journal, size
from tests.postgres import Postgres

LONG = (
    *("task=wine", "model=mlp", "hardware=simulated", "epochs=1e6", "patience=null", "target=1"),
    "stopping=none",  # nothing ends or pauses a trial
)
SLOW_START = "lr=interval(1e-5,1e-4)"


def states(study: StudyRecord) -> list[str]:
    return [trial.state for trial in study.trials]


@pytest.mark.slow
def test_two_commands_share_a_study_and_its_total(energyopt: Program, postgres: str) -> None:
    words = ("-m", *TINY, *SPACE, "n_trials=8", "study=s")
    with (
        energyopt.start(*words, ENERGYOPT_STORAGE=postgres) as one,
        energyopt.start(*words, ENERGYOPT_STORAGE=postgres) as two,
    ):
        said = [process.communicate(timeout=120) for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), said
    study = read_study(postgres, "s")
    assert [trial.number for trial in study.trials] == list(range(8))
    assert states(study) == ["complete"] * 8
    assert [trial.default for trial in study.trials] == [True] + [False] * 7
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 8
    third = energyopt.ok(*words, ENERGYOPT_STORAGE=postgres)
    assert "8 of them done before" in third.text
    assert len(read_study(postgres, "s").trials) == 8


@pytest.mark.slow
def test_a_killed_command_is_taken_over_at_once(
    energyopt: Program, postgres: str, wait_for: Wait
) -> None:
    words = ("-m", *LONG, SLOW_START, "study=s")
    process = energyopt.start(*words, ENERGYOPT_STORAGE=postgres)
    wait_for(lambda: size(journal(energyopt, "s", 0)) > 4000)
    process.kill()
    process.communicate()
    again = energyopt.start(*words, ENERGYOPT_STORAGE=postgres)
    wait_for(lambda: size(journal(energyopt, "s", 1)) > 0)
    study = read_study(postgres, "s")
    assert states(study) == ["failed", "running"]
    assert study.trials[0].reason == "its run died"
    assert study.search_energy_j > 0
    assert study.trials[0].params == study.trials[1].params
    again.send_signal(signal.SIGTERM)
    out, err = again.communicate(timeout=60)
    assert again.returncode == 143, out + err
    assert "1 trial of a run that died: what they burnt counts" in out


@pytest.mark.slow
def test_what_runs_burn_is_in_the_database_while_they_run(
    energyopt: Program, postgres: str, wait_for: Wait
) -> None:
    words = ("-m", *LONG, SLOW_START, "study=s", "heartbeat_s=0.2")
    process = energyopt.start(*words, ENERGYOPT_STORAGE=postgres)
    wait_for(lambda: size(journal(energyopt, "s", 0)) > 4000)
    seen_j: set[float] = set()

    def grew() -> bool:
        seen_j.add(read_study(postgres, "s").search_energy_j)
        return len(seen_j - {0}) > 1

    wait_for(grew)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.slow
def test_a_sleeper_that_wakes_finds_its_trials_taken_over(
    energyopt: Program, postgres: str, wait_for: Wait
) -> None:
    words = ("-m", *LONG, SLOW_START, "study=s", "heartbeat_s=0.2")
    asleep = energyopt.start(*words, ENERGYOPT_STORAGE=postgres)
    wait_for(lambda: size(journal(energyopt, "s", 0)) > 4000)
    asleep.send_signal(signal.SIGSTOP)
    engine = sa.create_engine(postgres)
    with engine.begin() as connection:  # as if it were another host's
        connection.exec_driver_sql("UPDATE energyopt_runs SET place = 'elsewhere'")
    engine.dispose()
    time.sleep(2.5)  # longer than its grace
    awake = energyopt.start(*words, ENERGYOPT_STORAGE=postgres)
    wait_for(lambda: size(journal(energyopt, "s", 1)) > 4000)
    asleep.send_signal(signal.SIGCONT)
    out, err = asleep.communicate(timeout=60)
    assert asleep.returncode == 2
    assert "was silent for more than 2 s and taken for dead by another" in err
    assert "Traceback" not in out + err
    study = read_study(postgres, "s")
    assert states(study) == ["failed", "running"]
    assert study.trials[0].result is not None
    awake.send_signal(signal.SIGINT)
    awake.communicate(timeout=60)
    assert awake.returncode == 130


@pytest.mark.slow
def test_a_server_that_restarts_costs_nothing(
    energyopt: Program, postgres_server: Postgres, postgres: str, wait_for: Wait
) -> None:
    words = ("-m", *TINY[:-2], "epochs=40", "patience=null", "target=1", *SPACE, "stopping=none")
    process = energyopt.start(*words, "n_trials=6", "study=s", ENERGYOPT_STORAGE=postgres)
    wait_for(lambda: size(journal(energyopt, "s", 0)) > 0)
    postgres_server.stop()
    time.sleep(2)
    postgres_server.start()
    wait_for(lambda: size(journal(energyopt, "s", 3)) > 0)
    postgres_server.cut(postgres)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    study = read_study(postgres, "s")
    assert states(study).count("complete") == 6
    assert study.search_energy_j > 0


@pytest.mark.slow
def test_what_a_lost_server_cannot_be_told_is_told_by_the_next_run(
    energyopt: Program, postgres_server: Postgres, postgres: str, wait_for: Wait
) -> None:
    words: tuple[str, ...] = (
        "-m",
        *TINY[:-2],
        "epochs=60",
        "patience=null",
        "target=1",
        *SPACE,
        "stopping=none",
    )
    words += ("n_trials=2", "study=s", "storage_wait_s=1")
    process = energyopt.start(*words, ENERGYOPT_STORAGE=postgres)
    wait_for(lambda: size(journal(energyopt, "s", 0)) > 0)
    postgres_server.stop()
    out, err = process.communicate(timeout=120)
    postgres_server.start()
    assert process.returncode == 2
    assert "Traceback" not in out + err
    assert "trial 0 is kept in studies/s/0/untold.json, the same command tells it" in err
    kept: dict[str, Any] = json.loads((energyopt.folder / "studies/s/0/untold.json").read_text())
    ran = energyopt.ok(*words, ENERGYOPT_STORAGE=postgres)
    assert "Traceback" not in ran.text
    study = read_study(postgres, "s")
    assert states(study) == ["complete", "complete"]
    assert list(study.trials[0].values) == kept["outcome"]["values"]


@pytest.mark.slow
def test_no_password_reaches_a_file(energyopt: Program, postgres: str) -> None:
    canary = "CANARY-7f3a"
    with_password = sa.make_url(postgres).set(password=canary).render_as_string(hide_password=False)
    ran = energyopt.ok(
        "-m", *TINY, *SPACE, "n_trials=2", "study=s", ENERGYOPT_STORAGE=with_password
    )
    shown = energyopt.ok("show", "s", ENERGYOPT_STORAGE=with_password)
    missing = energyopt("show", "nothing", ENERGYOPT_STORAGE=with_password)
    assert missing.code == 2
    for said in (ran, shown, missing):
        assert canary not in said.out + said.err
    files = [path for path in Path(energyopt.folder).rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if canary.encode() in path.read_bytes()]
    engine = sa.create_engine(postgres)
    with engine.connect() as connection:
        for (name,) in connection.exec_driver_sql(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ):
            rows = connection.exec_driver_sql(f"SELECT t::text FROM {name} t").scalars()
            assert not [row for row in rows if canary in row]
    engine.dispose()
