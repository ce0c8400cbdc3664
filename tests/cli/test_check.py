"""`energyopt check` on parts of a user's own: those that keep the contract, and broken ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from energyopt.cli.commands import run
from energyopt.config.error_messages import explain
from energyopt.errors import ConfigError
from tests import snippets
from tests.conftest import ROOT

LOOP = """
import torch
from safetensors.torch import save_file
from torch.nn import functional
from energyopt import TrainStep


class Loop:
    def __init__(self, task, model, batch_size, lr, seed, momentum=0.0):
        self.task, self.model, self.batch_size = task, model, batch_size
        self.optimizer = torch.optim.SGD(model.parameters(), lr, momentum)
        self.epoch_samples = len(task.train.labels)
        self.generator = torch.Generator().manual_seed(seed)
        self.batches, self.taken = [], 0

    def train(self, samples):
        steps, trained, loss_sum = 0, 0, 0.0
        while trained < samples:
            if self.taken == len(self.batches):
                order = torch.randperm(self.epoch_samples, generator=self.generator)
                self.batches, self.taken = list(order.split(self.batch_size)), 0
            batch = self.batches[self.taken]
            self.taken += 1
            logits = self.model(self.task.train.inputs[batch])
            loss = functional.cross_entropy(logits, self.task.train.labels[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            steps, trained = steps + 1, trained + len(batch)
            loss_sum += loss.item() * len(batch)
        return TrainStep(trained, steps, loss_sum / trained)

    @torch.inference_mode()
    def evaluate(self):
        predicted = self.model(self.task.validation.inputs).argmax(1)
        return (predicted == self.task.validation.labels).float().mean().item()

    def save(self, path):
        save_file(self.model.state_dict(), path)

    def state(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "batches": self.batches,
            "taken": self.taken,
        }

    def load_state(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.batches, self.taken = state["batches"], state["taken"]


class ForgetsItsPlace(Loop):
    def load_state(self, state):
        super().load_state(state | {"batches": [], "taken": 0})


class EvaluationTrains(Loop):
    def evaluate(self):
        self.train(1)
        return super().evaluate()


class EvaluationRaises(Loop):
    def evaluate(self):
        return {}["accuracy"]


class Unlucky(Loop):
    def __init__(self, task, model, momentum=0.0):
        raise RuntimeError("there is no such cluster")


class Half:
    def __init__(self, task):
        self.epoch_samples = 1

    def train(self, samples): ...
"""

PARTS = """
import torch
from torch import nn

from energyopt.core.energy import Energy
from energyopt.core.protocols import Split
from energyopt.hardware.estimate import CpuTimeMeter


class ZeroMeter(CpuTimeMeter):
    def stop(self):
        energy = super().stop()
        return Energy(cpu_j=0.0, time_s=energy.time_s)


class Blobs:
    input_shape, num_classes = (2,), 2

    def __init__(self, shift=0.0):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(60, 2, generator=generator)
        labels = (inputs[:, 0] > 0).long()
        parts = [Split(inputs[i::3], labels[i::3]) for i in range(3)]
        deviation, mean = torch.std_mean(parts[0].inputs, dim=0, correction=0)
        self.train, self.validation, self.test = (
            Split((part.inputs - mean) / deviation + shift, part.labels) for part in parts
        )


def build(input_shape, num_classes, hidden=32):
    return nn.Sequential(
        nn.Linear(input_shape[0], hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
    )


def missing_joules(result):
    return [float("nan") if result.hit is None else result.hit.training_j]


class FirstComer:
    def decide(self, progress, rivals):
        return f"{progress.spent_j:g} J are enough"


class Impatient:
    def next_step(self, observed, *, can_begin):
        return None


def anything(part):
    return {"Impatient": Impatient, "Blobs": Blobs, "number": int}[part]()
"""

_numbers = itertools.count()
SMALL = ("task=wine", "model=mlp", "batch_size=32")
Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Check:
    """Write a module into an empty current folder, and check a part of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def check(source: str, name: str, *words: str) -> tuple[int, str]:
        module = f"checked_{next(_numbers)}"
        (tmp_path / f"{module}.py").write_text(source)
        with pytest.raises(SystemExit) as ended:
            run(["check", f"{module}.{name}", *words])
        printed = capsys.readouterr()
        return int(str(ended.value.code)), printed.out + printed.err

    return check


def failed(printed: str) -> list[str]:
    """The names of the checks that failed."""
    lines = [line for line in printed.splitlines() if line.startswith("FAIL")]
    return [line.split()[1].removesuffix(":") for line in lines]


def line_of(printed: str, name: str) -> str:
    (line,) = [line for line in printed.splitlines() if f" {name}: " in line]
    return line


def test_a_paradigm_that_keeps_the_contract_passes(check: Check) -> None:
    code, printed = check(LOOP, "Loop", *SMALL, "momentum=0.5")
    assert code == 0, printed
    assert "paradigm checked_" in printed
    assert ".Loop with Tabular and MLP: 12 checks" in printed
    assert line_of(printed, "goes_on_where_it_paused").startswith("ok ")
    assert line_of(printed, "warming_up_leaves_no_trace") == (
        "skip  warming_up_leaves_no_trace: it has no warm_up()"
    )
    assert printed.splitlines()[-1] == "11 passed, 0 failed, 1 skipped"


def test_a_state_that_forgets_the_place_in_the_epoch_is_found(check: Check) -> None:
    code, printed = check(LOOP, "ForgetsItsPlace", *SMALL)
    assert code == 1
    assert failed(printed) == ["goes_on_where_it_paused"]
    assert "data order and place in the epoch into state()" in printed


def test_an_evaluation_that_changes_training_is_found(check: Check) -> None:
    code, printed = check(LOOP, "EvaluationTrains", *SMALL)
    assert code == 1
    assert "scoring_does_not_change_training" in failed(printed)
    assert "as they are in evaluate()" in printed


def test_a_part_that_raises_fails_its_checks_with_its_own_traceback_once(check: Check) -> None:
    code, printed = check(LOOP, "EvaluationRaises", *SMALL)
    assert code == 1
    assert (
        "scores_are_shares: expected no error, got KeyError: 'accuracy', in your code:" in printed
    )
    assert "as in scores_are_shares" in line_of(printed, "scoring_twice_gives_the_same")
    assert printed.count('return {}["accuracy"]') == 1
    assert "testing/paradigms.py" not in printed


@pytest.mark.parametrize(
    ("name", "words", "kind", "broken"),
    [
        ("build", ("task=wine", "hidden=64"), "model", []),
        ("Blobs", (), "task", []),
        ("Blobs", ("shift=1.0",), "task", ["inputs_are_standardised"]),
        ("anything", ("part=Blobs",), "task", []),
        ("missing_joules", (), "objective", ["gives_a_finite_number_for_each_metric"]),
        ("FirstComer", (), "rule", ["stops_nothing_while_nothing_is_known"]),
        ("Impatient", (), "schedule", []),
        ("anything", ("part=Impatient",), "schedule", []),
        ("ZeroMeter", (), "meter", ["work_costs_more_than_none"]),
    ],
)
def test_each_kind_is_recognised_and_checked(
    check: Check, name: str, words: tuple[str, ...], kind: str, broken: list[str]
) -> None:
    _, printed = check(PARTS, name, *words)
    assert printed.startswith(f"{kind} checked_"), printed
    for start in broken:
        assert any(check.startswith(start) for check in failed(printed)), printed
    if not broken and kind != "schedule":
        assert not failed(printed), printed


def test_a_paradigm_of_another_metric_is_checked_for_that(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["check", "energyopt.paradigms.scratch.Scratch", "task=diabetes", "model=mlp"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0, printed
    assert printed.splitlines()[-1] == "12 passed, 0 failed, 0 skipped"


def test_a_check_is_left_out_by_its_name(check: Check) -> None:
    skipped = "inputs_are_standardised_with_the_training_statistics_only"
    code, printed = check(PARTS, "Blobs", "shift=1.0", "--skip", skipped)
    assert code == 0
    assert f"skip  {skipped}: --skip" in printed


@pytest.mark.parametrize(
    ("source", "name", "words", "message"),
    [
        (LOOP, "Lop", (), "has no 'Lop'"),
        (LOOP, "Loop", ("momentun=1",), "did you mean momentum? Loop takes task, model,"),
        (LOOP, "Loop", ("task=vine",), "vine"),
        (LOOP, "Unlucky", SMALL[:2], "cannot be built with {}: there is no such cluster"),
        (LOOP, "Half", SMALL[:2], "has no evaluate; a paradigm has"),
        (LOOP, "SMALL", (), "has no 'SMALL'"),
        (PARTS, "anything", ("part=number",), "returns 0, which is none of the parts"),
        (PARTS, "Blobs", ("--skip", "all"), "--skip all is no check of this kind: choose from"),
        (PARTS, "Blobs", ("--kind", "sampler"), "invalid choice: 'sampler'"),
        ("x = 1\ny = z", "Loop", (), "raises NameError: name 'z' is not defined"),
        ("def x(:", "Loop", (), "raises SyntaxError: invalid syntax"),
        ("import argparse as a; a.ArgumentParser().parse_args(['x'])", "Loop", (), "ends the"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    check: Check, source: str, name: str, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(Exception) as refused:  # noqa: PT011  # also those that Hydra raises
        check(source, name, *words)
    assert message in explain(refused.value)


def test_only_trusted_code_is_checked(check: Check) -> None:
    with pytest.raises(ConfigError, match=r"^os\.system names code of 'os', which is neither"):
        run(["check", "os.system"])
    with pytest.raises(ConfigError, match="there is no module 'nowhere'"):
        run(["check", "nowhere.Loop"])


def test_the_traceback_of_a_constructor_is_shown(
    check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError):
        check(LOOP, "Unlucky")
    shown = capsys.readouterr().err
    assert 'raise RuntimeError("there is no such cluster")' in shown
    assert "instantiate.py" not in shown


def test_the_page_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "how-to" / "test-your-own-part.md").read_text()
    (rule,) = (file for file in snippets.files(text) if file.name == "my_rule.py")
    (tmp_path / rule.name).write_text(rule.text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (command,) = snippets.commands(text)
    with pytest.raises(SystemExit) as ended:
        run(command.energyopt or [])
    assert ended.value.code == 0
    assert " ".join(capsys.readouterr().out.split()) == " ".join(command.shown.split())
