"""A hierarchical model of log energies: how much repetitions vary, and what configurations cost.

    y_ij = mu_i + noise,   noise ~ N(0, s^2)                   a training of configuration i
    mu_i ~ N(m, t^2), or with probability 0.09 N(m, t^2 + 0.5^2)   its energy among the others'

The noise s is one for all configurations, m is flat, and s, t and m are integrated over a grid.
So an interval is wide where nothing was repeated, and the cheapest of many trainings is not
believed: its energy is shrunk towards that of the rest, the more so the larger the noise. The wide
part is for what does not belong to the rest, such as one configuration that is better than all.

Confirmations are trainings with new seeds, the same for all configurations, in a later session:

    c_ik = mu_i + d + noise,   d ~ N(0, 0.15^2)

d is what that session and these seeds do to all of them alike. It cancels where two confirmed
configurations are compared, whose noise is then that of paired differences. New seeds had no part
in a selection, so nothing is to be corrected for there. Energies are told as of that session.

The priors were set by the simulation in `benchmarks/coverage.py`, and by what was measured:
`SMALL_SD` and `LONG_SD` say what. Decision 84 has the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from energyopt.core.estimate import Estimate

Array = NDArray[np.float64]

SMALL_SD = 0.25
"""Prior noise of small or estimated trainings: the log SD of energy to target of committed
repetitions, pooled, is 0.24 to 0.33; of CPU time alone 0.11."""
LONG_SD = 0.15
"""Prior noise of measured trainings of a minute and more: recorded trainings (Zeus, NSDI'23, arXiv
2208.06102) mostly have 0.09 to 0.16, at the extremes 0.02 and 0.3."""

# The log of the noise has this SD below and above its prior: 95 % of 0.11 to 0.75 about 0.25.
_SD_BELOW, _SD_ABOVE = 0.42, 0.62
_NOISE_Z = np.linspace(-2.6, 2.6, 13)
# Spread between configurations, with a half-Cauchy prior, and how many lie elsewhere, how far.
_SPREADS = np.array([0.005, 0.03, 0.06, 0.1, 0.15, 0.21, 0.29, 0.4, 0.55, 0.8, 1.2])
_SPREAD_SCALE, _OUTLIERS, _OUTLIER_SD = 0.35, 0.09, 0.5
_SESSION_SD = 0.15  # of d
_MEAN_Z, _MEAN_W = np.polynomial.hermite_e.hermegauss(5)  # nodes of m, given s and t
_MEAN_WIDER = 1.2  # than the normal approximation, for its heavier tails
_N_DRAWS = 4000
_NEGLIGIBLE = 12.0  # log weight below that of the best node of s and t
_FIXED_POINTS = 2  # rounds that place m; weights correct for what is left

_NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / _N_DRAWS) for i in range(_N_DRAWS)])


@dataclass(frozen=True, slots=True)
class Repetitions:
    """The log energies of one configuration, in log J.

    Attributes:
        search: Those of trials, which had a part in a selection.
        confirming: Those of confirmations, by seed.
        missed: Trainings that did not reach the target, and are left out.
    """

    search: tuple[float, ...]
    confirming: Mapping[int, float] = field(default_factory=dict)
    missed: int = 0

    @property
    def count(self) -> int:
        """Number of trainings that reached the target."""
        return len(self.search) + len(self.confirming)


class _Nodes(NamedTuple):
    """Values of noise s, spread t and mean m; as a grid with weights, or as draws."""

    noise: Array
    spread: Array
    mean: Array


class NoiseModel:
    """The posterior of the energies of configurations, as draws that a seed fixes.

    Args:
        observed: The trainings of each configuration that reached the target in a trial.
        prior_sd: The noise that is expected before any repetition.
        known_sd: The noise where it is known, as in a simulation; then no prior is used.
    """

    def __init__(
        self,
        observed: Mapping[Any, Repetitions],
        prior_sd: float = SMALL_SD,
        *,
        known_sd: float | None = None,
    ) -> None:
        if not observed or not all(group.search for group in observed.values()):
            raise ValueError("each configuration needs a trial that reached the target")
        self.prior_sd = prior_sd
        self._known_sd = known_sd
        self._observed: dict[Hashable, Repetitions] = dict(observed)
        self._keys = list(observed)
        self._means = np.array([math.fsum(r.search) / len(r.search) for r in observed.values()])
        self._counts = np.array([float(len(r.search)) for r in observed.values()])
        self._rng = np.random.default_rng(0)
        self._nodes = self._draw_nodes()
        self._energies: dict[Hashable, Array] = {}
        self._session = np.zeros(_N_DRAWS)
        if any(group.confirming for group in observed.values()):
            self._draw_confirmed()

    # What it rests on ----------------------------------------------------------------------------

    @property
    def repetitions(self) -> int:
        """Number of trainings of configurations beyond the first of each."""
        return sum(group.count - 1 for group in self._observed.values())

    @property
    def basis(self) -> str:
        """The basis of the noise: "19 repetitions of 4 setups", or the prior."""
        repeated = sum(group.count > 1 for group in self._observed.values())
        missed = sum(group.missed for group in self._observed.values())
        left_out = f", {missed} that missed the target left out" if missed else ""
        if not repeated:
            return f"no repetition: a prior of {100 * self.prior_sd:.0f} %{left_out}"
        times = "1 repetition" if self.repetitions == 1 else f"{self.repetitions} repetitions"
        return f"{times} of {repeated} setup{'' if repeated == 1 else 's'}{left_out}"

    @cached_property
    def noise(self) -> Estimate:
        """Standard deviation of the log energy of repetitions."""
        if self._known_sd is not None:
            return Estimate(self._known_sd, self._known_sd, self._known_sd)
        # A draw stands for all noise nearer to its node of the grid than to others.
        step = (_SD_BELOW + _SD_ABOVE) / 2 * (_NOISE_Z[1] - _NOISE_Z[0])
        spread = np.random.default_rng(2).uniform(-step / 2, step / 2, _N_DRAWS)
        return estimate_of(self._nodes.noise * np.exp(spread))

    # Energies ------------------------------------------------------------------------------------

    def log_energy(self, key: Hashable) -> Array:
        """Return draws of the mean log energy of a configuration, in log J.

        It is that of the last session: of the confirmations, if there are some.
        """
        if key not in self._energies:
            self._energies[key] = self._drawn(key, *self._of_trials(key))
        result: Array = self._energies[key] + self._session
        return result

    def energy_j(self, key: Hashable) -> Estimate:
        """Return the energy of a typical training (the geometric mean), in J."""
        return estimate_of(_exp(self.log_energy(key)))

    def ratio(self, key: Hashable, base: Hashable) -> Estimate:
        """Return the energy of a configuration over that of another one."""
        return estimate_of(_exp(self.log_energy(key) - self.log_energy(base)))

    def saved_j(self, key: Hashable, base: Hashable) -> Estimate:
        """Return what a training saves if it uses a configuration instead of another, in J."""
        return estimate_of(_exp(self.log_energy(base)) - _exp(self.log_energy(key)))

    def trainings(self, key: Hashable) -> int:
        """Return how many trainings of a configuration reached the target."""
        return self._observed[key].count

    def paired_seeds(self, key: Hashable, base: Hashable) -> int:
        """Return with how many new seeds both were trained."""
        first, second = self._observed[key].confirming, self._observed[base].confirming
        return len(first.keys() & second.keys())

    def probability_within(self, share: float, keys: Sequence[Hashable]) -> Array:
        """Return with which probability each is within a share of the best of them."""
        draws = np.array([self.log_energy(key) for key in keys])
        best = draws.min(axis=0)
        result: Array = (draws <= best + math.log1p(share)).mean(axis=1)
        return result

    # The grid of s, t and m ----------------------------------------------------------------------

    def _draw_nodes(self) -> _Nodes:
        noise, spread, log_weight = self._noise_and_spread()
        centre, sd = self._centres(noise, spread)
        log_weight += np.log(sd)  # of m, whose nodes are so far apart
        at_centre = log_weight + self._log_likelihood(noise, spread, centre)
        chosen = at_centre > at_centre.max() - _NEGLIGIBLE
        noise, spread, centre, sd = noise[chosen], spread[chosen], centre[chosen], sd[chosen]
        means = centre[:, None] + sd[:, None] * _MEAN_Z
        log_weights = log_weight[chosen, None] + np.log(_MEAN_W) + _MEAN_Z**2 / 2
        log_weights += np.array(
            [self._log_likelihood(noise, spread, column) for column in means.T]
        ).T
        n_means = len(_MEAN_Z)
        nodes = _Nodes(np.repeat(noise, n_means), np.repeat(spread, n_means), means.ravel())
        return self._resampled(nodes, log_weights.ravel())

    def _centres(self, noise: Array, spread: Array) -> tuple[Array, Array]:
        """Return about where m lies for each noise and spread, and a scale for its nodes."""
        variance = noise[:, None] ** 2 / self._counts
        usual = spread[:, None] ** 2 + variance
        outlier = usual + _OUTLIER_SD**2
        centre = np.full(len(noise), float(np.median(self._means)))
        for _ in range(_FIXED_POINTS):
            squares = (self._means - centre[:, None]) ** 2
            log_usual = math.log(1 - _OUTLIERS) - _log_density(squares, usual)
            log_outlier = math.log(_OUTLIERS) - _log_density(squares, outlier)
            weights = _mixed(log_usual, log_outlier, 1 / usual, 1 / outlier)
            precision = weights.sum(axis=1)
            centre = (weights * self._means).sum(axis=1) / precision
        return centre, _MEAN_WIDER / np.sqrt(precision)

    def _log_likelihood(self, noise: Array, spread: Array, mean: Array) -> Array:
        """Return the log density of the means of all configurations, at each node."""
        usual = spread[:, None] ** 2 + noise[:, None] ** 2 / self._counts
        squares = (self._means - mean[:, None]) ** 2
        log_usual = math.log(1 - _OUTLIERS) - _log_density(squares, usual)
        log_outlier = math.log(_OUTLIERS) - _log_density(squares, usual + _OUTLIER_SD**2)
        result: Array = np.logaddexp(log_usual, log_outlier).sum(axis=1)
        return result

    def _noise_and_spread(self) -> tuple[Array, Array, Array]:
        """Return a grid of noise and spread, and log weights by prior and repetitions."""
        noise, log_noise = self._noise_weights(*self._within())
        middles = (_SPREADS[1:] + _SPREADS[:-1]) / 2
        widths = np.diff(np.concatenate([[0.0], middles, [1.3 * _SPREADS[-1]]]))
        log_spread = np.log(widths / (1 + (_SPREADS / _SPREAD_SCALE) ** 2))
        log_weight = (log_noise[:, None] + log_spread).ravel()
        chosen = log_weight > log_weight.max() - _NEGLIGIBLE
        return (
            np.repeat(noise, len(_SPREADS))[chosen],
            np.tile(_SPREADS, len(noise))[chosen],
            log_weight[chosen],
        )

    def _noise_weights(self, squares: float, freedom: int) -> tuple[Array, Array]:
        """Return values of the noise and log weights: prior times the density of its squares."""
        if self._known_sd is not None:
            return np.array([self._known_sd]), np.zeros(1)
        logs = np.where(_NOISE_Z < 0, _SD_BELOW, _SD_ABOVE) * _NOISE_Z
        noise = self.prior_sd * np.exp(logs)
        log_prior = np.log(np.gradient(logs)) - _NOISE_Z**2 / 2
        return noise, log_prior - freedom * np.log(noise) - squares / (2 * noise**2)

    def _within(self) -> tuple[float, int]:
        """Return the squares of repetitions about their means, and their degrees of freedom."""
        groups = [group.search for group in self._observed.values()]
        groups += [tuple(group.confirming.values()) for group in self._observed.values()]
        repeated = [np.array(group) for group in groups if len(group) > 1]
        squares = sum(float(((group - group.mean()) ** 2).sum()) for group in repeated)
        return squares, sum(len(group) - 1 for group in repeated)

    def _resampled(self, nodes: _Nodes, log_weights: Array) -> _Nodes:
        """Return as many draws of nodes as there are, by systematic resampling."""
        weights = np.exp(log_weights - log_weights.max())
        levels = (np.arange(_N_DRAWS) + 0.5) / _N_DRAWS * weights.sum()
        chosen = np.minimum(np.searchsorted(np.cumsum(weights), levels), len(weights) - 1)
        self._rng.shuffle(chosen)
        return _Nodes(*(values[chosen] for values in nodes))

    # Draws of energies ---------------------------------------------------------------------------

    def _of_trials(self, key: Hashable) -> tuple[float, Array]:
        """Return the mean of a configuration's trials, and its variance in each draw."""
        index = self._keys.index(key)
        return float(self._means[index]), self._nodes.noise**2 / self._counts[index]

    def _parts(self, mean: float | Array, variance: Array) -> tuple[Array, Array, Array]:
        """Return the probability of the usual part, and both parts' spread^2, in each draw."""
        usual = self._nodes.spread**2
        outlier = usual + _OUTLIER_SD**2
        squares = (mean - self._nodes.mean) ** 2
        log_usual = math.log(1 - _OUTLIERS) - _log_density(squares, usual + variance)
        log_outlier = math.log(_OUTLIERS) - _log_density(squares, outlier + variance)
        return _mixed(log_usual, log_outlier, 1.0, 0.0), usual, outlier

    def _drawn(self, key: Hashable, mean: float | Array, variance: Array) -> Array:
        """Return draws of a mean log energy, given the mean of its trainings."""
        is_usual, usual, outlier = self._parts(mean, variance)
        rng = np.random.default_rng([1, self._keys.index(key)])
        between = np.where(rng.random(_N_DRAWS) < is_usual, usual, outlier)
        share = between / (between + variance)
        normal = rng.permutation(_NORMAL)
        drawn: Array = self._nodes.mean + share * (mean - self._nodes.mean)
        drawn += np.sqrt(share * variance) * normal
        return drawn

    def _draw_confirmed(self) -> None:
        """Draw the energies of all confirmed configurations: they share their session."""
        confirmed = {key: r.confirming for key, r in self._observed.items() if r.confirming}
        shared = _shared_seeds(list(confirmed.values()))
        if shared:
            confirmed = {k: {s: logs[s] for s in shared} for k, logs in confirmed.items()}
        noise = self._paired_noise(list(confirmed.values())) if shared else self._nodes.noise
        evidence = []  # of d, by each configuration: what it shows, and the variance of that
        for key, logs in confirmed.items():
            mean, variance = self._moments(key)
            evidence.append((_mean(logs) - mean, variance + noise**2 / len(logs)))
        precision = 1 / _SESSION_SD**2 + sum(1 / variance for _, variance in evidence)
        session = sum(shift / variance for shift, variance in evidence) / precision
        self._session = session + self._rng.permutation(_NORMAL) / np.sqrt(precision)
        for key, logs in confirmed.items():
            trials_mean, trials_variance = self._of_trials(key)
            variance = 1 / (1 / trials_variance + len(logs) / noise**2)
            mean = (
                trials_mean / trials_variance + (_mean(logs) - self._session) * len(logs) / noise**2
            )
            self._energies[key] = self._drawn(key, variance * mean, variance)
        # The noise of a few seeds is in d, though it is no property of the session.
        common = np.maximum(self._nodes.noise**2 - noise**2, 0.0) / max(len(shared), 1)
        self._session = self._session + np.sqrt(common) * self._rng.permutation(_NORMAL)

    def _moments(self, key: Hashable) -> tuple[Array, Array]:
        """Return mean and variance of a log energy by its trials alone, in each draw."""
        mean, variance = self._of_trials(key)
        is_usual, usual, outlier = self._parts(mean, variance)
        shares = [between / (between + variance) for between in (usual, outlier)]
        means = [self._nodes.mean + share * (mean - self._nodes.mean) for share in shares]
        centre = is_usual * means[0] + (1 - is_usual) * means[1]
        spread = [(m - centre) ** 2 + s * variance for m, s in zip(means, shares, strict=True)]
        return centre, is_usual * spread[0] + (1 - is_usual) * spread[1]

    def _paired_noise(self, confirmed: Sequence[Mapping[int, float]]) -> Array:
        """Return draws of the noise that is left where seeds are paired.

        Its squares are those of a two-way layout, about the means of configurations and seeds.
        """
        table = np.array([list(logs.values()) for logs in confirmed])
        rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
        freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
        noise, log_weights = self._noise_weights(float((rest**2).sum()), freedom)
        return self._resampled(_Nodes(noise, noise, noise), log_weights).noise


def estimate_of(draws: Array) -> Estimate:
    """Return the median of draws, with the interval that holds 95 % of them."""
    low, value, high = np.quantile(draws, [0.025, 0.5, 0.975])
    return Estimate(float(value), float(low), float(high))


def _shared_seeds(confirmed: Sequence[Mapping[int, float]]) -> list[int]:
    """Return the seeds that all have; none where a pairing would have fewer than two."""
    if len(confirmed) < 2:  # noqa: PLR2004  # nothing to pair it with
        return []
    shared = sorted(set.intersection(*(set(logs) for logs in confirmed)))
    return shared if len(shared) > 1 else []


def _mean(logs: Mapping[int, float]) -> float:
    return math.fsum(logs.values()) / len(logs)


def _log_density(squares: Array, variance: Array) -> Array:
    """Return the negative log density of a normal distribution, without its constant."""
    result: Array = np.log(variance) / 2 + squares / (2 * variance)
    return result


def _mixed(
    log_first: Array, log_second: Array, first: Array | float, second: Array | float
) -> Array:
    """Return the mean of two values, weighted by log probabilities."""
    share = 1 / (1 + np.exp(np.clip(log_second - log_first, -500.0, 500.0)))
    result: Array = share * first + (1 - share) * second
    return result


def _exp(logs: Array) -> Array:
    result: Array = np.exp(np.minimum(logs, 700.0))  # about the largest float
    return result
