"""Studies with rules that stop trials, as people run them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from energyopt.core.run_context import RunContext
from tests.conftest import Program, trials_of

# The first setup reaches the target at once, the second never does.
WORDS = (
    *("task=wine", "model=mlp", "hardware=simulated", "epochs=30", "target=0.9"),
    *("sampler=grid", "lr=choice(0.03,1e-6)", "study=toy"),
)
OWN_RULE = """
class Third:
    def __init__(self, at=3):
        self.at = at

    def decide(self, progress, rivals):
        if len(progress.epochs) >= self.at and rivals.curves:
            return f"evaluation {self.at} of {len(rivals.curves)} + 1"
"""


def told(program: Program, number: int) -> str:
    """Return the history of earlier trials in the context of a job."""
    hydra = program.folder / "studies/toy" / str(number) / ".hydra/hydra.yaml"
    config: Any = yaml.safe_load(hydra.read_text())
    history = RunContext.from_environment(config["hydra"]["job"]["env_set"]).history
    return "" if history is None else history.to_json()


def attributes(program: Program, number: int) -> dict[str, str]:
    query = """
        select key, value_json from trial_user_attributes
        join trials using (trial_id) where number = ?
    """
    with sqlite3.connect(program.folder / "studies/energyopt.db") as database:
        return dict(database.execute(query, [number]))


@pytest.mark.slow
def test_a_hopeless_trial_is_stopped_and_its_reason_kept(energyopt: Program) -> None:
    words = ("-m", *WORDS, "stopping=[energy_cap,dominance]", "stopping.rules.dominance.k=9")
    energyopt.ok(*words, "n_trials=1")
    assert '"incumbent":null,"curves":[]' in told(energyopt, 0)
    ran = energyopt.ok(*words, "n_trials=2")  # another run knows what the first one did
    assert '"incumbent":0,"curves":[[0,' in told(energyopt, 1)
    good, hopeless = trials_of(energyopt, "toy")
    assert (good["state"], hopeless["state"]) == ("COMPLETE", "PRUNED")
    reason = hopeless["reason"]
    assert reason.startswith("energy_cap: used ")
    assert reason.endswith("of the cheapest trial (trial 0)")
    assert hopeless["result"]["end"] == "stopped"
    assert f"stopped ({reason})" in ran.text
    kept = attributes(energyopt, 1)
    assert kept["stopped_by"] == '"energy_cap"'
    assert '"epoch_j"' in kept["curve"]
    assert '"epoch_j"' in attributes(energyopt, 0)["curve"]
    shown = energyopt.ok("show", "toy", "--all").text
    assert "1 of 2 trials missed the target (1 stopped early)" in shown
    refused = energyopt("-m", *WORDS, "stopping=none", "n_trials=3")
    assert "was created with other settings" in refused.text
    assert "stopping.rules.energy_cap.beta: 2.0 -> not set" in refused.text


@pytest.mark.slow
def test_a_rule_of_ones_own_is_named_by_its_key(energyopt: Program) -> None:
    (energyopt.folder / "rules.py").write_text(OWN_RULE)
    own = ("+stopping.rules.third._target_=rules.Third", "+stopping.rules.third.at=2")
    energyopt.ok("-m", *WORDS, *own)
    first, second = trials_of(energyopt, "toy")
    assert first["state"] == "COMPLETE"
    assert second["reason"] == "third: evaluation 2 of 1 + 1"


@pytest.mark.slow
@pytest.mark.parametrize("option", ["auto", "none"])
def test_without_rules_each_trial_trains_to_its_end(energyopt: Program, option: str) -> None:
    energyopt.ok("-m", *WORDS, f"stopping={option}")
    assert [trial["state"] for trial in trials_of(energyopt, "toy")] == ["COMPLETE", "COMPLETE"]
    assert told(energyopt, 1) == ""


@pytest.mark.slow
def test_a_training_by_itself_has_nothing_to_be_compared_with(energyopt: Program) -> None:
    ran = energyopt.ok(*WORDS[:5], "stopping=[energy_cap,dominance,extrapolate]", "lr=1e-6")
    assert "Ended: epochs, trained all 30 epochs" in ran.text


MISTAKES = [
    ("stopping=[nope]", "stopping=nope: there is no such option; choose among auto, dominance"),
    ("stopping=none,auto", "stopping cannot be swept: it belongs to the whole study"),
    (
        "stopping.rules.energy_cap.beta=3",
        "stopping.rules.energy_cap.beta: there is no such key; choose the rule, and see --cfg job: "
        "stopping=[energy_cap]",
    ),
    (
        "stopping=[energy_cap] stopping.rules.energy_cap.beta=much",
        "stopping.rules.energy_cap.beta=much is not allowed: a number of at least 1 (or noise) is "
        "needed",
    ),
]


@pytest.mark.mostly_slow(every=10)
@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_is_said_in_a_sentence_and_leaves_no_study(
    energyopt: Program, words: str, says: str
) -> None:
    ran = energyopt("-m", *WORDS, *words.split())
    assert ran.code != 0
    assert says in ran.text
    assert len(ran.err.strip().splitlines()) == 1
    assert not Path(energyopt.folder / "studies/energyopt.db").exists()
