"""The check before a study of our own app begins: whether its trials can run at all.

A preflight job builds everything and trains nothing, in its own process: an error that would fail
every trial ends the run before the study exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from energyopt.core.metric import Monitor
from energyopt.errors import ConfigError, EnergyoptError, GpusBusyError, StudyError
from energyopt.jobs.job import Readiness
from energyopt.jobs.job_result import outcome_of_error
from energyopt.report.console import say
from energyopt.search.space import Space, Value
from energyopt.sweep.composer import Composer
from energyopt.sweep.space_check import whole_number_wanted
from energyopt.sweep.study_identity import POWER_LIMIT
from energyopt.utils.failure import about


def _check_same_monitor(monitor: Monitor, default: Monitor) -> None:
    if monitor != default:
        raise ConfigError(
            f"it has monitor={monitor.name} mode={monitor.mode}, and the default configuration "
            f"monitor={default.name} mode={default.mode}"
        )


class Preflight:
    """Checks the default configuration, and each other option that a group may take.

    Args:
        config: The multirun's own config.
        space: The search space.
        composer: Knows the default configuration.
        run: Runs a preflight job with overrides; returns its value or exception.
        console: Where to print that it waits.
    """

    def __init__(
        self,
        config: DictConfig,
        space: Space,
        composer: Composer,
        run: Callable[[Sequence[str]], object],
        console: Console,
    ) -> None:
        self._config = config
        self._space = space
        self._composer = composer
        self._run = run
        self._console = console

    def check(self) -> Readiness:
        """Run the preflight jobs. Returns the result of the default configuration's.

        Raises:
            EnergyoptError: If every trial would fail, or every trial with one option.
        """
        default = self._composer.baseline()
        try:
            ready = self._check(default)
        except ConfigError as error:
            wanted = whole_number_wanted(self._space, str(error))
            if wanted is None:
                raise
            raise ConfigError(wanted) from error
        for dimension in self._space.groups:
            for option in dimension.grid():
                if option == default[dimension.key]:
                    continue
                try:
                    readiness = self._check(self._composer.baseline({dimension.key: option}))
                    _check_same_monitor(readiness.monitor, ready.monitor)
                except EnergyoptError as error:
                    raise ConfigError(
                        f"{dimension.override(option)} cannot be trained here ({error}); leave it "
                        "out of the choice"
                    ) from error
        self._check_limits(ready)
        return ready

    def _check(self, params: Mapping[str, Value]) -> Readiness:
        """Build a configuration; if its GPUs are held, wait as long as the config says."""
        try:
            return self._build(params, "++hardware.lease_wait_s=0")
        except GpusBusyError as error:
            wait_s = OmegaConf.select(self._config, "hardware.lease_wait_s")
            if not wait_s:
                raise
            reason = str(error).partition(": energy counters")[0]
            say(self._console, f"{reason}: waiting {wait_s:g} s for it")
        return self._build(params)

    def _build(self, params: Mapping[str, Value], *overrides: str) -> Readiness:
        value = self._run([*self._space.fixed, *self._space.overrides(params), *overrides])
        if isinstance(value, Readiness):
            return value
        outcome = outcome_of_error(value)
        if isinstance(value, EnergyoptError):
            raise value
        error = StudyError(f"the default setup cannot be built: {outcome.reason}")
        raise about(error, outcome.traceback)

    def _check_limits(self, ready: Readiness) -> None:
        """Check that the GPUs accept all swept power limits.

        Raises:
            ConfigError: Naming the range.
        """
        dimension = next((d for d in self._space.scalars if d.key == POWER_LIMIT), None)
        if dimension is None or ready.limits_w is None:
            return
        low_w, high_w = ready.limits_w
        wrong = [
            v for v in dimension.ends() if isinstance(v, int | float) and not low_w <= v <= high_w
        ]
        if wrong:
            raise ConfigError(
                f"{dimension.describe()}: {wrong[0]} is outside {low_w:g} to {high_w:g} W of "
                f"{ready.gpu}; choose limits in the range"
            )
        if ready.limit_w is not None:  # the default configuration leaves the limit as it is
            self._composer.assume(POWER_LIMIT, ready.limit_w)
