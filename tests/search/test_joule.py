"""The search with few joules: as a schedule of trials that pause, and as a sampler of Optuna's."""

from __future__ import annotations

import random
import statistics
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial

from energyopt.core.metric import ACCURACY, Monitor
from energyopt.errors import ConfigError
from energyopt.search.joule import JouleSampler
from energyopt.search.schedule import CURVE, DEFAULT_SETUP, PAUSED, Schedule, Step, TrialSnapshot
from tests.trained import (
    EPOCHS,
    LIMITS,
    LIMITS_W,
    SIZES,
    SPACE,
    TARGET,
    played,
    target_j,
    to_target,
    trained,
)

AT_8, AT_64 = {"batch_size": 8}, {"batch_size": 64}
MOST_EXPENSIVE = {"batch_size": 8, "power_limit_w": 250}
BEST_J = target_j(AT_64)


def study(sampler: BaseSampler, *directions: Literal["minimize", "maximize"]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(sampler=sampler, directions=list(directions) or ["minimize"])


def joule(
    space: Mapping[str, BaseDistribution] | None = SPACE, seed: int = 0, **options: Any
) -> JouleSampler:
    return JouleSampler(seed=seed, target=TARGET, epochs=EPOCHS, space=space, **options)


def searched(
    sampler: JouleSampler,
    space: Mapping[str, BaseDistribution] = SPACE,
    *,
    seed: int = 0,
    first: Mapping[str, Any] = AT_8,
    **options: Any,
) -> list[TrialSnapshot]:
    """The trials of a whole search, which begins with a setup."""
    optuna_study = study(sampler)
    optuna_study.enqueue_trial(dict(first))

    def ask() -> Mapping[str, Any]:
        return optuna_study.ask(dict(space)).params

    return played(sampler, ask, seed=seed, **options)


def test_a_metric_is_searched_like_its_mirror_image_and_hardly_worse_than_an_accuracy():
    """Its scale is learnt; that of an accuracy is known."""
    gain, loss = Monitor("gain", "max"), Monitor("loss", "min")
    options: dict[str, Any] = {"seed": 0, "epochs": EPOCHS, "space": SPACE}
    of_gain, of_loss, of_accuracy = (
        searched(JouleSampler(target=monitor.score(TARGET), monitor=monitor, **options))
        for monitor in (gain, loss, ACCURACY)
    )
    assert of_gain == of_loss
    assert burnt_j(of_loss) < 1.1 * burnt_j(of_accuracy)


def burnt_j(trials: list[TrialSnapshot]) -> float:
    return sum(trial.spent_j for trial in trials)


def found(sampler: JouleSampler, trials: list[TrialSnapshot]) -> Mapping[str, Any]:
    setup = sampler.recommend(trials)
    assert setup is not None
    return setup


# --- as a schedule


def test_it_is_a_schedule():
    assert isinstance(joule(), Schedule)


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_best_batch_size_and_comes_to_an_end(seed):
    sampler = joule(seed=seed)
    trials = searched(sampler, seed=seed, most=200)
    assert target_j(found(sampler, trials)) <= 1.05 * BEST_J
    assert sampler.next_step(trials, can_begin=True) is None
    # All seven to the target cost more than 13 times the best.
    assert burnt_j(trials[1:]) < 10 * BEST_J


def test_it_burns_far_less_than_trainings_at_random_to_the_target():
    sampler = joule(LIMITS)
    trials = searched(sampler, LIMITS, first=MOST_EXPENSIVE, most=120)
    best_j = target_j({"batch_size": 64, "power_limit_w": 150})
    assert target_j(found(sampler, trials)) <= 1.05 * best_j
    at_random_j = statistics.mean(random_search_j(seed, 1.05 * best_j) for seed in range(50))
    assert burnt_j(trials) < 0.5 * at_random_j


def random_search_j(seed: int, enough_j: float) -> float:
    """Return the energy that random search uses until a configuration is good enough."""
    random_ = random.Random(seed)
    spent_j = to_target(0, MOST_EXPENSIVE).spent_j
    while True:
        setup = {"batch_size": random_.choice(SIZES), "power_limit_w": random_.choice(LIMITS_W)}
        spent_j += to_target(1, setup).spent_j
        if target_j(setup) <= enough_j:
            return spent_j


def test_a_seed_makes_a_search():
    space = {**SPACE, "lr": FloatDistribution(1e-3, 1.0, log=True)}
    first = {"batch_size": 8, "lr": 0.01}
    one, again, other = (
        searched(joule(space, seed), space, first=first, most=12) for seed in (0, 0, 1)
    )
    assert one == again
    assert one != other


def test_the_first_trial_begins_at_once_and_others_when_it_has_begun_to_train():
    sampler = joule()
    assert sampler.next_step([], can_begin=True) == Step(None, 0.0)
    assert sampler.next_step([], can_begin=False) is None
    begun = [TrialSnapshot(0, AT_8, state="running", default=True)]
    assert sampler.next_step(begun, can_begin=True) is None
    known = [trained(0, AT_8, 0.5, default=True)]
    step = sampler.next_step(known, can_begin=True)
    assert step is not None
    assert step.resume == 0


def test_a_first_trial_that_failed_is_followed_by_another():
    failed = [TrialSnapshot(0, AT_8, state="ended", default=True)]
    assert joule().next_step(failed, can_begin=True) == Step(None, 0.0)
    assert joule().recommend(failed) is None


def test_trials_that_may_not_begin_do_not():
    sampler = joule()
    trials = searched(sampler, begin=3, most=200)
    assert len(trials) == 3
    assert sampler.next_step(trials, can_begin=False) is None


def test_a_new_trial_has_the_setup_that_was_planned():
    sampler = joule()
    trials = [to_target(0, AT_8, default=True)]
    choice = joule().choose(trials, can_begin=True)
    assert choice is not None
    step = sampler.next_step(trials, can_begin=True)
    assert step == choice.step
    assert study(sampler).ask(dict(SPACE)).params == choice.params


def test_a_setup_that_fails_each_time_is_tried_once():
    sampler = joule()
    optuna_study = study(sampler)
    trials = [to_target(0, AT_8, default=True)]
    for number in range(1, 30):
        step = sampler.next_step(trials, can_begin=True)
        if step is None:
            break
        assert step.resume is None
        setup = optuna_study.ask(dict(SPACE)).params
        if setup["batch_size"] > 64:  # out of memory
            trials.append(TrialSnapshot(number, setup))
        else:
            trials.append(to_target(number, setup))
    sizes = [trial.params["batch_size"] for trial in trials if not trial.reached]
    assert len(sizes) == len(set(sizes))
    assert found(sampler, trials) == AT_64


def test_several_train_at_once_and_no_setup_twice():
    sampler = joule()
    optuna_study = study(sampler)
    trials = [to_target(0, AT_8, default=True)]
    for number in range(1, 4):
        step = sampler.next_step(trials, can_begin=True)
        assert step is not None
        trials.append(TrialSnapshot(number, optuna_study.ask(dict(SPACE)).params, state="running"))
    assert len({trial.params["batch_size"] for trial in trials}) == 4


def test_the_front_is_searched_beside_the_target_and_without_one():
    alone = JouleSampler(seed=0, epochs=EPOCHS, space=SPACE)
    trials = searched(alone, front=True, most=60)
    longest = max(trials, key=lambda trial: max(trial.accuracy, default=0.0))
    assert max(longest.accuracy) > 0.94
    with_front = joule(front=True)
    trials = searched(with_front, front=True, most=80)
    assert target_j(found(with_front, trials)) <= 1.05 * BEST_J
    assert max(max(trial.accuracy, default=0.0) for trial in trials) > TARGET + 0.02


def test_where_nothing_is_searched_the_one_setup_trains_on():
    sampler = joule({})
    trials = searched(sampler, {}, first={}, most=100)
    assert any(trial.reached for trial in trials)
    assert sampler.next_step(trials, can_begin=True) is None
    assert found(sampler, trials) == {}


def test_conditional_setups_lack_their_keys():
    space: dict[str, BaseDistribution] = {
        "batch_size": CategoricalDistribution(SIZES),
        "optimizer": CategoricalDistribution(["adam", "sgd"]),
        "momentum": CategoricalDistribution([0.5, 0.9]),
    }

    def present(setup: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in setup.items() if k != "momentum" or setup["optimizer"] == "sgd"}

    sampler = joule(space, present=present)
    optuna_study = study(sampler)
    optuna_study.enqueue_trial({"batch_size": 8, "optimizer": "adam"})

    def ask() -> Mapping[str, Any]:
        trial = optuna_study.ask()
        for key in ("batch_size", "optimizer"):
            trial._suggest(key, space[key])
        if trial.params["optimizer"] == "sgd":
            trial._suggest("momentum", space["momentum"])
        return trial.params

    trials = played(sampler, ask, most=60)
    assert {trial.params["optimizer"] for trial in trials} == {"adam", "sgd"}
    assert all(present(trial.params) == trial.params for trial in trials)
    assert target_j(found(sampler, trials)) <= 1.15 * BEST_J


# --- as a sampler of Optuna's


def reaches(trial: Trial) -> float:
    """Trains to the target, and leaves its curve as the app does."""
    setup = {"batch_size": trial.suggest_categorical("batch_size", SIZES)}
    run = to_target(trial.number, setup)
    trial.set_user_attr(CURVE, run.curve())
    trial.set_user_attr("spent_j", run.spent_j)
    if run.reached:
        trial.set_user_attr("energy_to_target_j", run.joules[-1])
    return run.joules[-1]


@pytest.mark.parametrize("space", [SPACE, None], ids=["told", "learnt"])
def test_with_curves_it_finds_the_best_in_a_few_trials(space):
    optimized = study(joule(space))
    optimized.enqueue_trial(AT_8)
    optimized.optimize(reaches, n_trials=6)
    assert optimized.best_trial.params == AT_64


@pytest.mark.parametrize("seed", range(4))
def test_it_suggests_a_new_setup_where_paused_ones_wait(seed):
    optimized = study(joule(seed=seed))
    optimized.enqueue_trial(AT_8)
    waits = optimized.ask()
    waits.suggest_categorical("batch_size", SIZES)
    waits.set_user_attr(CURVE, trained(0, AT_8, 0.5).curve())
    waits.set_user_attr(PAUSED, True)
    waits.set_user_attr(DEFAULT_SETUP, True)
    sizes = [optimized.ask().suggest_categorical("batch_size", SIZES) for _ in range(5)]
    assert len({8, *sizes}) == 6


def no_curve(trial: Trial) -> tuple[float, ...]:
    name = trial.suggest_categorical("optimizer", ["adam", "sgd", None])
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    layers = trial.suggest_int("layers", 1, 9, step=2)
    width = trial.suggest_int("width", 4, 512, log=True)
    rate = trial.suggest_float("rate", 0.0, 0.3, step=0.1)
    beta = trial.suggest_float("beta", 0.5, 1.0) if name == "adam" else 0.0
    return (lr * layers + width * rate + beta,)


def with_curve(trial: Trial) -> tuple[float, ...]:
    (value,) = no_curve(trial)
    slower = 0.5 + min(value, 3.0)
    run = to_target(trial.number, {"slower": slower})
    trial.set_user_attr(CURVE, run.curve())
    trial.set_user_attr("spent_j", run.spent_j)
    if trial.number % 5 == 4:
        raise optuna.TrialPruned
    return (value,)


@pytest.mark.parametrize("objective", [no_curve, with_curve])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_any_study_gets_valid_values(objective: Callable[[Trial], Any], seed):
    sampler = JouleSampler(seed=seed, target=TARGET, epochs=EPOCHS)
    optimized = study(sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns of values that lie outside
        optimized.optimize(objective, n_trials=12)
    for trial in optimized.trials:
        assert trial.state.is_finished()
        for key, distribution in trial.distributions.items():
            assert distribution._contains(distribution.to_internal_repr(trial.params[key]))


def test_two_objectives_ask_for_the_front():
    def both(trial: Trial) -> tuple[float, float]:
        energy_j = reaches(trial)
        return energy_j, max(trial.user_attrs[CURVE]["accuracy"])

    optimized = study(JouleSampler(seed=0, epochs=EPOCHS), "minimize", "maximize")
    optimized.optimize(both, n_trials=6)
    assert len({trial.params["batch_size"] for trial in optimized.trials}) > 2


def test_trials_that_fail_cost_themselves_alone():
    def fails(trial: Trial) -> float:
        value = reaches(trial)
        if trial.number in (0, 2):
            raise RuntimeError("out of memory")
        return value

    optimized = study(joule())
    optimized.optimize(fails, n_trials=5, catch=RuntimeError)
    assert len(optimized.trials) == 5


def test_the_space_is_what_was_told_and_what_trials_searched():
    sampler = joule({"lr": FloatDistribution(0.1, 1.0)})
    optuna_study = study(sampler)
    asked = optuna_study.ask({"batch_size": CategoricalDistribution(SIZES)})
    frozen: FrozenTrial = optuna_study.get_trials()[asked.number]
    space = sampler.infer_relative_search_space(optuna_study, frozen)
    assert space == {
        "lr": FloatDistribution(0.1, 1.0),
        "batch_size": CategoricalDistribution(SIZES),
    }
    assert JouleSampler().infer_relative_search_space(study(JouleSampler()), frozen) == {}


# --- any space, any seed


SPACES: tuple[dict[str, BaseDistribution], ...] = (
    {"batch_size": IntDistribution(8, 512, log=True)},
    {"batch_size": IntDistribution(8, 512, step=8), "lr": FloatDistribution(1e-3, 1, log=True)},
    {"slower": FloatDistribution(0.5, 4.0)},
    {"slower": FloatDistribution(0.5, 4.0, step=0.5), "name": CategoricalDistribution(["a", None])},
    {
        "batch_size": CategoricalDistribution([32, 64]),
        "flag": CategoricalDistribution([True, False]),
    },
    {"slower": CategoricalDistribution([2.0])},
)


@given(st.sampled_from(SPACES), st.integers(0, 2**31 - 1), st.booleans())
@settings(max_examples=10, deadline=None)
def test_no_search_breaks(space, seed, front):
    sampler = JouleSampler(
        seed=seed, target=None if front else TARGET, epochs=EPOCHS, front=front, space=space
    )
    optuna_study = study(sampler)
    trials = played(
        sampler, lambda: optuna_study.ask(dict(space)).params, seed=seed, front=front, most=12
    )
    assert trials
    assert set(found(sampler, trials)) == set(space)


def test_a_large_batch_size_range_is_searched_to_near_the_best():
    space: dict[str, BaseDistribution] = {"batch_size": IntDistribution(8, 512, log=True)}
    sampler = joule(space, 2)
    trials = searched(sampler, space, seed=2, most=60)
    assert target_j(found(sampler, trials)) <= 1.15 * BEST_J


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"planned_trainings": -3}, "planned_trainings=-3: a number of trainings above 0"),
        ({"epochs": 0}, "epochs=0: a number above 0"),
        ({"target": 1.5}, "target=1.5 is not allowed: a number above 0 and at most 1"),
    ],
)
def test_numbers_out_of_range_are_refused_in_a_sentence(options: dict[str, Any], says: str):
    with pytest.raises(ConfigError, match=says):
        JouleSampler(**options)
