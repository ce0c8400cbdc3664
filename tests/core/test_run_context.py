"""The context of a run survives an environment variable unchanged, whatever it contains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from energyopt.config.overrides import override_for
from energyopt.core.calibration import Calibration
from energyopt.core.conditions import ProfilePoint
from energyopt.core.curve import Curve
from energyopt.core.history import StudyHistory
from energyopt.core.run_context import VARIABLE, RunContext
from energyopt.errors import TrialError
from tests.conftest import SPACE, TINY, Program

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.none() | st.booleans() | st.integers() | NUMBERS | st.text()
CONTEXTS = st.builds(
    RunContext,
    folder=st.none() | st.just(Path("/studies/a b/0")),
    params=st.dictionaries(st.text(), VALUES),
    metric=st.text(),
    mode=st.sampled_from(["min", "max"]),
    target=st.none() | NUMBERS,
    pause_at_j=st.none() | NUMBERS,
    resume=st.booleans(),
    preflight=st.booleans(),
)


@given(CONTEXTS)
def test_it_is_the_same_after_the_way_through_a_variable(context: RunContext) -> None:
    text = context.to_json()
    assert RunContext.from_json(text) == context
    assert RunContext.from_environment({VARIABLE: text}) == context


@given(CONTEXTS)
def test_hydra_composes_it_without_looking_into_it(context: RunContext) -> None:
    word = override_for("++hydra.job.env_set.X", context.to_json())
    (override,) = OverridesParser.create().parse_overrides([word])
    cfg = OmegaConf.create({"value": override.value()})
    assert RunContext.from_json(cfg.value) == context


def test_numbers_about_hardware_and_earlier_trials_travel_with_it() -> None:
    calibration = Calibration(
        {"aa": (ProfilePoint(200.0, 3, 1.5, 0.1),)}, {"bb": 40.0}, {"cc": 31.0}
    )
    history = StudyHistory().updated_with(3, Curve((1.0, 2.0), (5.0, 9.0), (0.5, 0.9)), 0.8)
    context = RunContext(calibration=calibration, history=history)
    assert RunContext.from_json(context.to_json()) == context


def test_a_large_one_is_a_private_file_in_the_job_s_folder(tmp_path: Path) -> None:
    context = RunContext(params={f"key{i}": "x" * 100 for i in range(100)})
    where = context.to_variable(tmp_path / "7")
    assert where == str(tmp_path / "7" / "run_context.json")
    assert Path(where).stat().st_mode & 0o077 == 0
    assert RunContext.from_environment({VARIABLE: where}) == context
    assert context.to_variable(tmp_path / "7") == where  # again, over the earlier one
    small = RunContext(params={"lr": 0.1}).to_variable(tmp_path / "8")
    assert small.startswith("{")
    assert not (tmp_path / "8").exists()


def test_the_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    other = tmp_path / "other"
    other.write_text("precious")
    (folder / "run_context.json").symlink_to(other)
    RunContext().write(folder)
    assert other.read_text() == "precious"


def test_nothing_is_told_outside_of_a_study() -> None:
    assert RunContext.from_environment({}) == RunContext()


@pytest.mark.parametrize("text", ["{}", "{", '{"folder": 3}', '{"a": 1}'])
def test_what_is_no_context_is_said_in_a_sentence(text: str) -> None:
    with pytest.raises(TrialError, match="ENERGYOPT_RUN does not hold the context of a run"):
        RunContext.from_environment({VARIABLE: text})


def test_values_can_be_given_by_hand() -> None:
    context = RunContext.from_environment({VARIABLE: '{"params": {"lr": 0.1}}'})
    assert context == RunContext(params={"lr": 0.1})


def test_a_file_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match=r"nowhere cannot be read: No such file or directory"):
        RunContext.from_environment({VARIABLE: str(tmp_path / "nowhere")})


def env_set(program: Program, study: str, number: int) -> Any:
    hydra = program.folder / "studies" / study / str(number) / ".hydra/hydra.yaml"
    config: Any = yaml.safe_load(hydra.read_text())
    return json.loads(config["hydra"]["job"]["env_set"][VARIABLE])


@pytest.mark.mostly_slow(every=2)
@pytest.mark.parametrize("launcher", ["energyopt", "basic"])
def test_each_job_is_told_its_own_and_its_overrides_stay_what_was_searched(
    energyopt: Program, launcher: str
) -> None:
    energyopt.ok(
        "-m", *TINY, *SPACE, f"hydra/launcher={launcher}", "n_trials=2", "study=told",
        ENERGYOPT_STORAGE="sqlite:///secret-name.db",
    )  # fmt: skip
    for number in (0, 1):
        told = env_set(energyopt, "told", number)
        folder = energyopt.folder / "studies/told" / str(number)
        assert Path(told["folder"]) == folder
        assert told["params"].keys() == {"lr", "batch_size"}
        assert told["target"] == 0.9
        assert "secret-name" not in json.dumps(told)
        overrides = yaml.safe_load((folder / ".hydra/overrides.yaml").read_text())
        assert {word.partition("=")[0] for word in overrides} >= {"lr", "batch_size"}
        assert not [word for word in overrides if "known" in word or "pause" in word]
