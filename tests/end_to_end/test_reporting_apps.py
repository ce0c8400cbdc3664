"""Hydra apps of users whose jobs report through `energyopt.Run`, or return their joules."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.study_record import StudyRecord
from energyopt.storage.reader import read_study
from tests.conftest import Program, Ran, pauses_in
from tests.end_to_end.test_other_apps import App
from tests.fake_nvml import FakeNvml

# Energy is what the training counts, so that all numbers are the same on each machine.
METER = """
from energyopt.core.energy import Energy
from energyopt.core.trial_result import Provenance

total_j = 0.0

class Meter:
    provenance = Provenance("simulated", "a toy", "1", "nothing", "none", "here", "made up")

    def start(self):
        self.began_j = total_j

    def stop(self):
        return Energy(0.1, cpu_j=total_j - self.began_j + 0.01)
"""

# A loss that falls with the epochs, the faster the nearer x is to 2; an epoch takes 10 J.
LOOP = """
import hydra
import energyopt
import meter

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    run = energyopt.Run(monitor="rmse", mode="min", target=cfg.target)
    state = run.begin() or {"loss": 1.0}
    for epoch in run.epochs(cfg.epochs):
        meter.total_j += 10
        state["loss"] *= 0.6 + 0.1 * abs(cfg.x - 2)
        with run.evaluation():
            meter.total_j += 1
        run.report(state["loss"], checkpoint=state)
    if cfg.fails:
        raise RuntimeError("the export failed")
    return "anything"

if __name__ == "__main__":
    main()
"""

CONFIG = """
defaults:
  - _self_
  - override hydra/sweeper: energyopt
  - override hydra/sweeper/sampler: joule
  - override hydra/launcher: energyopt

hydra:
  sweep:
    dir: runs
  sweeper:
    sampler:
      seed: 1
    study_name: falls
    storage: study.db
    hardware:
      meter:
        _target_: meter.Meter
    n_trials: 5
    params:
      x: interval(0, 4)

x: 0.5
epochs: 8
target: 0.2
fails: false
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    app = App(Program(Path(sys.executable), tmp_path))
    (tmp_path / "meter.py").write_text(METER)
    (tmp_path / "app.py").write_text(LOOP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return app


def record_of(app: App, name: str = "falls") -> StudyRecord:
    return read_study(str(app.program.folder / "study.db"), name)


def energyopt(app: App, *words: str) -> Ran:
    return app.program.ok(*words, "--storage", "study.db")


@pytest.mark.slow
def test_a_run_in_another_app_is_what_is_told(app: App) -> None:
    ran = app.ok()
    assert "study falls: python app.py with config, to 0.2 rmse" in ran.text
    assert "trial 0 is the default configuration, which ran first: x=0.5" in ran.text
    study = record_of(app)
    assert study.target == 0.2
    assert study.app == "python app.py"
    assert [(m.name, m.direction) for m in study.metrics] == [
        ("energy_to_target_j", "minimize"),
        ("rmse", "minimize"),
    ]
    assert len(study.trials) == 5
    assert study.trials[0].default
    assert study.trials[0].params == {"x": 0.5}
    results = [trial.result for trial in study.trials]
    assert all(result is not None and result.start.monitor.name == "rmse" for result in results)
    # They pause, resume, and train no epoch twice.
    assert sum(pauses_in(app.program.folder)) >= 3
    for result in filter(None, results):
        assert list(result.curve.epoch) == [1 + i for i in range(len(result.curve))]
        assert result.booked("training").cpu_j == pytest.approx(10 * len(result.curve), rel=0.01)
        assert "restarted" not in result.books
    resumed = [result for result in filter(None, results) if len(result.curve) > 1]
    assert resumed
    # The next command continues the study that the first run declared.
    more = app.ok("hydra.sweeper.n_trials=6")
    assert "6, 5 of them done before" in more.text
    assert len(record_of(app).trials) == 6
    data: dict[str, Any] = json.loads(energyopt(app, "recommend", "falls", "--json").out)
    assert data["target"] == 0.2
    best = data["setups"][0]
    assert abs(best["params"]["x"] - 2) <= 1.5
    assert best["overrides"] == [f"x={best['params']['x']!r}"]
    assert "python app.py x=" in energyopt(app, "recommend", "falls").text
    assert "rmse" in energyopt(app, "pareto", "falls").text
    assert "report.html" in energyopt(app, "report", "falls").text
    refused = app.program("retrain", "falls", "--storage", "study.db")
    assert refused.code == 2
    assert "another app's; run that app to train it again" in refused.text
    # An export says the same, and can be imported.
    assert energyopt(app, "export", "falls").code == 0
    shown = app.program.ok("show", "falls-export").text
    assert "to 0.2 rmse" in shown
    app.program.ok("import", "falls-export", "--study", "copy", "--storage", "copies.db")
    assert "python app.py x=" in app.program.ok("recommend", "copy", "--storage", "copies.db").text


@pytest.mark.slow
def test_a_job_that_declares_another_goal_than_the_study_is_refused(app: App) -> None:
    words = ("hydra/sweeper/sampler=grid", "target=choice(0.2,0.3)", "x=2", "epochs=2")
    ran = app.ok(*words)
    first, second = record_of(app).trials
    assert (first.state, second.state) == ("complete", "failed")
    assert "target=0.3" in second.reason
    assert "target=0.2" in second.reason
    assert second.reason in ran.text
    ran = app("hydra.sweeper.study_name=other", "x=2,3", "hydra.sweeper.target=0.5")
    assert ran.code == 1
    assert "hydra.sweeper.target=0.5, but the Run of the job declares target=0.2" in ran.text


@pytest.mark.slow
def test_a_stated_goal_needs_no_first_run_and_what_follows_the_loop_costs_no_record(
    app: App,
) -> None:
    goal = {"monitor": "rmse", "mode": "min", "target": 0.2, "epochs": 8}
    words = [f"hydra.sweeper.{key}={value}" for key, value in goal.items()]
    ran = app.ok(*words, "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=2", "fails=true")
    assert "which ran first" not in ran.text
    assert "RuntimeError: the export failed" in ran.text
    for trial in record_of(app).trials:
        assert trial.state == "complete"
        assert trial.result is not None
        assert trial.result.end == "epochs"


@pytest.mark.slow
def test_a_study_of_returned_values_takes_no_run(app: App) -> None:
    (app.program.folder / "app.py").write_text(
        LOOP.replace(
            "    run = energyopt", "    if cfg.x == 1:\n        return 7\n    run = energyopt"
        )
    )
    app.ok("x=1,2", "hydra/sweeper/sampler=grid", "epochs=1")
    first, second = record_of(app).trials
    assert (first.state, first.values, second.state) == ("complete", (7,), "failed")
    assert "made an energyopt.Run, but study falls is of returned values" in second.reason
    assert second.result is not None
    assert second.result.spent_j > 10


RETURNS = """
import hydra

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    joules = [10.0, 20.0, 40.0]
    values = [0.5, 0.1 * cfg.x, 0.05 * cfg.x]
    curve = {"joules": joules, "rmse": values, "epochs": [1, 2, 4]}
    return {"objectives": cfg.x, "attributes": ATTRIBUTES}

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_returned_joules_fill_the_same_tables(app: App) -> None:
    (app.program.folder / "app.py").write_text(
        RETURNS.replace("ATTRIBUTES", '{"curve": curve, "spent_j": 50.0, "note": "hi"}')
    )
    goal = {"monitor": "rmse", "mode": "min", "target": 0.2, "epochs": 4}
    words = [f"hydra.sweeper.{key}={value}" for key, value in goal.items()]
    app.ok(*words, "x=1,3,5", "hydra/sweeper/sampler=grid")
    study = record_of(app)
    assert study.search_energy_j == 150
    assert [t.result and t.result.energy_to_target_j for t in study.trials] == [20, 40, None]
    assert [trial.values[0] for trial in study.trials] == [20, 40, 40]
    assert [trial.values[1] for trial in study.trials] == pytest.approx([0.05, 0.15, 0.25])
    assert "trial 0: x=1" in energyopt(app, "recommend", "falls").text


@pytest.mark.slow
def test_joule_says_that_it_has_nothing_to_learn_from(app: App) -> None:
    (app.program.folder / "app.py").write_text(RETURNS.replace("ATTRIBUTES", "{}"))
    ran = app.ok("hydra.sweeper.n_trials=2")
    assert "sampler=joule has nothing to learn from" in ran.text
    ran = app("hydra.sweeper.n_trials=2", "hydra.sweeper.planned_trainings=10")
    assert "planned_trainings=10: the jobs report no joules" in ran.text


@pytest.mark.slow
def test_a_default_that_fails_before_its_run_leaves_no_study_of_another_kind(app: App) -> None:
    source = (app.program.folder / "app.py").read_text()
    begin = "def main(cfg):\n"
    broken = source.replace(begin, begin + "    open('data.csv')\n", 1)
    assert broken != source
    (app.program.folder / "app.py").write_text(broken)
    ran = app("hydra.sweeper.n_trials=2")
    assert ran.code != 0
    assert "failed before its energyopt.Run began" in ran.text
    assert "open('data.csv')" in ran.text  # the line that raised
    assert "data.csv" in ran.text
    assert not (app.program.folder / "study.db").exists()
    (app.program.folder / "app.py").write_text(source)
    assert "to 0.2 rmse" in app.ok("hydra.sweeper.n_trials=2").text


DEVICES = """
import os, time
import hydra

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    import json
    from energyopt.core.run_context import RunContext
    context = RunContext.from_environment()
    began_s = time.time()
    time.sleep(1)
    seen = {
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "leased": list(context.leased_gpus),
        "began_s": began_s, "ended_s": time.time(),
    }
    curve = {"joules": [10.0], "rmse": [0.5]}
    return {"objectives": 1, "attributes": {"curve": curve, "seen": seen}}

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_two_jobs_at_a_time_hold_a_gpu_each(app: App, gpu_box: FakeNvml) -> None:
    del gpu_box
    (app.program.folder / "app.py").write_text(DEVICES)
    goal = {"monitor": "rmse", "mode": "min", "target": 0.2, "epochs": 4}
    words = [f"hydra.sweeper.{key}={value}" for key, value in goal.items()]
    ran = app.ok(
        *words, "hydra.sweeper.hardware=nvidia", "hydra.sweeper.n_jobs=3", "x=1,2,3,4",
        "hydra/sweeper/sampler=grid",
    )  # fmt: skip
    assert "n_jobs=3, but there are energy counters for 2 trials at a time" in ran.text
    seen = [trial.user_attrs["seen"] for trial in app.study("study.db", "falls").trials]
    assert len({tuple(job["leased"]) for job in seen}) == 2
    for job in seen:
        assert job["visible"] == ",".join(job["leased"])
        rivals = [other for other in seen if other["leased"] == job["leased"] and other is not job]
        assert all(r["ended_s"] <= job["began_s"] or job["ended_s"] <= r["began_s"] for r in rivals)


COUNTS_STEPS = """
import time
import hydra
import energyopt
from tests.fake_nvml import speed, working

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    run = energyopt.Run(monitor="rmse", mode="min", target=cfg.target)
    run.begin()
    for epoch in run.epochs(cfg.epochs):
        for _ in range(20):
            with working():
                time.sleep(0.01 / speed())
            run.step(10)
        with run.evaluation():
            pass
        run.report(0.9**epoch)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_power_limits_are_profiled_in_the_first_run(app: App, gpu_box: FakeNvml) -> None:
    config = CONFIG.replace("meter:\n        _target_: meter.Meter", "power_limit_w: profile")
    keys: dict[str, object] = {
        "power_step_w": 50,
        "profile_slice_s": 0.25,
        "profile_settle_s": 0.05,
        "idle_s": 0.2,
    }
    keys |= {"gpus": [0], "cool_down_s": 0.1, "cool_down_max_s": 0.1}
    (app.program.folder / "config.yaml").write_text(config)
    (app.program.folder / "app.py").write_text(COUNTS_STEPS)
    words = [f"+hydra.sweeper.hardware.{key}={value}" for key, value in keys.items()]
    words += ["+hydra.sweeper.hardware.meter._target_=energyopt.hardware.zeus.NvmlMeter"]
    ran = app.ok(*words, "epochs=30", "hydra.sweeper.n_trials=2", "hydra/sweeper/sampler=random")
    first, second = (trial.result for trial in record_of(app).trials)
    assert first is not None, ran.text
    assert second is not None, ran.text
    assert first.conditions.profile is not None
    assert second.conditions.profile is None
    chosen_w = first.conditions.profile.chosen_w
    assert chosen_w < 300
    assert first.conditions.limit_w == second.conditions.limit_w == chosen_w
    assert gpu_box.limit_w() == 300


THREADED = """
import threading, time
import hydra

threading.Thread(target=time.sleep, args=(100,), daemon=True).start()

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    return cfg.x

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_an_app_with_threads_is_not_forked(app: App) -> None:
    (app.program.folder / "app.py").write_text(THREADED)
    ran = app.ok("x=1,2", "hydra/sweeper/sampler=grid")
    assert ran.text.count("trials start in fresh processes") == 1
    assert "the app starts 1 thread where it is imported" in ran.text
    assert [trial.values for trial in record_of(app).trials] == [(1,), (2,)]


DIGITS = """
import hydra
import torch
from torch import nn
from sklearn.datasets import load_digits

import energyopt


@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    run = energyopt.Run(monitor="rmse", mode="min", target=0.25)
    torch.set_num_threads(1)
    torch.manual_seed(cfg.seed)
    data = load_digits()
    x = torch.tensor(data.data / 16, dtype=torch.float32)
    y = nn.functional.one_hot(torch.tensor(data.target), 10).float()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, held = order[:1350], order[1350:]
    model = nn.Sequential(nn.Linear(64, cfg.width), nn.ReLU(), nn.Linear(cfg.width, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr)
    pairs = torch.utils.data.TensorDataset(x[train], y[train])
    loader = torch.utils.data.DataLoader(pairs, cfg.batch_size, shuffle=True)
    run.begin(model=model, optimizer=optimizer)
    for epoch in run.epochs(cfg.epochs):
        for inputs, labels in loader:
            loss = nn.functional.mse_loss(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with run.evaluation(), torch.no_grad():
            rmse = nn.functional.mse_loss(model(x[held]), y[held]).sqrt().item()
        run.report(rmse)


if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_a_plain_loop_on_digits_pauses_and_resumes(app: App) -> None:
    (app.program.folder / "app.py").write_text(DIGITS)
    config = CONFIG[: CONFIG.index("x: 0.5")].replace("x: interval(0, 4)", DIGITS_SPACE)
    config = config[: config.index("    hardware:")] + config[config.index("    n_trials") :]
    (app.program.folder / "config.yaml").write_text(config + DIGITS_DEFAULT)
    app.ok("hydra.sweeper.n_trials=8", "hydra.sweeper.hardware=simulated")
    study = record_of(app)
    assert len(study.trials) == 8
    for trial in study.trials:
        result, batch_size = trial.result, trial.params["batch_size"]
        assert result is not None
        # Steps are what the simulated meter charges for: no pause trains one twice.
        steps = len(result.curve) * -(-1350 // batch_size)
        expected_j = steps * (0.05 + 0.001 * batch_size)
        assert result.training_j == pytest.approx(expected_j, rel=0.02)
        assert list(result.curve.epoch) == [1 + i for i in range(len(result.curve))]
    assert len({len(trial.result.curve) for trial in study.trials if trial.result}) > 1
    best = json.loads(energyopt(app, "recommend", "falls", "--json").out)["setups"][0]
    assert best["reached"] >= 1
    assert "rmse" in energyopt(app, "pareto", "falls").text
    assert "report.html" in energyopt(app, "report", "falls").text


DIGITS_SPACE = """lr: tag(log, interval(1e-4, 1e-1))
      batch_size: choice(16, 64)"""

DIGITS_DEFAULT = """
lr: 1e-3
batch_size: 64
width: 32
epochs: 8
seed: 0
"""


@pytest.mark.slow
def test_a_dry_run_says_what_a_search_would_cost_and_leaves_nothing(app: App):
    files = sorted(path.name for path in app.program.folder.iterdir())
    ran = app("hydra.sweeper.dry_run=true")
    assert ran.code == 0, ran.text
    assert "One epoch of the default configuration: 10 J of training; rmse 0.75" in ran.text
    assert "is not metered with these joules" in ran.text
    new = {path.name for path in app.program.folder.iterdir()} - {*files, "__pycache__"}
    assert not new
