"""Each option of each group builds; users' own code gets what it names; mistakes are named."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from energyopt.config.trial_factory import GROUPS, TrialFactory
from energyopt.core.energy import Energy
from energyopt.core.history import StudyHistory
from energyopt.core.journal import NAME, JournalWriter
from energyopt.core.protocols import EnergyMeter, Objective, Paradigm, StoppingRule, Task
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import Window
from energyopt.errors import ConfigError, HardwareError
from energyopt.utils.paths import conf_dir
from tests.composing import composed
from tests.recorded_tables import write_tables
from tests.small_data import (
    idx_files,
    write,
    write_celeba,
    write_cifar10,
    write_cifar100,
    write_pamap2,
    write_text,
)
from tests.toys import result

OPTIONS = [
    (folder.name, file.stem)
    for folder in sorted(conf_dir().iterdir())
    if folder.name in GROUPS
    for file in sorted(folder.glob("*.yaml"))
]
HAR = ("task=har", "task.n_train=64", "task.n_validation=32", "task.n_test=32")
TEXT = ("task=text", "task.path=text.txt", "task.context=16", "task.n_train=64",
        "task.n_validation=32", "task.n_test=32")  # fmt: skip
OWN_CODE = """
    class Task:
        from energyopt.tasks.digits import Digits
        def __new__(cls):
            return cls.Digits()

    class Net:
        def __new__(cls, num_classes):
            from torch import nn
            return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))

    class Meter:
        from tests.toys import ESTIMATED as provenance
        def start(self): ...
        def stop(self): ...

    def score(result):
        return 1.0

    class Paradigm:
        epoch_samples = 3
        def train(self, samples): ...
        def evaluate(self): ...
"""
# What an option needs to be built; those that are not here are built as they are.
WORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("model", "cnn1d"): HAR,
    ("model", "gru"): HAR,
    ("model", "transformer"): HAR,
    ("model", "own"): ("model._target_=own_options.Net",),
    ("task", "own"): ("task._target_=own_options.Task",),
    ("task", "fashion_mnist"): ("task.root=fashion", "task.n_validation=20"),
    ("task", "har"): HAR[1:],
    ("task", "mnist"): ("task.root=mnist", "task.n_validation=20"),
    ("task", "cifar10"): ("task.root=.", "task.n_validation=20"),
    ("task", "cifar100"): ("task.root=.", "task.n_validation=100"),
    ("task", "pamap2"): ("task.root=.", "task.held_out_subject=102", "task.window_s=0.64"),
    ("task", "celeba"): ("task.root=faces",),
    ("task", "text"): TEXT[1:],
    ("model", "char_transformer"): TEXT,
    ("paradigm", "own"): ("paradigm._target_=own_options.Paradigm",),
    ("objective", "life_cycle"): ("objective.n_inferences=1000",),
    ("objective", "own"): ("objective._target_=own_options.score",),
    ("objective", "function"): ("objective.function._target_=energyopt.objectives.cost_j",),
    ("hardware", "own"): ("hardware.meter._target_=own_options.Meter",),
    ("hardware", "replay"): ("hardware.meter.path=recorded",),
}

PLAYED = ("task=replay", "task.folder=tables", "task.workload=digits")
WORDS |= {
    ("task", "replay"): PLAYED,
    ("paradigm", "replay"): (*PLAYED, "batch_size=16"),
    ("hardware", "recorded"): PLAYED,
}

NEEDS_SENSORS = {
    *("nvidia", "h100", "a100", "rtx3090", "rtx6000_ada"),
    *("rapl", "amd", "soc", "m1_max"),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, importable as with `python -m`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def code(here: Path, name: str, text: str) -> None:
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    (here / f"{name}.py").write_text(dedent(text))


def write_data(here: Path, option: str) -> None:
    """Small files of the data set that an option reads."""
    match option:
        case "fashion_mnist":
            write(here / "fashion", idx_files())
        case "mnist":
            write(here / "mnist", idx_files())
        case "cifar10":
            write_cifar10(here)
        case "cifar100":
            write_cifar100(here)
        case "pamap2":
            write_pamap2(here)
        case "celeba":
            write_celeba(here / "faces")
        case "text" | "char_transformer":
            write_text(here / "text.txt")


def setup(*words: str) -> TrialFactory:
    return TrialFactory(composed(*words))


# --- the options that we ship


def test_there_are_options_in_every_group():
    assert {group for group, _ in OPTIONS} == set(GROUPS)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=map("=".join, OPTIONS))
def test_every_option_builds(here, group, option):
    code(here, "own_options", OWN_CODE)
    write_data(here, option)
    write_tables(here / "tables")
    journal = JournalWriter(here / "recorded" / NAME)
    journal.append(result().start)
    journal.append(Window("training", Energy(1.0, cpu_j=2.0)))

    it = setup(f"{group}={option}", *WORDS.get((group, option), ()))
    match group:
        case "task":
            assert isinstance(it.task, Task) == (option != "replay")  # which has no data
        case "model":
            logits = it.model(it.task.validation.inputs[:2])
            assert logits.shape == (2, it.task.num_classes)
        case "hardware":
            refusal = None
            try:
                assert isinstance(it.meter, EnergyMeter)
                assert it.start.provenance.kind
            except HardwareError as error:
                refusal = str(error)
            if refusal is not None:  # this machine lacks the sensor
                assert option in NEEDS_SENSORS
                assert "choose" in refusal or "device=cpu" in refusal
        case "objective":
            assert isinstance(it.objective, Objective)
            assert it.plan.stop_at_target == it.objective.stops_at_target
            record = replace(result([(100, 2, 0.9)]), inference_j_per_1000={"model": 1.0})
            assert len(it.objective(record)) == len(it.objective.metrics)
        case "stopping":
            assert all(isinstance(rule, StoppingRule) for rule in it.rules.values())
        case _:
            it.build_without_pretraining()
            paradigm = it.make_paradigm()
            assert isinstance(paradigm, Paradigm)
            if option != "own":
                assert paradigm.train(100).samples >= 100
                assert 0 <= paradigm.evaluate() <= 1


def test_a_model_that_does_not_fit_its_task_says_so():
    with pytest.raises(ConfigError, match=r"^model=cnn needs images .* choose mlp, cnn1d"):
        setup("model=cnn", *HAR).make_paradigm()


# --- what a trial is told


def test_plan_and_start_take_the_root_keys():
    it = setup("target=0.5", "epochs=2.5", "eval_every=10", "patience=null", "seed=4")
    assert (it.plan.target, it.plan.epochs, it.plan.eval_every, it.plan.patience) == (
        0.5, 2.5, 10, None,
    )  # fmt: skip
    assert (it.start.target, it.start.epochs, it.start.seed) == (0.5, 2.5, 4)
    assert it.start.provenance == it.meter.provenance


def test_objects_are_built_once_and_only_when_asked_for():
    it = setup("model=own", "model._target_=no_such.module", "task=wine")
    assert it.task is it.task
    assert it.meter is it.meter
    with pytest.raises(ConfigError, match="there is no module 'no_such'"):
        it.make_paradigm()


def test_weights_come_from_the_seed_whatever_was_drawn_before():
    def weights(seed: int) -> torch.Tensor:
        torch.rand(3)
        it = setup(f"seed={seed}", "num_threads=1", "model=mlp", "task=wine")
        it.make_paradigm()
        return torch.cat([parameter.flatten() for parameter in it.model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.get_num_threads() == 1


# --- mistakes in groups


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("+model.widht=8", "model"),
        ("+task.n_tran=8", "task"),
        ("+paradigm.epoch=8", "paradigm"),
        ("+optimizer.momentun=8", "optimizer"),
        ("+scheduler.warmpu=8", "scheduler"),
    ],
)
def test_a_wrong_keyword_names_its_group_and_itself(word, key):
    with pytest.raises(ConfigError) as caught:
        setup(word).make_paradigm()
    message = str(caught.value)
    assert message.startswith(f"{key} (")
    assert "cannot be built with" in message
    assert message.endswith(f"unexpected keyword argument '{word.partition('.')[2][:-2]}'")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("stopping.rules=3", "stopping.rules=3 is not rules by name; choose stopping=[...]"),
        ("+stopping.rules.mine=3", "stopping.rules.mine=3 is not a group of options"),
        ("+stopping.rules.mine._target_=os.system", "_target_=os.system names code of 'os'"),
        (
            "+stopping.rules.mine._target_=energyopt.stopping.rules.Rules",
            "stopping.rules.mine (energyopt.stopping.rules.Rules) cannot be built with {}: ",
        ),
        (
            "+stopping.rules.mine._target_=energyopt.objectives.EnergyToTarget",
            "stopping.rules.mine._target_=energyopt.objectives.EnergyToTarget has no decide; a "
            "rule has decide(progress, rivals)",
        ),
        (
            "stopping.rules.dominance.k=0",
            "stopping.rules.dominance.k=0 is not allowed: a whole number of at least 1 is needed",
        ),
        ("+stopping.rules.dominance.odds=2", "stopping.rules.dominance (energyopt.stopping.domi"),
    ],
)
def test_a_rule_that_cannot_be_built_names_its_key(word, says):
    with pytest.raises(ConfigError) as caught:
        _ = setup("stopping=[energy_cap,dominance]", word).rules
    assert str(caught.value).startswith(says)


def test_rules_are_combined_in_the_order_given_and_are_asked_in_a_study_alone():
    it = setup("stopping=[extrapolate,energy_cap]", "stopping.rules.energy_cap.beta=noise")
    assert list(it.rules) == ["extrapolate", "energy_cap"]
    assert it.stopping is None
    context = RunContext(history=StudyHistory())
    assert TrialFactory(composed("stopping=[energy_cap]"), context=context).stopping
    assert setup("stopping=none").rules == setup("stopping.rules=null").rules == {}


def test_a_wrong_keyword_of_a_meter_or_an_objective_names_it():
    with pytest.raises(ConfigError, match=r"^hardware\.meter \(.* argument 'watts'"):
        _ = setup("+hardware.meter.watts=4").meter
    with pytest.raises(ConfigError, match=r"^objective \(.*EnergyVsAccuracy.* argument 'weight'"):
        _ = setup("+objective.weight=4").objective


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=own",), r"^model: Missing mandatory value: _target_; set it on the command"),
        (("model.width=${nothing}",), r"^model: Interpolation key 'nothing' not found"),
        (("++model._target_=null",), r"^model \(None\) cannot be built"),
        (("++model._target_=3",), r"^model \(3\) cannot be built"),
        (("~model._target_",), r"^model=\{'width': 8\} names no code to run"),
        (("++model._target_=energyopt.models.nix.Net",), r"energyopt.models has no 'nix'"),
        (("++model._target_=os.system",), r"trusted_targets=\[os\]"),
        (("+model.sub={_target_: os.system}",), r"trusted_targets=\[os\]"),
        (("+model.sub=[{_target_: os.system}]",), r"trusted_targets=\[os\]"),
        (
            ("++model._target_=builtins.dict", "trusted_targets=[builtins]"),
            r"^model \(builtins.dict\) cannot be built with .*: no signature found",
        ),
        (("optimizer._partial_=false",), r"^optimizer \(torch.optim.Adam\) .* 'params'"),
        (("++optimizer.betas=5",), r"cannot be built with"),
        (("model.width=0",), r"^model\.width=0 does not fit"),
        (("device=gpu",), r"^device=gpu is not known"),
    ],
)
def test_what_cannot_be_built_names_its_key_and_why(words, message):
    with pytest.raises(ConfigError, match=message) as caught:
        setup(*words).make_paradigm()
    assert "\n" not in str(caught.value)


def test_a_replay_without_its_recording_says_what_to_set():
    with pytest.raises(ConfigError, match=r"^hardware\.meter: Missing mandatory value: path"):
        _ = setup("hardware=replay").meter


# --- code of one's own


def own_model(here: Path, name: str, text: str, *words: str) -> Any:
    code(here, name, text)
    return setup("model=own", f"model._target_={name}.build", *words).model


def test_a_function_gets_what_it_names_and_nothing_else(here):
    text = """
        def build(input_shape, num_classes, lr, batch_size, device, seed, target, width=3):
            return dict(locals())
    """
    model = own_model(here, "naming_all", text, "+model.width=5", "device=cpu", "seed=7")
    assert model == {
        "input_shape": (1, 8, 8),
        "num_classes": 10,
        "lr": 1e-3,
        "batch_size": 64,
        "device": "cpu",
        "seed": 7,
        "target": 0.95,
        "width": 5,
    }
    for i, arguments in enumerate(("", "*args", "**options", "width=3")):
        text = f"def build({arguments}):\n    return dict(locals())\n"
        assert not set(own_model(here, f"naming_{i}", text)) & {"input_shape", "num_classes", "lr"}


def test_what_the_config_says_goes_before_what_is_offered(here):
    text = "def build(input_shape, num_classes):\n    return input_shape, num_classes\n"
    words = ("+model.input_shape=[3,2]", "+model.num_classes=4")
    assert own_model(here, "own_shape", text, *words) == ([3, 2], 4)


def test_options_arrive_as_plain_python(here):
    text = "def build(sizes, more):\n    return sizes, more\n"
    sizes, more = own_model(here, "own_plain", text, "+model.sizes=[1,2]", "+model.more={a: [b]}")
    assert (type(sizes), type(more), type(more["a"])) == (list, dict, list)


def test_data_is_not_loaded_for_those_who_do_not_ask(here):
    code(
        here,
        "own_loop",
        """
        class Loop:
            epoch_samples = 1
            def __init__(self, lr): self.lr = lr
            def train(self, samples): ...
            def evaluate(self): ...
        def data(): raise RuntimeError("loaded")
        """,
    )
    words = ("paradigm=own", "paradigm._target_=own_loop.Loop", "task=own")
    it = setup(*words, "task._target_=own_loop.data", "model=own", "model._target_=own_loop.data")
    assert it.make_paradigm().lr == 1e-3  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"^task \(own_loop.data\) .*: loaded"):
        _ = it.task


def test_a_task_and_a_model_of_ones_own_train(here):
    code(here, "own_options_too", OWN_CODE)
    it = setup(
        "task=own", "task._target_=own_options_too.Task",
        "model=own", "model._target_=own_options_too.Net",
    )  # fmt: skip
    paradigm = it.make_paradigm()
    assert paradigm.train(64).samples == 64


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ("...", "epoch_samples, train, evaluate"),
        ("epoch_samples = 3", "train, evaluate"),
        ("epoch_samples = 3\n    def train(self, samples): ...", "evaluate"),
    ],
)
def test_a_paradigm_without_its_methods_is_refused(here, body, missing):
    name = f"own_lacking_{missing.count(',')}"
    code(here, name, f"class Loop:\n    {body}\n")
    with pytest.raises(ConfigError) as caught:
        setup("paradigm=own", f"paradigm._target_={name}.Loop").make_paradigm()
    assert str(caught.value) == (
        f"paradigm._target_={name}.Loop has no {missing}; a paradigm has epoch_samples, "
        "train(samples) and evaluate()"
    )


def test_what_own_code_raises_is_said_with_its_options(here):
    text = "def build(width):\n    raise ValueError(f'width {width} is odd\\nmore')\n"
    with pytest.raises(ConfigError) as caught:
        own_model(here, "own_raising", text, "+model.width=3")
    assert str(caught.value) == (
        "model (own_raising.build) cannot be built with {'width': 3}: width 3 is odd"
    )
    assert isinstance(caught.value.__cause__, ValueError)
    text = "def build():\n    raise ValueError\n"
    with pytest.raises(ConfigError, match=r"cannot be built with {}: ValueError$"):
        own_model(here, "own_silent", text)


OWN_OBJECTIVES = """
    from energyopt.core.study_record import Metric

    class Grams:
        metrics, stops_at_target = (Metric("carbon_g", "minimize"),), True
        def __init__(self, factor):
            self.factor = factor
        def __call__(self, result):
            return (self.factor * result.spent_j,)

    def saved_j(result, base=5.0):
        return base - result.spent_j

    def several(result):
        return result.spent_j, result.best_accuracy

    def build(factor):
        return Grams(factor)

    class Nothing: ...

    def other(record): ...
"""


@pytest.mark.parametrize(
    ("words", "metrics", "stops"),
    [
        (("objective._target_=mine.Grams", "+objective.factor=2"), {"carbon_g": "minimize"}, True),
        (("objective._target_=mine.build", "+objective.factor=2"), {"carbon_g": "minimize"}, True),
        (("objective._target_=mine.saved_j",), {"saved_j": "minimize"}, False),
        (
            ("objective._target_=mine.saved_j", "+objective.metrics={saved_j: maximize}",
             "+objective.base=7", "+objective.stops_at_target=true"),
            {"saved_j": "maximize"}, True,
        ),
        (
            ("objective._target_=mine.several",
             "+objective.metrics={spent_j: minimize, best: maximize}"),
            {"spent_j": "minimize", "best": "maximize"}, False,
        ),
    ],
)  # fmt: skip
def test_an_objective_of_ones_own_is_a_class_or_a_function_of_a_record(here, words, metrics, stops):
    code(here, "mine", OWN_OBJECTIVES)
    objective = setup("objective=own", *words).objective
    assert {metric.name: metric.direction for metric in objective.metrics} == metrics
    assert objective.stops_at_target is stops
    record = result([(10, 3.0, 0.5)])
    values = objective(record)
    assert len(values) == len(metrics)
    if "+objective.base=7" in words:
        assert values == (7 - record.spent_j,)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("objective._target_=mine.Nothing",), r"makes a Nothing, which is no objective: it needs"),
        (("objective._target_=mine.other",), r"^objective \(mine.other\) cannot be built"),
        (("objective._target_=mine.saved_j", "+objective.bas=1"), r"argument 'bas'"),
        (("objective._target_=os.system",), r"^_target_=os.system names code of 'os'"),
        ((), r"^objective: Missing mandatory value: _target_"),
    ],
)
def test_what_is_no_objective_is_refused(here, words, message):
    code(here, "mine", OWN_OBJECTIVES)
    with pytest.raises(ConfigError, match=message):
        _ = setup("objective=own", *words).objective


def test_configs_and_code_in_a_folder_of_ones_own(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("configs")
    (folder / "model").mkdir()
    (folder / "model" / "mine.yaml").write_text("_target_: beside_the_configs.build\nwidth: 6\n")
    code(folder, "beside_the_configs", "def build(width):\n    return width\n")
    config = composed("model=mine", folder=folder)
    with pytest.raises(ConfigError, match="there is no module 'beside_the_configs'"):
        _ = TrialFactory(config).model
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert TrialFactory(config, (folder,)).model == 6
    assert str(folder) in sys.path


def test_a_config_of_another_shape_is_refused():
    config = composed()
    OmegaConf.update(config, "model", 3, force_add=True)
    with pytest.raises(ConfigError, match="model=3 is not a group of options"):
        _ = TrialFactory(config).model
