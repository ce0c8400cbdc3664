"""The value of pretraining, with sentences on it, on heads and on inference energy."""

from __future__ import annotations

from energyopt.analysis.pareto import Hit
from energyopt.core.accounting import Recycled, head_hits, recycled
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import count, joules, percent
from energyopt.core.upfront_cost import UpfrontCost


def trial_lines(result: TrialResult) -> list[str]:
    """Return sentences on the pretraining, the heads and the inference energy of a trial."""
    lines = [_upfront_line(cost) for cost in result.upfront]
    for name, hit in head_hits(result).items():
        target = result.head_targets.get(name, result.target)
        if hit is None:
            lines.append(f"Head {name} missed its target {target:g}.")
        else:
            counts = {"samples": hit.samples, "steps": hit.steps}
            amounts = ", ".join(f"{n} {unit}" for unit, n in counts.items() if n is not None)
            more = f" ({amounts})" if amounts else ""
            lines.append(f"Head {name} at {target:g} first after {joules(hit.training_j)}{more}.")
    energies = result.inference_j_per_1000.items()
    costs = ", ".join(f"{name} {joules(energy_j)}" for name, energy_j in energies)
    return [*lines, f"1,000 answers cost: {costs}."] if costs else lines


def recycled_of(study: StudyRecord, reaching: list[Hit]) -> Recycled | None:
    """Compare the cheapest pretrained trial with the cheapest from scratch."""
    scratch = next((hit for hit in reaching if not _pretraining(hit[1])), None)
    tuned = [hit for hit in reaching if _pretraining(hit[1])]
    if scratch is None or not tuned or study.target is None:
        return None
    # Compare the fine-tuning itself, without any share of the pretraining.
    _, result, point = min(tuned, key=_own_j)
    costs = _pretraining(result)
    return recycled(
        sum(cost.total_j for cost in costs),
        scratch[2].training_j,
        _own_j((_, result, point)),
        max(cost.reuse for cost in costs),
    )


def recycled_line(value: Recycled | None) -> str:
    """Return a sentence on the value of pretraining."""
    if value is None:
        return ""
    regimes = ", ".join(
        f"{regime} {percent(saving)}"
        for regime, saving in value.savings.items()
        if regime != "shared" or value.n > 1
    )
    pays = "never pays back"
    if value.payback is not None:
        pays = f"pays back from {count(value.payback, 'training')} on"
    pretrain_j = value.own_j - value.downloaded_j
    return (
        f"Recycled knowledge: {joules(value.downloaded_j)} to the target with it, "
        f"{joules(value.scratch_j)} from scratch; its own {joules(pretrain_j)} {pays} "
        f"(saved by who pays: {regimes})."
    )


def _pretraining(result: TrialResult) -> list[UpfrontCost]:
    return [cost for cost in result.upfront if cost.origin != "prepared"]


def _own_j(hit: Hit) -> float:
    _, result, point = hit
    return point.training_j - sum(cost.share_j for cost in _pretraining(result))


def _upfront_line(cost: UpfrontCost) -> str:
    if cost.origin == "prepared":
        return f"Before its first step it prepared for {joules(cost.total_j)}, which count."
    if cost.regime == "downloaded":
        return f"It began with a {cost.name} from a file, which is taken as free (energy_j: null)."
    how = "loaded" if cost.origin == "loaded" else "trained now" if cost.fresh else "kept"
    reached = "" if cost.accuracy is None else f", accuracy {cost.accuracy:.4g}"
    share = "all of it counts" if cost.reuse == 1 else f"1/{cost.reuse:g} of it counts"
    return f"It began with a {cost.name} of {joules(cost.total_j)} ({how}{reached}); {share}."
