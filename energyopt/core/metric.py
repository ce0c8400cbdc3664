"""The monitored metric: the value that a training is judged by, whatever it is.

Records, files and tables hold its values as the training reported them. Code that compares them
asks the `Monitor`, so that it need not know whether more or less is better.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from energyopt.errors import ConfigError, TrialError

Mode = Literal["min", "max"]

_MANY_DIGITS, _TOO_MANY_DIGITS = 1e4, 1e9  # between them values are written without an exponent
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

    @classmethod
    def stated(cls, name: str | None, mode: Mode | None) -> Monitor | None:
        """Return the metric that a user states; None without a statement.

        Raises:
            ConfigError: If it is only a direction, or a name without one.
        """
        if name is None and mode is None:
            return None
        if name is None:
            raise ConfigError(
                f"mode={mode} needs the name of the metric as well, such as monitor=val_loss"
            )
        if mode is None and name != ACCURACY.name:
            raise ConfigError(
                f"monitor={name} needs mode=min, if less of it is better, or mode=max; without it "
                "a loss would be maximised"
            )
        return cls(name, mode or ACCURACY.mode)

    @property
    def is_share(self) -> bool:
        """True for an accuracy: a share in [0, 1], 0 before anything is learnt."""
        return self.name == ACCURACY.name

    @property
    def worst(self) -> float:
        """The score of a training that has not been evaluated."""
        return 0.0 if self == ACCURACY else -math.inf

    @property
    def digits(self) -> str:
        """Format of its values in sentences."""
        return ".3f" if self == ACCURACY else ".4g"

    @property
    def label(self) -> str:
        """What axes and headings call it: an accuracy is that of the validation data."""
        return "validation accuracy" if self == ACCURACY else self.name

    @property
    def title(self) -> str:
        """Its name at the start of a sentence; the name of a user's metric is left as it is."""
        return "Accuracy" if self == ACCURACY else self.name

    @property
    def better(self) -> str:
        """Which direction is better, in words."""
        return "higher is better" if self.mode == "max" else "lower is better"

    @property
    def at_or_better(self) -> str:
        """The words between the metric and a target that is reached."""
        return "at or above" if self.mode == "max" else "at or below"

    @property
    def easier(self) -> str:
        """How a target that is easier to reach compares, in a word."""
        return "lower" if self.mode == "max" else "higher"

    def text(self, value: float) -> str:
        """Return a value for a table: four decimals of an accuracy, else four digits."""
        if self == ACCURACY:
            return f"{value:.4f}"
        in_full = _MANY_DIGITS <= abs(value) < _TOO_MANY_DIGITS
        return f"{value:.0f}" if in_full else f"{value:.4g}"

    def describe(self, score: float) -> str:
        """Return the name and the value of a score, for sentences."""
        return f"{self.name} {self.value(score):{self.digits}}"

    @property
    def unreachable(self) -> float:
        """A target that no value reaches."""
        return self.value(math.inf)

    def score(self, value: float) -> float:
        """Return the value if more is better, else its negative: a higher score is better."""
        return value if self.mode == "max" else -value

    def value(self, score: float) -> float:
        """Return the value of a score."""
        return self.score(score)  # its own inverse

    def reaches(self, value: float, target: float) -> bool:
        """Return True if a value is at the target or better."""
        return self.score(value) >= self.score(target)

    def is_better(self, value: float, reference: float) -> bool:
        """Return True if a value is better than another one."""
        return self.score(value) > self.score(reference)

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of the values; None without any."""
        return max(values, key=self.score, default=None)

    def missed_by(self, best: float | None, target: float) -> float:
        """Return by how much the best value misses the target; at most 0 where it reaches it."""
        if best is not None:
            return self.score(target) - self.score(best)
        return target if self == ACCURACY else max(abs(target), 1.0)

    def check_value(self, value: float, source: str) -> None:
        """Check that an evaluation gave a possible value.

        Args:
            value: The value.
            source: What gave it, for the error, such as "evaluate() returned".

        Raises:
            TrialError: If it is an accuracy outside of [0, 1].
        """
        if self.is_share and math.isfinite(value) and not 0 <= value <= 1:
            raise TrialError(
                f"{source} {value}; an accuracy in [0, 1] is expected, higher is better "
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


# How a search looks at it ------------------------------------------------------------------------

_MIN_ERROR = 0.01  # added to each error, so that an accuracy of 1 has a finite place
# Margins that are tried, in units of the range from the first evaluations to the best: from a
# curve that is nearly at its limit to one that is nearly a line. Their prior is log-normal.
_MARGINS = tuple(math.exp(log) for log in (-6, -5, -4.5, -4, -3.5, -3, -2.5, -2, -1.5, -1, 0))
_MARGIN_LOG, _MARGIN_LOG_SD = -3.0, 1.0
_REACHABLE = 0.85  # of the margin: scores beyond it are not expected; of an accuracy 5/6 or more
_MIN_FITTED = 3  # evaluations of a curve: two are always on a line
_MAX_FITTED = 8  # evaluations of a curve: neighbours say the same
_FAR = 3.0  # ranges below the first evaluations: how much worse a training is does not matter there
_LEAST_UNIT = 1e-300  # a share of it is above 0
_ROUNDING = 1e-9  # differences below this share of a value may be rounding
_MIN_VARIANCE = 1e-6  # of places about a line, so that few points on a line prove nothing

Points = Sequence[tuple[float, float]]
"""Epochs and score at each evaluation of a training."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The monotone scale on which a search looks at a metric: places = -log(limit - score).

    A power law that approaches the limit (the usual form of learning curves; Domhan et al. 2015,
    Kadra et al. arXiv 2302.00441) is a straight line in places against log epochs. Of an accuracy
    it is the negative log error.

    Attributes:
        limit: What scores approach; above all.
        worst: Lower scores count as this one.
        best: The best score that is expected; higher ones count as this one.
        unit: Size of a difference between scores that matters little less than all.
    """

    limit: float = 1.0 + _MIN_ERROR
    worst: float = 0.0
    best: float = 1.0
    unit: float = 1.0

    def place(self, score: float) -> float:
        """Return the place of a score."""
        return -math.log(self.limit - min(max(score, self.worst), self.best))

    def score(self, place: float) -> float:
        """Return the score at a place."""
        return min(self.limit - math.exp(-place), self.best)

    @classmethod
    def of(cls, monitor: Monitor, curves: Iterable[Points], target: float | None) -> Scale:
        """Return the scale of a metric: fixed for an accuracy, else learnt from a study's curves.

        The limit lies beyond the best score and the target by a margin, the one with which the
        curves are straightest: a maximum a posteriori estimate, in which the density of the scores
        themselves is compared (as in a Box-Cox transform, with the Jacobian), so that scores may
        be scaled and shifted. A loss that is never negative approaches no limit below 0.

        Args:
            monitor: The metric.
            curves: Curves of the study's trials, finite scores only.
            target: Score to reach; None for none.
        """
        if monitor == ACCURACY:
            return cls()
        trained = [points for points in curves if points]
        scores = [score for points in trained for _, score in points]
        tops = scores if target is None else [*scores, target]
        top, worst = max(tops, default=0.0), min(tops, default=0.0)
        first = statistics.median(points[0][1] for points in trained) if trained else worst
        least = max(_ROUNDING * abs(top), _LEAST_UNIT)
        unit = next((size for size in (top - first, top - worst, abs(top)) if size > least), 1.0)
        worst = max(worst, first - _FAR * unit)
        margins = [share * unit for share in _MARGINS]
        if monitor.mode == "min" and top < -_LEAST_UNIT:
            margins = [min(margin, -top) for margin in margins]
        fitted = [_thinned(points) for points in trained if len(points) >= _MIN_FITTED]
        margin = max(margins, key=lambda margin: _log_posterior(fitted, top, margin, unit))
        return cls(top + margin, worst, top + _REACHABLE * margin, unit)


def _thinned(points: Points) -> Points:
    """Return some points of a curve, evenly spaced by number, both ends included."""
    step = max((len(points) - 1) / (_MAX_FITTED - 1), 1.0)
    return [points[round(i * step)] for i in range(min(len(points), _MAX_FITTED))]


def _log_posterior(curves: Sequence[Points], top: float, margin: float, unit: float) -> float:
    """Return the log posterior of a margin, up to a constant.

    Places of each curve are normal about a line of its own in log epochs; the variance, common to
    all, is replaced by its estimate.
    """
    log_share = math.log(margin) - math.log(unit)  # their ratio can underflow
    prior = -0.5 * ((log_share - _MARGIN_LOG) / _MARGIN_LOG_SD) ** 2
    squares, freedom, jacobian = 0.0, 0, 0.0
    for points in curves:
        logs = [math.log(epochs) for epochs, _ in points]
        places = [-math.log((top + margin - score) / unit) for _, score in points]
        squares += _residual_squares(logs, places)
        # Two degrees of freedom are the line's; each point has its part of the rest.
        freedom += len(points) - 2
        jacobian += sum(places) * (len(points) - 2) / len(points)
    if not freedom:
        return prior
    return prior + jacobian - 0.5 * freedom * math.log(squares / freedom + _MIN_VARIANCE)


def _residual_squares(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the squares of y about its regression line over x."""
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    xx = math.fsum((value - mean_x) ** 2 for value in x)
    xy = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    yy = math.fsum((value - mean_y) ** 2 for value in y)
    return max(yy - xy**2 / xx, 0.0) if xx > 0 else yy
