"""What trials knew before their first step, of heads and of answers: numbers and sentences."""

from __future__ import annotations

from energyopt.core.accounting import Recycled, head_hits, recycled
from energyopt.core.curve import CurvePoint
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import joules, percent
from energyopt.core.upfront_cost import UpfrontCost

Hit = tuple[TrialRecord, TrialResult, CurvePoint]


def trial_lines(result: TrialResult) -> list[str]:
    """Say what a trial began with, when its heads were at their targets, what asking costs."""
    lines = [_upfront_line(each) for each in result.upfront]
    for name, hit in head_hits(result).items():
        target = result.head_targets.get(name, result.target)
        if hit is None:
            lines.append(f"Head {name} missed its target {target:g}.")
        else:
            counts = {"samples": hit.samples, "steps": hit.steps}
            said = ", ".join(f"{n} {what}" for what, n in counts.items() if n is not None)
            more = f" ({said})" if said else ""
            lines.append(f"Head {name} at {target:g} first after {joules(hit.training_j)}{more}.")
    answers = result.inference_j_per_1000.items()
    asked = ", ".join(f"{name} {joules(energy_j)}" for name, energy_j in answers)
    return [*lines, f"1,000 answers cost: {asked}."] if asked else lines


def recycled_of(study: StudyRecord, reaching: list[Hit]) -> Recycled | None:
    """Compare the cheapest trial that began with knowledge with the cheapest that did not.

    Args:
        study: The study.
        reaching: Its trials that reached the target, cheapest first.
    """
    scratch = next((hit for hit in reaching if not _learnt(hit[1])), None)
    tuned = [hit for hit in reaching if _learnt(hit[1])]
    if scratch is None or not tuned or study.target is None:
        return None
    # Whoever pays, the fine-tuning itself is what is compared.
    _, result, point = min(tuned, key=_own_j)
    learnt = _learnt(result)
    return recycled(
        sum(each.total_j for each in learnt),
        scratch[2].training_j,
        _own_j((_, result, point)),
        max(each.reuse for each in learnt),
    )


def recycled_line(found: Recycled | None) -> str:
    """Say what recycled knowledge is worth."""
    if found is None:
        return ""
    regimes = ", ".join(
        f"{regime} {percent(saving)}"
        for regime, saving in found.savings.items()
        if regime != "shared" or found.n > 1
    )
    pays = "never pays back"
    if found.payback is not None:
        trainings = "1 training" if found.payback == 1 else f"{found.payback} trainings"
        pays = f"pays back from {trainings} on"
    pretrain_j = found.own_j - found.downloaded_j
    return (
        f"Recycled knowledge: {joules(found.downloaded_j)} to the target with it, "
        f"{joules(found.scratch_j)} from scratch; its own {joules(pretrain_j)} {pays} "
        f"(saved by who pays: {regimes})."
    )


def _learnt(result: TrialResult) -> list[UpfrontCost]:
    return [each for each in result.upfront if each.origin != "prepared"]


def _own_j(hit: Hit) -> float:
    _, result, point = hit
    return point.training_j - sum(each.share_j for each in _learnt(result))


def _upfront_line(each: UpfrontCost) -> str:
    if each.origin == "prepared":
        return f"Before its first step it prepared for {joules(each.total_j)}, which count."
    if each.regime == "downloaded":
        return f"It began with a {each.name} from a file, which is taken as free (energy_j: null)."
    how = "loaded" if each.origin == "loaded" else "trained now" if each.fresh else "kept"
    reached = "" if each.accuracy is None else f", accuracy {each.accuracy:.4g}"
    share = "all of it counts" if each.reuse == 1 else f"1/{each.reuse:g} of it counts"
    return f"It began with a {each.name} of {joules(each.total_j)} ({how}{reached}); {share}."
