"""A contributor who has read only CONTRIBUTING adds a part of each kind to a copy of the checkout.

Each takes no more files than CONTRIBUTING says, and all are used through the command line.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, Program, Ran, trials_of

USED = "from pathlib import Path\nPath('used').mkdir(exist_ok=True)\nmark = Path('used').joinpath\n"

METER = '''
"""A plug that something else reads."""
import time

from energyopt.core.trial_result import Energy, Provenance


class Plug:
    """Says 100 W for as long as it is asked."""

    provenance = Provenance("measured", "a plug", "1", "node", "cpu", "here", "none")

    def __init__(self, watts):
        self.watts = watts

    def start(self):
        self.began_s = time.perf_counter()

    def stop(self):
        time_s = time.perf_counter() - self.began_s
        return Energy(time_s, cpu_j=self.watts * time_s)
'''
MODEL = '''
"""One linear layer."""
from torch import nn


class Line(nn.Linear):
    """Sees the inputs as they are."""

    def __init__(self, input_shape, num_classes, scale):
        mark("model").touch()
        super().__init__(*input_shape, num_classes)
        self.scale = scale
'''
PARADIGM = '''
"""Training on the same batch again and again."""
from torch.nn import functional

import energyopt.core.protocols as protocols

Step = getattr(protocols, "TrainStep", None) or protocols.Trained


class Drill:
    """Plain training, with a state, so that it can be paused."""

    def __init__(self, task, model, optimizer, batch_size):
        self.task, self.model, self.optimizer = task, model, optimizer(model.parameters())
        self.epoch_samples, self.batch_size = len(task.train.labels), batch_size

    def train(self, samples):
        mark("paradigm").touch()
        steps = -(-samples // self.batch_size)
        for _ in range(steps):
            logits = self.model(self.task.train.inputs)
            loss = functional.cross_entropy(logits, self.task.train.labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return Step(steps * self.batch_size, steps, float(loss.detach()))

    def evaluate(self):
        right = self.model(self.task.validation.inputs).argmax(1) == self.task.validation.labels
        return right.float().mean().item()

    def state(self):
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
'''
RULE = '''
"""Enough is enough."""


class Enough:
    """Stops after a number of evaluations."""

    def __init__(self, evaluations):
        self.evaluations = evaluations

    def decide(self, progress, rivals):
        many = len(progress.accuracy)
        return f"{many} evaluations are enough" if many >= self.evaluations else None
'''
SCHEDULE = '''
"""One after the other."""
from energyopt.search.schedule import Step


class InTurn:
    """Each trial trains to its end."""

    def next_step(self, observed, *, can_begin):
        mark("schedule").touch()
        return Step() if can_begin else None
'''
SAMPLER = '''
"""A sampler of its own."""
from optuna.samplers import RandomSampler


class Bold(RandomSampler):
    """Draws, and says so."""

    def sample_independent(self, *asked):
        mark("sampler").touch()
        return super().sample_independent(*asked)
'''
OBJECTIVE = '''

class EnergyAndEvaluations:
    """One objective: joules of training, and of asking."""

    metrics = (Metric("all_j", "minimize"),)
    stops_at_target = False

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Joules of both, in J."""
        from pathlib import Path

        Path("used/objective").touch()
        return (result.spent_j,)
'''
COMMAND = """
import argparse


def parser():
    words = argparse.ArgumentParser("energyopt greet", description="Greet a user.")
    words.add_argument("whom")
    return words


def run(args):
    print(f"hello {args.whom}")
"""
PROJECT = """
[project]
name = "stranger-tools"
version = "1.0"

[project.entry-points."energyopt.commands"]
greet = "stranger_tools"
broken = "stranger_gone:command"
show = "stranger_tools"
"""


@dataclass(frozen=True)
class Edit:
    """Text that is put before what is there."""

    old: str
    new: str

    def applied(self, whole: str) -> str:
        assert whole.count(self.old) == 1, self.old
        return whole.replace(self.old, self.new + self.old)


Added = str | Edit | tuple[Edit, ...]
"""A new file's text, or what is changed in one."""


# By the kind in CONTRIBUTING's table, then by the file.
ADDED: Mapping[str, Mapping[str, Added]] = {
    "meter": {
        "energyopt/hardware/plug.py": METER,
        "conf/hardware/plug.yaml": (
            "# A plug.\nmeter:\n  _target_: energyopt.hardware.plug.Plug\n  watts: 100.0\n"
        ),
    },
    "model": {
        "energyopt/models/line.py": USED + MODEL,
        "conf/model/line.yaml": "# A line.\n_target_: energyopt.models.line.Line\nscale: 1\n",
    },
    "paradigm": {
        "energyopt/paradigms/drill.py": USED + PARADIGM,
        "conf/paradigm/drill.yaml": "# A drill.\n_target_: energyopt.paradigms.drill.Drill\n",
    },
    "stopping rule": {
        "energyopt/stopping/enough.py": RULE,
        "conf/stopping/enough.yaml": (
            "# Enough.\nrules:\n  enough:\n    _target_: energyopt.stopping.enough.Enough\n"
            "    evaluations: 2\n"
        ),
    },
    "schedule": {
        "energyopt/search/in_turn.py": USED + SCHEDULE,
        "conf/stopping/in_turn.yaml": (
            "# In turn.\nschedule:\n  _target_: energyopt.search.in_turn.InTurn\n"
        ),
    },
    "sampler name": {
        "energyopt/search/sampler_names.py": Edit(
            '    "random": NamedSampler(',
            '    "brute": NamedSampler("optuna.samplers.BruteForceSampler"),\n',
        ),
    },
    "sampler": {
        "energyopt/search/bold.py": USED + SAMPLER,
        "energyopt/search/sampler_names.py": Edit(
            '    "random": NamedSampler(',
            '    "bold": NamedSampler("energyopt.search.bold.Bold"),\n',
        ),
    },
    "objective": {
        "energyopt/objectives.py": Edit("\n\nclass EnergyToTarget", OBJECTIVE),
        "conf/objective/all_j.yaml": (
            "# All joules.\n_target_: energyopt.objectives.EnergyAndEvaluations\n"
        ),
    },
    "root key of a search": {
        "energyopt/search/sweep_keys.py": Edit(
            "    params: Mapping", "    max_colours: int | None = _root(None, COUNT.or_null())\n"
        ),
        "conf/config.yaml": (
            Edit("study: null  ", "max_colours: null  # most of them\n"),
            Edit("    study_name: ${study}", "    max_colours: ${max_colours}\n"),
        ),
        # The third is what uses it.
    },
}


@dataclass(frozen=True)
class Checkout:
    """A copy of what a checkout has."""

    folder: Path

    def add(self, files: Mapping[str, Added]) -> set[str]:
        """Write the files, and say which differ from before."""
        before = self.files()
        for name, added in files.items():
            path = self.folder / name
            if isinstance(added, str):
                path.write_text(added)
                continue
            for edit in (added,) if isinstance(added, Edit) else added:
                path.write_text(edit.applied(path.read_text()))
        after = self.files()
        return {name for name in {*before, *after} if before.get(name) != after.get(name)}

    def files(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }


@dataclass(frozen=True)
class Stranger:
    """Runs the copy, in a folder of its own."""

    program: Program
    path: str

    def __call__(self, *words: str, **env: str) -> Ran:
        return self.program(*words, PYTHONPATH=self.path, **env)

    def ok(self, *words: str) -> Ran:
        return self.program.ok(*words, PYTHONPATH=self.path)


def promised() -> dict[str, int]:
    """Return the number of files per kind of part, according to CONTRIBUTING."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return {
        kind: int(count)
        for kind, count in re.findall(r"^\| \*\*([\w ]+)\*\* \| (\d+) \|", text, re.MULTILINE)
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = tmp_path_factory.mktemp("checkout")
    skipped = shutil.ignore_patterns("__pycache__")
    for part in ("energyopt", "conf"):
        shutil.copytree(ROOT / part, folder / part, ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return Checkout(folder)


@pytest.fixture(scope="module")
def stranger(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """The copy with all that is added, each in the promised number of files."""
    for kind, files in ADDED.items():
        changed = checkout.add(files)
        assert changed == set(files), kind
        assert len(changed) <= promised()[kind], kind
    tools = tmp_path_factory.mktemp("tools")
    install(tools, checkout)
    path = [checkout.folder, checkout.folder / "energyopt" / "_hydra", tools]
    program = Program(Path(sys.executable), tmp_path_factory.mktemp("work"))
    return Stranger(program, ":".join(map(str, path)))


def install(tools: Path, checkout: Checkout) -> None:
    """Install a distribution with a command as pip would, without asking a registry."""
    before = checkout.files()
    (tools / "stranger_tools.py").write_text(COMMAND)
    (tools / "pyproject.toml").write_text(PROJECT)
    assert len(list(tools.iterdir())) == promised()["command of another package"]
    assert checkout.files() == before
    project = tomllib.loads(PROJECT)["project"]
    info = tools / "stranger_tools-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-tools\nVersion: 1.0\n")
    points = project["entry-points"]["energyopt.commands"]
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[energyopt.commands]\n{lines}\n")


@pytest.mark.slow
def test_one_study_uses_all_that_was_added(stranger: Stranger) -> None:
    ran = stranger.ok(
        *("-m", "task=wine", "model=line", "hardware=plug", "paradigm=drill", "objective=all_j"),
        *("stopping=[enough,in_turn]", "sampler=bold", "lr=interval(0.1,0.5)", "epochs=3"),
        *("eval_every=72", "target=0.5", "n_trials=3", "study=strange", "max_colours=3"),
    )
    assert "MEASURED by a plug" in ran.text
    used = {path.name for path in (stranger.program.folder / "used").iterdir()}
    assert used == {"model", "paradigm", "schedule", "sampler", "objective"}
    rows = trials_of(stranger.program, "strange")
    assert [row["reason"] for row in rows] == ["enough: 2 evaluations are enough"] * 3


@pytest.mark.slow
def test_help_and_mistakes_know_the_names(stranger: Stranger) -> None:
    told = stranger.ok("--help").out
    assert re.search(r"^sampler=joule +joule, .*brute, bold", told, re.MULTILINE)
    assert re.search(r"^max_colours=null +most of them", told, re.MULTILINE)
    assert re.search(r"^greet +of the package stranger-tools$", told, re.MULTILINE)
    lr = "lr=interval(0.01,0.1)"
    assert "choose joule, tpe, nsga2, nsga3, gp, brute" in stranger("-m", lr, "sampler=x").text
    wrong = stranger("-m", lr, "max_colours=0").text
    assert "max_colours=0: a whole number of at least 1 is needed, or null" in wrong
    swept = stranger("-m", lr, "max_colours=choice(1,2)").text
    assert "max_colours cannot be swept: it belongs to the whole study" in swept


@pytest.mark.slow
def test_a_command_of_another_package_is_a_command(stranger: Stranger) -> None:
    assert stranger.ok("greet", "world").out == "hello world\n"
    assert "Greet a user." in stranger.ok("help", "greet").out
    assert "completion, broken, greet; energyopt COMMAND" in stranger.ok("help").text
    unknown = stranger("gret")
    assert unknown.code == 2
    assert "there is no command 'gret'; the commands are search, studies," in unknown.text
    assert "completion, broken, greet; to set" in unknown.text


def test_a_shell_completes_commands_of_another_package(stranger: Stranger) -> None:
    for line in ("energyopt gre", "energyopt greet --he"):
        env = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1"}
        stranger(_ARGCOMPLETE_STDOUT_FILENAME=line.split()[-1], **env)
    answers = [(stranger.program.folder / name).read_text() for name in ("gre", "--he")]
    assert answers == ["greet ", "--help "]


def test_a_broken_one_breaks_itself_alone(stranger: Stranger) -> None:
    broken = stranger("broken")
    assert broken.code == 2
    assert (
        "the command 'broken' of the package stranger-tools cannot be imported "
        "(ModuleNotFoundError: No module named 'stranger_gone')"
    ) in broken.text
    assert "Traceback" not in broken.text
    assert "usage: energyopt show" in stranger.ok("show", "--help").text  # still ours


def test_contributing_promises_a_number_for_each_kind() -> None:
    assert set(promised()) >= {*ADDED, "command of another package"}
