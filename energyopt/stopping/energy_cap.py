"""Stop a trial that has used much more than the cheapest one needed."""

from __future__ import annotations

import math

from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.units import joules
from energyopt.stopping._validation import number

_NOISE = "noise"
_USUAL = 2.0


class EnergyCap:
    """Stops before the target, after `beta` times the incumbent's energy to it.

    With beta=1 a lucky seed of the incumbent would stop all that are as good.

    Args:
        beta: How many times; "noise" for exp(z * s), where s is what the seed alone does to log
            energy in this study, or 2 while that is unknown.
        z: Standard deviations of that noise.

    Raises:
        ConfigError: If beta is below 1, or z not above 0.
    """

    def __init__(self, beta: float | str = _USUAL, z: float = 2.0) -> None:
        key, says = "stopping.rules.energy_cap", "a number of at least 1 (or noise)"
        self._beta = None if beta == _NOISE else number(f"{key}.beta", beta, 1.0, says=says)
        self._z = number(f"{key}.z", z, 0.0, says="a number of at least 0")

    def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
        """Why to stop now; None to go on."""
        if progress.reached or rivals.incumbent_j is None:
            return None
        beta = self.beta(rivals.luck)
        if progress.spent_j <= beta * rivals.incumbent_j:
            return None
        return (
            f"used {joules(progress.spent_j)}, more than {beta:.3g} x the "
            f"{joules(rivals.incumbent_j)} of the cheapest trial (trial {rivals.incumbent})"
        )

    def beta(self, luck: float | None) -> float:
        """The multiple, given the noise of seeds."""
        if self._beta is not None:
            return self._beta
        return _USUAL if luck is None else math.exp(self._z * luck)
