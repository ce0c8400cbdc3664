"""Hydra apps of users whose jobs report through `Run`, judged by a pruner of Optuna's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from energyopt.storage.database import opened_to_read
from energyopt.storage.reader import read_study
from tests.conftest import Program
from tests.end_to_end.test_other_apps import App
from tests.end_to_end.test_reporting_apps import CONFIG, LOOP, METER, energyopt, record_of

OWN_PRUNER = """
import optuna

class Impatient(optuna.pruners.BasePruner):
    def __init__(self, after):
        self.after = after

    def prune(self, study, trial):
        return trial.number > 0 and trial.last_step >= self.after
"""

# Two good ones, then two whose loss falls more slowly: what the median prunes at once.
GRID = ("hydra/sweeper/sampler=grid", "x=2,2.5,4,0.1", "epochs=4")
PRUNED = ["complete", "complete", "pruned", "pruned"]


@pytest.fixture
def app(tmp_path: Path) -> App:
    app = App(Program(Path(sys.executable), tmp_path))
    (tmp_path / "meter.py").write_text(METER)
    (tmp_path / "own_pruner.py").write_text(OWN_PRUNER)
    (tmp_path / "app.py").write_text(LOOP.replace('return "anything"', 'return state["loss"]'))
    config = CONFIG.replace("sampler: joule", "sampler: random").replace(
        "    study_name", "    pruner:\n      n_startup_trials: 2\n    study_name"
    )
    median = "  - override hydra/sweeper/pruner: median\n"
    launcher = "  - override hydra/launcher"
    (tmp_path / "config.yaml").write_text(config.replace(launcher, median + launcher))
    return app


def without_one_in_yaml(app: App) -> None:
    file = app.program.folder / "config.yaml"
    file.write_text(file.read_text().replace("    pruner:\n      n_startup_trials: 2\n", ""))


def states(app: App) -> list[str]:
    return [trial.state for trial in record_of(app).trials]


def test_trials_are_pruned_and_every_surface_says_so(app: App) -> None:
    app.ok(*GRID, "hydra.sweeper.n_trials=3")
    assert states(app) == PRUNED[:3]
    # A further command continues, and its trials are judged by those of the first.
    ran = app.ok(*GRID)
    assert "4, 3 of them done before" in ran.text
    assert ran.text.count("stopped (median: at report 1 rmse is 0.79)") == 1
    assert "best: trial 0, 0.1296 (x=2)" in ran.text
    study = app.study("study.db", "falls")
    assert study.directions == [optuna.study.StudyDirection.MINIMIZE]
    assert [t.state.name.lower() for t in study.trials] == PRUNED
    reports = [t.intermediate_values for t in study.trials]
    assert reports[0] == pytest.approx({0: 0.6, 1: 0.36, 2: 0.216, 3: 0.1296})
    assert reports[2:] == [pytest.approx({0: 0.8}), pytest.approx({0: 0.79})]
    record = record_of(app)
    assert [metric.name for metric in record.metrics] == ["rmse"]
    assert [trial.values for trial in record.trials[1:]] == [pytest.approx((0.17850625,)), (), ()]
    trained = [trial.result and trial.result.booked("training").cpu_j for trial in record.trials]
    assert trained == pytest.approx([40, 40, 10, 10], rel=0.01)
    assert record.trials[2].result is not None
    assert record.trials[2].result.stopped_by == "median"
    assert "4 trials (2 complete, 2 pruned)" in energyopt(app, "show", "falls", "--all").text
    assert "x trial" in energyopt(app, "pareto", "falls").text
    assert "python app.py epochs=4 x=2" in energyopt(app, "recommend", "falls").text
    assert "report.html" in energyopt(app, "report", "falls").text
    energyopt(app, "export", "falls")
    app.program.ok("import", "falls-export", "--study", "copy", "--storage", "copies.db")
    copy = app.study("copies.db", "copy")
    assert [t.intermediate_values for t in copy.trials] == reports


def test_a_pruner_on_the_command_line_and_two_jobs_at_a_time(app: App) -> None:
    without_one_in_yaml(app)
    own = "hydra.sweeper.pruner={_target_: own_pruner.Impatient, after: 1}"
    words = ("hydra/sweeper/pruner=none", "hydra.sweeper.n_jobs=2")
    ran = app.ok(*GRID, own, *words)
    assert ran.text.count("stopped (Impatient: at report 2") == 3
    assert states(app) == ["complete", "pruned", "pruned", "pruned"]
    refused = app(*GRID, "hydra/sweeper/pruner=hyperband", "hydra.sweeper.direction=maximize")
    assert refused.code == 1
    assert "direction=maximize, but rmse is reported with mode=min" in refused.text
    assert "Traceback" not in refused.text


def test_jobs_that_never_report_are_said_once(app: App) -> None:
    text = "import hydra\n\n@hydra.main(version_base=None, config_path='.', config_name='config')\n"
    text += "def main(cfg):\n    return cfg.x\n\nif __name__ == '__main__':\n    main()\n"
    for path in app.program.folder.rglob("*.py"):  # any of them may name energyopt
        path.unlink()
    (app.program.folder / "app.py").write_text(text)
    ran = app(*GRID)
    assert ran.code == 1
    assert "pruner=median judges what jobs report by an energyopt.Run, and no code" in ran.text
    (app.program.folder / "later.py").write_text("import energyopt\n")  # a job may import it
    ran = app.ok(*GRID)
    says = "hydra.sweeper.pruner=median has nothing to judge: the jobs make no energyopt.Run"
    assert ran.text.count(says) == 1
    assert states(app) == ["complete"] * 4
    goal = {"monitor": "rmse", "mode": "min", "target": 0.2, "epochs": 3}
    words = [f"hydra.sweeper.{key}={value}" for key, value in goal.items()]
    ran = app.ok(*GRID, *words, "hydra.sweeper.study_name=stated")
    assert ran.text.count("median: no energyopt.Run in 4 trials") == 1
    assert [t.values for t in record_of(app, "stated").trials] == [(2,), (2.5,), (4,), (0.1,)]


def test_a_default_that_fails_leaves_no_study_that_nothing_could_prune(app: App) -> None:
    file = app.program.folder / "app.py"
    file.write_text(file.read_text().replace("target=cfg.target", "target=None"))
    ran = app(*GRID, "hydra.sweeper.metric_names=loss")
    assert ran.code == 1
    assert "Run() does not say which value to reach" in ran.text
    assert "mend that, or choose hydra/sweeper/pruner=none" in ran.text
    file.write_text(file.read_text().replace("target=None", "target=cfg.target"))
    app.ok(*GRID, "hydra.sweeper.metric_names=loss", "hydra.sweeper.n_trials=1")
    assert [(m.name, m.direction) for m in record_of(app).metrics] == [("loss", "minimize")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ("hydra/launcher=basic",),
        ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2"),
        ("hydra/launcher=submitit_local",),
    ],
)
def test_other_launchers_carry_reports_and_verdicts(app: App, launcher: tuple[str, ...]) -> None:
    app.ok(*GRID, *launcher)
    assert states(app)[:2] == ["complete", "complete"]
    assert states(app)[3] == "pruned"
    study = app.study("study.db", "falls")
    assert all(trial.intermediate_values for trial in study.trials)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("hydra/sweeper/pruner=hyperband", "hydra/sweeper/sampler=tpe"),
        ("hydra/sweeper/pruner=successive_halving", "hydra/sweeper/sampler=tpe"),
        ("hydra/sweeper/pruner=patient", "hydra/sweeper/sampler=tpe"),
        ("hydra/sweeper/pruner=wilcoxon", "hydra/sweeper/sampler=random"),
    ],
)
def test_each_pruner_runs_a_study(app: App, words: tuple[str, ...]) -> None:
    without_one_in_yaml(app)
    ran = app.ok(*words, "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=1")
    assert set(states(app)) <= {"complete", "pruned"}, ran.text
    assert len(states(app)) == 4


@pytest.mark.slow
def test_two_commands_prune_one_study(app: App, postgres: str) -> None:
    words = ["hydra.sweeper.storage=${oc.env:ENERGYOPT_STORAGE}", "hydra.sweeper.n_trials=8"]
    goal: dict[str, Any] = {"monitor": "rmse", "mode": "min", "target": 0.2, "epochs": 3}
    words += [f"hydra.sweeper.{key}={value}" for key, value in goal.items()]
    commands = [
        subprocess.Popen(
            [app.program.python, "app.py", "-m", "epochs=3", f"hydra.sweep.dir=runs{i}", *words],
            cwd=app.program.folder,
            env=app.program.environment(ENERGYOPT_STORAGE=postgres),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    said = [command.communicate(timeout=120)[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0], said
    study = read_study(postgres, "falls")
    assert [trial.number for trial in study.trials] == list(range(8))
    assert {trial.state for trial in study.trials} == {"complete", "pruned"}
    with opened_to_read(postgres) as storage:
        loaded = optuna.load_study(study_name="falls", storage=storage)
        assert all(trial.intermediate_values for trial in loaded.trials)
