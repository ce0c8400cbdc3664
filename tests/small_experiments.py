"""Made-up trainings of experiments, and small experiments to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from energyopt.experiments.plan import Arm, Comparison, Experiment, ExperimentKind
from energyopt.experiments.rows import GRID, Raw, Row

SOURCE = {
    "kind": "estimated",
    "meter": "cpu-time x 4 W/core",
    "version": "1",
    "scope": "CPU time",
    "device": "CPU of a test",
    "uncertainty": "any",
}
SEEDS, AGAIN = (0, 1), (1000, 1001, 1002)


def row(arm: str, role: str, seed: int, energy_j: float, **more: Any) -> Row:
    """A training that reached its target."""
    given: dict[str, Any] = {
        "setup": {"lr": 0.1},
        "end": "target",
        "target": 0.9,
        "reached": True,
        "steps": 10,
        "samples": 100,
        "upfront_j": 0.0,
        "share_j": 0.0,
        "best_accuracy": 0.95,
        "books_j": {"training": energy_j, "evaluation": 1.0},
    }
    return Row(arm=arm, role=role, seed=seed, energy_j=energy_j, **(given | more))


def arm_rows(
    arm: str, energies: Sequence[float], *, role: str = "best", reached: bool = True, **more: Any
) -> list[Row]:
    """A grid of one setup, and that setup with new seeds: one energy a seed, in J."""
    more |= {"reached": reached}
    grid = [row(arm, GRID, seed, energies[0], **more) for seed in SEEDS]
    if not reached:
        return grid
    return grid + [row(arm, role, s, e, **more) for s, e in zip(AGAIN, energies, strict=True)]


def experiment(
    kind: ExperimentKind,
    comparisons: Mapping[str, Mapping[str, Sequence[str]]],
    grid: Mapping[str, tuple[Any, ...]] | None = None,
    **more: Any,
) -> Experiment:
    """An experiment of the arms that are compared."""
    compared = tuple(
        Comparison(name, {role: tuple(names) for role, names in roles.items()})
        for name, roles in comparisons.items()
    )
    names = dict.fromkeys(name for each in compared for name in each.names)
    arms = tuple(Arm(name, (), grid or {"lr": (0.1,)}) for name in names)
    given: dict[str, Any] = {"default": {}} | more
    return Experiment("made_up", kind, "About nothing.", SEEDS, AGAIN, arms, compared, **given)


def raw(of: Experiment, rows: Sequence[Row], **more: Any) -> Raw:
    """Trainings with a source of joules."""
    return Raw(of, tuple(rows), **({"source": SOURCE} | more))


def write_experiment(folder: Path, name: str, text: str) -> None:
    """Write an experiment of a user's own."""
    (folder / "experiment").mkdir(parents=True, exist_ok=True)
    (folder / "experiment" / f"{name}.yaml").write_text(text)
