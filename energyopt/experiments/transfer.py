"""Recycled knowledge: fine-tuning against training from scratch, and when a source pays back.

At each n, what a training saves against one from scratch, E_scratch - E_finetune - E_pre / n, has a
mean over seeds and an interval. Fieller's interval of n is where that of the saving holds zero.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from energyopt.analysis.paired_ratio import Ratio, quantile
from energyopt.core.accounting import payback_n, recycled_j
from energyopt.core.units import joules
from energyopt.experiments.figures import Panel
from energyopt.experiments.plan import Comparison
from energyopt.experiments.results import (
    BANDS,
    BEST,
    Summary,
    Table,
    by_seed,
    compared,
    energy_j,
    hindrance,
    interval,
    ratio_data,
    setup_text,
    short,
    verdict,
)
from energyopt.experiments.rows import Raw, Row

REUSES = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
"""Numbers of trainings that share a source, of the curve over n."""

_HALVINGS = 60

_SAID = {
    "saves": "a free source saves joules",
    "costs more": "even a free source costs joules",
    "not told apart": "no saving is shown, even if the source is free",
}


@dataclass(frozen=True, slots=True)
class Payback:
    """Trainings from which a pretraining has paid back.

    Attributes:
        n: By the means; None for never.
        low: The least that is not excluded; None where every n is.
        high: The number from which it surely has; None where no number is sure.
    """

    n: int | None
    low: int | None
    high: int | None

    def __str__(self) -> str:
        if self.n is None and self.low is None:
            return "never"
        n, low, high = ("never" if at is None else str(at) for at in (self.n, self.low, self.high))
        return f"{n} [{low}, {high}]"


def summarize_recycled(raw: Raw, caption: str) -> Summary:
    """Summarize pairs of arms: one from scratch, one that begins with a source.

    Args:
        raw: The trainings.
        caption: Where the joules come from, in words.
    """
    records = [_record(raw, each) for each in raw.experiment.comparisons]
    seeds = len(raw.experiment.again)
    table = Table(
        f"The best setup of each arm with {seeds} new seeds; tuned: if the source is free",
        ("source to target", "scratch", "tuned", "tuned / scratch", "paid back after"),
        tuple(map(_row, records)),
    )
    return Summary(
        raw=raw,
        tables=(table,),
        lines=tuple(_lines(records)),
        records=tuple(records),
        draw=partial(_draw, records, caption),
    )


def _record(raw: Raw, comparison: Comparison) -> dict[str, Any]:
    (scratch_arm,), (tuned_arm,) = comparison.arms["scratch"], comparison.arms["pretrained"]
    scratch, tuned = raw.of(scratch_arm, BEST), raw.of(tuned_arm, BEST)
    hindered = hindrance(raw, comparison.names)
    status, reason = hindered or ("compared", "")
    record: dict[str, Any] = {
        "name": comparison.name,
        "control": comparison.control,
        "status": status,
        "reason": reason,
        "seeds": min(len(scratch), len(tuned)),
        "scratch": _side(scratch),
        "pretrained": _side(tuned),
        "pretrain_j": short(_mean([row.upfront_j for row in tuned])),
        "sources_missed": sum(bool(row.missed) for row in tuned),
        "ratio_free": ratio_data(None),
        "ratio_paid": ratio_data(None),
        "verdict_free": "-",
        "payback": {"n": None, "low": None, "high": None},
        "curve": [],
    }
    if hindered is None:
        record |= _compared(scratch, tuned)
    return record


def _side(rows: Sequence[Row]) -> dict[str, Any]:
    """What one arm needs, with new seeds."""
    return {
        "setup": dict(rows[0].setup) if rows else {},
        "reached": sum(row.reached for row in rows),
        "energy_j": short(_mean([row.own_j for row in rows])),
        "steps": [row.steps for row in rows],
    }


def _compared(scratch: Sequence[Row], tuned: Sequence[Row]) -> dict[str, Any]:
    base = by_seed(scratch, energy_j)
    fine = by_seed(tuned, lambda row: row.own_j)
    pre = by_seed(tuned, lambda row: row.upfront_j)
    seeds = sorted(base.keys() & fine.keys())
    free = compared(fine, base)
    back = payback(*([column[seed] for seed in seeds] for column in (pre, base, fine)))
    curve = [(n, _at(n, pre, fine, base)) for n in REUSES]
    return {
        "ratio_free": ratio_data(free),
        "ratio_paid": ratio_data(_at(1, pre, fine, base)),
        "verdict_free": verdict(free, "saves", "costs more"),
        "payback": asdict(back),
        "curve": [{"n": n, **ratio_data(at)} for n, at in curve],
    }


def payback(
    pretrain_j: Sequence[float], scratch_j: Sequence[float], finetune_j: Sequence[float]
) -> Payback:
    """Tell from which number of trainings a pretraining has paid back.

    Args:
        pretrain_j: Energy of the pretraining with each seed, in J; above 0.
        scratch_j: Of a training from scratch, with the same seeds, in J.
        finetune_j: Of a fine-tuning, likewise.

    Raises:
        ValueError: If there are fewer than two seeds, or not the same number of each.
    """
    trios = list(zip(pretrain_j, scratch_j, finetune_j, strict=True))
    half = quantile(len(trios) - 1) / math.sqrt(len(trios)) if len(trios) > 1 else math.nan
    if math.isnan(half):
        raise ValueError("an interval takes two seeds at least")

    def saving(share: float) -> tuple[float, float]:
        """Mean and half the interval, if each training pays this share of the pretraining."""
        each = [scratch - tuned - share * pre for pre, scratch, tuned in trios]
        return statistics.fmean(each), half * statistics.stdev(each)

    point = payback_n(*(statistics.fmean(column) for column in zip(*trios, strict=True)))
    return Payback(
        n=point,
        low=_least_n(lambda share: sum(saving(share))),
        high=_least_n(lambda share: saving(share)[0] - saving(share)[1]),
    )


def _least_n(bound: Callable[[float], float]) -> int | None:
    """The least n at which a bound of the saving is above zero; None for none."""
    if bound(0.0) <= 0:
        return None
    if bound(1.0) > 0:
        return 1
    below, above = 0.0, 1.0  # shares: above zero at the first, not at the second
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        if bound(middle) > 0:
            below = middle
        else:
            above = middle
    n = 1 / above
    whole = round(n)
    return whole if math.isclose(n, whole, rel_tol=1e-9) else math.ceil(n)


def _at(
    n: float, pre: Mapping[int, float], fine: Mapping[int, float], base: Mapping[int, float]
) -> Ratio | None:
    """One of n trainings that share a source, against one from scratch."""
    return compared({seed: recycled_j(pre[seed], fine[seed], n) for seed in fine}, base)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    name = record["name"] + (" (control)" if record["control"] else "")
    sides = [_energy(record, side) for side in ("scratch", "pretrained")]
    if record["status"] != "compared":
        return (name, *sides, record["status"], "-")
    return (name, *sides, interval(record["ratio_free"]), str(Payback(**record["payback"])))


def _energy(record: Mapping[str, Any], side: str) -> str:
    of = record[side]
    if of["energy_j"] is None:
        return "-"
    missed = of["reached"] < len(of["steps"])
    return f"{'>' if missed else ''}{joules(of['energy_j'])}"


def _lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for record in records:
        if record["status"] != "compared":
            lines.append(f"{record['name']}: {record['status']}; {record['reason']}")
            continue
        setups = "; ".join(
            f"{side} {setup_text(record[side]['setup'])}" for side in ("scratch", "pretrained")
        )
        missed = record["sources_missed"]
        sources = f", {missed} sources missed their own target" if missed else ""
        alone = f"a training that pays for its source alone: {interval(record['ratio_paid'])}x"
        lines.append(
            f"{record['name']}: {_SAID[record['verdict_free']]}; {alone} ({setups}){sources}."
        )
    return lines


def _draw(records: Sequence[Mapping[str, Any]], caption: str) -> str:
    from energyopt.experiments.figures import draw_panels

    panels = [
        Panel(
            record["name"],
            _note(record),
            [at for at in record["curve"] if at["value"] is not None],
        )
        for record in records
    ]
    title = "Energy per run vs. scratch when the pretraining is reused n times"
    return draw_panels(title, f"{caption}; {BANDS}", "n: runs per pretraining", panels)


def _note(record: Mapping[str, Any]) -> str:
    control = "control; " if record["control"] else ""
    if record["status"] != "compared":
        return f"{control}{record['status']}"
    return f"{control}paid back after {Payback(**record['payback'])}"
