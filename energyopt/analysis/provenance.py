"""The hardware and software of a study, with the number of training runs that used each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from energyopt.core.conditions import Gpu
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import quantity


@dataclass(frozen=True, slots=True)
class Fact:
    """A piece of hardware or software that training runs used.

    Attributes:
        what: Its kind, such as "device" or "torch".
        value: Its name or version.
        trainings: Number of training runs, including confirmations.
    """

    what: str
    value: str
    trainings: int


def facts(study: StudyRecord) -> list[Fact]:
    """Return the hardware and software of a study, one fact for each value."""
    results = [trial.result for trial in study.trials if trial.result is not None]
    results += [c.result for c in study.confirmations if c.result is not None]
    counts: dict[tuple[str, str], int] = {}
    for result in results:
        for fact in dict.fromkeys(_facts(result)):
            counts[fact] = counts.get(fact, 0) + 1
    order = list(dict.fromkeys(what for what, _ in counts))
    rows = sorted(counts.items(), key=lambda row: order.index(row[0][0]))
    return [Fact(what, value, trainings) for (what, value), trainings in rows]


def _facts(result: TrialResult) -> Iterator[tuple[str, str]]:
    source, machine = result.start.provenance, result.start.machine
    yield "joules", f"{source.kind} by {source.meter}"
    yield "meter", source.version
    yield "joules cover", source.scope
    yield "uncertainty", source.uncertainty
    yield "device", source.device
    yield "host", source.host
    if machine is None:
        return
    for gpu in machine.gpus:
        yield f"GPU {gpu.index}", _gpu(gpu)
    if machine.driver is not None:
        yield "driver", machine.driver
    yield from machine.packages.items()
    if machine.commit is not None:
        yield "commit", machine.commit


def _gpu(gpu: Gpu) -> str:
    parts = [gpu.name, gpu.uuid]
    limits = (gpu.min_limit_w, gpu.max_limit_w)
    if None not in limits:
        parts.append(f"limits {limits[0]:g} to {limits[1]:g} W")
    if gpu.default_limit_w is not None:
        parts.append(f"default {gpu.default_limit_w:g} W")
    if gpu.max_sm_clock_hz is not None:
        parts.append(f"at most {quantity(gpu.max_sm_clock_hz, 'Hz')}")
    return ", ".join(parts)
