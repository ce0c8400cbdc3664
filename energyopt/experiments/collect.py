"""From the studies of an experiment to its rows; the names and words of these studies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from energyopt.config.overrides import override_for
from energyopt.core.study_record import StudyRecord
from energyopt.errors import EnergyoptError, StorageError, StudyError
from energyopt.experiments.plan import Arm, Experiment
from energyopt.experiments.rows import GRID, Raw, Row, rows_of
from energyopt.experiments.selection import chosen
from energyopt.utils.files import written_whole

_STATE = "experiment.json"
_COMMON = ("sampler=grid", "stopping=none")
_OBJECTIVE = "objective=energy_to_target"
_OVER = ("complete", "pruned")
# Where a study is and how it runs: no part of what it asks.
_BESIDE = ("knowledge", "n_jobs", "max_failures", "n_trials", "trial_timeout_s", "trusted_targets")


@dataclass(frozen=True)
class State:
    """What a run of an experiment leaves for its summary.

    Attributes:
        experiment: What was asked.
        words: Words of the command beside the experiment's.
        skipped: Why an arm was not trained, by its name.
    """

    experiment: Experiment
    words: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def summary_dir(prefix: str) -> Path:
    """Where the summary of an experiment goes if nothing else is said."""
    return Path("studies") / "summaries" / prefix


def keep_state(state: State, folder: Path) -> None:
    """Keep what a summary cannot read from the studies.

    Raises:
        StorageError: If it cannot be written.
    """
    data = {
        "experiment": state.experiment.to_dict(),
        "words": list(state.words),
        "skipped": dict(state.skipped),
    }
    try:
        with written_whole(folder / _STATE, force=True) as fresh:
            fresh.write_text(json.dumps(data, indent=1), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from error


def read_state(prefix: str) -> State:
    """What the last run of an experiment has left.

    Raises:
        StudyError: If none has.
    """
    path = summary_dir(prefix) / _STATE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        experiment = Experiment.from_dict(data["experiment"])
        return State(experiment, tuple(data["words"]), data["skipped"])
    except FileNotFoundError:
        there = sorted(p.parent.name for p in summary_dir("").glob(f"*/{_STATE}"))
        raise StudyError(
            f"no experiment {prefix!r} was run here; there are: {', '.join(there) or 'none yet'}; "
            f"python -m energyopt -m experiment=NAME runs one, --from FOLDER reads what one wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error


def study_name(prefix: str, arm: str, role: str) -> str:
    """The name of a study: a grid's is its arm's."""
    return f"{prefix}-{arm}" if role == GRID else f"{prefix}-{arm}-{role}"


def grid_words(
    experiment: Experiment,
    arm: Arm,
    role: str,
    setup: Mapping[str, Any] | None,
    more: Sequence[str] = (),
) -> list[str]:
    """The words of a study: a grid with the first seeds, or one setup with the new ones.

    Seeds come first: all setups are trained with one, then with the next, so that what changes
    with the hour is in all alike.
    """
    words = [*_COMMON, *arm.words, *more]
    if not any(word.startswith("objective=") for word in words):
        words.insert(0, _OBJECTIVE)
    seeds = experiment.seeds if role == GRID else experiment.again
    words.append(_sweep("seed", seeds))
    if role == GRID:
        words += [_sweep(key, values) for key, values in arm.grid.items()]
        trainings = arm.setups * len(seeds)
    else:
        # A group first: its option decides which keys there are.
        fixed = sorted((setup or {}).items(), key=lambda item: "." in item[0])
        words += [override_for(key, value) for key, value in fixed]
        trainings = len(seeds)
    return [*words, f"n_trials={trainings}"]


def _sweep(key: str, values: Sequence[Any]) -> str:
    texts = (override_for(key, value).partition("=")[2] for value in values)
    return f"{key}=choice({','.join(texts)})"


def finished(where: str, name: str, words: Sequence[str], trainings: int) -> StudyRecord | None:
    """A study that needs no more training; None if it does, or asks something else."""
    study = _read(where, name)
    if study is None:
        return None
    over = sum(trial.state in _OVER for trial in study.trials)
    asked = {word for word in words if word.partition("=")[0] not in _BESIDE}
    return study if over >= trainings and asked <= {*study.overrides, *study.sweep} else None


def _read(where: str, name: str) -> StudyRecord | None:
    from energyopt.storage.reader import read_study

    try:
        return read_study(where, name)
    except EnergyoptError:  # no such study, or no storage yet; running it says what is wrong
        return None


def gather(prefix: str, where: str) -> Raw:
    """All trainings of an experiment.

    Args:
        prefix: With which the names of its studies begin.
        where: Where they are kept.

    Raises:
        EnergyoptError: If there are none.
    """
    state = read_state(prefix)
    rows: list[Row] = []
    studies: list[StudyRecord] = []
    skipped = dict(state.skipped)
    for arm in state.experiment.arms:
        if arm.name in skipped:
            continue
        grid = _read(where, study_name(prefix, arm.name, GRID))
        if grid is None:
            skipped[arm.name] = "not trained yet"
            continue
        studies.append(grid)
        trained = _ordered(arm, rows_of(grid, arm, GRID))
        rows += trained
        for role, setup in chosen(state.experiment, trained).items():
            again = _read(where, study_name(prefix, arm.name, role))
            if again is not None:
                studies.append(again)
                found = rows_of(again, arm, role, setup)
                rows += sorted(found, key=lambda row: row.seed)
    return Raw(state.experiment, tuple(rows), skipped, *_made_by(studies), tuple(state.words))


def _ordered(arm: Arm, rows: Sequence[Row]) -> list[Row]:
    """Trainings in the order of the grid, whatever order they were trained in."""

    def place(row: Row) -> tuple[float, ...]:
        at = [
            values.index(row.setup[key]) if row.setup.get(key) in values else math.inf
            for key, values in arm.grid.items()
        ]
        return (*at, row.seed)

    return sorted(rows, key=place)


def _made_by(studies: Sequence[StudyRecord]) -> tuple[dict[str, Any], dict[str, str]]:
    """Where the joules come from, without the machine's name, and versions of packages.

    Raises:
        StudyError: If those of two studies come from different meters.
    """
    bindings = {s.provenance.binding: s for s in studies if s.provenance is not None}
    if len(bindings) > 1:
        one, other = list(bindings.values())[:2]
        raise StudyError(
            f"joules of study {one.name} are {one.provenance}, those of {other.name} "
            f"{other.provenance}: they are not compared; give the experiment another study=name"
        )
    first = next((r for study in studies for _, r in study.results), None)
    if first is None:
        return {}, {}
    of = first.start.provenance
    source = {
        "kind": of.kind,
        "meter": of.meter,
        "version": of.version,
        "scope": of.scope,
        "device": of.device,
        "uncertainty": of.uncertainty,
    }
    return source, dict(first.start.machine.packages) if first.start.machine else {}
