"""Name and configure the studies of an experiment, and collect their trainings as rows."""

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
from energyopt.experiments.rows import GRID, Raw, Row, rows_from_study
from energyopt.experiments.selection import choose_setups
from energyopt.utils.files import written_whole

_STATE = "experiment.json"
_COMMON = ("sampler=grid", "stopping=none")
_OBJECTIVE = "objective=energy_to_target"
_FINISHED = ("complete", "pruned")
# Keys that say where a study is and how it runs, but do not change its results.
_RUN_KEYS = (
    "knowledge",
    "n_jobs",
    "max_failures",
    "n_trials",
    "trial_timeout_s",
    "trusted_targets",
)


@dataclass(frozen=True)
class ExperimentState:
    """Data of a run that a summary needs and that is not in the studies.

    Attributes:
        experiment: The plan.
        words: Overrides from the command line, in addition to the experiment's.
        skipped: Reasons why arms were not trained, by name.
    """

    experiment: Experiment
    words: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def summary_dir(prefix: str) -> Path:
    """Return the default folder for the summary of an experiment."""
    return Path("studies") / "summaries" / prefix


def write_state(state: ExperimentState, folder: Path) -> None:
    """Write the state of a run to a folder.

    Raises:
        StorageError: If it cannot be written.
    """
    data = {
        "experiment": state.experiment.to_dict(),
        "words": list(state.words),
        "skipped": dict(state.skipped),
    }
    try:
        with written_whole(folder / _STATE, force=True) as temporary:
            temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from error


def read_state(prefix: str) -> ExperimentState:
    """Read the state of the last run of an experiment.

    Raises:
        StudyError: If the experiment was never run here.
        StorageError: If the file cannot be read.
    """
    path = summary_dir(prefix) / _STATE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        experiment = Experiment.from_dict(data["experiment"])
        return ExperimentState(experiment, tuple(data["words"]), data["skipped"])
    except FileNotFoundError:
        names = sorted(p.parent.name for p in summary_dir("").glob(f"*/{_STATE}"))
        raise StudyError(
            f"no experiment {prefix!r} was run here; there are: {', '.join(names) or 'none yet'}; "
            f"python -m energyopt -m experiment=NAME runs one, --from FOLDER reads what one wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error


def study_name(prefix: str, arm: str, role: str) -> str:
    """Return the name of a study; that of a grid has no role in it."""
    return f"{prefix}-{arm}" if role == GRID else f"{prefix}-{arm}-{role}"


def study_overrides(
    experiment: Experiment,
    arm: Arm,
    role: str,
    setup: Mapping[str, Any] | None,
    extra: Sequence[str] = (),
) -> list[str]:
    """Return the overrides of a study: a grid, or one configuration with the new seeds.

    The seed is the slowest axis: all configurations are trained with one seed, then with the next,
    so drift over time affects all alike.

    Args:
        experiment: The plan.
        arm: The arm of the study.
        role: Its role; `GRID` for the grid.
        setup: The configuration, unless it is a grid.
        extra: Further overrides.
    """
    overrides = [*_COMMON, *arm.words, *extra]
    if not any(override.startswith("objective=") for override in overrides):
        overrides.insert(0, _OBJECTIVE)
    overrides.append(_choice("seed", experiment.seeds if role == GRID else experiment.again))
    if role == GRID:
        overrides += [_choice(key, values) for key, values in arm.grid.items()]
    else:
        # Groups first: the option of a group determines which keys exist.
        values = sorted((setup or {}).items(), key=lambda item: "." in item[0])
        overrides += [override_for(key, value) for key, value in values]
    return [*overrides, f"n_trials={n_trainings(experiment, arm, role)}"]


def n_trainings(experiment: Experiment, arm: Arm, role: str) -> int:
    """Return the number of trainings of a study."""
    return arm.n_setups * len(experiment.seeds) if role == GRID else len(experiment.again)


def _choice(key: str, values: Sequence[Any]) -> str:
    texts = (override_for(key, value).partition("=")[2] for value in values)
    return f"{key}=choice({','.join(texts)})"


def read_finished_study(
    storage: str, name: str, overrides: Sequence[str], n_required: int
) -> StudyRecord | None:
    """Read a study, or return None if trainings are missing or it has other settings."""
    study = _read_study(storage, name)
    if study is None:
        return None
    n_finished = sum(trial.state in _FINISHED for trial in study.trials)
    required = {override for override in overrides if override.partition("=")[0] not in _RUN_KEYS}
    is_same = required <= {*study.overrides, *study.sweep}
    return study if n_finished >= n_required and is_same else None


def _read_study(storage: str, name: str) -> StudyRecord | None:
    from energyopt.storage.reader import read_study

    try:
        return read_study(storage, name)
    except EnergyoptError:  # no such study or storage yet; if it is broken, running it will fail
        return None


def gather(prefix: str, storage: str) -> Raw:
    """Collect all trainings of an experiment, whose studies' names begin with `prefix`.

    Raises:
        EnergyoptError: If the experiment was never run here, or its meters differ.
    """
    state = read_state(prefix)
    rows: list[Row] = []
    studies: list[StudyRecord] = []
    skipped = dict(state.skipped)
    for arm in state.experiment.arms:
        if arm.name in skipped:
            continue
        grid = _read_study(storage, study_name(prefix, arm.name, GRID))
        if grid is None:
            skipped[arm.name] = "not trained yet"
            continue
        studies.append(grid)
        grid_rows = _sort_by_grid(arm, rows_from_study(grid, arm, GRID))
        rows += grid_rows
        for role, setup in choose_setups(state.experiment, grid_rows).items():
            retrained = _read_study(storage, study_name(prefix, arm.name, role))
            if retrained is not None:
                studies.append(retrained)
                retrained_rows = rows_from_study(retrained, arm, role, setup)
                rows += sorted(retrained_rows, key=lambda row: row.seed)
    return Raw(state.experiment, tuple(rows), skipped, *_source_of(studies), tuple(state.words))


def _sort_by_grid(arm: Arm, rows: Sequence[Row]) -> list[Row]:
    """Sort trainings in the order of the grid, whatever order they ran in."""

    def grid_position(row: Row) -> tuple[float, ...]:
        indices = [
            values.index(row.setup[key]) if row.setup.get(key) in values else math.inf
            for key, values in arm.grid.items()
        ]
        return (*indices, row.seed)

    return sorted(rows, key=grid_position)


def _source_of(studies: Sequence[StudyRecord]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the provenance of the energies, without the host name, and the package versions.

    Raises:
        StudyError: If two studies were measured with different meters.
    """
    by_binding = {s.provenance.binding: s for s in studies if s.provenance is not None}
    if len(by_binding) > 1:
        first, second = list(by_binding.values())[:2]
        raise StudyError(
            f"joules of study {first.name} are {first.provenance}, those of {second.name} "
            f"{second.provenance}: they are not compared; give the experiment another study=name"
        )
    result = next((result for study in studies for _, result in study.results), None)
    if result is None:
        return {}, {}
    keys = ("kind", "meter", "version", "scope", "device", "uncertainty")
    source = {key: getattr(result.start.provenance, key) for key in keys}
    return source, dict(result.start.machine.packages) if result.start.machine else {}
