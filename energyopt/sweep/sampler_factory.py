"""The sampler, the schedule and the budget of a study, made from a multirun's config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.samplers import BaseSampler

from energyopt.config.instantiate import make_sampler
from energyopt.core.metric import Monitor
from energyopt.core.study_record import Metric
from energyopt.errors import ConfigError
from energyopt.search.budget import Budget, Estimate, ValueEstimator, worth_of_next
from energyopt.search.rehearsal import Suggest, limitation_of
from energyopt.search.samplers import continued_seed, sampler_node
from energyopt.search.schedule import Schedule
from energyopt.search.space import Space
from energyopt.search.unpickling import check_unpickling, guard_unpickling
from energyopt.sweep.composer import Composer
from energyopt.sweep.group_options import stopping_options
from energyopt.sweep.moved_configs import check_typed_sampler
from energyopt.sweep.options import Options
from energyopt.sweep.space_check import MOST_OPTIONS
from energyopt.sweep.training_goal import TrainingGoal


class SamplerFactory:
    """Makes the sampler, the schedule and the budget of a study.

    Args:
        options: Options of the sweep.
        config: The multirun's own config.
        space: The search space.
        composer: Knows which keys exist under a choice of groups.
        goal: Returns the goal of the trainings; None while nothing states it, and for jobs that
            return values.
    """

    def __init__(
        self,
        options: Options,
        config: DictConfig,
        space: Space,
        composer: Composer,
        goal: Callable[[], TrainingGoal | None],
    ) -> None:
        self._options = options
        self._config = config
        self._space = space
        self._composer = composer
        self._goal = goal
        self._is_own_app = options.is_own_app
        self.monitor: Monitor | None = None
        if not self._is_own_app:
            check_typed_sampler(config, options.sampler)

    def sampler(self, existing: int) -> BaseSampler:
        """Return the sampler of a study.

        Args:
            existing: Number of trials and runs before this one.

        Raises:
            ConfigError: If it cannot be made.
        """
        node = sampler_node(self._options.sampler)
        guard_unpickling()
        if self._is_own_app:
            check_unpickling(node, existing)
        seed = node.get("seed")  # a sampler's own takes precedence
        if seed is None and self._is_own_app:
            seed = self._config.seed
        arguments = {"seed": continued_seed(seed, existing)} | self._study_arguments()
        what = "sampler" if self._is_own_app else "hydra.sweeper.sampler"
        sampler: BaseSampler = make_sampler(node, arguments, self._config, what)
        if self._is_own_app:  # a name may stand for a subclass, or for a function that makes one
            check_unpickling(sampler, existing)
        return sampler

    def rehearse(self, suggest: Suggest, metrics: Sequence[Metric]) -> None:
        """Check that the sampler can search the space, before anything is trained.

        Args:
            suggest: Suggests the values of the space.
            metrics: The objectives of the study.

        Raises:
            ConfigError: If it cannot, or misses a package.
            SamplerError: If code of the user raises.
        """
        if isinstance(self.sampler(0), Schedule):  # it learns from what made-up trials do not have
            return
        default = self._composer.default_groups()
        options = [default | {d.key: option} for d in self._space.groups for option in d.grid()]
        reason = limitation_of(
            lambda: self.sampler(0),
            suggest,
            [metric.direction for metric in metrics],
            [default, *options[:MOST_OPTIONS]],
        )
        if reason is None:
            return
        key = "sampler=" if self._is_own_app else "hydra/sweeper/sampler="
        allow = (
            ""
            if " at random: " not in reason
            else (", or allow it with warn_independent_sampling=false among the sampler's options")
        )
        raise ConfigError(
            f"{reason}; {key}tpe takes any space and any number of objectives, {key}random and "
            f"{key}nsga2 as well{allow}"
        )

    def _study_arguments(self) -> dict[str, Any]:
        """Return the constructor arguments that describe the study to our own samplers."""
        goal = self._goal()
        if goal is None:
            return {}
        return {
            "target": None if self.monitor is None else goal.target,
            "monitor": self.monitor,
            "epochs": goal.epochs,
            "space": {d.key: d.distribution for d in self._space.dimensions},
            "present": self._existing_params,
            "planned_trainings": self._options.planned_trainings,
        }

    def _existing_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters whose keys exist under their choice of groups."""
        groups = {d.key: params[d.key] for d in self._space.groups}
        keys = {*groups, *(d.key for d in self._composer.present(groups))}
        return {key: value for key, value in params.items() if key in keys}

    def schedule(self, sampler: BaseSampler) -> Schedule | None:
        """Return the configured schedule, or the sampler itself if it is one.

        Raises:
            ConfigError: If it cannot be made.
        """
        if self._goal() is None:
            return None
        if self._is_own_app:
            node = OmegaConf.select(self._config, "stopping.schedule")
        else:
            node = OmegaConf.create(stopping_options(self._options.stopping)).schedule
        if node == "auto":
            return sampler if isinstance(sampler, Schedule) else None
        if node is None:
            return None
        if not OmegaConf.is_dict(node) or not isinstance(node.get("_target_"), str):
            raise ConfigError(
                f"stopping.schedule={node}: auto, null or a node with a _target_ is needed; "
                "stopping=halving has one"
            )
        options: Any = OmegaConf.to_container(node, resolve=True)
        seed = self._config.seed if self._is_own_app else None
        schedule = make_sampler(options, {"seed": seed}, self._config, "stopping.schedule")
        if not isinstance(schedule, Schedule):
            raise ConfigError(
                f"stopping.schedule._target_={node._target_} has no next_step; a schedule has "
                "next_step(observed, can_begin=...)"
            )
        return schedule

    def first_pause_j(self) -> float | None:
        """Return the training energy at which a run before the study pauses, in J; None never."""
        is_auto = stopping_options(self._options.stopping)["schedule"] == "auto"
        return 0.0 if is_auto and isinstance(self.sampler(0), Schedule) else None

    def budget(self, sampler: BaseSampler, schedule: Schedule | None) -> Budget:
        """Return the budget; a sampler that is the schedule weighs `planned_trainings` itself."""
        options = self._options
        estimate: Estimate = lambda _: None  # noqa: E731
        if isinstance(sampler, ValueEstimator):
            estimate = sampler.worth
        elif (goal := self._goal()) is not None:
            score = goal.monitor.score(goal.target)
            estimate = partial(worth_of_next, target=score)
        return Budget(
            max_j=options.search_budget_j,
            max_s=options.search_budget_s,
            planned_trainings=None
            if isinstance(schedule, BaseSampler)
            else options.planned_trainings,
            estimate=estimate,
        )
