"""Stop a trial that has used much more energy than the cheapest one needed."""

from __future__ import annotations

import math

from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.units import joules
from energyopt.stopping._validation import checked_number

_NOISE = "noise"
_DEFAULT_BETA = 2.0


class EnergyCap:
    """Stops before the target, after `beta` times the incumbent's energy to it.

    Energy to target varies with the seed alone, so beta=1 would stop configurations that are as
    good as an incumbent with a favourable seed.

    Args:
        beta: Multiple of the incumbent's energy; "noise" for exp(z * s), where s is the standard
            deviation of log energy between seeds in this study, or 2 while s is unknown.
        z: Standard deviations to allow for; with log-normal energies 2 spares 97.7 % of the
            trials whose median is the incumbent's energy.

    Raises:
        ConfigError: If beta is below 1 or z below 0.
    """

    def __init__(self, beta: float | str = _DEFAULT_BETA, z: float = 2.0) -> None:
        key, allowed = "stopping.rules.energy_cap", "a number of at least 1 (or noise)"
        self._beta = (
            None if beta == _NOISE else checked_number(f"{key}.beta", beta, 1.0, allowed=allowed)
        )
        self._z = checked_number(f"{key}.z", z, 0.0, allowed="a number of at least 0")

    def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
        """Return why to stop now, or None to continue."""
        if progress.reached or rivals.incumbent_j is None:
            return None
        beta = self.beta(rivals.luck)
        if progress.spent_j <= beta * rivals.incumbent_j:
            return None
        return (
            f"used {joules(progress.spent_j)}, more than {beta:.3g} x the "
            f"{joules(rivals.incumbent_j)} of the cheapest trial (trial {rivals.incumbent})"
        )

    def beta(self, seed_sd: float | None) -> float:
        """Return the multiple for a standard deviation of log energy between seeds."""
        if self._beta is not None:
            return self._beta
        return _DEFAULT_BETA if seed_sd is None else math.exp(self._z * seed_sd)
