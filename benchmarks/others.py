"""Searches of other packages, for comparison: NePS' MO-ASHA and PriMO, Syne Tune's MO-ASHA.

The packages are installed by those who compare, and are no dependency of ours. Each search asks for
a setup to be trained up to an epoch, or further than before, and is told its error and its energy.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from benchmarks.session import Training
from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError

_EPOCH = "trained_epochs"
_ALMOST = 1 - 1e-6  # sums of the same joules in another order


class Request(NamedTuple):
    """A setup to be trained.

    Attributes:
        number: A repeated number resumes that trial.
        setup: Its values.
        epoch: Up to where.
    """

    number: int
    setup: dict[str, Any]
    epoch: float


class Told(NamedTuple):
    """The outcome: error, and training energy in J."""

    error: float
    energy_j: float


Asking = Generator[Request, Told, None]
Space = Mapping[str, Sequence[Any]]


def neps(name: str, **given: Any) -> Callable[..., Asking]:
    """Return a search of NePS, by its name there."""

    def ask(space: Space, epochs: int, seed: int, **options: Any) -> Asking:
        package = _package("neps", "neural-pipeline-search")
        _seed(seed)
        searched = package.SearchSpace(
            {
                **{key: package.HPOCategorical(list(values)) for key, values in space.items()},
                _EPOCH: package.HPOInteger(1, epochs, is_fidelity=True),
            }
        )
        made = getattr(package.algorithms, name)(searched, **given | options)
        asked, numbers = package.AskAndTell(made), dict[str, int]()
        while True:
            trial = asked.ask()
            setup = {key: trial.config[key] for key in space}
            number = numbers.get(trial.metadata.previous_trial_id, len(numbers))
            numbers[trial.metadata.id] = number
            told = yield Request(number, setup, float(trial.config.get(_EPOCH, epochs)))
            values = [told.error, float(np.log(told.energy_j))]
            asked.tell(trial, {"objective_to_minimize": values, "cost": told.energy_j})

    return ask


def syne_tune_moasha(space: Space, epochs: int, seed: int, **options: Any) -> Asking:
    """MO-ASHA of Syne Tune, which stops trials and does not resume them."""
    configs = _package("syne_tune.config_space", "syne-tune")
    schedulers = _package("syne_tune.optimizer.schedulers.multiobjective.moasha", "syne-tune")
    trials = _package("syne_tune.backend.trial_status", "syne-tune")
    _seed(seed)
    scheduler = schedulers.MOASHA(
        {key: configs.choice(list(values)) for key, values in space.items()},
        metrics=["error", "log_j"],
        time_attr=_EPOCH,
        max_t=epochs,
        random_seed=seed,
        **options,
    )
    for number in range(sys.maxsize):
        setup = scheduler.suggest().config
        trial = trials.Trial(trial_id=number, config=setup, creation_time=None)
        scheduler.on_trial_add(trial)
        for epoch in range(1, epochs + 1):
            told = yield Request(number, dict(setup), float(epoch))
            result = {"error": told.error, "log_j": float(np.log(told.energy_j)), _EPOCH: epoch}
            if scheduler.on_trial_result(trial, result) == "STOP":
                break


OTHERS: Mapping[str, Callable[..., Asking]] = {
    "neps_moasha": neps("moasha"),
    "neps_primo": neps("primo", prior_centers={}),  # there are no priors here
    "syne_tune_moasha": syne_tune_moasha,
}


def drive(
    asking: Asking,
    begin: Callable[[dict[str, Any]], Training],
    train: Callable[[Training, dict[str, Any], float | None], TrialResult],
    end: Callable[[Training], float],
) -> Iterator[tuple[dict[str, Any], TrialResult]]:
    """Train what a search asks for; give each setup with its record so far.

    Args:
        asking: The search.
        begin: Begins a trial.
        train: Trains one up to an energy in J, or to its end.
        end: The epoch at which a trial ends.
    """
    trainings: dict[int, Training] = {}
    request = next(asking)
    while True:
        number, setup, epoch = request
        new = number not in trainings
        training = trainings.setdefault(number, begin(setup)) if new else trainings[number]
        result = training.result
        if result is None or training.paused:
            pace = training.costs.pace(setup.get("power_limit_w"))
            until_j = None if epoch >= end(training) else _ALMOST * pace.until(epoch)[1]
            with _own_randomness():
                result = train(training, setup, until_j)
        yield setup, result
        request = asking.send(Told(1.0 - result.best_accuracy, result.training_j))


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Undo what a trial does to the global generators, from which these searches draw."""
    torch = sys.modules.get("torch")
    before = np.random.get_state(), torch.get_rng_state() if torch else None  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before[0])  # noqa: NPY002
        if torch:
            torch.set_rng_state(before[1])


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def _package(module: str, distribution: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"this method needs the package {distribution} ({error}): pip install {distribution}"
        ) from error
