"""The number of our stack frames between the caller and a user's training step."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Program

LIMIT = 5
WORDS = (
    *("hardware=simulated", "task=wine", "model=mlp", "epochs=1", "target=0.9"),
    *("paradigm=own", "paradigm._target_=frames.Looking"),
)
PARADIGM = """
import json
import sys

from energyopt.paradigms.scratch import Scratch


class Looking(Scratch):
    def train(self, samples):
        frame, names = sys._getframe(1), []
        while frame is not None:
            names.append(frame.f_globals.get("__name__", "?"))
            frame = frame.f_back
        with open("stack.json", "w") as file:
            json.dump(names, file)
        return super().train(samples)
"""


def stack(program: Program, *words: str) -> list[str]:
    """Modules of the frames under a training step, the innermost first."""
    (program.folder / "frames.py").write_text(PARADIGM)
    program.ok(*words, *WORDS)
    names: list[str] = json.loads((program.folder / "stack.json").read_text())
    return names


def own(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(("energyopt", "hydra_plugins.energyopt"))]


@pytest.mark.parametrize(
    "words",
    [(), ("-m", "lr=interval(1e-3,1e-1)", "n_trials=1", "study=one")],
    ids=["one training", "a trial of a study"],
)
def test_few_frames_stand_between_hydra_and_a_training_step(
    energyopt: Program, words: tuple[str, ...]
) -> None:
    names = stack(energyopt, *words)
    first_of_hydra = max(i for i, name in enumerate(names) if name.startswith("hydra."))
    last_of_hydra = min(i for i, name in enumerate(names) if name.startswith("hydra."))
    assert len(own(names[:last_of_hydra])) <= 3  # from the call of Hydra that runs the job
    assert len(own(names[:first_of_hydra])) <= LIMIT  # from the user's own call of Hydra
