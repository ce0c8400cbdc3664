"""Another Hydra app, in another folder, which never imports energyopt, uses our sweeper."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import FrozenTrial

from tests.conftest import Program, Ran

# As for hydra-optuna-sweeper, but for one word: "optuna" became "energyopt".
CONFIG = """
defaults:
  - _self_
  - override hydra/sweeper: energyopt
  - override hydra/sweeper/sampler: tpe

hydra:
  sweeper:
    sampler:
      seed: 123
    direction: minimize
    study_name: sphere
    storage: sqlite:///sphere.db
    n_trials: 6
    n_jobs: 1
    params:
      x: interval(-5.5, 5.5)
      y: choice(-5, 0, 5)

x: 1
y: 1
z: 100
"""

APP = """
import os
import hydra
import optuna

def more(cfg, trial):
    trial.suggest_float("z", 0, 1)

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    x, y = cfg.x, cfg.y
    {body}

if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True)
class App:
    """An app of another author."""

    program: Program

    def write(self, body: str, config: str = CONFIG) -> None:
        (self.program.folder / "app.py").write_text(APP.format(body=body))
        (self.program.folder / "config.yaml").write_text(config)

    def __call__(self, *words: str) -> Ran:
        done = subprocess.run(
            [self.program.python, "app.py", "-m", *words],
            cwd=self.program.folder,
            env=self.program.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str) -> Ran:
        ran = self(*words)
        assert ran.code == 0, ran.out + ran.err
        return ran

    def study(self, file: str = "sphere.db", name: str = "sphere") -> optuna.Study:
        url = f"sqlite:///{self.program.folder / file}"
        return optuna.load_study(study_name=name, storage=url)

    def trials(self) -> list[FrozenTrial]:
        return self.study().get_trials()


@pytest.fixture
def app(tmp_path: Path) -> App:
    """An app that uses the checkout's energyopt."""
    return App(Program(Path(sys.executable), tmp_path))


def results(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("multirun/*/*/optimization_results.yaml")
    loaded: dict[str, Any] = yaml.safe_load(file.read_text())
    return loaded


@pytest.mark.parametrize("launcher", ["basic", "energyopt"])
def test_an_app_moves_over_by_one_word(app: App, launcher: str) -> None:
    app.write("return x**2 + y**2")
    ran = app.ok(f"hydra/launcher={launcher}")
    assert "[6/6] trial 5:" in ran.text
    trials = app.trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    for trial in trials:
        assert trial.value == pytest.approx(trial.params["x"] ** 2 + trial.params["y"] ** 2)
        assert trial.params["y"] in (-5, 0, 5)
    best = app.study().best_trial
    found = results(app.program.folder)
    assert found == {"name": "energyopt", "best_params": best.params, "best_value": best.value}


# As public templates have it: an experiment file that also names the class of the old sweeper.
TEMPLATE = """\
# @package _global_
defaults:
  - override /hydra/sweeper: energyopt
hydra:
  mode: MULTIRUN
  sweeper:
    _target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper
    storage: null
    study_name: null
    n_jobs: 1
    direction: maximize
    n_trials: 3
    sampler:
      _target_: optuna.samplers.TPESampler
      seed: 1234
      n_startup_trials: 10
    params:
      x: interval(0.0001, 0.1)
      y: choice(32, 64)
"""


def test_a_template_that_names_the_class_of_the_old_sweeper_moves_over(app: App) -> None:
    app.write("return x * y", "x: 0.05\ny: 64\n")
    (app.program.folder / "hparams_search").mkdir()
    (app.program.folder / "hparams_search" / "optuna.yaml").write_text(TEMPLATE)
    ran = app.ok("+hparams_search=optuna", "hydra.sweep.dir=runs")
    study = app.study("runs/study.db", "app")
    assert study.direction.name == "MAXIMIZE"
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert f"best: trial {study.best_trial.number}" in ran.text


@pytest.mark.slow
def test_the_study_goes_on_to_its_total_and_repeats_nothing(app: App) -> None:
    app.write("return x**2 + y**2")
    app.ok("hydra.sweeper.n_trials=3", "hydra.sweep.dir=runs")
    app.ok("hydra.sweeper.n_trials=5", "hydra.sweep.dir=runs")
    trials = app.trials()
    assert len(trials) == 5
    assert len({tuple(trial.params.values()) for trial in trials}) == 5
    assert sorted(p.name for p in (app.program.folder / "runs").glob("[0-9]")) == list("01234")


def test_the_command_line_has_precedence_over_params(app: App) -> None:
    app.write("return x**2 + y**2")
    app.ok("x=interval(1,2)", "y=7", "hydra.sweeper.n_trials=2")
    assert all(1 <= trial.params["x"] <= 2 for trial in app.trials())
    assert all("y" not in trial.params for trial in app.trials())


@pytest.mark.slow
def test_what_jobs_return_or_raise_is_recorded_as_what_it_is(app: App) -> None:
    app.write(
        "\n    ".join(
            [
                "if y == 0: return float('nan')",
                "if y == 1: raise RuntimeError('boom')",
                "if y == 2: raise optuna.TrialPruned('not this one')",
                "if y == 3: return 1.0, 2.0",
                "if y == 4: return 'much'",
                "if y == 5: os._exit(3)",
                "return {'objectives': 7, 'constraints': {'c': 1.5}, 'attributes': {'note': 'hi'}}",
            ]
        )
    )
    words = ("x=1", "y=range(0,7)", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=7")
    ran = app(*words, "hydra/launcher=energyopt", "hydra.sweeper.max_failures=null")
    assert ran.code == 3
    trials = {trial.params["y"]: trial for trial in app.trials()}
    assert {y: trial.state.name for y, trial in trials.items()} == {
        0: "FAIL", 1: "FAIL", 2: "PRUNED", 3: "FAIL", 4: "FAIL", 5: "FAIL", 6: "COMPLETE",
    }  # fmt: skip
    reasons = [
        "the job returned nan; NaN cannot be compared, so return inf for a diverged training "
        "that is to count as bad",
        "RuntimeError: boom",
        "not this one",
        "the job returned (1.0, 2.0); 1 number expected",
        "the job returned 'much'; 1 number expected",
        "the trial's process ended with exit code 3 before it answered",
    ]
    for y, reason in enumerate(reasons):
        assert trials[y].user_attrs["reason"] == reason
        assert reason in ran.text
    assert trials[6].constraints == {"c": 1.5}
    assert trials[6].user_attrs["note"] == "hi"


@pytest.mark.slow
def test_several_objectives(app: App) -> None:
    app.write(
        "return x**2, -y", CONFIG.replace("direction: minimize", "direction: [minimize, maximize]")
    )
    app.ok()
    directions = [direction.name for direction in app.study().directions]
    assert directions == ["MINIMIZE", "MAXIMIZE"]
    solutions = results(app.program.folder)["solutions"]
    assert {tuple(s["values"]) for s in solutions} == {
        tuple(trial.values) for trial in app.study().best_trials
    }


@pytest.mark.slow
def test_a_search_space_of_ones_own_function(app: App) -> None:
    app.write(
        "return x**2 + cfg.z",
        CONFIG.replace("    params:", "    custom_search_space: app.more\n    params:"),
    )
    ran = subprocess.run(
        [sys.executable, "-m", "app", "-m"],
        cwd=app.program.folder,
        env=app.program.environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    assert "[6/6]" in ran.stdout
    for trial in app.trials():
        assert trial.value == pytest.approx(trial.params["x"] ** 2 + trial.params["z"])


@pytest.mark.slow
def test_a_hopeless_run_ends_with_an_error(app: App) -> None:
    app.write("raise RuntimeError('boom')")
    ran = app("hydra.sweeper.max_failure_rate=0.3")
    assert ran.code == 3
    assert "max_failure_rate=0.3 is passed; the last trial failed: RuntimeError: boom" in ran.text
    assert ran.text.count("Traceback") == 1  # the second job raised where the first did
    assert [trial.state.name for trial in app.trials()] == ["FAIL"] * 2
    ran = app("hydra.sweeper.n_trials=3")
    assert ran.code == 3
    assert "no trial of study sphere completed; the last: RuntimeError: boom" in ran.text


@pytest.mark.mostly_slow(every=10)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hydra.sweeper.direction=up"], "hydra.sweeper.direction=up: choose minimize or maximize"),
        (["hydra.sweeper.n_trials=0"], "n_trials=0: a whole number of at least 1 is needed"),
        (["hydra.sweeper.n_trails=1"], "did you mean hydra.sweeper.n_trials?"),
        (["hydra.sweeper.sampler.sede=1"], "did you mean hydra.sweeper.sampler.seed?"),
        (["hydra.sweeper.hardware={gpu: 1}"], "did you mean hydra.sweeper.hardware.gpus?"),
        (["x=interval(2,1)"], "x=interval(2,1): the lower end comes first"),
        (["nokey=interval(1,2)"], "nokey is swept, but no such key exists"),
    ],
)
def test_mistakes_are_said_without_a_traceback(app: App, words: list[str], says: str) -> None:
    app.write("return 1.0")
    ran = app(*words)
    assert ran.code == 1
    assert says in ran.text
    assert "Traceback" not in ran.text
    assert not (app.program.folder / "sphere.db").exists()


def test_apps_that_do_not_ask_for_it_see_nothing_of_it(app: App) -> None:
    app.write("print('ran', x)", "x: 1\ny: 2\n")
    ran = app.ok("x=1,2")
    assert "ran 1" in ran.out
    assert "energyopt" not in ran.text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "runs once, outside of any study"),
        (["hydra.sweeper.n_trials=2"], "runs n_trials=2 times, outside of any study"),
    ],
)
def test_nothing_to_search_is_no_study(app: App, words: list[str], says: str) -> None:
    app.write("return x**2", CONFIG[: CONFIG.index("    params:")] + "x: 3\ny: 1\n")
    ran = app.ok(*words)
    assert f"nothing is searched, so the configuration {says}" in ran.text
    assert ran.text.count("returned 9") == max(len(words) * 2, 1)
    assert not (app.program.folder / "sphere.db").exists()


@pytest.mark.slow
def test_the_wheel_brings_the_plugin(wheel_python: Path, tmp_path: Path) -> None:
    app = App(Program(wheel_python, tmp_path))
    app.write("return x**2 + y**2")
    app.ok("hydra/launcher=energyopt", "hydra.sweeper.n_jobs=2")
    assert [trial.state.name for trial in app.trials()] == ["COMPLETE"] * 6


@pytest.mark.slow
def test_the_best_value_is_shown_and_a_second_command_names_the_key_of_the_app(app: App) -> None:
    app.write("return x**2 + y**2")
    words = ("hydra/sweeper/sampler=grid", "hydra.sweep.dir=runs")
    ran = app.ok(*words, "x=1,2", "y=0,5")
    assert "best: trial 0, 1 (x=1 y=0)" in ran.text
    assert "study sphere is in sqlite:///sphere.db" in ran.text
    assert "the results are in runs/optimization_results.yaml" in ran.text
    # What Hydra logs of a job is readable.
    assert "ENERGYOPT_RUN=" in ran.text
    assert "reference_c" not in ran.text
    again = app.ok(*words, "x=1,2", "y=0,5")
    assert "the study has all of its 4 trials: nothing is missing" in again.text
    assert "best: trial 0, 1 (x=1 y=0)" in again.text
    assert "Launching" not in again.text
    refused = app(*words, "x=1,2", "y=0,5", "hydra.sweeper.direction=maximize")
    assert refused.code == 1
    assert "give it another hydra.sweeper.study_name" in refused.text
