"""Compare two runs of an experiment: are their energies equivalent?

Configurations are paired by what they are: their arm, with the words of its plan (task, model,
target), and their parameters without seeds. Each pair gives one log ratio of energies; over those
of an arm, two one-sided tests (TOST) tell whether the mean is within the margin. Two runs are
equivalent if every arm is: an intersection-union test, which needs no correction for the number of
arms.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.analysis.equivalence import Equivalence, Finding, equivalence, equivalence_of
from energyopt.analysis.paired_ratio import quantile
from energyopt.errors import ConfigError
from energyopt.experiments.results import ExperimentSummary, ratio_text, setup_text
from energyopt.experiments.rows import GRID, Raw, Row
from energyopt.report.tables import rows_of

MARGIN = 1.25
"""Factor within which two energies are alike: single runs vary by as much on a busy machine."""

_MAX_SHOWN = 5  # trainings that differ
_RATIO_KEYS = frozenset({"value", "low", "high", "pairs"})

Configuration = tuple[tuple[str, str], ...]
"""The parameters of a configuration, without seeds, as sorted texts."""


@dataclass(frozen=True)
class RatioPair:
    """The data of a ratio in the older and in the newer run, and the test of their quotient."""

    name: str
    older: Mapping[str, Any]
    newer: Mapping[str, Any]
    test: Equivalence


@dataclass(frozen=True)
class ArmComparison:
    """The energies of an arm in both runs.

    Attributes:
        name: Name of the arm.
        logs: Logarithm of newer over older energy of each configuration that both have.
        test: The test of equivalence; None with fewer than two configurations.
    """

    name: str
    logs: tuple[float, ...]
    test: Equivalence | None

    @property
    def finding(self) -> Finding:
        """The finding of the test; undecided without one."""
        return "undecided" if self.test is None else self.test.finding


@dataclass(frozen=True)
class Reproduction:
    """Comparison of two runs of an experiment.

    Attributes:
        margin: The factor within which two energies are alike.
        arms: The arms of which both runs have a configuration that reached its target.
        n_unpaired: Number of configurations that only one run has, or reached its target with.
        grid: Pairs of trainings of the grids that both runs have: (older, newer).
        ratios: The ratios that both runs have.
        machine: Differences of machine, packages and overrides; without any, the trainings of a
            grid take the same steps.
    """

    margin: float
    arms: tuple[ArmComparison, ...]
    n_unpaired: int
    grid: tuple[tuple[Row, Row], ...]
    ratios: tuple[RatioPair, ...]
    machine: tuple[str, ...]

    @property
    def differing(self) -> list[tuple[Row, Row]]:
        """Pairs of trainings with different steps, or of which only one reached the target."""
        return [
            (older, newer)
            for older, newer in self.grid
            if (older.reached, older.steps) != (newer.reached, newer.steps)
        ]

    @property
    def finding(self) -> Finding:
        """The finding of all arms; on the same machine, other steps are a difference."""
        findings = {arm.finding for arm in self.arms}
        findings |= {"different" for pair in self.ratios if pair.test.finding == "different"}
        if "different" in findings or (self.differing and not self.machine):
            return "different"
        return "equivalent" if {arm.finding for arm in self.arms} == {"equivalent"} else "undecided"


def compare(
    older: ExperimentSummary, newer: ExperimentSummary, margin: float = MARGIN
) -> Reproduction:
    """Compare two runs of an experiment.

    Args:
        older: The older run.
        newer: The newer run.
        margin: The factor, above 1, within which two energies are alike.

    Raises:
        ConfigError: If they are runs of different experiments.
    """
    names = older.raw.experiment.name, newer.raw.experiment.name
    if names[0] != names[1]:
        raise ConfigError(f"{names[1]} cannot be compared with {names[0]}, another experiment")
    older_j, newer_j = _energies(older.raw), _energies(newer.raw)
    logs: dict[str, list[float]] = {}
    for key in older_j.keys() & newer_j.keys():
        logs.setdefault(key[0], []).append(_log_ratio(newer_j[key], older_j[key]))
    older_grid, newer_grid = _grid(older.raw), _grid(newer.raw)
    older_ratios, newer_ratios = dict(_ratios(older.records)), dict(_ratios(newer.records))
    return Reproduction(
        margin=margin,
        arms=tuple(
            ArmComparison(arm.name, tuple(values), equivalence(values, margin))
            for arm in older.raw.experiment.arms
            if (values := logs.get(arm.name))
        ),
        n_unpaired=len(older_j.keys() ^ newer_j.keys()),
        grid=tuple((row, newer_grid[key]) for key, row in older_grid.items() if key in newer_grid),
        ratios=tuple(
            RatioPair(name, data, newer_ratios[name], _quotient(data, newer_ratios[name], margin))
            for name, data in older_ratios.items()
            if name in newer_ratios
        ),
        machine=tuple(_differences(older.raw, newer.raw)),
    )


_Key = tuple[str, frozenset[str], Configuration]


def _key(raw: Raw, row: Row) -> _Key:
    words = frozenset(raw.experiment.arms_by_name[row.arm].words)
    return (row.arm, words, identity(row.setup))


def _energies(raw: Raw) -> dict[_Key, dict[int, float]]:
    """Return the energies to the target, in J, of each configuration by seed."""
    energies: dict[_Key, dict[int, float]] = {}
    for row in raw.rows:
        if row.reached and row.energy_j > 0:
            energies.setdefault(_key(raw, row), {})[row.seed] = row.energy_j
    return energies


def identity(setup: Mapping[str, Any]) -> Configuration:
    """Return what a configuration is: its parameters without seeds; 1 and 1.0 are the same."""
    return tuple(
        sorted(
            (key, f"{value:.12g}" if isinstance(value, float) else str(value))
            for key, value in setup.items()
            if key.rpartition(".")[2] not in ("seed", "split_seed", "sample_seed", "pair_seed")
        )
    )


def _log_ratio(newer: Mapping[int, float], older: Mapping[int, float]) -> float:
    """Return the log ratio of two energies by seed: over the seeds that both have, if there are."""
    seeds = newer.keys() & older.keys()
    newer_log, older_log = (
        statistics.fmean(math.log(by_seed[seed]) for seed in (seeds or by_seed))
        for by_seed in (newer, older)
    )
    return newer_log - older_log


def _quotient(older: Mapping[str, Any], newer: Mapping[str, Any], margin: float) -> Equivalence:
    """Test the quotient of two ratios with independent errors, by Welch's degrees of freedom."""
    parts = []
    for data in (older, newer):
        freedom = data["pairs"] - 1
        half = (math.log(data["high"]) - math.log(data["low"])) / 2 if data["low"] > 0 else math.inf
        parts.append(((half / quantile(freedom)) ** 2, freedom))
    variance = sum(square for square, _ in parts)
    weights = sum(square**2 / freedom for square, freedom in parts)
    freedom = variance**2 / weights if weights else 1.0
    mean = math.log(newer["value"]) - math.log(older["value"])
    return equivalence_of(mean, math.sqrt(variance), freedom, margin)


def screen(reproduction: Reproduction, older_folder: str) -> RenderableType:
    """Return the terminal output of a comparison with the run in `older_folder`."""
    if not reproduction.arms:
        return Group(
            Text(),
            Text(
                f"Nothing compared: this run and {older_folder} have no configuration in common "
                "that reached its target in both: the same arm of the same plan, with the same "
                "parameters.",
                style="bold",
            ),
        )
    verdict = {
        "equivalent": "is equivalent to",
        "different": "DIFFERS from",
        "undecided": "is NOT SHOWN to be equivalent to",
    }[reproduction.finding]
    arms = [
        (arm.name, str(len(arm.logs)), _test_text(arm), arm.finding) for arm in reproduction.arms
    ]
    ratios = [
        (pair.name, ratio_text(pair.older), ratio_text(pair.newer), pair.test.finding)
        for pair in reproduction.ratios
    ]
    return Group(
        Text(),
        Text(f"This run {verdict} {older_folder}.", style="bold"),
        *map(Text, _lines(reproduction)),
        rows_of(("arm", "configurations", "energy now / before", ""), arms),
        *([Text(), rows_of(("ratio", "before", "now", "quotient"), ratios)] if ratios else []),
    )


def _test_text(arm: ArmComparison) -> str:
    test = arm.test
    if test is None:
        return f"{math.exp(arm.logs[0]):.2f}"
    return f"{test.ratio:.2f} [{test.low:.2f}, {test.high:.2f}]"


def _lines(reproduction: Reproduction) -> Iterator[str]:
    margin = reproduction.margin
    yield (
        f"Equivalent: the 90 % interval of the mean ratio of energies over the configurations of "
        f"each arm lies within {1 / margin:.3g} and {margin:.3g} (two one-sided tests at 5 %)."
    )
    if reproduction.n_unpaired:
        yield (
            f"{reproduction.n_unpaired} configurations reached their target in one run alone, and "
            "are not compared."
        )
    if reproduction.machine:
        yield f"Other machine or versions, so steps may differ: {'; '.join(reproduction.machine)}."
    yield from _step_lines(reproduction)


def _step_lines(reproduction: Reproduction) -> Iterator[str]:
    differing = reproduction.differing
    if not reproduction.grid:
        yield "No training of the grids, with its seed, is in both."
        return
    yield (
        f"Of {len(reproduction.grid)} trainings of the grids in both, "
        f"{len(reproduction.grid) - len(differing)} took the same steps to the same end."
    )
    for older, newer in differing[:_MAX_SHOWN]:
        yield (
            f"  {older.arm} {setup_text(older.setup)} seed={older.seed}: {_end(older)} "
            f"before, {_end(newer)} now"
        )
    if len(differing) > _MAX_SHOWN:
        yield f"  and {len(differing) - _MAX_SHOWN} more"


def _end(row: Row) -> str:
    return f"{'reached' if row.reached else 'missed'} after {row.steps} steps"


def _grid(raw: Raw) -> dict[tuple[Any, ...], Row]:
    return {(_key(raw, row), row.seed): row for row in raw.rows if row.role == GRID}


def _ratios(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the ratios of the records with their names, such as "pair, free"."""
    for record in records:
        for key, value in record.items():
            if isinstance(value, Mapping) and value.keys() >= _RATIO_KEYS and value["pairs"]:
                yield f"{record['name']}{key.removeprefix('ratio').replace('_', ', ')}", value


def _differences(older: Raw, newer: Raw) -> Iterator[str]:
    """Yield the differences of device, package versions and overrides."""
    devices = older.source.get("device"), newer.source.get("device")
    if devices[0] != devices[1]:
        yield f"{devices[0]} before, {devices[1]} now"
    for name in sorted(older.packages.keys() | newer.packages.keys()):
        versions = older.packages.get(name, "none"), newer.packages.get(name, "none")
        if versions[0] != versions[1]:
            yield f"{name} {versions[0]} before, {versions[1]} now"
    if older.words != newer.words:
        texts = (" ".join(raw.words) or "no words" for raw in (older, newer))
        yield " before, ".join(texts) + " now"
