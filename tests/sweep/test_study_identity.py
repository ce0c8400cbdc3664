"""A study is one question: what may be swept, what makes its identity and its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hydra.types import RunMode

from energyopt.core.study_record import Metric
from energyopt.errors import ConfigError, StudyError
from energyopt.storage.identity import Identity, check_name, check_same
from energyopt.sweep.space_parser import parse_space
from energyopt.sweep.study_identity import command_words, identify, name_study, refuse_unsweepable
from tests.composing import composed, config_loader, multirun
from tests.toys import METRICS

SWEEP = ("lr=tag(log,interval(1e-4,1e-1))",)


def refuse(*words: str, grid: bool = False) -> None:
    refuse_unsweepable(parse_space(words, config_loader()), grid=grid)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        *(
            (f"{key}=1,2", "it belongs to the whole study")
            for key in (
                "n_trials",
                "n_jobs",
                "max_failures",
                "study",
                "storage",
                "sampler",
                "trial_timeout_s",
                "search_budget_j",
                "search_budget_s",
                "planned_trainings",
                "reuse",
            )
        ),
        ("stopping=none,energy_cap", "it belongs to the whole study"),
        ("+stopping.rules.energy_cap.beta=1,2", "it belongs to the whole study"),
        ("trusted_targets=[a],[b]", "it belongs to the whole study"),
        ("hydra.job.name=a,b", "it belongs to the whole study"),
        ("hydra/launcher=energyopt,basic", "it belongs to the whole study"),
        ("+hydra.job.env_set.A=a,b", "it belongs to the whole study"),
        ("target=0.9,0.95", "one curve answers every target: see `pareto STUDY --target`"),
        ("target=interval(0.5,1)", "one curve answers every target"),
        ("++target=0.9,0.95", "one curve answers every target"),
        ("objective=glob(*)", "values of two objectives cannot be compared"),
        ("+objective.scale=1,2", "values of two objectives cannot be compared"),
        ("task=digits,wine", "accuracies of two tasks cannot be compared"),
        ("task.n_train=100,200", "accuracies of two tasks cannot be compared"),
        ("+task@other=digits,wine", "accuracies of two tasks cannot be compared"),
        ("hardware=auto,estimate", "joules of two meters do not mix"),
        ("hardware.meter.watts_per_core=1,2", "joules of two meters do not mix"),
        ("eval_every=10,20", "the energy to target would be read at different grains"),
        ("device=cpu,cuda", "joules of two devices do not mix"),
        ("seed=1,2", "a sampler would pick lucky seeds"),
        ("seed=range(5)", "a sampler would pick lucky seeds"),
    ],
)
def test_what_cannot_be_compared_cannot_be_swept(word, reason):
    key = word.lstrip("+").partition("=")[0]
    with pytest.raises(ConfigError) as caught:
        refuse("lr=1,2", word)
    assert str(caught.value).startswith(f"{key} cannot be swept")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "word",
    [
        *SWEEP,
        "batch_size=16,32",
        "epochs=range(1,5)",
        "model=mlp,cnn",
        "model.width=8,16",
        "optimizer=glob(*)",
        "scheduler.warmup=interval(0,0.5)",
        "paradigm=scratch,own",
        "patience=3,5",
        "num_threads=1,2",
        "+targeted=1,2",
        "+hardware.power_limit_w=range(100,300,50)",
        "seed=7",
        "target=0.9",
        "task=wine",
    ],
)
def test_the_rest_may_be_swept_and_all_may_be_set(word):
    refuse(word)


def test_a_grid_may_repeat_its_points_with_seeds():
    refuse("seed=range(5)", grid=True)
    with pytest.raises(ConfigError, match="task cannot be swept"):
        refuse("task=wine,digits", grid=True)


# --- identity and name


def ask(*fixed: str, sweep: tuple[str, ...] = SWEEP, metrics: tuple[Metric, ...] = METRICS):
    return identify(composed(*fixed), parse_space((*fixed, *sweep), config_loader()), metrics)


def name(*fixed: str, sweep: tuple[str, ...] = SWEEP) -> str:
    choices = {"task": "digits", "model": "cnn"}
    return name_study(choices, ask(*fixed, sweep=sweep))


def test_an_identity_holds_the_question_and_nothing_else():
    fixed = ("epochs=3", "target=0.9", "n_trials=5", "+study=mine", "++storage=a.db", "n_jobs=2")
    identity = identify(
        composed("epochs=3", "target=0.9", "n_trials=5", "study=mine", "storage=a.db", "n_jobs=2"),
        parse_space((*fixed, *SWEEP), config_loader()),
        METRICS,
        ("--config-dir=there",),
    )
    assert identity.overrides == ("--config-dir=there", "epochs=3", "target=0.9")
    assert identity.sweep == SWEEP
    assert identity.metrics == METRICS
    assert identity.target == 0.9
    assert identity.config is not None
    assert identity.config["epochs"] == 3
    assert identity.config["optimizer"]["lr"] == 1e-3  # resolved
    may_change = {"n_trials", "n_jobs", "max_failures", "study", "storage", "trusted_targets"}
    assert not may_change & set(identity.config)


def test_a_study_of_before_other_metrics_asks_the_same():
    plain = ask().config
    assert plain is not None
    assert not {"monitor", "mode"} & set(plain)
    assert ask("monitor=accuracy").config == ask("monitor=accuracy", "mode=max").config == plain
    loss = ask("monitor=val_loss", "mode=min").config
    assert loss is not None
    assert (loss["monitor"], loss["mode"]) == ("val_loss", "min")


def test_a_study_of_before_paradigms_had_options_asks_the_same():
    plain, odd = ask().config, ask("paradigm.precision=bf16", "inference_s=1").config
    assert plain is not None
    assert odd is not None
    assert plain["paradigm"] == {"_target_": "energyopt.paradigms.scratch.Scratch"}
    assert not {"inference_s", "knowledge"} & set(plain)
    assert (odd["paradigm"]["precision"], odd["inference_s"]) == ("bf16", 1)


def test_what_a_source_learns_from_may_be_searched():
    refuse("task@paradigm.source.task=wine,digits")


@pytest.mark.parametrize(
    "word",
    [
        "n_trials=99",
        "n_jobs=4",
        "max_failures=null",
        "trial_timeout_s=60",
        "search_budget_j=10",
        "search_budget_s=60",
        "planned_trainings=100",
        "report.pue=1.2",
        "study=other",
        "storage=elsewhere.db",
        "trusted_targets=[timm]",
    ],
)
def test_what_may_change_between_runs_leaves_question_and_name_as_they_are(word):
    assert ask(word) == ask()
    assert name(word) == name()


@pytest.mark.parametrize(
    "word",
    [
        "epochs=31",
        "target=0.9",
        "seed=1",
        "model=mlp",
        "model.width=9",
        "task.split_seed=2",
        "sampler=nsga2",
        "sampler={_target_: optuna.samplers.TPESampler}",
        "hardware=simulated",
        "objective=energy_to_target",
        "stopping=none",
        "stopping=[energy_cap,dominance]",
        "+own=1",
        "~patience",
    ],
)
def test_any_other_word_asks_something_else(word):
    assert ask(word).config != ask().config
    assert name(word) != name()


def test_a_word_that_changes_nothing_asks_the_same():
    assert name("epochs=30", "model=cnn", "++lr=0.001") == name()


@pytest.mark.parametrize(
    "sweep",
    [
        ("lr=tag(log,interval(1e-4,1e-2))",),
        ("lr=interval(1e-4,1e-1)",),
        (*SWEEP, "batch_size=16,32"),
        ("batch_size=16,32",),
    ],
)
def test_another_space_asks_something_else(sweep):
    assert name(sweep=sweep) != name()


def test_the_order_of_the_axes_does_not_matter():
    a, b = "lr=1,2", "batch_size=16,32"
    assert name(sweep=(a, b)) == name(sweep=(b, a))


# --- code that has moved


# As if these were the paths of before, and the code lay where conf/ says now.
MOVED = {
    "old.nets.Perceptron": "energyopt.models.mlp.MLP",
    "older.Wine": "energyopt.tasks.tabular.Tabular",
    "old.Wine": "energyopt.tasks.tabular.Tabular",  # it moved twice
}


def asked(*words: str, moved: dict[str, str] = MOVED) -> dict[str, Any]:
    space = parse_space((*SWEEP, "task=wine", "model=mlp", *words), config_loader())
    cfg = composed(*space.fixed)
    stored: dict[str, Any] = json.loads(
        json.dumps(identify(cfg, space, METRICS, moved=moved).to_dict())
    )
    return stored


def test_a_study_keeps_the_first_name_of_what_has_moved():
    """So its name, which has a hash of them, and the places of its sources stay, too."""
    config = asked()["config"]
    assert config["model"]["_target_"] == "old.nets.Perceptron"
    assert config["task"]["_target_"] == "older.Wine"
    assert config["optimizer"]["_target_"] == "torch.optim.Adam"


def test_a_study_from_before_a_move_asks_the_same():
    before = asked(moved={})
    for path in ("energyopt.models.mlp.MLP", "old.nets.Perceptron"):
        before["config"]["model"]["_target_"] = path
        check_same("toy", before, asked(), MOVED)
    for path in ("energyopt.tasks.tabular.Tabular", "older.Wine", "old.Wine"):
        before["config"]["task"]["_target_"] = path
        check_same("toy", before, asked(), MOVED)
        check_same("toy", asked(), before, MOVED)
    with pytest.raises(StudyError, match=r"task\._target_: older\.Wine -> energyopt\.tasks"):
        check_same("toy", asked(), asked(moved={}), {})


def test_another_code_is_another_question():
    with pytest.raises(StudyError, match=r"model\._target_: old\.nets\.Perceptron -> other\.MLP"):
        check_same("toy", asked(), asked("model._target_=other.MLP"), MOVED)


IDENTITY = Identity(METRICS, (), SWEEP, {"lr": 1}, 0.9)


@pytest.mark.parametrize(
    ("choices", "sweep", "begins"),
    [
        ({"task": "digits", "model": "cnn"}, SWEEP, "digits-cnn-"),
        ({"task": "digits", "model": "cnn"}, ("model=mlp,cnn",), "digits-models-"),
        ({"task": "digits", "model": "nets/small"}, SWEEP, "digits-nets-small-"),
        ({"task": "digits", "model": "a b@c"}, SWEEP, "digits-a-b-c-"),
        ({}, SWEEP, "own-own-"),
    ],
)
def test_a_name_says_the_task_and_the_model(choices, sweep, begins):
    identity = Identity(METRICS, (), sweep, {"lr": 1}, 0.9)
    found = name_study(choices, identity)
    assert found.startswith(begins)
    assert len(found) == len(begins) + 8
    int(found[-8:], 16)
    check_name(found)
    assert found == name_study(choices, identity)


# --- where the configs are


def test_our_own_configs_need_no_flags():
    assert command_words(multirun()) == ()


def test_configs_in_a_folder_of_ones_own_are_found_again(tmp_path):
    (tmp_path / "study.yaml").write_text("defaults: [config, _self_]\n")
    assert command_words(multirun(folder=tmp_path)) == (f"--config-dir={tmp_path}",)
    study = config_loader(tmp_path).load_configuration("study", [], RunMode.MULTIRUN)
    assert command_words(study) == (
        f"--config-dir={tmp_path}",
        "--config-name=study",
        "hydra.mode=RUN",
    )
