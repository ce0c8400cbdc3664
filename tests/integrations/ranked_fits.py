"""Fits by a trainer over two processes, forked from a Python that has imported it.

python -m tests.integrations.ranked_fits lightning FOLDER writes the curves of two: one at a go, and
one that paused.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch

from energyopt import integrations
from energyopt.core.run_context import VARIABLE, RunContext
from tests.integrations.small_trainers import lightning_fit, transformers_train
from tests.training.runs import ranked, record


def train(trainer: str, folder: Path, **context: Any) -> None:
    """Train in two processes, as a job of a study."""
    metric = "val_loss" if trainer == "lightning" else "eval_loss"
    own = RunContext(folder=folder, metric=metric, mode="min", target=0.01, epochs=3, **context)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({VARIABLE: own.to_json(), "GROUP_RANK": "0", **launch})

    def fit(_rank: int) -> None:
        torch.set_num_threads(1)
        energy = getattr(integrations, trainer).EnergyCallback()
        if trainer == "lightning":
            lightning_fit(energy, 3, devices=2, strategy="ddp")
        else:
            options = {"save_strategy": "no", "ddp_backend": "gloo"}
            transformers_train(energy, folder / "out", 3, **options)

    for end in ranked(fit):
        assert end == "null", end


def main(trainer: str, folder: Path) -> None:
    """Write the curve of a fit, and that of one that paused after its first epoch."""
    train(trainer, folder / "whole")
    train(trainer, folder / "paused", pause_at_j=0)
    assert record(folder / "paused").end == "paused"
    train(trainer, folder / "paused", resume=True)
    curves = [record(folder / name).curve for name in ("whole", "paused")]
    text = json.dumps([(curve.accuracy, curve.samples) for curve in curves])
    (folder / "curves.json").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
