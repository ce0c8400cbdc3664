"""From Hydra's sweep words to Optuna distributions, and from values back to words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
)
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from energyopt.errors import ConfigError

# Text that Hydra reads as the same text without quotes.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NOT_TEXT = frozenset({"true", "false", "null", "nan", "inf", "infinity"})

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis of the search space.

    Attributes:
        key: The config key or group, as people write it.
        element: What stands before the "=" in a word: the key with its "+" or "++".
        distribution: Optuna's.
        words: For choices, what stands after the "=", by value.
        is_group: Whether it chooses a config group's option.
    """

    key: str
    element: str
    distribution: BaseDistribution
    words: Mapping[Any, str] = field(default_factory=dict)
    is_group: bool = False

    def word(self, value: Value) -> str:
        """The command-line word that sets a value, without loss."""
        text = self.words[value] if self.words else repr(value)
        return f"{self.element}={text}"

    @staticmethod
    def plain(key: str, value: Value) -> str:
        """The word that sets any value of a key, without loss."""
        return f"{key}={_choice(key, value)[1]}"

    @property
    def always(self) -> bool:
        """Whether it adds its key, and so exists in every composition."""
        return self.is_group or self.element.startswith("+")

    def nearest(self, value: object) -> Value:
        """The value of the space that is nearest to one of the config.

        Numbers are clipped and snapped; what is no number and no choice becomes the first.
        """
        at = self.distribution
        if isinstance(at, CategoricalDistribution):
            return _nearest_choice(at, value)
        assert isinstance(at, FloatDistribution | IntDistribution)  # noqa: S101  # for mypy
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        number = float(value) if is_number else float(at.low)  # type: ignore[arg-type]
        clipped = min(max(number, at.low), at.high)
        if at.step is not None:
            clipped = _stepped(at.low, at.step, round((clipped - at.low) / at.step))
        return round(clipped) if isinstance(at, IntDistribution) else float(clipped)

    def grid(self) -> list[Value]:
        """All values, in order.

        Raises:
            ConfigError: If they cannot be counted.
        """
        at = self.distribution
        if isinstance(at, CategoricalDistribution):
            return list(at.choices)
        if isinstance(at, IntDistribution) and not at.log:
            return list(range(at.low, at.high + 1, at.step))
        if isinstance(at, FloatDistribution) and at.step is not None:
            count = round((at.high - at.low) / at.step) + 1
            return [_stepped(at.low, at.step, i) for i in range(count)]
        raise ConfigError(
            f"sampler=grid cannot count {self.key}: give it choices or a range, such as "
            f"{self.key}=choice(...)"
        )

    def ends(self) -> list[Value]:
        """The values between which all lie; all of a choice."""
        at = self.distribution
        if isinstance(at, CategoricalDistribution):
            return list(at.choices)
        assert isinstance(at, FloatDistribution | IntDistribution)  # noqa: S101  # for mypy
        return [at.low, at.high]

    def describe(self) -> str:
        """For people: "lr 0.0001..0.1 (log)"."""
        at = self.distribution
        if isinstance(at, CategoricalDistribution):
            return f"{self.key} {{{', '.join(map(str, at.choices))}}}"
        assert isinstance(at, FloatDistribution | IntDistribution)  # noqa: S101
        step = f" step {at.step:g}" if at.step is not None and at.step != 1 else ""
        return f"{self.key} {at.low:g}..{at.high:g}{step}{' (log)' if at.log else ''}"


def _nearest_choice(at: CategoricalDistribution, value: object) -> Value:
    same = [c for c in at.choices if type(c) is type(value) and c == value]
    if same:
        return same[0]
    numbers = [c for c in at.choices if isinstance(c, int | float) and not isinstance(c, bool)]
    if len(numbers) == len(at.choices) and isinstance(value, int | float):
        return min(numbers, key=lambda c: abs(c - value))
    return at.choices[0]


@dataclass(frozen=True, slots=True)
class Space:
    """What a command line asks for: fixed words, and the axes to search.

    Attributes:
        fixed: Words that all trials share, as they were typed.
        sweep: Words that span the space, as they were typed.
        dimensions: The axes; those that choose config groups come first.
    """

    fixed: tuple[str, ...]
    sweep: tuple[str, ...]
    dimensions: tuple[Dimension, ...]

    @property
    def groups(self) -> tuple[Dimension, ...]:
        """The axes that choose config groups."""
        return tuple(d for d in self.dimensions if d.is_group)

    @property
    def scalars(self) -> tuple[Dimension, ...]:
        """The axes that set values."""
        return tuple(d for d in self.dimensions if not d.is_group)

    def words(self, params: Mapping[str, Value]) -> tuple[str, ...]:
        """The words that set the given values."""
        return tuple(d.word(params[d.key]) for d in self.dimensions if d.key in params)


def parse_space(arguments: Sequence[str], loader: ConfigLoader) -> Space:
    """Split command-line words into fixed ones and the axes of a space.

    Args:
        arguments: Words, such as "lr=tag(log,interval(1e-4,1e-1))".
        loader: Hydra's, which knows the config groups.

    Raises:
        ConfigError: If a sweep cannot be searched.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    fixed, sweep, dimensions = [], [], []
    for override in parsed:
        line = override.input_line or ""
        if override.is_sweep_override():
            sweep.append(line)
            dimensions.append(_dimension(override, loader))
        else:
            fixed.append(line)
    keys = [d.key for d in dimensions]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"{key} is swept twice; give it one range or choice")
    ordered = sorted(dimensions, key=lambda d: not d.is_group)
    return Space(tuple(fixed), tuple(sweep), tuple(ordered))


def _dimension(override: Override, loader: ConfigLoader) -> Dimension:
    element = override.get_key_element()
    key = element.lstrip("+")
    sweep = override.value()
    tags = sweep.tags if isinstance(sweep, Sweep) else set()
    allowed = {"log"} if isinstance(sweep, IntervalSweep) else set()
    if tags - allowed:
        what = "intervals can be tagged log" if allowed else "only intervals can be tagged"
        raise ConfigError(
            f"{key}: the tag {', '.join(sorted(tags - allowed))} means nothing here; {what}"
        )
    try:
        if isinstance(sweep, IntervalSweep):
            return Dimension(key, element, _interval(key, sweep))
        if isinstance(sweep, RangeSweep):
            return Dimension(key, element, _range(key, sweep))
        words = _choices(key, override)
    except ConfigError:
        raise
    except ValueError as error:  # Optuna's own words on impossible bounds
        raise ConfigError(f"{key}: {error}") from error
    is_group = bool(loader.get_group_options(override.key_or_group))
    return Dimension(key, element, CategoricalDistribution(list(words)), words, is_group)


def _interval(key: str, sweep: IntervalSweep) -> BaseDistribution:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None:
        raise ConfigError(f"{key}: an interval needs two ends, such as interval(0,1)")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{key}=interval({low},{high}): both ends must be finite")
    if low > high:
        raise ConfigError(f"{key}=interval({low:g},{high:g}): the lower end comes first")
    if log and low <= 0:
        raise ConfigError(
            f"{key}=tag(log,interval({low:g},{high:g})): a log interval begins above 0"
        )
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _range(key: str, sweep: RangeSweep) -> BaseDistribution:
    # Hydra's range: the stop is exclusive. The order of a discrete axis means nothing here.
    ends = (sweep.start, sweep.stop, sweep.step)
    said = f"{key}=range({sweep.start},{sweep.stop},{sweep.step})"
    start, stop, step = (Decimal(str(end)) for end in ends)
    if step == 0 or not (start.is_finite() and stop.is_finite() and step.is_finite()):
        raise ConfigError(f"{said}: two finite ends and a step other than 0 are needed")
    count = math.ceil((stop - start) / step)
    if count < 1:
        raise ConfigError(f"{said} is empty: the stop is exclusive")
    low, high = sorted((start, start + (count - 1) * step))
    if all(isinstance(end, int) for end in ends):
        return IntDistribution(int(low), int(high), step=int(abs(step)))
    return FloatDistribution(float(low), float(high), step=float(abs(step)))


def _stepped(low: float, step: float, i: int) -> float:
    """The i-th value of a stepped axis, in decimals: 0.1 + 2 * 0.1 is 0.3."""
    return float(Decimal(str(low)) + i * Decimal(str(step)))


def _choices(key: str, override: Override) -> dict[Value, str]:
    """The choices in the order given (shuffling would break a resumed study), with their words."""
    sweep = override.value()
    if isinstance(sweep, ChoiceSweep):
        elements = list(sweep.list)
    else:  # a glob; the option that only holds a place for one's own code is no choice
        elements = [option for option in override.sweep_iterator() if option != "own"]
    words: dict[Value, str] = {}
    for element in elements:
        value, word = _choice(key, element)
        if value in words:  # 1, 1.0 and true are equal, and a categorical cannot hold both
            raise ConfigError(
                f"{key}: the choices {value!r} and {_equal(words, value)!r} are equal; drop one"
            )
        words[value] = word
    if not words:
        raise ConfigError(f"{key}={override.get_value_string()} leaves nothing to choose from")
    return words


def _equal(words: Mapping[Value, str], value: Value) -> Value:
    return next(known for known in words if known == value)


def _choice(key: str, element: Any) -> tuple[Value, str]:
    if isinstance(element, Sweep):
        raise ConfigError(f"{key}: a choice of ranges cannot be searched; give one range")
    if isinstance(element, QuotedString):
        return element.text, element.with_quotes()
    if isinstance(element, str):
        plain = _PLAIN.fullmatch(element) and element.lower() not in _NOT_TEXT
        return element, element if plain else QuotedString(element, Quote.single).with_quotes()
    text = Override._get_value_element_as_str(element)  # noqa: SLF001  # Hydra's only lossless way
    if isinstance(element, float) and not math.isfinite(element):
        raise ConfigError(f"{key}: the choice {text} is not finite")
    if element is None or isinstance(element, bool | int | float):
        return element, text
    return text, text
