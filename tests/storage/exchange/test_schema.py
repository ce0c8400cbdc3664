"""The schema of an export is a JSON Schema, and read by us as by others."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energyopt.core.conditions import Conditions, Machine, PowerProfile, ProfilePoint
from energyopt.core.metric import Monitor
from energyopt.core.trial_result import Provenance, TrialResult, TrialStart
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.storage.exchange.plain import to_line
from energyopt.storage.exchange.schema import Part, problem, schema_text
from energyopt.storage.identity import Identity
from tests.plain_studies import plain_studies

SCHEMA = json.loads(schema_text())
_RUBBISH: tuple[Any, ...] = (None, True, "x", "", -1, 1.5, 2**70, [], {}, [None], {"x": 1}, 1e300)


def others_find(part: Part, data: Any) -> bool:
    schema = {**SCHEMA, "$ref": f"#/$defs/{part}"}
    return not jsonschema.Draft202012Validator(schema).is_valid(data)


def test_it_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid({}) is False


RESULT = SCHEMA["$defs"]["result"]["properties"]
PROFILE = SCHEMA["$defs"]["conditions"]["properties"]["profile"]["anyOf"][1]


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (TrialResult, SCHEMA["$defs"]["result"]),
        (TrialStart, RESULT["start"]),
        (Monitor, RESULT["start"]["properties"]["monitor"]),
        (Provenance, SCHEMA["$defs"]["provenance"]),
        (Machine, SCHEMA["$defs"]["machine"]),
        (Conditions, SCHEMA["$defs"]["conditions"]),
        (PowerProfile, PROFILE),
        (ProfilePoint, PROFILE["properties"]["points"]["items"]),
        (ProfilePoint, PROFILE["properties"]["measured"]["items"]),
        (UpfrontCost, SCHEMA["$defs"]["upfront"]),
    ],
)
def test_a_record_with_a_new_field_has_it_here_as_well(record: Any, rule: Any) -> None:
    assert {field.name for field in fields(record)} == set(rule["properties"])


def test_so_has_the_question_of_another_app() -> None:
    question = Identity((), (), (), {}, 0.2, app="python app.py").to_dict()
    rule = SCHEMA["$defs"]["study"]["properties"]["question"]["anyOf"][1]
    assert question.keys() == rule["properties"].keys()


def places(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something is, at any depth."""
    inner = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


def changed(draw: st.DrawFn, data: Any) -> Any:
    """Return the data with a key removed, added or replaced."""
    place = draw(st.sampled_from([place for place in places(data) if place]))
    inside = data
    for key in place[:-1]:
        inside = inside[key]
    how = draw(st.sampled_from(["replace", "remove", "add"]))
    if how == "remove":
        del inside[place[-1]]
    elif how == "add" and isinstance(inside, dict):
        inside["another"] = draw(st.sampled_from(_RUBBISH))
    else:
        inside[place[-1]] = draw(st.sampled_from(_RUBBISH))
    return data


@given(st.data())
@settings(max_examples=60)
def test_what_we_find_others_find(data: st.DataObject) -> None:
    plain = data.draw(plain_studies())
    parts: list[tuple[Part, Any]] = [("study", plain.study)]
    parts += [("trial", trial) for trial in plain.trials]
    parts += [("confirmation", confirmation) for confirmation in plain.confirmations]
    part, good = data.draw(st.sampled_from(parts))
    good = json.loads(to_line(good))
    assert problem(part, good) is None
    assert not others_find(part, good)
    bad = data.draw(st.composite(changed)(good))
    complaint = problem(part, bad)
    assert (complaint is not None) == others_find(part, bad), complaint
