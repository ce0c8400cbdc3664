"""Summary of a transfer experiment: fine-tuning against training from scratch.

If n trainings share a pretraining, each saves E_scratch - E_finetune - E_pre / n compared with one
from scratch. This saving has a mean over seeds and a Student's t interval for every n. The
pretraining pays back at the n at which the saving is zero, and the interval of that n consists of
all n at which the interval of the saving contains zero (Fieller's theorem for a ratio of means).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any

from energyopt.analysis.paired_ratio import Ratio, quantile
from energyopt.core.accounting import payback_n, recycled_j
from energyopt.experiments.figures import Panel
from energyopt.experiments.plan import Comparison
from energyopt.experiments.results import (
    BANDS,
    BEST,
    COMPARED,
    ExperimentSummary,
    Table,
    arm_record,
    comparison_title,
    corrected,
    energy_ratio,
    energy_text,
    evaluated_ratio,
    find_status,
    mean,
    ratio_data,
    ratio_text,
    ratio_verdict,
    rounded,
    samples_ratio,
    setup_text,
    test_text,
    values_by_seed,
)
from energyopt.experiments.rows import Raw, Row

REUSES = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
"""Numbers of trainings that share a pretraining, for the curve over n."""

_TRAINING_J: Callable[[Row], float] = attrgetter("training_j")
_ARMS = ("scratch", "random", "pretrained")
# Ratios with a verdict, by their key: those of two arms. Random is a trunk of random weights.
_RATIOS: Mapping[str, tuple[str, str]] = {
    "ratio_free": ("pretrained", "scratch"),
    "ratio_random": ("random", "scratch"),
    "ratio_knowledge": ("pretrained", "random"),
}
_HALVINGS = 60  # of the interval (0, 1]: more than the 53 bits of a double

_VERDICT_TEXTS = {
    "saves": "a free source saves joules",
    "costs more": "even a free source costs joules",
    "not told apart": "no saving is shown, even if the source is free",
}
_KNOWLEDGE_TEXTS = {
    "saves": "the source's trunk saves against a random one",
    "costs more": "the source's trunk costs more than a random one",
    "not told apart": "the source's trunk is not told apart from a random one",
    "-": "a random trunk cannot be compared",
}


@dataclass(frozen=True, slots=True)
class Payback:
    """Number of trainings after which a pretraining pays back, with its 95 % interval.

    Attributes:
        n: The number by the mean energies; None for never.
        low: Lower end of the interval; None if the interval is empty.
        high: Upper end of the interval; None if it is unbounded.
    """

    n: int | None
    low: int | None
    high: int | None

    def __str__(self) -> str:
        if self.n is None and self.low is None:
            return "never"
        n, low, high = ("never" if x is None else str(x) for x in (self.n, self.low, self.high))
        return f"{n} [{low}, {high}]"


def summarize_recycled(raw: Raw, caption: str) -> ExperimentSummary:
    """Summarize pairs of arms: one from scratch, one that starts from a pretrained model."""
    records = _records(raw)
    return ExperimentSummary(
        raw=raw,
        tables=_tables(raw, records),
        lines=tuple(_verdict_lines(records)),
        records=tuple(records),
        draw=partial(_draw, records, caption),
    )


def _records(raw: Raw) -> list[dict[str, Any]]:
    """Return a record for each comparison, its p-values corrected for all ratios of all."""
    comparisons = raw.experiment.comparisons
    pairs = [
        (comparison, key, arms)
        for comparison in comparisons
        for key, arms in _RATIOS.items()
        if {*arms} <= comparison.arms.keys()
    ]
    ratios = corrected([_compared(raw, comparison, arms) for comparison, _, arms in pairs])
    verdicts: dict[str, dict[str, Any]] = {comparison.name: {} for comparison in comparisons}
    for (comparison, key, _), data in zip(pairs, ratios, strict=True):
        verdict = ratio_verdict(data, "saves", "costs more")
        verdicts[comparison.name] |= {key: data, key.replace("ratio", "verdict"): verdict}
    return [_record(raw, comparison) | verdicts[comparison.name] for comparison in comparisons]


def _compared(raw: Raw, comparison: Comparison, arms: tuple[str, str]) -> Ratio | None:
    """Return the ratio of the training energies of two arms; None if they cannot be compared."""
    names = [comparison.arms[arm][0] for arm in arms]
    if find_status(raw, names)[0] != COMPARED:
        return None
    rows, base = (values_by_seed(raw.select(name, BEST), _TRAINING_J) for name in names)
    return energy_ratio(rows, base)


def _record(raw: Raw, comparison: Comparison) -> dict[str, Any]:
    names = {arm: comparison.arms[arm][0] for arm in _ARMS if arm in comparison.arms}
    scratch, tuned = (raw.select(names[arm], BEST) for arm in ("scratch", "pretrained"))
    status, reason = find_status(raw, [names["scratch"], names["pretrained"]])
    record: dict[str, Any] = {
        "name": comparison.name,
        "control": comparison.control,
        "status": status,
        "reason": reason,
        "seeds": min(len(scratch), len(tuned)),
        **{arm: arm_record(raw, name, value=_TRAINING_J) for arm, name in names.items()},
        "pretrain_j": rounded(mean([row.upfront_j for row in tuned])),
        "sources_missed": sum(bool(row.missed) for row in tuned),
        "ratio_free": ratio_data(None),
        "ratio_paid": ratio_data(None),
        "ratio_evaluated": ratio_data(None),
        "ratio_samples": ratio_data(None),
        "payback": {"n": None, "low": None, "high": None},
        "curve": [],
    }
    if status == COMPARED:
        record |= _comparison_data(scratch, tuned)
    return record


def _comparison_data(scratch: Sequence[Row], tuned: Sequence[Row]) -> dict[str, Any]:
    """Compare fine-tuning with training from scratch, seed by seed.

    Returns:
        The ratio where the source is free, where one training pays for all of it, and where n
        trainings share it; and the n from which it has paid for itself.
    """
    scratch_j = values_by_seed(scratch)
    finetune_j = values_by_seed(tuned, _TRAINING_J)
    pretrain_j = values_by_seed(tuned, lambda row: row.upfront_j)
    seeds = sorted(scratch_j.keys() & finetune_j.keys())

    def paid_ratio(n: float) -> Ratio | None:
        """Return the ratio of one of n trainings that share a pretraining to one from scratch."""
        paid_j = {s: recycled_j(pretrain_j[s], finetune_j[s], n) for s in finetune_j}
        return energy_ratio(paid_j, scratch_j)

    columns = (pretrain_j, scratch_j, finetune_j)
    return {
        "ratio_paid": ratio_data(paid_ratio(1)),
        "ratio_evaluated": ratio_data(evaluated_ratio([*map(_without_source, tuned)], scratch)),
        "ratio_samples": ratio_data(samples_ratio(tuned, scratch)),
        "payback": asdict(payback(*([column[seed] for seed in seeds] for column in columns))),
        "curve": [{"n": n, **_point(paid_ratio(n))} for n in REUSES],
    }


def _point(ratio: Ratio | None) -> dict[str, float | int | None]:
    data = ratio_data(ratio)
    return {end: data[end] for end in ("value", "low", "high")}


def _without_source(row: Row) -> Row:
    return replace(row, energy_j=row.training_j, share_j=0.0)


def payback(
    pretrain_j: Sequence[float], scratch_j: Sequence[float], finetune_j: Sequence[float]
) -> Payback:
    """Compute after how many trainings a pretraining pays back.

    Args:
        pretrain_j: Energy of the pretraining for each seed, in J; above 0.
        scratch_j: Energy of a training from scratch for each seed, in J.
        finetune_j: Energy of a fine-tuning for each seed, in J.

    Raises:
        ValueError: If there are fewer than two seeds, or the lengths differ.
    """
    trios = list(zip(pretrain_j, scratch_j, finetune_j, strict=True))
    if len(trios) < 2:  # noqa: PLR2004  # one value has no standard deviation
        raise ValueError("an interval takes two seeds at least")
    t_over_root_n = quantile(len(trios) - 1) / math.sqrt(len(trios))

    def saving_bound(share: float, sign: int) -> float:
        """Return an end of the interval of the mean saving: mean + sign * t * sd / sqrt(seeds).

        Each training pays `share`, 1 / n, of the pretraining.
        """
        savings_j = [scratch - tuned - share * pre for pre, scratch, tuned in trios]
        return statistics.fmean(savings_j) + sign * t_over_root_n * statistics.stdev(savings_j)

    return Payback(
        n=payback_n(*(statistics.fmean(column) for column in zip(*trios, strict=True))),
        low=_least_n(lambda share: saving_bound(share, 1)),
        high=_least_n(lambda share: saving_bound(share, -1)),
    )


def _least_n(bound: Callable[[float], float]) -> int | None:
    """Return the least n at which a bound of the saving is positive, by bisection of 1 / n.

    None if the bound is not positive even for a free pretraining.
    """
    if bound(0.0) <= 0:
        return None
    if bound(1.0) > 0:
        return 1
    positive, not_positive = 0.0, 1.0  # shares with that sign of the bound
    for _ in range(_HALVINGS):
        middle = (positive + not_positive) / 2
        if bound(middle) > 0:
            positive = middle
        else:
            not_positive = middle
    n = 1 / not_positive
    # Rounding errors must not push an exact integer to the next one.
    nearest = round(n)
    return nearest if math.isclose(n, nearest, rel_tol=1e-9) else math.ceil(n)


def _tables(raw: Raw, records: Sequence[Mapping[str, Any]]) -> tuple[Table, ...]:
    arms = [arm for arm in _ARMS if any(arm in record for record in records)]
    keys = [key for key in _RATIOS if any(key in record for record in records)]
    heads = {"scratch": "scratch", "random": "random trunk", "pretrained": "tuned"}
    ratio_heads = (" / ".join(heads[arm].split()[0] for arm in _RATIOS[key]) for key in keys)
    columns = ("source to target", *(heads[arm] for arm in arms))
    seeds = len(raw.experiment.again)
    tests = tuple(_test_row(record, arms) for record in records)
    is_tested = any(set(text) - {"-"} for _, *texts in tests for text in texts)
    return (
        Table(
            f"The best setup of each arm with {seeds} new seeds; tuned: if the source is free",
            (*columns, "paid back after"),
            tuple(_energy_row(record, arms) for record in records),
        ),
        Table(
            "Ratios of training energy",
            ("source to target", *ratio_heads),
            tuple(_ratio_row(record, keys) for record in records),
        ),
        Table(
            "Tuned / scratch, by what is counted",
            ("source to target", "with evaluation", "source paid alone", "samples"),
            tuple(
                _ratio_row(record, ["ratio_evaluated", "ratio_paid", "ratio_samples"])
                for record in records
            ),
        ),
        *([Table("The metric on the test split", columns, tests)] if is_tested else []),
    )


def _energy_row(record: Mapping[str, Any], arms: Sequence[str]) -> tuple[str, ...]:
    energies = (energy_text(record[arm]) if arm in record else "-" for arm in arms)
    is_compared = record["status"] == COMPARED
    paid = str(Payback(**record["payback"])) if is_compared else record["status"]
    return (comparison_title(record), *energies, paid)


def _ratio_row(record: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    texts = (ratio_text(record[key]) if key in record else "-" for key in keys)
    return (comparison_title(record), *texts)


def _test_row(record: Mapping[str, Any], arms: Sequence[str]) -> tuple[str, ...]:
    texts = (test_text(record[arm]) if arm in record else "-" for arm in arms)
    return (comparison_title(record), *texts)


def _verdict_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each comparison: what a pretrained source saves, free and paid for."""
    lines = []
    for record in records:
        if record["status"] != COMPARED:
            lines.append(f"{record['name']}: {record['status']}; {record['reason']}")
            continue
        setups = "; ".join(
            f"{arm} {setup_text(record[arm]['setup'], record[arm]['edges'])}"
            for arm in _ARMS
            if arm in record
        )
        missed = record["sources_missed"]
        sources = f", {missed} sources missed their own target" if missed else ""
        paid = f"a training that pays for its source alone: {ratio_text(record['ratio_paid'])}x"
        verdict = _VERDICT_TEXTS[record["verdict_free"]]
        if "verdict_knowledge" in record:
            verdict += f"; {_KNOWLEDGE_TEXTS[record['verdict_knowledge']]}"
        lines.append(f"{record['name']}: {verdict}; {paid} ({setups}){sources}.")
    return lines


def _draw(records: Sequence[Mapping[str, Any]], caption: str) -> str:
    from energyopt.experiments.figures import draw_panels

    panels = [
        Panel(
            record["name"],
            _panel_note(record),
            [point for point in record["curve"] if point["value"] is not None],
        )
        for record in records
    ]
    title = "Energy per run vs. scratch when the pretraining is reused n times"
    return draw_panels(title, f"{caption}; {BANDS}", "n: runs per pretraining", panels)


def _panel_note(record: Mapping[str, Any]) -> str:
    control = "control; " if record["control"] else ""
    if record["status"] != COMPARED:
        return f"{control}{record['status']}"
    return f"{control}paid back after {Payback(**record['payback'])}"
