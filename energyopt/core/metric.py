"""The monitored metric: the value that a training is judged by, whatever it is.

Records, files and tables hold its values as the training reported them. Code that compares them
asks the `Monitor`, so that it need not know whether more or less is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from energyopt.errors import ConfigError, TrialError

Mode = Literal["min", "max"]

_ADVICE = "for another metric name it and its direction, such as monitor=val_loss mode=min"


@dataclass(frozen=True, slots=True)
class Monitor:
    """The name of a metric and the direction in which it is better.

    Attributes:
        name: Its name, as tables and figures show it, such as "val_loss".
        mode: "max" if more is better, "min" if less is.
    """

    name: str = "accuracy"
    mode: Mode = "max"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ConfigError(f"mode={self.mode!r} is not allowed: choose min or max")

    @property
    def is_share(self) -> bool:
        """True for an accuracy: a share in [0, 1], 0 before anything is learnt."""
        return self.name == ACCURACY.name

    @property
    def worst(self) -> float:
        """The score of a training that has not been evaluated."""
        return 0.0 if self == ACCURACY else -math.inf

    def score(self, value: float) -> float:
        """Return the value if more is better, else its negative: a higher score is better."""
        return value if self.mode == "max" else -value

    def value(self, score: float) -> float:
        """Return the value of a score."""
        return self.score(score)  # its own inverse

    def reaches(self, value: float, target: float) -> bool:
        """Return True if a value is at the target or better."""
        return self.score(value) >= self.score(target)

    def is_better(self, value: float, other: float) -> bool:
        """Return True if a value is better than another one."""
        return self.score(value) > self.score(other)

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of the values; None without any."""
        return max(values, key=self.score, default=None)

    def missed_by(self, best: float | None, target: float) -> float:
        """Return by how much the best value misses the target; at most 0 where it reaches it."""
        if best is not None:
            return self.score(target) - self.score(best)
        return target if self == ACCURACY else max(abs(target), 1.0)

    def check_value(self, value: float) -> None:
        """Check that an evaluation returned a possible value.

        Raises:
            TrialError: If it is an accuracy outside of [0, 1].
        """
        if self.is_share and math.isfinite(value) and not 0 <= value <= 1:
            raise TrialError(
                f"evaluate() returned {value}; an accuracy in [0, 1] is expected, higher is better "
                f"(divide a percentage by 100); {_ADVICE}"
            )

    def check_target(self, target: float) -> None:
        """Check that the target is a value of the metric.

        Raises:
            ConfigError: If it is not.
        """
        if not math.isfinite(target):
            raise ConfigError(f"target={target} is not allowed: a finite number is needed")
        if self.is_share and not 0 < target <= 1:
            raise ConfigError(
                f"target={target} is not allowed: a number above 0 and at most 1 is needed for an "
                f"accuracy; {_ADVICE}"
            )


ACCURACY = Monitor()
"""The metric of classification tasks: a share in [0, 1] whose error is 1 - accuracy."""
