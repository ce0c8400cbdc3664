"""Checks of paradigms: training is repeatable, and only `train` changes it.

Checks of an optional ability, such as `save`, are skipped for a paradigm without it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.protocols import (
    Paradigm,
    SupportsPause,
    SupportsSave,
    SupportsTest,
    SupportsWarmUp,
    TrainStep,
)
from energyopt.testing._check import (
    Check,
    check,
    check_unless,
    members_of,
    require,
    require_protocols,
    run_checks,
)
from energyopt.testing._weights import require_other_weights, require_same_weights
from energyopt.training.checkpointing import capture_state, load, restore, save_to

if TYPE_CHECKING:
    import torch

_EPOCH_SHARES = (0.01, 0.3, 1.7)

ALL_ABILITIES: tuple[type, ...] = (SupportsWarmUp, SupportsTest, SupportsSave, SupportsPause)
"""Optional protocols of a paradigm, in addition to training and evaluating."""


class Trainable(Paradigm, SupportsWarmUp, SupportsTest, SupportsSave, SupportsPause, Protocol):
    """A paradigm with all optional protocols, as the built-in ones have."""


@dataclass(frozen=True, slots=True)
class ParadigmCase:
    """A paradigm and the abilities that it claims; see `check_paradigm`."""

    make: Callable[[int], Any]
    models: int = 1
    abilities: tuple[type, ...] = ALL_ABILITIES
    monitor: Monitor = ACCURACY


def _needs(*abilities: type) -> Callable[[ParadigmCase], str | None]:
    """Return a function that says why a case is skipped: it lacks an ability."""

    def why_skipped(case: ParadigmCase) -> str | None:
        missing = [ability for ability in abilities if ability not in case.abilities]
        names = [f"{name}()" for ability in missing for name in members_of(ability)]
        return f"it has no {' and no '.join(names)}" if names else None

    return why_skipped


def _has_several_models(case: ParadigmCase) -> str | None:
    reason = "its models take turns, and draw from the same random generator in another order"
    return reason if case.models > 1 else None


@check
def is_a_paradigm(case: ParadigmCase) -> None:
    """Check that it has the methods of its abilities, and a training set."""
    paradigm = case.make(0)
    require_protocols(paradigm, [Paradigm, *case.abilities])
    require(
        paradigm.epoch_samples > 0,
        "epoch_samples to be above 0",
        paradigm.epoch_samples,
        "return the number of training samples",
    )


@check
def trains_at_least_what_is_asked_and_says_so(case: ParadigmCase) -> None:
    """Check that `train` trains at least as many samples as requested, and returns how many."""
    for share in _EPOCH_SHARES:
        _require_share_trained(case.make(0), share)


def _require_share_trained(paradigm: Any, share: float) -> None:
    samples = max(1, round(share * paradigm.epoch_samples))
    result = paradigm.train(samples)
    require(
        isinstance(result, TrainStep),
        f"train({samples}) to return energyopt.core.protocols.{TrainStep.__name__}",
        repr(result),
        "return its samples, steps and loss",
    )
    require(
        result.samples >= samples,
        f"train({samples}) to train at least {samples} samples",
        result.samples,
        "continue until that many are trained, beyond the end of an epoch, too",
    )
    require(
        1 <= result.steps <= result.samples,
        f"train({samples}) to make between 1 step and one per sample ({result.samples})",
        f"{result.steps} steps",
        "count optimizer steps",
    )
    require(
        math.isfinite(result.loss),
        f"train({samples}) to return a finite mean loss",
        result.loss,
        "lower the learning rate of the example, or do not divide by zero",
    )


@check
def stops_at_the_batch_that_suffices(case: ParadigmCase) -> None:
    """Check that `train` makes no more steps than it needs."""
    one_batch = case.make(0).train(1)
    _require_steps(one_batch.steps, case.models, "train(1)")
    samples = one_batch.samples + 1
    two_batches = case.make(0).train(samples)
    _require_steps(two_batches.steps, 2 * case.models, f"train({samples})")
    repeated = case.make(0).train(one_batch.samples)
    require(
        repeated == one_batch,
        f"train({one_batch.samples}) to do what train(1) does, {one_batch}, since both are one "
        f"batch",
        repeated,
        "stop after the batch with which enough samples are trained",
    )


@check_unless(_needs(SupportsSave))
def training_changes_the_weights(case: ParadigmCase) -> None:
    """Check that `train` changes what `save` writes."""
    paradigm = case.make(0)
    weights_before = _weights(case, paradigm)
    paradigm.train(1)
    require_other_weights(
        weights_before,
        _weights(case, paradigm),
        "train(1) to change the weights",
        "give the optimizer the model's parameters, and save the model that is trained",
    )


@check_unless(_has_several_models)
def training_in_two_calls_is_training_in_one(case: ParadigmCase) -> None:
    """Check that two calls of `train` with a batch each do what one call with two batches does."""
    twice = case.make(0)
    samples = twice.train(1).samples + twice.train(1).samples
    observed, accuracy = _weights(case, twice), twice.evaluate()
    unsplit = case.make(0)  # only now: both may draw from the global random generators
    unsplit.train(samples)
    expected = f"two calls of train(1) to do what train({samples}) does"
    remedy = "train as many samples as `train` returns, and keep the place in the epoch"
    require_same_weights(_weights(case, unsplit), observed, expected, remedy)
    _require_equal(unsplit.evaluate(), accuracy, f"{expected}: accuracy", remedy)


@check
def scores_are_shares(case: ParadigmCase) -> None:
    """Check that accuracies are in [0, 1], and other metrics finite."""
    paradigm = case.make(0)
    monitor = getattr(paradigm, "monitor", None) or case.monitor
    paradigm.train(1)
    for name, score in _scorers(case, paradigm).items():
        value = score()
        if monitor.is_share:
            require(
                0 <= value <= 1,
                f"{name}() to return an accuracy in [0, 1]",
                value,
                "return the share of samples that are right, not percent or a loss; for another "
                "metric name it and its direction, such as monitor=val_loss mode=min",
            )
        else:
            require(
                math.isfinite(value),
                f"{name}() to return a finite {monitor.name}",
                value,
                "lower the learning rate of the example, or do not divide by zero",
            )


@check
def scoring_twice_gives_the_same(case: ParadigmCase) -> None:
    """Check that scoring again gives the same accuracy."""
    paradigm = case.make(0)
    paradigm.train(1)
    for name, score in _scorers(case, paradigm).items():
        _require_equal(
            score(),
            score(),
            f"{name}() to return the same twice",
            "switch dropout off and leave statistics alone: model.eval()",
        )


@check
def scoring_does_not_change_training(case: ParadigmCase) -> None:
    """Check that training after scoring is the same as training without scoring."""
    plain = case.make(0)
    steps = (1, 1, plain.epoch_samples)  # into the next epoch, whose order may be drawn anew
    losses = [plain.train(samples).loss for samples in steps]
    expected = _weights(case, plain)
    scored = case.make(0)
    losses_scored = []
    for samples in steps:
        losses_scored.append(scored.train(samples).loss)
        for score in _scorers(case, scored).values():
            score()
    remedy = "leave weights, statistics, optimizer and random generators as they are in evaluate()"
    _require_equal(
        losses,
        losses_scored,
        "losses of training to be the same with and without evaluate() in between",
        remedy,
    )
    require_same_weights(
        expected,
        _weights(case, scored),
        "evaluate() to leave the weights as they are",
        remedy,
    )


@check
def is_the_same_for_a_seed(case: ParadigmCase) -> None:
    """Check that the same seed gives the same training, bit by bit."""
    runs = []
    for _ in range(2):
        paradigm = case.make(3)
        result = paradigm.train(paradigm.epoch_samples)
        runs.append(((result, paradigm.evaluate()), _weights(case, paradigm)))
    (first, first_weights), (second, second_weights) = runs
    expected = "two trainings with seed 3 to be the same"
    remedy = "draw weights and data order from the seed alone"
    _require_equal(first, second, expected, remedy)
    require_same_weights(first_weights, second_weights, expected, remedy)


@check_unless(_needs(SupportsSave))
def is_another_for_another_seed(case: ParadigmCase) -> None:
    """Check that another seed gives another training."""
    first, second = case.make(0), case.make(1)
    first.train(1)
    second.train(1)
    require_other_weights(
        _weights(case, first),
        _weights(case, second),
        "seeds 0 and 1 to give other weights",
        "use the seed that the constructor is given",
    )


@check_unless(_needs(SupportsWarmUp))
def warming_up_leaves_no_trace(case: ParadigmCase) -> None:
    """Check that `warm_up` changes neither weights nor random generators nor the training."""
    import torch

    plain = case.make(0)
    expected_loss = plain.train(plain.epoch_samples).loss
    expected = _weights(case, plain)
    warm = case.make(0)
    weights_before = _weights(case, warm)
    random_state = torch.get_rng_state()
    warm.warm_up()
    remedy = "run its steps on a copy, within torch.random.fork_rng()"
    require(
        torch.equal(torch.get_rng_state(), random_state),
        "warm_up() to leave torch's random generator as it is",
        "another state of it",
        remedy,
    )
    require_same_weights(
        weights_before, _weights(case, warm), "warm_up() to leave the weights as they are", remedy
    )
    _require_equal(
        expected_loss,
        warm.train(warm.epoch_samples).loss,
        "the loss of an epoch to be the same after warm_up()",
        remedy,
    )
    require_same_weights(
        expected, _weights(case, warm), "an epoch to be the same after warm_up()", remedy
    )


@check_unless(_needs(SupportsPause))
def goes_on_where_it_paused(case: ParadigmCase) -> None:
    """Check that it resumes from a file, in the middle of an epoch, as if it had not paused."""
    unpaused = case.make(2)
    steps = (1, unpaused.epoch_samples, 1)
    expected = [(unpaused.train(samples), unpaused.evaluate()) for samples in steps]
    state, observed = None, []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "paused.pt"
        for samples in steps:
            paradigm = case.make(2)
            if SupportsWarmUp in case.abilities:
                paradigm.warm_up()
            if state is not None:
                restore(paradigm, state)
            observed.append((paradigm.train(samples), paradigm.evaluate()))
            with save_to(path)(capture_state(paradigm, samples)):
                pass
            state = load(path)
    description = f"training {', '.join(map(str, steps))} samples to be the same with pauses"
    remedy = (
        "put weights, optimizer, schedule, data order and place in the epoch into state(), and "
        "take them from there in load_state()"
    )
    _require_equal(expected, observed, description, remedy)
    require_same_weights(_weights(case, unpaused), _weights(case, paradigm), description, remedy)


PARADIGM_CHECKS: tuple[Check[ParadigmCase], ...] = (
    is_a_paradigm,
    trains_at_least_what_is_asked_and_says_so,
    stops_at_the_batch_that_suffices,
    training_changes_the_weights,
    scores_are_shares,
    scoring_twice_gives_the_same,
    scoring_does_not_change_training,
    training_in_two_calls_is_training_in_one,
    is_the_same_for_a_seed,
    is_another_for_another_seed,
    warming_up_leaves_no_trace,
    goes_on_where_it_paused,
)
"""Checks that every paradigm must pass."""


def check_paradigm(
    make: Callable[[int], Any],
    *,
    models: int = 1,
    abilities: tuple[type, ...] | None = None,
    monitor: Monitor = ACCURACY,
    skip: Collection[str] = (),
) -> tuple[str, ...]:
    """Check a paradigm on a small task; each check trains a few batches or epochs.

    Args:
        make: Returns a fresh paradigm for a seed; all its randomness follows from the seed.
        models: Number of models that it trains at once.
        abilities: Protocols that it must have in addition to `Paradigm`; by default those that it
            has.
        monitor: The metric that it evaluates.
        skip: Names of checks to leave out.
    """
    if abilities is None:
        abilities = abilities_of(make(0))
    return run_checks(PARADIGM_CHECKS, ParadigmCase(make, models, abilities, monitor), skip=skip)


def abilities_of(paradigm: object) -> tuple[type, ...]:
    """Return the optional protocols that a paradigm has and that there are checks for."""
    return tuple(ability for ability in ALL_ABILITIES if isinstance(paradigm, ability))


def _scorers(case: ParadigmCase, paradigm: Any) -> dict[str, Callable[[], float]]:
    scorers = {"evaluate": paradigm.evaluate}
    return scorers | {"test": paradigm.test} if SupportsTest in case.abilities else scorers


def _weights(case: ParadigmCase, paradigm: Any) -> dict[str, torch.Tensor]:
    """Return the weights that `save` writes; none for a paradigm without `save`."""
    if SupportsSave not in case.abilities:
        return {}
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        paradigm.save(path)
        weights: dict[str, torch.Tensor] = load_file(path)
    return weights


def _require_steps(steps: int, expected: int, call: str) -> None:
    require(
        steps == expected,
        f"{call} to make {expected} step{'' if expected == 1 else 's'}",
        steps,
        "stop after the batch with which enough samples are trained; a paradigm of several models "
        "says how many in `models`",
    )


def _require_equal(expected: object, observed: object, description: str, remedy: str) -> None:
    require(expected == observed, f"{description} ({expected})", observed, remedy)
