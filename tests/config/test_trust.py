"""A config names code: only trusted code is resolved and run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import energyopt
from energyopt.config.trust import _own_module, own_places, targets_in, trusted_target
from energyopt.errors import ConfigError
from energyopt.models.cnn import CNN


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, importable as with `python -m`."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def packages(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def find(target: str, here: Path, *trusted: str) -> object:
    return trusted_target(target, (here,), trusted)


def refusal(target: str, here: Path, *trusted: str) -> str:
    with pytest.raises(ConfigError) as caught:
        find(target, here, *trusted)
    return str(caught.value)


def test_what_has_moved_is_found_by_the_name_that_studies_keep(tmp_path: Path) -> None:
    moved = {"old.nets.Perceptron": "energyopt.models.mlp.MLP"}
    moved_target = trusted_target("old.nets.Perceptron", (tmp_path,), (), moved)
    assert moved_target is trusted_target("energyopt.models.mlp.MLP", (tmp_path,), (), moved)
    with pytest.raises(ConfigError, match="there is no module 'old'"):
        trusted_target("old.nets.Perceptron", (tmp_path,), ())
    with pytest.raises(ConfigError, match="is no option of energyopt"):
        trusted_target("old.run", (tmp_path,), (), {"old.run": "energyopt.cli.main.main"})


def test_our_own_code_torch_and_the_samplers_may_be_named(here):
    assert find("energyopt.models.cnn.CNN", here) is CNN
    assert find("torch.nn.Linear", here) is torch.nn.Linear
    assert find("torch.optim.lr_scheduler.OneCycleLR", here) is torch.optim.lr_scheduler.OneCycleLR
    assert callable(find("optuna.samplers.TPESampler", here))


@pytest.mark.parametrize(
    ("target", "package"),
    [
        ("os.system", "os"),  # frozen: it has no file
        ("posix.system", "posix"),  # built in
        ("builtins.eval", "builtins"),
        ("builtins.exec", "builtins"),
        ("sys.exit", "sys"),
        ("io.open", "io"),
        ("importlib.import_module", "importlib"),
        ("subprocess.run", "subprocess"),
        ("torch.load", "torch"),
        ("torch.hub.load", "torch"),
        ("optuna.create_study", "optuna"),
        ("hydra.utils.get_method", "hydra"),
        ("torchx.nn.Linear", "torchx"),
        ("energyoptx.build", "energyoptx"),
    ],
)
def test_other_code_may_not(here, target, package):
    message = refusal(target, here)
    assert message.startswith(f"_target_={target}")
    if package in {"torchx", "energyoptx"}:
        assert f"there is no module {package!r}" in message
    else:
        assert f"names code of {package!r}" in message
        assert message.endswith(f"if you trust it, add 'trusted_targets=[{package}]'")


@pytest.mark.parametrize(
    ("target", "package"),
    [
        ("energyopt.hardware.zeus.os.system", "posix"),
        ("energyopt.hardware.zeus.os.path.join", "posixpath"),
        ("energyopt.hardware.zeus.os.environ.update", "collections"),
        ("energyopt.paradigms.distillation.torch.load", "torch"),
        ("torch.nn.functional.importlib.import_module", "importlib"),
        ("torch.nn.functional.math.sqrt", "math"),
        ("torch.nn.modules.module.torch.load", "torch"),
        ("torch.nn.modules.module.torch.hub.load", "torch"),
        ("torch.nn.Module.mro", "builtins"),
        ("energyopt.hardware.zeus.importlib.metadata.version", "importlib"),
    ],
)
def test_an_alias_is_refused_as_what_it_is(here, target, package):
    assert f"names code of {package!r}" in refusal(target, here)


@pytest.mark.parametrize(
    "target",
    [
        "energyopt.config.trial_factory.os.system",
        "energyopt.config.trial_factory.TrialFactory",
        "energyopt.config.instantiate.make_sampler",
        "energyopt.config.trust.trusted_target",
        "energyopt.training.power_profiler.PowerProfiler",
        "energyopt.cli.main.main",
        "energyopt.jobs.worker.main",
        "energyopt.hardware.nvml.Board",
        "energyopt.nothing.Net",
    ],
)
def test_of_energyopt_itself_only_options_may_be_named(here, target, monkeypatch):
    assert "is no option of energyopt" in refusal(target, here)
    checkout = Path(energyopt.__file__).parent.parent
    assert "is no option of energyopt" in refusal(target, checkout)


def test_what_our_configs_name_is_an_option_and_no_more():
    parts = ("models", "tasks", "paradigms", "objectives", "schedulers", "stopping")
    options = (*parts, "hardware.", "search.")
    assert {f"energyopt.{part}" for part in parts} < own_places()
    assert {"energyopt.hardware.zeus", "energyopt.search.joule"} < own_places()
    assert all(
        place.startswith(tuple(f"energyopt.{option}" for option in options))
        for place in own_places()
    )
    assert not {"energyopt", "energyopt.hardware", "energyopt.search"} & own_places()


@pytest.mark.parametrize(
    ("target", "module"),
    [
        ("energyopt.hardware.zeus.NvmlMeter", "energyopt.hardware.zeus"),
        ("energyopt.hardware.zeus.NvmlMeter.small", "energyopt.hardware.zeus"),
        ("energyopt.objectives.EnergyToTarget", "energyopt.objectives"),
        ("energyopt.hardware.NvmlMeter", None),  # a package would vouch for all below it
        ("energyopt.Run", None),
        ("energyopt", None),
        ("energyopt.hardware.zeus", None),
        ("energyopt.hardware.zeus._visible", None),
        ("energyopt.models._encoder.Encoder", None),
        ("energyopt.hardware.gone.Meter", None),
        ("torch.nn.Linear", None),
        ("os.system", None),
        ("", None),
    ],
)
def test_a_config_of_ours_vouches_for_the_module_that_it_names(target, module):
    assert _own_module(target) == module


def test_a_config_folder_of_a_user_vouches_for_no_code_of_ours(here, monkeypatch):
    for folder in (here, here / "conf", here / "energyopt" / "conf"):
        (folder / "hardware").mkdir(parents=True)
        (folder / "hardware" / "mine.yaml").write_text(
            "meter: {_target_: energyopt.hardware.nvml.Board}\n"
        )
    own_places.cache_clear()
    assert "energyopt.hardware.nvml" not in own_places()
    for folder in (here, here / "conf"):
        assert "is no option of energyopt" in refusal("energyopt.hardware.nvml.Board", folder)


@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.utils._deprecation_utils._getattr",
        "torch.nn.attention._fa4._fa4_import_module",
        "torch.nn.Linear.__init__.__globals__.get",
        "torch.nn.Linear.__class__",
        "optuna.samplers._cmaes.pickle.loads",
    ],
)
def test_what_others_keep_private_may_not_be_named(here, target):
    assert f"names code of {target.partition('.')[0]!r}" in refusal(target, here)


def test_a_method_is_no_target(here):
    (here / "my_methods.py").write_text(
        "class Net:\n  def save(self, path): ...\n"
        "  @classmethod\n  def small(cls): ...\n  @staticmethod\n  def big(): ...\n"
    )
    assert "is a method of Net" in refusal("my_methods.Net.save", here)
    assert "is a method of Scratch" in refusal("energyopt.paradigms.scratch.Scratch.save", here)
    assert "is a method of" in refusal("torch.nn.Module.register_forward_hook", here)
    assert callable(find("my_methods.Net.small", here))
    assert callable(find("my_methods.Net.big", here))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("energyopt.models.cnn.Cnn", "energyopt.models.cnn has no 'Cnn'"),
        ("energyopt.models.cnn", "is not a class or function that can be called"),
        ("energyopt.hardware.zeus.NVML_REMEDY", "is not a class or function that can be called"),
        ("my_nte.build", "there is no module 'my_nte' in this folder or among the installed"),
        ("my_nte", "there is no module 'my_nte'"),
        ("energyopt", "is no option of energyopt"),
        ("energyopt.models", "is not a class or function that can be called"),
        ("energyopt.models.", "is not module.name, such as my_net.build"),
        ("energyopt.models..cnn", "is not module.name"),
        ("", "there is no module ''"),
        (".os.system", "there is no module ''"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(here, target, message):
    assert message in refusal(target, here)


def test_code_of_this_folder_may_be_named(here):
    (here / "my_file.py").write_text("def build(): ...\nclass Net:\n  class Inner: ...\n")
    (here / "my_package" / "nets").mkdir(parents=True)
    (here / "my_package" / "__init__.py").write_text("")
    (here / "my_package" / "nets" / "small.py").write_text("class Net: ...\n")  # no __init__.py
    for target in ("my_file.build", "my_file.Net.Inner", "my_package.nets.small.Net"):
        assert callable(find(target, here))


def test_code_of_a_configs_folder_may_be_named(here, packages):
    (packages / "beside_configs.py").write_text("def build(): ...\n")
    assert callable(trusted_target("beside_configs.build", (here, packages), ()))


def test_what_a_file_of_this_folder_imports_is_not_its_own(here):
    (here / "my_imports.py").write_text("from os import system\nimport subprocess\n")
    assert "names code of 'posix'" in refusal("my_imports.system", here)
    assert "names code of 'subprocess'" in refusal("my_imports.subprocess.run", here)


def test_a_subfolder_or_a_parent_is_another_folder(here, monkeypatch):
    (here / "sub").mkdir()
    (here / "sub" / "deeper.py").write_text("def build(): ...\n")
    monkeypatch.syspath_prepend(here / "sub")
    assert "names code of 'deeper'" in refusal("deeper.build", here)
    (here / "above.py").write_text("def build(): ...\n")
    assert "names code of 'above'" in refusal("above.build", here / "sub")


def test_an_installed_package_is_not_even_imported_before_it_is_trusted(here, packages):
    marker = here / "imported"
    package = packages / "installed"
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(marker)!r}, 'w').close()\ndef build(): ...\n")
    (package / "nets.py").write_text("class Net: ...\n")
    for target in ("installed.build", "installed.nets.Net"):
        message = refusal(target, here)
        assert message.endswith("add 'trusted_targets=[installed]'")
    assert "names code of 'installed'" in refusal("installed.build", here, "install", "installed.x")
    assert not marker.exists()
    assert callable(find("installed.nets.Net", here, "installed"))
    assert callable(find("installed.nets.Net", here, "other", "installed.nets"))
    assert marker.exists()


def test_a_package_may_be_trusted_in_part(here):
    assert find("torch.jit.script", here, "torch.jit") is torch.jit.script
    assert "names code of 'torch'" in refusal("torch.load", here, "torch.jit")


def test_trusting_a_package_trusts_what_it_defines_not_what_it_imports(here, packages):
    (packages / "leaky.py").write_text("from os import system\n")
    assert "names code of 'posix'" in refusal("leaky.system", here, "leaky")


@pytest.mark.parametrize("missing", ["my_broke", "not_there"])
def test_an_import_that_fails_inside_trusted_code_is_named(here, missing):
    (here / "my_broken_net.py").write_text(f"import {missing}\ndef build(): ...\n")
    assert refusal("my_broken_net.build", here).endswith(f"No module named '{missing}'")


def test_targets_are_found_at_any_depth():
    node = {
        "_target_": "a",
        "x": {"_target_": "b", "y": [{"_target_": "c"}, [{"z": {"_target_": "d"}}], 1, None]},
        "w": {"_target_": None, "v": {"_target_": 3}},
    }
    assert list(targets_in(node)) == ["a", "b", "c", "d"]
    assert list(targets_in(3)) == list(targets_in([])) == list(targets_in({})) == []


def test_a_script_that_reads_its_own_command_line_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reads = "from argparse import ArgumentParser\nArgumentParser().parse_args(['--lr=1'])\n"
    (here / "own_script.py").write_text(reads)
    refused = refusal("own_script.Net", here)
    assert "importing own_script ends the program (SystemExit: 2)" in refused
    assert 'put what it runs under `if __name__ == "__main__":`' in refused
    assert "unrecognized arguments: --lr=1" in capsys.readouterr().err


def test_a_module_that_raises_is_named_with_its_error(here: Path) -> None:
    (here / "own_mistake.py").write_text("rate = undefined\n")
    refused = refusal("own_mistake.Net", here)
    assert refused == (
        "_target_=own_mistake.Net: importing own_mistake raises NameError: name 'undefined' is "
        "not defined"
    )
