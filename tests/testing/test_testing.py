"""The checks for parts of one's own are named, documented, and need no pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from energyopt import testing
from energyopt.testing import Check
from energyopt.testing import pytest as contracts
from tests import snippets
from tests.conftest import ROOT

KINDS: dict[type, tuple[Check[Any], ...]] = {
    contracts.MeterContract: testing.METER_CHECKS,
    contracts.CountingMeterContract: testing.COUNTING_METER_CHECKS,
    contracts.ParadigmContract: testing.PARADIGM_CHECKS,
    contracts.ObjectiveContract: testing.OBJECTIVE_CHECKS,
    contracts.StoppingRuleContract: testing.STOPPING_RULE_CHECKS,
    contracts.ScheduleContract: testing.SCHEDULE_CHECKS,
    contracts.TaskContract: testing.TASK_CHECKS,
    contracts.ModelContract: testing.MODEL_CHECKS,
}


@pytest.mark.parametrize("contract", KINDS, ids=lambda contract: contract.__name__)
def test_each_check_is_a_test_of_its_contract_and_says_what_it_checks(contract: type):
    tests = {name for name in dir(contract) if name.startswith("test_")}
    assert tests == {f"test_{check.name}" for check in KINDS[contract]}
    assert all(check.summary.startswith("Check that ") for check in KINDS[contract])
    assert all(check.summary.endswith(".") for check in KINDS[contract])
    assert contract.__name__ in contracts.__all__


def test_all_of_a_kind_are_reexported():
    for name in testing.__all__:
        assert getattr(testing, name) is not None, name


def test_the_checks_need_no_pytest_and_what_does_not_train_no_torch():
    code = """
import sys
for name in ("pytest", "_pytest", "hypothesis", "tests"):
    sys.modules[name] = None
from energyopt.hardware.estimate import CpuTimeMeter
from energyopt.objectives import EnergyToTarget
from energyopt.stopping.energy_cap import EnergyCap
from energyopt.testing import check_meter, check_objective, check_stopping_rule
assert "optuna" not in sys.modules
print(*check_meter(CpuTimeMeter, skip=("windows_add_up", "work_between_windows_is_in_none")))
print(*check_objective(EnergyToTarget()), *check_stopping_rule(EnergyCap))
assert "torch" not in sys.modules
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    names = testing.COUNTING_METER_CHECKS + testing.OBJECTIVE_CHECKS + testing.STOPPING_RULE_CHECKS
    assert len(ran.stdout.split()) == len(names) - 2


# --- the page about it

PAGE = ROOT / "docs" / "how-to" / "test-your-own-part.md"


@pytest.mark.slow
def test_the_page_runs_as_it_is_written(tmp_path: Path):
    text = PAGE.read_text()
    for file in snippets.files(text):
        (tmp_path / file.name).write_text(file.text)
    script, tests = (command.words for command in snippets.typed(text, "sh"))
    ran = run_there(tmp_path, *script[1:])
    assert ran.stdout.splitlines() == [f"passed {c.name}" for c in testing.STOPPING_RULE_CHECKS]
    ran = run_there(tmp_path, *tests[1:], "-p", "no:cacheprovider")
    assert f"{len(testing.STOPPING_RULE_CHECKS)} passed" in ran.stdout, ran.stdout


def test_the_page_shows_what_a_failed_check_says(tmp_path: Path):
    text = PAGE.read_text()
    (rule_file,) = (file for file in snippets.files(text) if file.name == "my_rule.py")
    condition = " or rivals.best_with(progress.spent_j) <= progress.best"
    assert condition in rule_file.text
    (tmp_path / "my_rule.py").write_text(rule_file.text.replace(condition, ""))
    code = "from my_rule import *; from energyopt.testing import *; check_stopping_rule(Patience)"
    ran = run_there(tmp_path, "-c", code)
    (shown,) = snippets.blocks(text, "text")
    assert ran.stderr.splitlines()[-1].endswith(f"ContractViolation: {' '.join(shown.split())}")


def test_the_page_names_each_check_function_and_class():
    text = PAGE.read_text()
    functions = [name for name in testing.__all__ if name.startswith(("check_", "make_"))]
    for name in (*functions, *contracts.__all__):
        assert f"`{name}" in text, name


def run_there(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
    )
