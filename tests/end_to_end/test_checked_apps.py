"""Apps of other authors: a space that cannot be searched is refused before the first job."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Program, Ran

APP = """
from dataclasses import dataclass, field
from typing import Any
import hydra
from hydra.core.config_store import ConfigStore

@dataclass
class Config:
    defaults: list[Any] = field(default_factory=lambda: [
        "_self_", {"db": "mysql"}, {"override hydra/sweeper": "energyopt"},
        {"override hydra/sweeper/sampler": "random"},
    ])
    width: int = 4
    lr: float = 0.1
    home: str = "${oc.env:NOT_SET_HERE}"
    number: Any = "${hydra:job.num}"
    db: Any = None

ConfigStore.instance().store(name="config", node=Config)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    print("JOB", flush=True)
    return float(cfg.width)

main()
"""
SAMPLER = """
from optuna.samplers import RandomSampler

class Mine(RandomSampler):
    def sample_independent(self, study, trial, name, axis):
        if any(t.user_attrs or t.params.get("lr", 0) > 1 for t in study.get_trials()):
            return deep(name)
        return super().sample_independent(study, trial, name, axis)

def deep(name):
    raise KeyError("no density of " + name)
"""
MINE = "hydra.sweeper.sampler._target_=mine.Mine"


@pytest.fixture
def app(tmp_path: Path) -> Program:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "mine.py").write_text(SAMPLER)
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['cmaes'] = None\n")
    (tmp_path / "conf/db").mkdir(parents=True)
    for name in ("mysql", "pg"):
        (tmp_path / f"conf/db/{name}.yaml").write_text("port: 1\n")
    return Program(Path(sys.executable), tmp_path)


def run(app: Program, *words: str) -> Ran:
    done = subprocess.run(
        [app.python, "app.py", "-m", "hydra.sweep.dir=out", *words],
        cwd=app.folder,
        env=app.environment(PYTHONPATH=str(app.folder)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.mostly_slow(every=4)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["width=interval(1,9)"], "width takes whole numbers; write width=int(interval(1,9))"),
        (["db=mysql,oracle"], "db=oracle: there is no such option; choose one of mysql, pg"),
        (["lr=choice(0.1,fast)"], "lr=fast is not allowed: a number is needed; leave it out"),
        (
            ["lr=interval(0,1)", "hydra/sweeper/sampler=grid"],
            "sampler=grid cannot count lr: give it choices",
        ),
        (["lr=interval(0,1)", "hydra/sweeper/sampler=cmaes"], "pip install cmaes"),
        (
            [
                "lr=interval(0,1)",
                "hydra/sweeper/sampler=cmaes",
                "hydra.sweeper.direction=[max,min]",
            ],
            "hydra.sweeper.direction=",
        ),
        (
            [
                *("lr=interval(0,1)", "hydra/sweeper/sampler=cmaes"),
                "hydra.sweeper.direction=[minimize,maximize]",
            ],
            "CmaEsSampler cannot search this study: If the study is being used for multi-obj",
        ),
    ],
)
def test_what_cannot_be_searched_is_told_before_the_first_job(
    app: Program, words: list[str], says: str
) -> None:
    ran = run(app, *words)
    assert ran.code != 0
    assert says in ran.text
    assert "JOB" not in ran.out
    assert "Traceback" not in ran.text
    assert "storage" not in ran.err
    assert not (app.folder / "out/study.db").exists()


@pytest.mark.slow
def test_defaults_that_only_a_job_can_resolve_are_searched(app: Program) -> None:
    ran = run(app, "home=a,b", "number=1,2", "hydra.sweeper.n_trials=3")
    assert ran.code == 0, ran.text
    assert ran.out.count("JOB") == 3


@pytest.mark.slow
def test_a_sampler_that_raises_in_the_search_shows_its_traceback(app: Program) -> None:
    ran = run(app, "lr=interval(2,3)", MINE, "hydra.sweeper.n_trials=3", "home=x")
    assert ran.code != 0
    assert "in deep" in ran.err
    assert "sampler mine.Mine raised KeyError: 'no density of lr'" in ran.text
    assert "cannot be used" not in ran.text
    with closing(sqlite3.connect(app.folder / "out/study.db")) as database:
        states = [state for (state,) in database.execute("select state from trials")]
    assert states.count("COMPLETE") == ran.out.count("JOB") > 0
    again = run(app, "lr=interval(2,3)", "hydra.sweeper.n_trials=3", "home=x")
    assert again.code == 0, again.text


@pytest.mark.slow
def test_a_finite_space_ends_the_study(app: Program) -> None:
    brute = "hydra.sweeper.sampler._target_=optuna.samplers.BruteForceSampler"
    ran = run(app, "lr=0.1,0.2", brute, "home=x")
    assert ran.code == 0, ran.text
    assert ran.out.count("JOB") == 2
    assert "the study ends here: the sampler has suggested all points" in ran.text


@pytest.mark.slow
def test_a_sampler_stores_the_numbers_of_a_grid(app: Program) -> None:
    ran = run(app, "lr=range(0.1,0.9,0.1)", "home=x", "hydra.sweeper.n_trials=12")
    assert ran.code == 0, ran.text
    with closing(sqlite3.connect(app.folder / "out/study.db")) as database:
        stored = {value for (value,) in database.execute("select param_value from trial_params")}
    assert stored <= {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}
    assert "00000" not in ran.out + (app.folder / "out/optimization_results.yaml").read_text()
