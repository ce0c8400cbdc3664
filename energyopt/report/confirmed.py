"""What trainings with the same seeds say of a study's setups: who wins, and by how much."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.records import Confirmation, StudyRecord, TrialRecord
from energyopt.report.paired import CONFIDENCE, ratio
from energyopt.report.sentences import count, setup, source
from energyopt.report.tables import rows_of
from energyopt.units import joules

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A setup that was trained with several seeds.

    Attributes:
        trial: The trial whose setup it is.
        energies_j: Energy to the target, in J, by seed.
        missed: Seeds with which it missed the target.
        tests: Test accuracies, by seed.
    """

    trial: TrialRecord
    energies_j: Mapping[int, float]
    missed: tuple[int, ...]
    tests: Mapping[int, float]

    @property
    def seeds(self) -> int:
        """With how many it was trained."""
        return len(self.energies_j) + len(self.missed)

    @property
    def mean_j(self) -> float | None:
        """Geometric mean of its energies to the target, in J; None if it never got there."""
        return statistics.geometric_mean(self.energies_j.values()) if self.energies_j else None

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return "the default setup" if self.trial.default else f"trial {self.trial.number}"


def confirmed_setups(study: StudyRecord, among: Collection[Words] | None = None) -> list[Confirmed]:
    """The setups of a study that were trained with several seeds, the cheapest first.

    Args:
        study: The study.
        among: The words of the trainings to look at; None for the latest ones of each setup.
    """
    done = [c for c in study.confirmations if c.state == "complete" and c.result is not None]
    if among is not None:
        done = [each for each in done if each.overrides in among]
    groups: dict[Words, list[Confirmation]] = {}
    for each in done:
        groups.setdefault(_but_seed(each.overrides), []).append(each)
    latest = {of[-1].trial: of for of in sorted(groups.values(), key=lambda of: of[-1].number)}
    targets = {done[-1].result.target} if done and done[-1].result else set()
    trials = {trial.number: trial for trial in study.trials}
    found = [
        _confirmed(trials[number], of)
        for number, of in latest.items()
        if number in trials and {c.result.target for c in of if c.result} <= targets
    ]
    return sorted(found, key=lambda each: (bool(each.missed), each.mean_j or float("inf")))


def confirmed_screen(study: StudyRecord, setups: Sequence[Confirmed]) -> RenderableType:
    """Show the setups, and who wins."""
    heading = "Confirmed: energy to the target with the same seeds for all"
    if study.provenance is not None:
        heading += f" ({source(study.provenance)})"
    rows = [_row(each, _default(setups)) for each in setups]
    columns = ("setup", "energy", "times the default's", "reached", "test accuracy")
    return Group(
        Text(heading, style="bold"),
        rows_of(columns, rows),
        *(Text(line) for line in confirmed_lines(setups)),
    )


def confirmed_lines(setups: Sequence[Confirmed]) -> Iterator[str]:
    """Sentences: who wins, where the interval of the ratio of energies excludes 1."""
    best = next((each for each in setups if not each.trial.default and each.energies_j), None)
    if best is None:
        return
    for other in setups:
        if other is not best:
            yield _against(best, other)


def _against(one: Confirmed, other: Confirmed) -> str:
    who = f"{one.name[0].upper()}{one.name[1:]} against {other.name}"
    found = ratio(one.energies_j, other.energies_j)
    missed = [
        f"{each.name} missed the target with {len(each.missed)} of {count(each.seeds, 'seed')}"
        for each in (one, other)
        if each.missed
    ]
    if missed:
        return f"{who}: {' and '.join(missed)}, so their joules are not compared."
    if found is None:
        return f"{who}: too few seeds; give --seeds 2 or more."
    times = f"{found.value:.3g}x the joules"
    interval = f"{100 * CONFIDENCE:g} % interval {found.low:.3g} to {found.high:.3g}"
    winner = {-1: f"{one.name} wins", 1: f"{other.name} wins", 0: "no winner"}[found.verdict]
    more = "" if found.verdict else "; more --seeds may tell them apart"
    pairs = f"{found.pairs} paired seeds"
    return f"{who}: {times} ({interval}, {pairs}): {winner}{more}."


def _row(each: Confirmed, default: Confirmed | None) -> tuple[str, ...]:
    found = None if default in (None, each) else ratio(each.energies_j, default.energies_j)
    comparable = found is not None and default is not None and not (each.missed or default.missed)
    of_default = "-"
    if found is not None and comparable:
        of_default = f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"
    words = setup(each.trial.params) or "the fixed setup"
    who = f"trial {each.trial.number}{' (default)' if each.trial.default else ''}: {words}"
    tested = statistics.fmean(each.tests.values()) if each.tests else None
    return (
        who,
        joules(each.mean_j),
        of_default,
        f"{len(each.energies_j)}/{each.seeds}",
        "-" if tested is None else f"{tested:.4f}",
    )


def _default(setups: Sequence[Confirmed]) -> Confirmed | None:
    return next((each for each in setups if each.trial.default), None)


def _confirmed(trial: TrialRecord, of: Sequence[Confirmation]) -> Confirmed:
    energies = {c.seed: c.result.energy_to_target_j for c in of if c.result is not None}
    reached = {seed: energy_j for seed, energy_j in energies.items() if energy_j}
    return Confirmed(
        trial=trial,
        energies_j=reached,
        missed=tuple(sorted(energies.keys() - reached.keys())),
        tests={c.seed: c.test_accuracy for c in of if c.test_accuracy is not None},
    )


def _but_seed(words: Words) -> Words:
    return tuple(word for word in words if not word.lstrip("+").startswith("seed="))
