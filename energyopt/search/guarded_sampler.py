"""A sampler of any author behind a guard: its errors are called its own, its steps are decimal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from energyopt.errors import EnergyoptError, SamplerError
from energyopt.search.space import on_step
from energyopt.utils.failure import about, failure_of
from energyopt.utils.missing_packages import describe_import_error

# What a sampler passes on from the storage that it reads, and our own sentences.
_OF_OTHERS = (EnergyoptError, StorageInternalError, SQLAlchemyError, UpdateFinishedTrialError)
_STOP = "Study.stop"  # in the message of Optuna where a sampler ends a loop that is not Optuna's


@contextlib.contextmanager
def blamed_on(culprit: str) -> Iterator[None]:
    """Turn any exception but those of the storage into a `SamplerError`.

    Args:
        culprit: The code that is called, for the message: "sampler my.Sampler".
    """
    try:
        yield
    except _OF_OTHERS:
        raise
    except ImportError as error:
        raise SamplerError(f"{culprit}: {describe_import_error(error)}") from error
    except Exception as error:
        failure = failure_of(error)
        sentence = SamplerError(f"{culprit} raised {failure.reason}")
        raise about(sentence, failure.traceback) from error


def name_of(part: object) -> str:
    """Return the class of a sampler or a schedule, with its module if it is the user's own."""
    cls = type(part)
    is_known = cls.__module__.partition(".")[0] in ("optuna", "energyopt")
    return cls.__qualname__ if is_known else f"{cls.__module__}.{cls.__qualname__}"


class GuardedSampler(BaseSampler):
    """Passes calls on to a sampler.

    Values of stepped ranges are rounded to decimals, as a grid has them: 0.3, not
    0.30000000000000004.

    Args:
        inner: The sampler.

    Attributes:
        inner: The sampler.
        is_exhausted: Whether it has suggested all that it has, as samplers of finite spaces say.
    """

    def __init__(self, inner: BaseSampler) -> None:
        self.inner = inner
        self.is_exhausted = False
        self._culprit = f"sampler {name_of(inner)}"

    def __str__(self) -> str:
        return str(self.inner)

    def reseed_rng(self) -> None:
        """Pass it on."""
        self.inner.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the part of the space that is sampled at once."""
        with blamed_on(self._culprit):
            return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return values that were sampled at once."""
        with blamed_on(self._culprit):
            values = self.inner.sample_relative(study, trial, search_space)
            return {key: _decimal(search_space.get(key), value) for key, value in values.items()}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a value for one key.

        Raises:
            SamplerError: If the sampler raises, or its value lies outside of the space.
        """
        with blamed_on(self._culprit):
            value = self.inner.sample_independent(study, trial, param_name, param_distribution)
            internal = param_distribution.to_internal_repr(value)
        if not param_distribution._contains(internal):  # noqa: SLF001  # Optuna stores any number
            raise SamplerError(
                f"{self._culprit} suggested {param_name}={value}, which is outside of "
                f"{param_distribution}"
            )
        return _decimal(param_distribution, value)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Pass it on."""
        with blamed_on(self._culprit):
            self.inner.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Pass it on; a sampler of a finite space may end the study."""
        with blamed_on(self._culprit):
            try:
                self.inner.after_trial(study, trial, state, values)
            except RuntimeError as error:
                if _STOP not in str(error):
                    raise
                self.is_exhausted = True


def _decimal(axis: BaseDistribution | None, value: Any) -> Any:
    if isinstance(axis, FloatDistribution) and axis.step is not None:
        return on_step(axis, value)
    return value


def decimal_point(
    params: Mapping[str, Any], axes: Mapping[str, BaseDistribution]
) -> dict[str, Any]:
    """Return parameters with the values of stepped ranges in decimals."""
    return {key: _decimal(axes.get(key), value) for key, value in params.items()}
