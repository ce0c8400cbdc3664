"""A rehearsal of a sampler before a study: what it cannot do shows in a study in memory.

It is asked for a point of the real space with the real directions, first without any trial, then
after made-up ones, as many as it wants before it models anything. So Optuna itself says what a
sampler needs and what it cannot do, and no list of samplers has to.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from energyopt.errors import SamplerError
from energyopt.search.guarded_sampler import GuardedSampler, blamed_on, name_of
from energyopt.search.quiet import quiet_optuna

_LEAST_TRIALS = 10
_MOST_TRIALS = 200  # made up, in memory: 0.3 ms each
_AT_RANDOM = re.compile(
    r"The parameter `(?P<key>.+?)` in .* using `RandomSampler` instead of .*"
    r"because (?P<reason>.+?)\. You can suppress",
    re.DOTALL,
)
_SAMPLER = "sampler"  # the first word of an error of one, as `GuardedSampler` raises it
_REFUSALS = (ValueError, NotImplementedError, RuntimeError)  # others are defects, of whomever
_OPTUNA = Path(optuna.__file__).parent

Direction = Literal["minimize", "maximize"]
Suggest = Callable[[Trial], Any]
"""Suggests the values of a space through a trial."""


def limitation_of(
    make_sampler: Callable[[], BaseSampler],
    suggest: Suggest,
    directions: Sequence[Direction],
    points: Sequence[dict[str, Any]],
) -> str | None:
    """Return why a sampler cannot search a space, as a sentence; None if it can.

    Args:
        make_sampler: Makes the sampler; what it makes is used up.
        suggest: Suggests the values of the space.
        directions: "minimize" or "maximize", for each objective.
        points: Parts of points for made-up trials, in turn; the default's comes first.

    Raises:
        SamplerError: If code of the user raises.
    """
    sampler = make_sampler()
    with quiet_optuna(), _warnings() as warned:
        try:
            _try(_study(sampler, directions), sampler, suggest)
        except SamplerError as error:
            if not _is_of_optuna(error):
                raise
            return _because(error, sampler)
        sampler = make_sampler()
        study = _study(sampler, directions)
        made_up = _made_up(sampler, suggest, directions, points)
        study.add_trials(made_up)
        try:
            _try(study, sampler, suggest)
            for point in _with_new_keys(made_up, points):
                study.enqueue_trial(point)
                _try(study, sampler, suggest)
        except SamplerError as error:
            if _is_of_optuna(error):
                return _because(error, sampler)
            # A sampler of the user may read what made-up trials do not have.
    return _at_random(warned, sampler)


def _study(sampler: BaseSampler, directions: Sequence[Direction]) -> Study:
    return optuna.create_study(directions=directions, sampler=GuardedSampler(sampler))


def _try(study: Study, sampler: BaseSampler, suggest: Suggest) -> None:
    with blamed_on(f"{_SAMPLER} {name_of(sampler)}"):
        trial = study.ask()
        suggest(trial)
        study.tell(trial, _values(trial.number, len(study.directions)))


def _made_up(
    sampler: BaseSampler,
    suggest: Suggest,
    directions: Sequence[Direction],
    points: Sequence[dict[str, Any]],
) -> list[FrozenTrial]:
    """Return made-up trials, as many as the sampler draws at random before it models anything."""
    startup = vars(sampler).get("_n_startup_trials")
    wanted = startup if isinstance(startup, int) else 0
    study = _study(RandomSampler(seed=0), directions)
    for number in range(min(max(wanted, _LEAST_TRIALS, len(points)), _MOST_TRIALS)):
        study.enqueue_trial(points[number % len(points)])
        trial = study.ask()
        suggest(trial)
        study.tell(trial, _values(number, len(directions)))
    return study.trials


def _with_new_keys(
    made_up: Sequence[FrozenTrial], points: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the points of a conditional space that together have all its keys."""
    if len({frozenset(trial.params) for trial in made_up}) == 1:
        return []
    keys: set[str] = set()
    chosen = []
    for trial, point in zip(made_up, points, strict=False):
        if not trial.params.keys() <= keys:
            chosen.append(point)
            keys |= trial.params.keys()
    return chosen


def _values(number: int, n_objectives: int) -> list[float]:
    """Return objective values that differ between trials, and trade off against each other."""
    return [float((7 * number + 3 * i) % 11 + 1) for i in range(n_objectives)]


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what Optuna logs as a warning, instead of printing it."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("optuna")
    earlier = (logger.handlers, logger.level, logger.propagate)
    logger.handlers, logger.propagate = [Collector()], False
    logger.setLevel(logging.WARNING)
    try:
        yield messages
    finally:
        logger.handlers, level, logger.propagate = earlier
        logger.setLevel(level)


def _is_of_optuna(error: SamplerError) -> bool:
    """Return True if Optuna's own code refused, or a sampler misses a package."""
    cause = error.__cause__
    if cause is None or not str(error).startswith(_SAMPLER):  # a function that suggests more
        return False
    if isinstance(cause, ImportError):
        return True
    frames = traceback.extract_tb(cause.__traceback__)
    is_refusal = isinstance(cause, _REFUSALS) and bool(frames)
    return is_refusal and Path(frames[-1].filename).is_relative_to(_OPTUNA)


def _because(error: SamplerError, sampler: BaseSampler) -> str:
    if isinstance(error.__cause__, ImportError):
        return str(error)
    reason = " ".join(str(error.__cause__).split()).rstrip(".")
    return f"sampler {name_of(sampler)} cannot search this study: {reason}"


def _at_random(warned: Sequence[str], sampler: BaseSampler) -> str | None:
    """Return which keys a sampler leaves to chance, unless the user has allowed that."""
    parameters = inspect.signature(type(sampler)).parameters
    if "independent_sampler" not in parameters:  # TPE says so as well, but models them
        return None
    matches = [match for match in map(_AT_RANDOM.search, warned) if match is not None]
    if not matches:
        return None
    keys = ", ".join(dict.fromkeys(match["key"] for match in matches))
    reason = matches[0]["reason"].replace("`", "")
    return f"sampler {name_of(sampler)} draws {keys} at random: {reason}"
