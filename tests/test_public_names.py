"""The public names of `energyopt`, each loaded only when it is used."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import energyopt as package
from energyopt.core import protocols
from tests import snippets
from tests.conftest import ROOT, Program

NAMES = sorted(set(package.__all__) - {"__version__"})
HEAVY = ("torch", "optuna", "hydra", "omegaconf", "zeus", "sqlalchemy", "numpy", "pandas")
OLD_MODULES = ("energyopt.records", "energyopt.protocols")

PRINT_LOADED = """
import json, sys
import energyopt
print(json.dumps(sorted(sys.modules)))
"""

# Whatever is imported later becomes an attribute of the package that it is in.
PRINT_SHADOWED = """
import importlib, pkgutil, types
import energyopt
for module in pkgutil.walk_packages(energyopt.__path__, "energyopt."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError as error:  # its framework is not installed
            if "pip install 'energyopt[" not in str(error):
                raise
for name in energyopt.__all__:
    if isinstance(getattr(energyopt, name), types.ModuleType):
        print(name)
"""


def python(code: str, folder: Path) -> str:
    """Return what code prints in a fresh interpreter."""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_importing_it_loads_no_framework_and_none_of_its_parts(tmp_path: Path) -> None:
    loaded = json.loads(python(PRINT_LOADED, tmp_path))
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)
    assert [name for name in loaded if name.startswith("energyopt")] == ["energyopt"]


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_is_what_its_module_has(name: str) -> None:
    made = getattr(package, name)
    assert made is getattr(importlib.import_module(package._MODULES[name]), name)
    assert made.__module__ == package._MODULES[name]  # not where it is imported, too
    assert made.__doc__


def test_the_lists_of_public_names_agree() -> None:
    tree = ast.parse(Path(package.__file__).read_text())
    for_checkers = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in for_checkers.body
        if isinstance(node, ast.ImportFrom) and node.module != "energyopt"  # a sub-package
        for alias in node.names
    }
    assert imported == package._MODULES
    assert sorted(package._MODULES) == NAMES
    assert package.__all__ == sorted(package.__all__)
    assert dir(package) == package.__all__


def test_no_public_name_is_shadowed_by_a_module(tmp_path: Path) -> None:
    assert python(PRINT_SHADOWED, tmp_path) == ""


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'energyopt' has no attribute 'optimise'"):
        package.optimise  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'optimise' from 'energyopt'"):
        from energyopt import optimise  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(AttributeError, match=r"'energyopt\.core\.protocols' has no attribute 'No'"):
        protocols.No  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("module", ["energyopt", "energyopt.core.protocols", "energyopt.protocols"])
def test_the_old_word_for_a_step_of_training_warns(module: str) -> None:
    old: Any = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match="from energyopt import TrainStep") as warned:
        assert old.Trained is package.TrainStep
    assert {warning.filename for warning in warned} == {__file__}


@pytest.mark.parametrize("module", OLD_MODULES)
def test_old_modules_have_what_they_had_and_say_where_it_is(module: str) -> None:
    old = importlib.import_module(module)
    for place, names in old._NAMES_BY_MODULE.items():
        for name in names:
            with pytest.warns(DeprecationWarning, match=f"from {place} import {name}`"):
                made = getattr(old, name)
            assert made is getattr(importlib.import_module(place), name)
    with pytest.raises(AttributeError):
        old.Nothing  # noqa: B018


def test_the_package_itself_imports_from_where_things_are() -> None:
    for path in (ROOT / "energyopt").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in OLD_MODULES, path
                names = {alias.name for alias in node.names}
                assert node.module != "energyopt" or not names & set(NAMES), path


@pytest.mark.slow
def test_the_example_of_the_page_runs(studied: Program) -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    example, _ = snippets.blocks(page, "python")
    printed = python(example.replace('"demo"', '"toy"'), studied.folder)
    assert "<study toy: " in printed
    assert " J to the target, from " in printed
    assert "energy_to_target_j" in printed
