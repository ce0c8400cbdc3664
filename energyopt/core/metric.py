"""The monitored metric: the value that a training is judged by, whatever it is.

Records, files and tables hold its values as the training reported them. Code that compares them
asks the `Monitor`, so that it need not know whether more or less is better.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from energyopt.errors import ConfigError

Mode = Literal["min", "max"]


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


ACCURACY = Monitor()
"""The metric of classification tasks: a share in [0, 1] whose error is 1 - accuracy."""
