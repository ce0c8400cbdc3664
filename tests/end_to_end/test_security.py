"""Limits of what a config, a database and a run folder can do: see docs/security.md."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pickle
import re
import shlex
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf, open_dict
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlalchemy.engine import make_url

from energyopt.analysis.pareto import curve_front
from energyopt.config.instantiate import make_sampler
from energyopt.config.trial_factory import TrialFactory
from energyopt.config.trust import names_code, runs_untyped
from energyopt.errors import ConfigError, StorageError, StudyError
from energyopt.report.export.front_file import render_front
from energyopt.search.space import Dimension
from energyopt.storage.credentials import holds_password, masked
from energyopt.storage.database import open_database
from energyopt.storage.identity import check_name
from energyopt.sweep.stored_overrides import refuse_planted
from energyopt.utils.files import refuse_shared, written_whole
from tests.composing import composed
from tests.conftest import ROOT, SPACE, TINY, Program, need_package, trials_of
from tests.toys import result, study, trial

# S1: code that a config names --------------------------------------------------------------

# Each would make the marker file, or could; some Hydra's own list lets through.
HARMFUL = {
    "os.system": {"command": "touch {marker}"},
    "posix.system": {"command": "touch {marker}"},
    "subprocess.run": {"args": ["touch", "{marker}"]},
    "subprocess.Popen": {"args": ["touch", "{marker}"]},
    "builtins.eval": {"_args_": ["open('{marker}', 'w')"]},
    "builtins.exec": {"_args_": ["open('{marker}', 'w')"]},
    "builtins.open": {"file": "{marker}", "mode": "w"},
    "io.open": {"file": "{marker}", "mode": "w"},
    "os.mkdir": {"path": "{marker}"},
    "pathlib.Path.write_text": {"_args_": [{"_target_": "pathlib.Path", "_args_": ["{marker}"]}]},
    "pathlib.Path.touch": {"_args_": [{"_target_": "pathlib.Path", "_args_": ["{marker}"]}]},
    "runpy.run_path": {"path_name": "{folder}/evil.py"},
    "shutil.rmtree": {"path": "{folder}/precious"},
    "logging.os.system": {"command": "touch {marker}"},
    "logging.FileHandler": {"filename": "{marker}"},
    "pickle.loads": {"_args_": ["x"]},
    "pickle.load": {"file": "{folder}/evil.pickle"},
    "timeit.timeit": {"stmt": "open('{marker}', 'w')"},
    "torch.load": {"f": "{folder}/evil.pickle", "weights_only": False},
    "torch.hub.load": {"repo_or_dir": "{folder}", "model": "evil", "source": "local"},
    "joblib.load": {"filename": "{folder}/evil.pickle"},
    "urllib.request.urlopen": {"url": "file://{folder}/evil.py"},
    "sqlite3.connect": {"database": "{marker}"},
    "optuna.delete_study": {"study_name": "x", "storage": "sqlite:///{folder}/x.db"},
    "optuna.create_study": {"storage": "sqlite:///{marker}"},
    "zeus.device.get_gpus": {},
    "functools.partial": {"_args_": ["x"]},
    "importlib.import_module": {"name": "evil"},
    "hydra.utils.get_method": {"path": "os.system"},
    "hydra.utils.instantiate": {"config": {"_target_": "os.system", "command": "touch {marker}"}},
    "yaml.unsafe_load": {"stream": "!!python/object/apply:os.system ['touch {marker}']"},
    "energyopt.config.trial_factory.os.system": {"command": "touch {marker}"},
    "energyopt.jobs.launcher.subprocess.run": {"args": ["touch", "{marker}"]},
    "energyopt.hardware.estimate.os.system": {"command": "touch {marker}"},
    "energyopt.paradigms.distillation.torch.load": {
        "f": "{folder}/evil.pickle",
        "weights_only": False,
    },
    "energyopt.config.trial_factory.TrialFactory.__init__.__globals__.get": {"_args_": ["sys"]},
    # Code of ours that runs what it is given.
    "energyopt.config.trust.trusted_target": {
        "target": "os.system",
        "folders": [],
        "packages": ["os"],
    },
    "energyopt.training.power_profiler.PowerProfiler._abandon": {
        "_args_": [
            {
                "_target_": "energyopt.training.power_profiler.PowerProfiler",
                "set_limit_w": {
                    "_target_": "energyopt.config.trust.trusted_target",
                    "target": "os.mkdir",
                    "folders": [],
                    "packages": ["os", "posix"],
                },
                "limits_w": [],
                "select": None,
                "slice_s": 1,
                "settle_s": 1,
                "shape": {},
                "original_w": "{marker}",
            }
        ]
    },
    "energyopt.config.instantiate.make_sampler": {
        "node": {"_target_": "os.system"},
        "seed": None,
        "cfg": {},
    },
    "energyopt.jobs.worker.main": {},
    "energyopt.cli.main.main": {},
    "energyopt.report.export.front_file.write_front": {
        "points": [],
        "study": None,
        "path": "{marker}",
    },
    "energyopt.paradigms.scratch.Scratch.save": {"_args_": [None, "{marker}"]},
    "energyopt.paradigms.scratch.save_weights": {"weights": {}, "path": "{marker}"},
    "energyopt.paradigms.multitask.save_weights": {"weights": {}, "path": "{marker}"},
    "energyopt.paradigms.multitask._backbone.save_weights": {"weights": {}, "path": "{marker}"},
    # What trusted packages import, keep private, or would call on another object.
    "torch.nn.modules.module.torch.load": {"f": "{folder}/evil.pickle", "weights_only": False},
    "torch.nn.functional.importlib.import_module": {"name": "evil"},
    "torch.nn.attention._fa4._fa4_import_module": {"module_path": "evil"},
    "torch.nn.Module.register_forward_hook": {"_args_": [None, None]},
    "torch.optim.optimizer.functools.partial": {"_args_": ["x"]},
    "optuna.samplers._cmaes.pickle.loads": {"_args_": ["x"]},
}


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mark that harmful code would leave; the folder of targets is empty."""
    planted = tmp_path / "planted"
    (planted / "precious").mkdir(parents=True)
    marker = planted / "marker"
    (planted / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    (planted / "evil.pickle").write_bytes(malicious(marker))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(planted)  # importable, but neither in this folder nor trusted
    return marker


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def malicious(marker: Path) -> bytes:
    """A pickle that makes a file when it is loaded."""
    return pickle.dumps(_Evil(marker))


def unharmed(marker: Path) -> bool:
    return not marker.exists() and (marker.parent / "precious").is_dir()


def harmful_node(target: str, marker: Path) -> dict[str, Any]:
    """The target with its arguments, as plain data."""

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("{marker}", str(marker)).replace("{folder}", str(marker.parent))
        if isinstance(value, dict):
            return {key: fill(each) for key, each in value.items()}
        return [fill(each) for each in value] if isinstance(value, list) else value

    return {"_target_": target, **fill(HARMFUL[target])}


def test_a_malicious_pickle_is_one(marker: Path) -> None:
    pickle.loads(malicious(marker)).close()
    assert not unharmed(marker)


@pytest.mark.parametrize("target", HARMFUL)
@pytest.mark.slow
def test_no_group_of_a_setup_runs_harmful_code(target: str, marker: Path) -> None:
    node = harmful_node(target, marker)
    builders: dict[str, Callable[[TrialFactory], Any]] = {
        "task": lambda setup: setup.task,
        "model": lambda setup: setup.model,
        "paradigm": lambda setup: setup.make_paradigm(),
        "optimizer": lambda setup: setup._instantiator.make("optimizer", setup._cfg.optimizer),
        "scheduler": lambda setup: setup._instantiator.make("scheduler", setup._cfg.scheduler),
        "objective": lambda setup: setup.objective,
        "hardware.meter": lambda setup: setup.meter,
        "hardware.system": lambda setup: setup.system,
    }
    for key, build in builders.items():
        config = composed("task=wine", "model=mlp", "hardware=simulated")
        with open_dict(config):
            for wrapped in (node, {"_target_": "energyopt.models.mlp.MLP", "hidden": [node]}):
                OmegaConf.update(config, key, wrapped, merge=False)
                with pytest.raises(ConfigError, match=f"_target_={re.escape(target)}|_target_="):
                    build(TrialFactory(config))
    assert unharmed(marker)


@pytest.mark.parametrize("target", HARMFUL)
def test_no_sampler_is_harmful_code(target: str, marker: Path) -> None:
    node = harmful_node(target, marker)
    config = composed()
    for sampler in (node, {"_target_": "optuna.samplers.TPESampler", "gamma": node}):
        with pytest.raises(ConfigError, match="_target_="):
            make_sampler(sampler, {"seed": 0}, config)
    assert unharmed(marker)


@pytest.mark.slow
def test_harmful_code_of_a_command_line_is_refused(energyopt: Program) -> None:
    target = "os.system"  # all of HARMFUL are tried in process above
    marker = energyopt.folder / "marker"
    runs = [
        (*TINY, "model=own", f"model._target_={target}", f"+model.command='touch {marker}'"),
        (*TINY, "hardware=own", f"hardware.meter._target_={target}"),
        ("-m", *TINY, *SPACE, f"sampler={{_target_: {target}}}", "study=x"),
        ("-m", *TINY, *SPACE, f"hydra.sweeper.custom_search_space={target}", "study=x"),
        ("doctor", "hardware=own", f"hardware.meter._target_={target}"),
    ]
    for words in runs:
        ran = energyopt(*words)
        assert ran.code in ((1, 2) if words[0] == "doctor" else (2,))
        assert f"_target_={target} names code of" in ran.text
        assert "Traceback" not in ran.text
    assert not marker.exists()


@pytest.mark.mostly_slow(every=3)
@pytest.mark.parametrize(
    "words",
    [
        ("+hydra.callbacks={evil: {_target_: os.system, command: 'touch marker'}}",),
        ("+hydra.callbacks={evil: {_target_: logging.os.system, command: 'touch marker'}}",),
        ("+hydra.job_logging.handlers.evil={'()': os.mkdir, path: marker}",
         "hydra.job_logging.root.handlers=[evil]"),
        ("hydra.launcher._target_=os.system", "+hydra.launcher.command='touch marker'"),
        ("hydra.sweeper._target_=os.system", "+hydra.sweeper.command='touch marker'"),
    ],
)  # fmt: skip
def test_what_hydra_itself_makes_goes_through_hydras_own_list(
    energyopt: Program, words: tuple[str, ...]
) -> None:
    ran = energyopt("-m", *TINY, *SPACE, "n_trials=1", "study=x", *words)
    assert ran.code == 2
    assert not list(energyopt.folder.rglob("marker"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "word",
    [
        "model=../../../../planted/evil",
        "+model@task=../../evil",
        "model._target_=os.system",
        "model={_target_: os.system}",
        "hydra.searchpath=[file:///tmp]",
        "hydra/launcher=submitit_slurm",
        "+hydra.callbacks.x={_target_: os.system}",
        "trusted_targets=[os]",
        "++trusted_targets=[os]",
        "task.root=${oc.env:HOME}",
        "--config-dir=/tmp",
    ],
)
def test_words_of_a_database_that_lead_to_code_are_typed_again(
    studied: Program, tmp_path: Path, word: str
) -> None:
    assert names_code(word)
    (tmp_path / "planted").mkdir()
    evil = "# @package _global_\ntrusted_targets: [os]\nmodel: {_target_: os.system, command: x}\n"
    (tmp_path / "planted" / "evil.yaml").write_text(evil)
    with planted(studied, overrides=[word]):
        refused = studied("retrain", "toy", "--trial", "5")
    assert refused.code == 2
    assert f"was run with {word}; nothing that a database names is run" in refused.text


@pytest.mark.slow
def test_a_planned_setup_of_a_database_leads_to_no_config_of_its_choice(energyopt: Program) -> None:
    evil = energyopt.folder / "evil.yaml"
    evil.write_text(f"_target_: os.mkdir\npath: {energyopt.folder / 'marker'}\n")
    words = ("-m", *TINY, "model=choice(mlp)", "lr=interval(0.01,0.1)", "study=x")
    energyopt.ok(*words, "n_trials=1")
    option = os.path.relpath(evil.with_suffix(""), ROOT / "conf" / "model")
    seen = energyopt("--cfg", "job", f"model={option}")
    assert "_target_: os.mkdir" in seen.out  # Hydra would compose it
    storage = open_database(str(energyopt.folder / "studies/energyopt.db"), create=True)
    planned = optuna.load_study(study_name="x", storage=storage)
    planned.enqueue_trial({"model": option, "lr": 0.05})
    storage.remove_session()
    energyopt(*words, "n_trials=2")
    assert not (energyopt.folder / "marker").exists()
    assert all(option not in str(row["overrides"]) for row in trials_of(energyopt, "x"))


@pytest.mark.parametrize(
    "word",
    [
        *("storage=x.db", "++storage=x.db", "knowledge=/srv/x", "task.root=/etc", "~knowledge"),
        *("task.root='/etc'", "+task.roots=[a,/etc]", "hardware.power_limit_w=100", "+more=mine"),
        *("hardware.max_power_limit_w=900", "report.title=x", "study=other", "model=a/../b"),
        *("optimizer.x={a: /etc}", "task.url=http://host/x", "+task.path=~/x.csv"),
    ],
)
def test_all_but_a_training_and_searched_keys_are_typed_again(word: str) -> None:
    key = word.lstrip("+~").partition("=")[0]
    assert not runs_untyped(word)
    paths = ("/", "~", "'/", "[a,/", "{")
    if not word.partition("=")[2].startswith(paths) and key != "model":
        root = key.partition(".")[0]
        is_searchable = root not in {"storage", "knowledge", "study", "report"}
        assert runs_untyped(word, searched={key}) == is_searchable


def test_a_paused_trial_sets_only_what_is_searched() -> None:
    axes = [
        Dimension("lr", "lr", FloatDistribution(0, 1)),
        Dimension("model", "model", CategoricalDistribution(("mlp",)), {"mlp": "mlp"}, True),
        Dimension("model.width", "+model.width", IntDistribution(1, 9)),
    ]
    params = {"lr": 0.1, "model": "mlp", "model.width": 8, "own": "x"}
    fine = ("lr=0.1", "model=mlp", "+model.width=8", "seed=1000", "+own=x")
    refuse_planted(3, fine, axes, params)
    for word in (
        *("hydra.callbacks.x={_target_: os.system}", "trusted_targets=[os]", "storage=x.db"),
        *("model=../../evil", "model=cnn", "lr=${oc.env:HOME}", "+model.width=x", "epochs=9"),
        *("+own={_target_: os.system}", "seed=${oc.env:HOME}"),
    ):
        with pytest.raises(StudyError, match=r"trial 3 was paused with .*another study=name"):
            refuse_planted(3, (*fine, word), axes, params)
    planted = {"own", "storage", "knowledge", "report.folder"}
    for word in ("+own=x", "+own=/etc", "storage=x.db", "knowledge=/tmp/e", "report.folder=x"):
        with pytest.raises(
            StudyError, match="was paused with"
        ):  # none is suggested by this command
            refuse_planted(3, [word], axes)
        if word != "+own=x":
            with pytest.raises(StudyError, match="was paused with"):
                refuse_planted(3, [word], axes, planted)


def test_ordinary_words_are_not_typed_again() -> None:
    ordinary = (
        "task=wine",
        "model.width=8",
        "optimizer.betas=[0.9, 0.99]",
        "paradigm.targets={a: 0.9, b: 1}",
    )
    for word in (*ordinary, "~scheduler", "objective=energy_to_target", "epochs=1", "lr=1e-3"):
        assert runs_untyped(word)
    for word in ("lr=0.1", "model=mlp", "+task.root=../data", "model.width=8", "~scheduler"):
        assert not names_code(word)


# S2: text of a database --------------------------------------------------------------------

LITERAL = ("${oc.env:CANARY}", '{"_target_":"os.system"}', "[red]x[/red]", "[link=file:///x]y")


class planted:  # noqa: N801  # reads like the function it is
    """Change what a study's database says of trial 5, and put it back."""

    def __init__(self, program: Program, **columns: Any) -> None:
        self._file = program.folder / "studies/energyopt.db"
        self._columns = columns

    def __enter__(self) -> None:
        self._before = self._file.read_bytes()
        with closing(sqlite3.connect(self._file)) as database, database:
            for column, value in self._columns.items():
                text = value if isinstance(value, str) else json.dumps(value)
                query = f"update energyopt_trials set {column} = ? where number = 5"
                database.execute(query, [text])
            database.execute("update studies set study_name = 'toy' where study_name = 'toy'")
        with closing(sqlite3.connect(self._file)) as database:
            database.execute("pragma wal_checkpoint(truncate)")

    def __exit__(self, *_: object) -> None:
        for suffix in ("-wal", "-shm"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
        self._file.write_bytes(self._before)


@pytest.mark.slow
@pytest.mark.parametrize("text", LITERAL)
def test_text_of_a_database_is_shown_as_it_is(studied: Program, text: str) -> None:
    row = trials_of(studied, "toy")[5]
    record = row["result"]
    record["start"]["provenance"]["meter"] = f"meter {text}"
    curve = record["checkpoints"]
    curve["accuracy"][-1] = 1.0  # the cheapest and the best: shown everywhere
    curve["training"]["cpu_j"] = [joules / 1000 for joules in curve["training"]["cpu_j"]]
    word = f"+model.note='{text}'"
    with planted(studied, overrides=[word], result=record, reason=text):
        for command in ("studies", "show toy --all", "pareto toy", "retrain toy --trial 5"):
            ran = studied(*shlex.split(command), CANARY="leaked", COLUMNS="400")
            assert "leaked" not in ran.text
            assert "Traceback" not in ran.text
            if command != "studies":
                assert text in ran.text, (command, ran.text)


@pytest.mark.slow
def test_text_of_a_database_is_exported_as_it_is(studied: Program, tmp_path: Path) -> None:
    record = trials_of(studied, "toy")[5]["result"]
    record["start"]["provenance"]["meter"] = LITERAL[0]
    training = record["checkpoints"]["training"]
    training["cpu_j"] = [joules / 1000 for joules in training["cpu_j"]]
    with planted(studied, result=record):
        for suffix in ("csv", "json", "md"):
            out = tmp_path / f"front.{suffix}"
            studied.ok("pareto", "toy", "--out", str(out), CANARY="leaked")
            assert "oc.env:CANARY" in out.read_text()
            assert "leaked" not in out.read_text()


# S3 ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_bypass_of_hydras_list_is_said(energyopt: Program) -> None:
    name = "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"
    ran = energyopt.ok("--cfg", "job", **{name: "os.system"})
    assert ran.err.startswith(f"energyopt: warning: {name} is set")
    assert ran.err.count("\n") == 1
    assert energyopt.ok("--cfg", "job").err == ""
    marker = energyopt.folder / "marker"
    words = ("model=own", "model._target_=os.system", f"+model.command='touch {marker}'")
    assert energyopt(*TINY, *words, **{name: "os.system:posix.system"}).code == 2
    assert not marker.exists()


# S4: passwords -----------------------------------------------------------------------------

URL = "postgresql+psycopg://u:CANARY@127.0.0.1:1/x"


def canaries(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if b"CANARY" in path.read_bytes()]


@pytest.mark.parametrize("full", ["0", "1"])
@pytest.mark.slow
def test_a_password_of_the_environment_is_nowhere(energyopt: Program, full: str) -> None:
    env = {"ENERGYOPT_STORAGE": URL, "HYDRA_FULL_ERROR": full}
    (energyopt.folder / "my_net.py").write_text(
        "import os\ndef build(input_shape, num_classes):\n"
        "    raise RuntimeError(f'storage={os.environ.get(\"ENERGYOPT_STORAGE\")}')\n"
    )
    failing = ("model=own", "model._target_=my_net.build", "storage=studies/e.db", "n_trials=1")
    runs = [
        ([*TINY, "epochs=1"], 0),
        (["-m", *TINY, *SPACE, "n_trials=1", "study=x", "storage=studies/e.db"], 0),
        (["-m", *TINY, *SPACE, *failing, "study=f"], None),
        (["-m", *TINY, *SPACE, *failing, "study=g", "hydra.launcher.start_method=spawn"], None),
        (["-m", *TINY, *SPACE, "n_trials=1", "study=y"], None),
        (["studies"], None),
        (["doctor", "--seconds", "0.1", "--no-probe"], None),
        (["--cfg", "job"], 0),
        (["--cfg", "hydra"], 0),
    ]
    for words, code in runs:
        ran = energyopt(*words, **env)
        assert code is None or ran.code == code, ran.text
        assert "CANARY" not in ran.text, (words, ran.text)
    assert canaries(energyopt.folder) == []


def test_a_password_on_a_command_line_is_refused_and_kept_nowhere(energyopt: Program) -> None:
    words = [f"storage='{URL}'"]
    for run in ([*TINY, *words], ["-m", *TINY, *SPACE, *words], ["show", "x", "--storage", URL],
                ["-m", *TINY, *SPACE, f"hydra.sweeper.storage='{URL}'"]):  # fmt: skip
        ran = energyopt(*run)
        assert ran.code == 2
        assert "ENERGYOPT_STORAGE" in ran.err
        assert "CANARY" not in ran.text
    assert canaries(energyopt.folder) == []


@pytest.mark.mostly_slow(every=2)
@pytest.mark.parametrize("key", ["storage", "hydra.sweeper.storage"])
def test_a_password_in_a_config_file_is_refused_and_not_copied(
    energyopt: Program, key: str
) -> None:
    configs = energyopt.folder / "conf" / "more"
    configs.mkdir(parents=True)
    place = f"storage: {URL}\n"
    if key != "storage":
        place = f"hydra:\n  sweeper:\n    storage: {URL}\n"
    (configs / "mine.yaml").write_text(f"# @package _global_\n{place}")
    words = ("--config-dir", "conf", *TINY, "+more=mine")
    for run in (words, ("-m", *words, *SPACE)):
        ran = energyopt(*run)
        assert ran.code == 2
        assert f"{key}=postgresql+psycopg://u:***@127.0.0.1:1/x of a config file" in ran.text
        assert "${oc.env:ENERGYOPT_STORAGE}" in ran.text
        assert "CANARY" not in ran.text
    assert canaries(energyopt.folder) == [configs / "mine.yaml"]


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgresql://u:CANARY@h:notaport/x",
        "postgresql://u:CAN@CANARY@h/x",
        "postgresql://h/x?user=u&password=CANARY",
        "postgresql://u:CANARY/x@h",
        "mysql://u:CANARY@h/x?passwd=CANARY&a=b",
    ],
)
def test_passwords_are_seen_and_masked(url: str) -> None:
    assert holds_password(url)
    assert "CANARY" not in masked(url)
    assert not holds_password(url.replace("CAN@", "").replace("CANARY", "${oc.env:PW}"))


@pytest.mark.parametrize(
    "url", ["sqlite:///a:b@c.db", "studies/energyopt.db", "postgresql://u@h/x", "sqlite:////a/b.db"]
)
def test_what_is_no_password_is_left(url: str) -> None:
    assert not holds_password(url)
    assert masked(url) == url


# S5: who may read and write what -----------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.slow
def test_trials_do_not_know_where_studies_are(energyopt: Program, method: str) -> None:
    (energyopt.folder / "nosy.py").write_text(
        "import os, sys\ndef build(**_):\n"
        "    known = os.environ.get('ENERGYOPT_STORAGE', 'nothing')\n"
        "    raise RuntimeError(f'{os.environ.get(\"OTHER\")} and {known}')\n"
    )
    overrides = ("model=own", "model._target_=nosy.build", f"hydra.launcher.start_method={method}")
    env = {"ENERGYOPT_STORAGE": "studies/secret.db", "OTHER": "this"}
    ran = energyopt("-m", *TINY, *SPACE, *overrides, "n_trials=1", "study=x", **env)
    assert ran.code == 2
    assert "this and nothing" in ran.text
    assert "secret.db" not in ran.text
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=1", "study=x", overrides[2], **env)
    assert (energyopt.folder / "studies/secret.db").exists()  # the coordinator does know


LOOKS = """
import os
from pathlib import Path

def told():
    '''Return where a trial finds the password of the storage.'''
    processes, pid = [], os.getpid()
    while (Path(f"/proc/{pid}/cmdline").read_bytes().find(b"pytest") < 0) and pid > 1:
        processes.append(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    places = [f"/proc/{pid}/{name}" for pid in processes for name in ("environ", "cmdline")]
    found = [place for place in places if b"pa55word" in Path(place).read_bytes()]
    found += [name for name, value in os.environ.items() if "pa55word" in value]
    return f"looked at {len(processes)} found {found}"
"""
NOSY_APP = """
import hydra, looks
@hydra.main(version_base=None, config_path=None)
def main(cfg):
    print(looks.told(), flush=True)
    return cfg.x
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_no_trial_finds_the_password(energyopt: Program, postgres: str, method: str) -> None:
    """Neither in its own environment nor in that of a process above it."""
    (energyopt.folder / "looks.py").write_text(LOOKS)
    (energyopt.folder / "nosy.py").write_text(
        "from looks import told\ndef build(**_):\n    raise RuntimeError(told())\n"
    )
    url = make_url(postgres).set(password="pa55word").render_as_string(hide_password=False)
    words = ("model=own", "model._target_=nosy.build", f"hydra.launcher.start_method={method}")
    with energyopt.start(
        "-m", *TINY, *SPACE, *words, "n_trials=1", "study=x", ENERGYOPT_STORAGE=url, MINE=url
    ) as process:
        out, err = process.communicate(timeout=120)
    # The trial, its parent, the command, and a worker of xdist if it has one.
    assert re.search(r"looked at [34] found \[\]", " ".join((out + err).split()))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["energyopt", "basic", "joblib"])
def test_no_job_of_another_app_finds_the_password(
    energyopt: Program, postgres: str, launcher: str
) -> None:
    (energyopt.folder / "looks.py").write_text(LOOKS)
    (energyopt.folder / "app.py").write_text(NOSY_APP)
    url = make_url(postgres).set(password="pa55word").render_as_string(hide_password=False)
    words = [
        "-m", "hydra/sweeper=energyopt", f"hydra/launcher={launcher}", "+x=interval(0,1)",
        "hydra.sweeper.n_trials=2", "hydra.sweeper.storage='${oc.env:MY_DATABASE}'",
    ]  # fmt: skip
    if launcher == "joblib":
        words += ["hydra.launcher.n_jobs=2"]
    ran = subprocess.run(
        [energyopt.python, "app.py", *words],
        cwd=energyopt.folder,
        env=energyopt.environment(MY_DATABASE=url, ENERGYOPT_STORAGE=url),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("found []") == 2, ran.stdout + ran.stderr
    files = [path for path in energyopt.folder.rglob("*") if path.is_file()]
    assert not [
        path for path in files if path.stem[:5] != "looks" and b"pa55word" in path.read_bytes()
    ]


@pytest.mark.slow
def test_runs_and_studies_are_private(energyopt: Program) -> None:
    script = 'umask 022; exec "$@"'
    for words in (
        TINY,
        ("-m", *TINY, *SPACE, "n_trials=1", "study=x"),
        ("retrain", "x", "--trial", "0", "--out", "model.safetensors"),
        ("pareto", "x", "--out", "f.csv"),
    ):
        command = ["/bin/sh", "-c", script, "sh", energyopt.python, "-m", "energyopt", *words]
        environment = energyopt.environment()
        subprocess.run(command, cwd=energyopt.folder, env=environment, check=True, timeout=120)
    for path in (energyopt.folder / "studies").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    for asked in ("model.safetensors", "f.csv"):
        assert stat.S_IMODE((energyopt.folder / asked).stat().st_mode) == 0o644


def test_pickles_lie_where_nobody_else_writes(energyopt: Program) -> None:
    need_package("submitit")
    folder = energyopt.folder / "jobs"
    folder.mkdir()
    folder.chmod(0o777)
    words = ("-m", *TINY, *SPACE, "n_trials=1", "study=x", "hydra/launcher=submitit_local")
    ran = energyopt(*words, f"hydra.launcher.submitit_folder={folder}/%j")
    assert ran.code == 2
    assert f"{folder} may be written by others" in ran.text
    assert f"chmod go-w {folder}" in ran.text
    assert list(folder.iterdir()) == []
    assert not (energyopt.folder / "studies/energyopt.db").exists()


def test_a_folder_for_pickles_is_ones_own_and_made_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_shared(tmp_path / "a" / "b", "key")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "a").chmod(0o720)
    with pytest.raises(StorageError, match=r"key=.*may be written by others.*chmod go-w"):
        refuse_shared(tmp_path / "a", "key")
    uid = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(StorageError, match="is another user's"):
        refuse_shared(tmp_path / "a" / "b", "key")


# S6: pickles -------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_unpickles_what_lies_in_a_run_folder_or_a_database(energyopt: Program) -> None:
    study = ("-m", *TINY, *SPACE, "study=x")
    energyopt.ok(*study, "n_trials=2")
    marker = energyopt.folder / "marker"
    evil = malicious(marker)
    for folder in [p for p in (energyopt.folder / "studies").rglob("*") if p.is_dir()]:
        for name in ("result.pkl", "0_result.pkl", "config.pickle", "job_return.pickle", "m.pt"):
            (folder / name).write_bytes(evil)
    with closing(sqlite3.connect(energyopt.folder / "studies/energyopt.db")) as database, database:
        for table, key in (("trial_system_attributes", "trial_id"), ("study_user_attributes",
                           "study_id"), ("trial_user_attributes", "trial_id")):  # fmt: skip
            for name in ("cma:optimizer:0", "cma:n_trials", "pickle"):
                query = f"insert into {table} ({key}, key, value_json) values (1, ?, ?)"
                database.execute(query, [name, json.dumps(evil.hex())])
    for words in (("show", "x"), ("pareto", "x"), ("studies",), (*study, "n_trials=3"),
                  ("retrain", "x", "--trial", "0")):  # fmt: skip
        energyopt.ok(*words)
    assert not marker.exists()


def test_no_source_unpickles_but_what_this_program_sent_itself() -> None:
    allowed = {
        f"energyopt/jobs/{name}.py" for name in ("failed_job", "fork_server", "launcher", "worker")
    }
    allowed |= {"energyopt/search/unpickling.py", "energyopt/workflows/function_task.py"}
    pattern = re.compile(
        r"pickle\.loads?\(|joblib\.load|torch\.load\((?!.*weights_only=True)|allow_pickle=True|"
        r"yaml\.(unsafe_)?load\("
    )
    found = {name for name, text in sources() if pattern.search(text)}
    assert found <= allowed
    for name, text in sources():
        if name in allowed:
            lines = [line for line in text.splitlines() if re.search(r"\bpickle\.loads?\(", line)]
            assert all("noqa: S301" in line for line in lines)


def test_arrays_that_are_pickles_are_refused(tmp_path: Path) -> None:
    from energyopt.tasks.fashion_mnist import FashionMNIST

    marker = tmp_path / "marker"
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
             "t10k-labels-idx1-ubyte")  # fmt: skip
    for name in names:
        (tmp_path / name).write_bytes(malicious(marker))
        (tmp_path / f"{name}.gz").write_bytes(malicious(marker))
    with pytest.raises(ConfigError):
        FashionMNIST(root=str(tmp_path))
    assert not marker.exists()


# S8: names and files -----------------------------------------------------------------------

BAD_NAMES = ("../x", "a/b", "..", ".", "", "x" * 101, "a\0b", "a\nb", "=cmd|' /C calc'!A0",
             "<script>", "-rf", "a b", "é", "a\u202eb", "x\n")  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_is_a_safe_file_name(name: str) -> None:
    with pytest.raises(StudyError, match="is not a name"):
        check_name(name)


@given(st.text())
def test_any_text_is_a_safe_name_or_none(name: str) -> None:
    try:
        check_name(name)
    except StudyError:
        return
    assert name.isascii()
    assert Path("studies", name).resolve().parent == Path("studies").resolve()
    assert name[0] not in ".-+=@"
    assert 0 < len(name) <= 100


@pytest.mark.mostly_slow(every=10)
@pytest.mark.parametrize("name", ["../x", "a/b", "..", "<script>", "x" * 101])
def test_a_bad_name_makes_nothing(energyopt: Program, name: str) -> None:
    ran = energyopt("-m", *TINY, "lr=interval(0.1,1)", f"study='{name}'", "n_trials=1")
    assert ran.code == 2
    assert "is not a name" in ran.text
    assert [path.name for path in energyopt.folder.iterdir()] == []
    assert not (energyopt.folder.parent / "x").exists()


@pytest.mark.slow
def test_exports_follow_no_links(studied: Program, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    for suffix, words in ((".csv", ("pareto", "toy")), (".safetensors", ("retrain", "toy"))):
        dangling = tmp_path / f"dangling{suffix}"
        dangling.symlink_to(victim)
        refused = studied(*words, "--out", str(dangling))
        assert refused.code == 2
        assert "add --force" in refused.text
        assert not victim.exists()
        victim.write_text("precious")
        studied.ok(*words, "--out", str(dangling), "--force")
        assert victim.read_text() == "precious"
        assert not dangling.is_symlink()
        victim.unlink()


def test_a_planted_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "f.csv"
    out.with_name(f".{out.name}.{os.getpid()}").symlink_to(victim)  # a name one could guess
    with written_whole(out, force=False) as fresh:
        assert not fresh.is_symlink()
        fresh.write_text("new")
    assert (victim.read_text(), out.read_text()) == ("precious", "new")
    with pytest.raises(ValueError, match="null"), written_whole(Path("a\0b"), force=False):
        pass


# S9: cells ---------------------------------------------------------------------------------


@given(st.text(), st.text(min_size=1))
def test_no_cell_starts_a_formula(value: str, key: str) -> None:
    import csv
    import io

    odd = study([trial(0, result([(100, 2, 0.5)]), params={key: value}, overrides=(value,))])
    text = render_front(curve_front(odd), odd, "csv")
    for cell in (cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row):
        if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
            float(cell)  # or it is a number
    for line in render_front(curve_front(odd), odd, "md").splitlines()[4:]:
        assert re.sub(r"\\.|(`+).*?\1", "", line).count("<") == 0


# S12: the network --------------------------------------------------------------------------

NO_NETWORK = """
import socket, sys

def watch(event, args):
    if event == "socket.connect" and args[0].family == socket.AF_UNIX:
        return
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname",
                 "socket.gethostbyaddr", "socket.sendto", "socket.getnameinfo"):
        with open(LOG, "a") as log:
            log.write(f"{event} {args}\\n")
        raise RuntimeError(f"no network: {event} {args}")

sys.addaudithook(watch)
"""


@pytest.mark.slow
def test_nothing_asks_the_network(energyopt: Program, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    log = tmp_path / "network.log"
    (hooks / "sitecustomize.py").write_text(NO_NETWORK.replace("LOG", repr(str(log))))
    env = {"PYTHONPATH": str(hooks)}
    probe = "import urllib.request as u; u.urlopen('http://192.0.2.1')"
    seen = subprocess.run(
        [sys.executable, "-c", probe],
        env=energyopt.environment(**env),
        capture_output=True,
        check=False,
    )
    assert seen.returncode != 0
    assert "192.0.2.1" in log.read_text()  # the hook is there
    log.unlink()
    for words in (
        (*TINY, "epochs=1"),
        ("-m", *TINY, *SPACE, "n_trials=2", "study=x"),
        ("-m", *TINY, *SPACE, "n_trials=1", "study=y", "hydra.launcher.start_method=spawn"),
        ("studies",),
        ("show", "x"),
        ("pareto", "x", "--out", "f.json"),
        ("retrain", "x", "--trial", "0"),
        ("doctor", "--seconds", "0.1"),
        ("restore",),
        ("--help",),
    ):
        ran = energyopt(*words, **env)
        assert ran.code in (0, 1) if words[0] == "doctor" else ran.code == 0, ran.text
    assert not log.exists(), log.read_text()


# S13: programs -----------------------------------------------------------------------------


def sources() -> list[tuple[str, str]]:
    paths = sorted((ROOT / "energyopt").rglob("*.py"))
    return [(str(path.relative_to(ROOT)), path.read_text()) for path in paths]


def test_no_source_starts_a_shell_or_asks_for_rights() -> None:
    started = []
    for name, text in sources():
        assert not re.search(r"shell\s*=\s*True|os\.(system|popen|exec|spawn)", text), name
        code = re.sub(r'"[^"\n]*"|#.*', "", text)  # sentences may name sudo
        assert "sudo" not in code.replace("sudo energyopt", ""), name
        started += [
            (name, line.strip()) for line in text.splitlines() if re.search(r"noqa:.*S60\d", line)
        ]
    # This interpreter with our own module, git for the commit, sysctl for a processor's name, and
    # the command that a user searches.
    assert {name for name, _ in started} <= {
        "energyopt/experiments/runner.py",
        "energyopt/jobs/command.py",
        "energyopt/jobs/launcher.py",
        "energyopt/hardware/host.py",
    }
    assert all("S603" in line or "S607" in line for _, line in started)
    settings = (ROOT / "pyproject.toml").read_text()
    select = re.search(r"^select = (\[.*\])$", settings, re.MULTILINE)
    assert select is not None
    assert "S" in json.loads(select[1])


# S14: what is installed --------------------------------------------------------------------


def test_everything_that_is_installed_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {str(canonicalize_name(name)): version for name, version in pins.items()}
    waiting, seen = [("energyopt", "dev")], set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in importlib.metadata.requires(name) or []:
            asked = Requirement(text)
            if asked.marker is not None and not asked.marker.evaluate({"extra": extra}):
                continue
            needed = canonicalize_name(asked.name)
            waiting += [(needed, more) for more in ("", *asked.extras)]
    # CUDA's own packages come with torch's build, which differs by machine.
    cuda = re.compile(r"nvidia-(?!ml-py)|cuda-|triton|setuptools")
    needed_names = {name for name, _ in seen if name != "energyopt" and not cuda.match(name)}
    assert len(needed_names) > 60
    assert needed_names - pinned.keys() == set()
    for name in needed_names:
        assert importlib.metadata.version(name).partition("+")[0] == pinned[name], name


def test_databases_open_with_what_is_pinned(tmp_path: Path) -> None:
    """Optuna asks for an alembic that breaks with SQLAlchemy 2; we ask for a newer one."""
    from optuna.storages import RDBStorage

    storage = RDBStorage(f"sqlite:///{tmp_path}/x.db")
    assert storage.get_current_version() == storage.get_head_version()
    optuna.create_study(storage=storage).optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=1)
    needs = {Requirement(text).name: Requirement(text) for text in
             importlib.metadata.requires("energyopt") or []}  # fmt: skip
    assert not needs["hydra-core"].specifier.contains("1.3.7")
    assert needs["hydra-core"].specifier.contains("1.3.8")
    assert not needs["alembic"].specifier.contains("1.5.0")


def test_each_claim_of_the_document_names_its_tests() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| S(\d+) \|.*\|(.*)\|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    for number, tests in rows:
        named = re.findall(r"`tests/([\w/]+\.py)::(\w+)`", tests)
        assert named, f"S{number}"
        for file, name in named:
            assert f"def {name}(" in (ROOT / "tests" / file).read_text(), (number, name)
