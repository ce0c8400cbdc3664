"""A search whose trials are trainings over several processes."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Program
from tests.training.runs import record

# A job that forks its ranks: their process group is there first, and no variable of torchrun.
APP = """
import tempfile

import hydra
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel

import energyopt

def train(rank, lr, meeting):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    run = energyopt.Run(monitor="val_loss", mode="min", target=0.15)
    torch.manual_seed(0)
    inputs = torch.randn(400, 10)
    answers = inputs[:, :2].sum(1, keepdim=True).sin()
    layers = torch.nn.Linear(10, 32), torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(32, 1)
    net = torch.nn.Sequential(*layers)
    model = DistributedDataParallel(net)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    torch.manual_seed(rank)
    run.begin(model=model, optimizer=optimizer)
    for epoch in run.epochs(6):
        net.train()
        for part in torch.randperm(200).split(20):
            optimizer.zero_grad()
            mse_loss(model(inputs[2 * part + rank]), answers[2 * part + rank]).backward()
            optimizer.step()
        net.eval()
        with run.evaluation(), torch.inference_mode():
            val_loss = mse_loss(net(inputs), answers)
        run.report(val_loss)

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(train, (cfg.lr, f"{folder}/meeting"), nprocs=2, start_method="fork")

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
    dir: runs/${hydra.sweeper.study_name}
  sweeper:
    study_name: ranks
    storage: studies.db
    n_trials: 8
    params:
      lr: tag(log, interval(1e-3, 1e-1))
lr: 1e-2
"""


@pytest.mark.slow
def test_a_search_over_ranks_pauses_resumes_and_answers(tmp_path: Path, energyopt: Program) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.yaml").write_text(CONFIG)

    def app(*words: str) -> str:
        ran = subprocess.run(
            [sys.executable, "app.py", *words],
            cwd=tmp_path,
            env=energyopt.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    told = [line for line in app("-m").splitlines() if "] trial " in line]
    ended = {line.split()[2].rstrip(":") for line in told if "paused" not in line}
    resumed = {
        path.parent.name
        for path in (tmp_path / "runs/ranks").glob("*/progress.jsonl")
        if '{"Pause"' in path.read_text() and path.parent.name in ended
    }
    assert resumed
    app()  # the default again, at one go
    (folder,) = (tmp_path / "outputs/app").glob("*/*")
    assert "0" in resumed
    assert record(tmp_path / "runs/ranks/0").curve.accuracy == record(folder).curve.accuracy
    assert not list((tmp_path / "runs").rglob("*paused*"))  # none left of a search that is over
    front = energyopt("pareto", "ranks", "--storage", "studies.db", "--out", "front.csv")
    assert front.code == 0, front.text
    with (tmp_path / "front.csv").open() as file:
        assert list(csv.DictReader(file))
    assert energyopt("report", "ranks", "--storage", "studies.db").code == 0
