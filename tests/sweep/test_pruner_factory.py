"""`hydra.sweeper.pruner` becomes a pruner, or a sentence that says what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from energyopt.errors import ConfigError
from energyopt.search.pruner_names import PRUNERS
from energyopt.sweep.options import Options
from energyopt.sweep.pruner_factory import make_pruner, refuse_pruner


class LocalLauncher(Launcher):
    """Any launcher: only its name counts."""

    def setup(self, **_: Any) -> None:
        """Nothing."""

    def launch(self, *_: Any, **__: Any) -> list[Any]:
        """Nothing."""
        return []


class RQLauncher(LocalLauncher):
    """Has the name of one whose workers have folders of their own."""


def made(pruner: object, launcher: Launcher | None = None, **keys: Any) -> object:
    options = Options.read({"sampler": "tpe", "pruner": pruner, **keys})
    return make_pruner(options, OmegaConf.create({}), launcher or LocalLauncher(), made)


def test_without_one_nothing_is_pruned() -> None:
    assert made(None) is None


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "threshold"])
def test_a_name_and_its_node_make_the_class(name: str) -> None:
    classes = {type(made(name)), type(made(dict(PRUNERS[name])))}
    assert classes == {getattr(optuna.pruners, PRUNERS[name]["_target_"].rpartition(".")[2])}


def test_options_reach_the_class() -> None:
    pruner = made({"_target_": "optuna.pruners.ThresholdPruner", "upper": 0.5})
    study = optuna.create_study(pruner=pruner)  # type: ignore[arg-type]
    trial = study.ask()
    trial.report(0.6, 0)
    assert trial.should_prune()


def test_a_pruner_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_pruner.py").write_text(
        "import optuna\n"
        "class Impatient(optuna.pruners.BasePruner):\n"
        "    def __init__(self, after): self.after = after\n"
        "    def prune(self, study, trial): return trial.last_step >= self.after\n"
        "def nothing(): return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert type(made({"_target_": "own_pruner.Impatient", "after": 3})).__name__ == "Impatient"
    with pytest.raises(ConfigError, match=r"did you mean hydra.sweeper.pruner.after\?"):
        made({"_target_": "own_pruner.Impatient", "aftr": 3})
    with pytest.raises(ConfigError, match=r"own_pruner\.nothing is not a pruner"):
        made({"_target_": "own_pruner.nothing"})


@pytest.mark.parametrize(
    ("pruner", "keys", "says"),
    [
        ("medain", {}, "pruner=medain is not known; did you mean median"),
        (7, {}, "pruner=7 is not known; choose median, percentile"),
        ({"n_startup_trials": 2}, {}, "has n_startup_trials, but no _target_"),
        ({"_target_": "optuna.pruners.MedianPruner", "n_startup": 2}, {}, "has no such option"),
        ({"_target_": "optuna.pruners.ThresholdPruner"}, {}, "cannot be built: Either lower"),
        ({"_target_": "optuna.pruners.PercentilePruner", "percentile": 200}, {}, "between 0 and"),
        ({"_target_": "os.system"}, {}, "names code of 'os'"),
        ("median", {"direction": ["minimize", "maximize"]}, "need one objective; use hydra.sw"),
        ("median", {"sampler": "joule"}, "sampler=joule, which pauses"),
        ("hyperband", {"stopping": "halving"}, "stopping=halving, which pauses"),
    ],
)
def test_what_cannot_work_is_refused(pruner: object, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        made(pruner, **keys)


def test_a_launcher_whose_jobs_cannot_reach_the_study_is_refused() -> None:
    with pytest.raises(ConfigError, match="jobs of RQLauncher cannot reach the study"):
        made("median", RQLauncher())


def test_rules_that_stop_go_along_with_it() -> None:
    assert made("median", stopping=["dominance", "energy_cap"]) is not None


def test_our_own_app_has_stopping_rules() -> None:
    refuse_pruner(Options(app="energyopt"))
    with pytest.raises(ConfigError, match="pruner=median is for other Hydra apps"):
        refuse_pruner(Options(app="energyopt", pruner="median"))
