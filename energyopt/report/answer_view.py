"""The answer of a study in words: the same on every surface.

What a row says is ordered by what matters: a terminal shows as many clauses as fit, other surfaces
all. A text names joules with the digits that their doubt carries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from energyopt.analysis.pareto import FrontPoint
from energyopt.analysis.recommendation import BestSoFar, Recommendation
from energyopt.analysis.summary import Summary
from energyopt.core.estimate import rounded, times_less, trainings_of
from energyopt.core.metric import Monitor
from energyopt.core.seeds import without_seeds
from energyopt.core.units import accuracy, count, joules, setup
from energyopt.report.account_view import net_line, trainings_text

_MAX_NAME_CHARS = 60  # a longer configuration is called by its trial in the headline
_MAX_RIVALS = 3

_KINDS = {
    "estimated": "the joules are estimated, not measured: good for comparing",
    "replayed": "the joules were recorded before and played back",
    "simulated": "the joules are simulated, and say nothing of any real machine",
}


@dataclass(frozen=True, slots=True)
class AnswerText:
    """The answer of a study in words.

    Attributes:
        headline: It in a sentence, without its full stop.
        rows: What there is to say, each a label and clauses, the most important first.
    """

    headline: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The rows as sentences."""
        return tuple(f"{label}: {'; '.join(clauses)}." for label, clauses in self.rows)


def answer_text(summary: Summary) -> AnswerText:
    """Return the answer of a study in words."""
    answer, best = summary.answer, summary.best_so_far
    cautions = tuple(_cautions(summary))
    rows: list[tuple[str, tuple[str, ...]]]
    if answer is not None:
        headline = _headline(summary, answer)
        rows = [
            ("Recommended", (name_of(answer.point),)),
            ("Energy", tuple(_energy(summary, answer))),
            ("Confidence", tuple(_confidence(answer, is_own=summary.app is None))),
            ("Pays back", _pays_back(summary)),
        ]
    else:
        none, best_value = _without_answer(summary)
        headline = f"{none}; {best_value}" if best_value else none
        rows = [("Recommended", (f"nothing yet: {none[0].lower()}{none[1:]}",))]
        if best is not None:
            rows.append(("Best so far", tuple(_best_so_far(summary, best))))
        if summary.provenance is not None:
            rows.append(("Search", (f"it used {joules(summary.search_energy_j)}",)))
    return AnswerText(headline, (*rows, *([("Caution", cautions)] if cautions else [])))


def name_of(point: FrontPoint) -> str:
    """Return the name of a configuration, with the trial that it is of."""
    values = setup(without_seeds(point.params))
    if point.default:
        name = "nearest to the default" if point.nearest else "the default"
        return f"{name}, {values} (trial {point.trial})" if values else name
    return f"{values or 'the fixed configuration'} (trial {point.trial})"


def easier_target(monitor: Monitor, value: float) -> str:
    """Return a short number that a value reaches as a target, within half a percent of it."""
    exact = Decimal(repr(float(value)))
    rounding = ROUND_FLOOR if monitor.mode == "max" else ROUND_CEILING
    for digits in (2, 3, 4):
        target = exact.quantize(Decimal(1).scaleb(exact.adjusted() + 1 - digits), rounding)
        if abs(target - exact) <= abs(exact) / 200:
            break
    return f"{float(target):g}"


def stopped_text(summary: Summary | None, n_finished: int, n_trials: int, n_paused: int) -> str:
    """Return what an interrupt leaves of a search, in sentences.

    Args:
        summary: Of the study; None if it is of another app's returned values.
        n_finished: Number of trials that are over.
        n_trials: Number of trials that were asked for.
        n_paused: Number of paused trials.
    """
    paused = f": {n_paused} {'is' if n_paused == 1 else 'are'} paused" if n_paused else ""
    parts = [f"Stopped after {n_finished} of {count(n_trials, 'trial')}. Nothing is lost{paused}."]
    if summary is not None and summary.answer is not None:
        answer = summary.answer
        parts.append(f"Best so far: {name_of(answer.point)}, {answer.energy.joules} to the target.")
    elif summary is not None and summary.best_so_far is not None:
        parts.append(f"Best so far: {_value_text(summary, summary.best_so_far.point)}.")
    return " ".join((*parts, "Resume with the same command."))


def _headline(summary: Summary, answer: Recommendation) -> str:
    target, point, energy = accuracy(summary.target or 0.0), answer.point, _energy_word(summary)
    needs = f"{answer.energy.joules} of {energy}"
    name = _short_name(point)
    if answer.is_held:
        text = (
            f"Keep {name}: nothing that was tried reaches {target} with less {energy} beyond noise"
        )
    elif answer.basis == "only" and summary.tried == 1:
        text = f"{name} is all that was trained; it reaches {target} with {needs}"
    elif point.default:
        text = f"Keep {name}: nothing that was tried reaches {target} with less {energy}"
    elif answer.savings is not None:
        than = f"than {_default(summary)}"
        interval = answer.savings.share.percent_interval
        single = "; one seed each" if answer.savings.single else ""
        less = times_less(answer.savings.ratio)
        text = f"{name} reaches {target} with {less} {energy} {than} ({interval} saved{single})"
    elif answer.default_least_j is not None:
        than = f"{_default(summary)}, which missed it"
        text = f"{name} reaches {target} with {needs}, {_at_least(answer)} than {than}"
    else:
        text = f"{name} reaches {target} with {needs}; {summary.break_even_reason}"
    if answer.rivals and not answer.is_held:
        verb = "is" if len(answer.rivals) == 1 else "are"
        text += f"; {_trials(answer.rivals)} {verb} as good"
    return f"{text[0].upper()}{text[1:]}" if text.startswith("the ") else text


def _without_answer(summary: Summary) -> tuple[str, str]:
    """Return why there is no answer, and the best value of the metric; empty if there is none."""
    counts = summary.counts
    if not counts.trials:
        return "This study has no trials yet", ""
    if summary.target is None:
        return f"{count(counts.trials, 'trial')}, and no target to compare them at", ""
    target, best = accuracy(summary.target), summary.best_so_far
    is_one = counts.trials == 1
    if counts.trials == counts.diverged:
        all_of = "The only trial" if is_one else f"All {counts.trials} trials"
        return f"{all_of} diverged before {target}", ""
    if counts.trials == counts.failed:
        return f"No trial reached {target}: {_failed(summary)}", ""
    none = "The only trial did not reach" if is_one else f"None of {counts.trials} trials reached"
    if best is None:
        return f"{none} {target}", "there is no curve to show"
    value = f"the best {summary.monitor.name} was {summary.monitor.text(best.point.accuracy)}"
    return f"{none} {target}", f"{value}, {_progress(best)}"


def _energy(summary: Summary, answer: Recommendation) -> Iterator[str]:
    energy = answer.energy
    kind = "" if summary.provenance is None else f", {summary.provenance.kind}"
    yield (
        f"{energy.joules} to {accuracy(summary.target or 0.0)} {summary.monitor.label}{kind} "
        f"({energy.joules_interval})"
    )
    savings = answer.savings
    if savings is not None:
        default = f"{_default(summary)}, {savings.default.joules}"
        yield f"{times_less(savings.ratio)} than {default}"
    elif answer.default_least_j is not None:
        least = f"{_default(summary)}, which missed it with {joules(answer.default_least_j)}"
        yield f"{_at_least(answer)} than {least}"


def _confidence(answer: Recommendation, *, is_own: bool) -> Iterator[str]:
    if answer.is_held:
        yield f"{_trials(answer.rivals)} may need less, but not beyond noise"
    if answer.basis == "confirmed":
        yield f"confirmed with {count(answer.seeds, 'new seed')}"
    elif answer.reached == 1:
        yield "one training with one seed"
    else:
        yield f"expected, from {count(answer.reached, 'training')} of it"
    if answer.savings is not None:
        interval = answer.savings.share.percent_interval
        yield f"saves {interval} {answer.savings.confidence}"
    if answer.rivals and not answer.is_held:
        yield f"as good: {_trials(answer.rivals)}"
    if answer.basis == "only":
        yield "nothing else reached the target to compare it with"
    if answer.basis != "confirmed":
        yield "`confirm` makes it surer" if is_own else "more seeds make it surer"


def _pays_back(summary: Summary) -> tuple[str, ...]:
    answer, spent_j = summary.answer, summary.search_energy_j
    net = net_line(summary).removesuffix(".")
    used = (f"the search used {joules(spent_j)}", *([f"o{net[1:]}"] if net else []))
    if summary.break_even is None or answer is None:
        return (f"does not: {summary.break_even_reason}", *used)
    if answer.savings is None:
        return (f"after at most {count(math.ceil(summary.break_even), 'training')}", *used)
    soonest, latest = answer.savings.break_even(spent_j)
    text = trainings_text(summary.break_even, soonest, latest)
    last = "never" if math.isinf(latest) else trainings_of(latest)
    return (f"after {text} ({trainings_of(soonest)} to {last})", *used)


def _best_so_far(summary: Summary, best: BestSoFar) -> Iterator[str]:
    yield f"{_value_text(summary, best.point)}, {_progress(best)}"
    if best.is_rising and best.epochs is not None and summary.app is None:
        yield f"search with epochs={2 * best.epochs:g} to train longer"


def _progress(best: BestSoFar) -> str:
    if not best.is_rising:
        return "no longer getting better"
    if best.epochs is None:
        return "still getting better when it was stopped"
    return f"still getting better after all of its {best.epochs:g} epochs"


def _cautions(summary: Summary) -> Iterator[str]:
    counts, answer = summary.counts, summary.answer
    open_trials = counts.trials - counts.finished
    if open_trials:
        verb = "is" if open_trials == 1 else "are"
        paused = counts.states.get("paused", 0)
        how = "paused and can resume" if paused == open_trials else "not over"
        hits = f" ({counts.paused_there} of them at the target)" if counts.paused_there else ""
        yield f"{open_trials} of {count(counts.trials, 'trial')} {verb} {how}{hits}"
    if answer is not None and answer.reached < answer.trainings:
        missed = answer.trainings - answer.reached
        yield f"it missed the target in {missed} of {count(answer.trainings, 'training')}"
    if 0 < counts.failed < counts.trials:
        yield _failed(summary)
    if counts.diverged and counts.diverged < counts.trials:
        yield f"{counts.diverged} of {count(counts.trials, 'trial')} diverged"
    elif counts.diverged:
        yield "lower the learning rates of the space"
    if summary.provenance is not None and summary.provenance.kind in _KINDS:
        yield _KINDS[summary.provenance.kind]
    if summary.flags:
        yield f"warnings: {', '.join(summary.flags)}"


def _failed(summary: Summary) -> str:
    counts = summary.counts
    which = "all of" if counts.failed == counts.trials else f"{counts.failed} of"
    because = f" ({' '.join(counts.failure.split())})" if counts.failure else ""
    return f"{which} {count(counts.trials, 'trial')} failed{because}"


def _value_text(summary: Summary, point: FrontPoint) -> str:
    monitor = summary.monitor
    return f"{monitor.name} {monitor.text(point.accuracy)} with {name_of(point)}"


def _short_name(point: FrontPoint) -> str:
    if point.default:
        return point.default_name
    values = setup(without_seeds(point.params)) or "the fixed configuration"
    return values if len(values) <= _MAX_NAME_CHARS else f"the configuration of trial {point.trial}"


def _default(summary: Summary) -> str:
    nearest = summary.default_setup.is_nearest
    return "the configuration nearest to the default" if nearest else "the default"


def _at_least(answer: Recommendation) -> str:
    least = (answer.default_least_j or 0.0) / answer.energy.value
    return f"at least {rounded(least, 2)}x less"


def _trials(points: Sequence[FrontPoint]) -> str:
    numbers = map(str, sorted(point.trial for point in points[:_MAX_RIVALS]))
    more = [f"{len(points) - _MAX_RIVALS} more"] if len(points) > _MAX_RIVALS else []
    *first, last = [*numbers, *more]
    noun = "trial" if len(points) == 1 else "trials"
    return f"{noun} {', '.join(first)} and {last}" if first else f"{noun} {last}"


def _energy_word(summary: Summary) -> str:
    kind = None if summary.provenance is None else summary.provenance.kind
    return "energy" if kind in (None, "measured") else f"{kind} energy"
