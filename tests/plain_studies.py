"""Made-up studies of all kinds as plain data, as `energyopt export` would have read them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from energyopt.core.command_energy import Command, CommandEnergy
from energyopt.core.conditions import Conditions, Gpu, Machine, PowerProfile, ProfilePoint
from energyopt.core.curve import Checkpoints
from energyopt.core.energy import Energy, total
from energyopt.core.gpu_trace import GpuTrace, TraceEvent, TraceSample
from energyopt.core.trial_result import End, Purpose, TrialResult
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.storage.exchange.plain import FORMAT, VERSION, PlainStudy
from tests.toys import METRICS, result, uncounted

_SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "momentum": FloatDistribution(0.0, 1.0, step=0.25),
    "width": IntDistribution(1, 64),
    "model": CategoricalDistribution(["mlp", "cnn", None, True, 3, 0.5, ".../weights"]),
}
_WORDS = st.lists(st.sampled_from(["lr=0.1", "model=mlp", "'task=my task'", "=1+1"]), max_size=3)
# No character that a database does not keep, and no path, which would not stay.
_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), max_size=9)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=4,
)
_ATTRIBUTES = st.dictionaries(_TEXT.filter(bool), _JSON, max_size=2)
_POSITIVE = st.floats(0.25, 1e6)
_GPU = Gpu("Toy GPU", "GPU-1", 0, limit_w=250.0, persistence=True)
_PROFILE = PowerProfile(
    {"device": "Toy GPU", "batch_size": 8}, (ProfilePoint(250.0, 3, 0.5, 0.01),), 250.0
)


@st.composite
def _results(draw: st.DrawFn, end: End) -> TrialResult:
    steps = draw(st.lists(st.tuples(_POSITIVE, st.floats(0, 1)), max_size=4))
    joules = [sum(step for step, _ in steps[: index + 1]) for index in range(len(steps))]
    curve = [(50 * (index + 1), joules[index], steps[index][1]) for index in range(len(steps))]
    training = result(curve, end=end, reason=draw(_TEXT), warmup_j=1.0, evaluation_j=0.5)
    heads = draw(st.booleans())
    if heads and curve:
        training = replace(
            training,
            checkpoints=Checkpoints.of(
                replace(checkpoint, heads={"digit": checkpoint.accuracy, "odd": 0.5}, loss=math.nan)
                for checkpoint in training.checkpoints
            ),
            head_targets={"digit": 0.9, "odd": 0.8},
        )
    purpose: Purpose = draw(st.sampled_from(["idle", "pretraining", "inference"]))
    books = {**training.books, purpose: Energy(1.0, gpu_j=2.0, dram_j=0.5, gpus_j=(1.5, 0.5))}
    upfront = UpfrontCost("source", "trained", Energy(3.0, cpu_j=4.0), reuse=2.0, accuracy=0.7)
    event = TraceEvent("power_limit_changed", 0, 3.0, 5.0, "120 W in force, 250 W set", 0.0)
    conditions = Conditions(
        idle_w=50.0, limit_w=250.0, profile=_PROFILE, flags=("throttled",), events=(event,)
    )
    trace = GpuTrace.of(TraceSample(float(i), 0, 250.0 * i, 250.0, 250.0) for i in range(5))
    if draw(st.booleans()):
        training = replace(
            training, books=books, upfront=(upfront,), conditions=conditions, trace=trace
        )
        machine = Machine((_GPU,), "550.1", {"torch": "2.6"}, "abc-dirty")
        training = replace(training, start=replace(training.start, machine=machine))
    if draw(st.booleans()):  # a training that does not count
        training = uncounted(training)
    provenance = replace(training.start.provenance, host="host-1")
    return replace(training, start=replace(training.start, provenance=provenance))


_ENDS: dict[str, list[End]] = {
    "complete": ["target", "epochs", "plateau", "stopped"],
    "pruned": ["stopped", "diverged"],
    "failed": ["failed", "lost", "interrupted"],
    "running": ["paused", "lost"],
    "waiting": [],
}


@st.composite
def _trials(draw: st.DrawFn, number: int) -> dict[str, Any]:
    state = draw(st.sampled_from(list(_ENDS)))
    space = {} if state == "waiting" else _SPACE
    params = draw(st.fixed_dictionaries({}, optional={k: _value(d) for k, d in space.items()}))
    ended = state in ("complete", "pruned", "failed")
    values = [draw(st.floats(0, 1e9) | st.just(math.inf)), draw(st.floats(0, 1))]
    made = None
    has_result = draw(st.booleans())
    if _ENDS[state] and has_result:
        made = draw(st.sampled_from(_ENDS[state]).flatmap(_results))
    row = None
    if made is not None or draw(st.booleans()):
        row = {
            "is_default": draw(st.booleans()),
            "lost": state == "failed" and draw(st.booleans()),
            "reason": draw(_TEXT),
            "run": draw(st.none() | st.integers(0, 3)),
            "ended": ended,
            "retried": draw(st.booleans()),
            "deaths": draw(st.integers(0, 2)),
            "paused": state == "running" and draw(st.booleans()),
            "overrides": draw(_WORDS),
            "outcome": draw(st.none() | _outcomes()),
        }
    time = datetime(2026, 1, 2, 3, 4, 5, number).isoformat()
    return {
        "number": number,
        "state": state,
        "began": None if state == "waiting" else time,
        "ended": time if ended else None,
        "params": params,
        "distributions": {key: json.loads(distribution_to_json(_SPACE[key])) for key in params},
        "planned": {"lr": 0.01} if state == "waiting" else {},
        "values": values if state == "complete" else None,
        "constraints": draw(
            st.dictionaries(st.sampled_from(["target_missed_by", "0"]), st.floats(-1, 1))
        ),
        "intermediate_values": draw(st.sampled_from([{}, {"1": 0.5, "2": math.nan}])),
        "attributes": draw(_ATTRIBUTES),
        "row": row,
        "result": None if made is None else made.to_dict(),
    }


def _value(distribution: BaseDistribution) -> st.SearchStrategy[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return st.sampled_from(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return st.integers(distribution.low, distribution.high)
    assert isinstance(distribution, FloatDistribution)
    if distribution.step:
        return st.sampled_from([0.0, 0.25, 0.5])
    return st.floats(distribution.low, distribution.high)


@st.composite
def _outcomes(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "state": draw(st.sampled_from(["complete", "pruned", "failed", "paused"])),
        "values": draw(
            st.lists(st.floats(0, 9) | st.sampled_from([math.inf, -math.inf]), max_size=2)
        ),
        "constraints": {"target_missed_by": draw(st.floats(-1, 1))},
        "attributes": draw(_ATTRIBUTES),
        "reason": draw(_TEXT),
    }


@st.composite
def _commands(draw: st.DrawFn, number: int) -> CommandEnergy:
    trainings = Energy(1.0, cpu_j=draw(_POSITIVE))
    spent = trainings + Energy(2.0, cpu_j=draw(_POSITIVE))
    energy = draw(st.sampled_from([None, spent]))
    name: Command = draw(st.sampled_from(["search", "confirm"]))
    return CommandEnergy(number, name, energy, trainings, draw(_TEXT))


@st.composite
def plain_studies(draw: st.DrawFn) -> PlainStudy:
    """Studies of up to four trials and two confirmations, in the form that JSON gives."""
    trials = [draw(_trials(number)) for number in range(draw(st.integers(0, 4)))]
    confirmations = [
        {
            "number": number,
            "trial": len(trials) - 1,
            "seed": draw(st.integers(0, 2**60)),
            "overrides": draw(_WORDS),
            "state": draw(st.sampled_from(["complete", "failed", "lost"])),
            "reason": draw(_TEXT),
            "result": draw(st.none() | _results("target").map(TrialResult.to_dict)),
            "test_accuracy": draw(st.none() | st.floats(0, 1)),
        }
        for number in range(draw(st.integers(0, 2)) if trials else 0)
    ]
    question = {
        "overrides": ["task=wine"],
        "sweep": ["lr=interval(0,1)"],
        "config": draw(_ATTRIBUTES),
        "target": 0.9,
    }
    commands = [draw(_commands(number)) for number in range(draw(st.integers(0, 2)))]
    results = [TrialResult.from_dict(t["result"]) for t in (*trials, *confirmations) if t["result"]]
    others = [command.other for command in commands if command.other is not None]
    study = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": "energyopt",
        "name": "toy",
        "metrics": [{"name": each.name, "direction": each.direction} for each in METRICS],
        "question": draw(st.sampled_from([None, question])),
        "attributes": draw(_ATTRIBUTES),
        "runs": [{"ordinal": 0, "began_s": None, "last_heard_s": 5.5}],
        "commands": [asdict(command) for command in commands],
        "search_energy_j": total((*(result.spent for result in results), *others)).total_j,
        "trials": len(trials),
        "confirmations": len(confirmations),
    }
    return PlainStudy(*json.loads(json.dumps([study, trials, confirmations])))
