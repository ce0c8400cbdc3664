"""The energy of a search, its break-even and the noise that both rest on, as sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping

from energyopt.analysis.break_even import Savings
from energyopt.analysis.drift import Drift
from energyopt.analysis.noise_model import NoiseModel
from energyopt.analysis.summary import Summary
from energyopt.core.estimate import Estimate, times_less, trainings, trainings_of
from energyopt.core.units import count, joules, percent, quantity

_ALL_COUNTED = "This counts all energy of the study's commands."
_TRIALS_COUNTED = "This counts the energy of trials only: {}."
_OUTCOMES: Mapping[str, str] = {
    "reached": "reached the target",
    "missed": "missed it",
    "stopped": "stopped",
    "paused": "paused",
    "running": "running",
    "failed": "failed",
    "lost": "lost",
    "confirmation": "confirming",
    "other": "other",
}


def book_lines(summary: Summary) -> tuple[str, ...]:
    """Return the search energy and the break-even as sentences."""
    if summary.provenance is None:
        return ()
    lines = (_search_line(summary), _outcomes_line(summary), _break_even_line(summary))
    return tuple(line for line in (*lines, net_line(summary), *noise_lines(summary)) if line)


def _search_line(summary: Summary) -> str:
    parts = ", ".join(
        f"{purpose} {joules(energy_j)}"
        for purpose, energy_j in summary.energy_by_purpose_j.items()
        if energy_j
    )
    line = f"The search cost {joules(summary.search_energy_j)}"
    if parts:
        line += f" ({parts})"
    if summary.missed_share is not None:
        line += f", {percent(summary.missed_share)} of it in trials that missed the target"
    return line + "."


def _outcomes_line(summary: Summary) -> str:
    """Return the energy by outcome of its trials, unless all reached the target."""
    energy_j = {
        outcome: part_j for outcome, part_j in summary.energy_by_outcome_j.items() if part_j
    }
    if not energy_j.keys() - {"reached"}:
        return ""
    parts = (
        f"{joules(energy_j[key])} {text}" for key, text in _OUTCOMES.items() if key in energy_j
    )
    return f"By outcome: {', '.join(parts)}."


def _break_even_line(summary: Summary) -> str:
    savings = summary.against_default
    if summary.break_even is None:
        return f"Break-even: none, because {summary.break_even_reason}."
    if summary.default is None or savings is None:
        trainings = count(math.ceil(summary.break_even), "training")
        return (
            f"Break-even: after at most {trainings}, because {summary.break_even_reason}. "
            f"{counted(summary)}"
        )
    soonest, latest = savings.break_even(summary.search_energy_j)
    single = ", one seed each" if savings.single else ""
    return (
        f"Break-even: the search pays back after "
        f"{trainings_text(summary.break_even, soonest, latest)} against "
        f"{summary.default.default_name} (trial {summary.default.trial}: "
        f"{savings.default.joules} to target; the recommended one needs "
        f"{times_less(savings.ratio)}, {savings.share.percent_interval} saved{single}); "
        f"{break_even_interval(savings, summary.search_energy_j)}. {counted(summary)}"
    )


def counted(summary: Summary) -> str:
    """Return what the search energy includes, as a sentence."""
    if summary.is_other_known:
        return _ALL_COUNTED
    kind = None if summary.provenance is None else summary.provenance.kind
    if kind in ("simulated", "replayed"):
        return _TRIALS_COUNTED.format(f"the rest of a search is not {kind}")
    if summary.other_j is None:
        return _TRIALS_COUNTED.format("start-up and the sampler are not metered")
    return "This leaves out what some of the study's commands used outside of their trials."


def break_even_interval(savings: Savings, search_j: float) -> str:
    """Return the interval of the break-even: "from 3 to never with 95 % confidence (...)"."""
    soonest, latest = savings.break_even(search_j)
    last = "never" if math.isinf(latest) else trainings_of(latest)
    return f"from {trainings_of(soonest)} to {last} {savings.confidence}"


def trainings_text(value: float, soonest: float, latest: float) -> str:
    """Return a break-even, with the digits that its interval carries: "about 40 trainings"."""
    text = trainings(value, soonest, latest)
    return f"{text} training{'' if text == '1' else 's'}"


def noise_lines(summary: Summary) -> tuple[str, ...]:
    """Return how much repetitions vary, and how the machine drifted, as sentences."""
    lines = []
    if summary.noise is not None:
        lines.append(_noise_line(summary.noise))
    if summary.drift is not None and summary.drift.is_told:
        lines.append(_drift_line(summary.drift))
    return tuple(lines)


def _noise_line(model: NoiseModel) -> str:
    if not model.repetitions:
        return (
            "Noise: no setup was trained twice, so how much trainings of one setup vary is not "
            f"known here. Intervals rest on a prior of {100 * model.prior_sd:.0f} %; `confirm` "
            "trains again, with new seeds."
        )
    return (
        f"Noise: the energy of one setup varies by {model.noise.percent} from training to training "
        f"({model.noise.percent_interval}; {model.basis})."
    )


def _drift_line(drift: Drift) -> str:
    low, value, high = (
        f"{100 * (factor - 1):+.0f} %"
        for factor in (drift.factor.low, drift.factor.value, drift.factor.high)
    )
    removed = "is not counted as noise" if drift.is_certain else "is not told apart from none"
    return (
        f"Drift: an epoch of the repeated setups took {value} of energy over the search "
        f"[{low}, {high}], which {removed}."
    )


def net_line(summary: Summary) -> str:
    """Return the energy that the planned training runs save beyond the search energy."""
    savings, reuse = summary.against_default, summary.reuse
    if savings is None or reuse is None:
        return ""
    net = Estimate(*savings.net_j(summary.search_energy_j, reuse))
    verb = "save" if net.value >= 0 else "lose"
    return (
        f"Over {reuse:g} trainings search and recommended setup {verb} "
        f"{quantity(abs(net.value), 'J', net.digits)} "
        f"({net.joules_interval} saved, with 95 % confidence)."
    )
