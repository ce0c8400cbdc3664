"""The house: rooms on floors, no room twice in a circle, files that one can read in one sitting.

The floors are contracts of import-linter (`pyproject.toml`); it lets rooms that share a floor by a
colon import each other in a circle, and knows nothing of sizes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.conftest import ROOT

PACKAGE = ROOT / "energyopt"
MAX_LINES = 450
MAX_ROOT_FILES = 7  # two of them re-exports for one release: records.py, protocols.py
READ_FIRST = (
    "core/protocols.py",
    "core/trial_result.py",
    "training/trial.py",
    "sweep/coordinator.py",
)


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imported_rooms(path: Path) -> Iterator[str]:
    """Rooms that a file imports at run time, in functions, too."""
    tree = ast.parse(path.read_text())
    for_types = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, *parts = name.split(".")
            if package == PACKAGE.name and parts:
                yield parts[0]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of_rooms() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for path in sources():
        room = room_of(path)
        rooms = graph.setdefault(room, set())
        rooms |= {name for name in imported_rooms(path) if name != room}
    return {room: rooms & graph.keys() for room, rooms in graph.items()}  # no mere names


def test_imports_inside_functions_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import energyopt.core.units\n"
        "if TYPE_CHECKING:\n"
        "    from energyopt.report import live\n"
        "def late():\n"
        "    from energyopt import storage\n"
        "    import torch\n"
    )
    assert set(imported_rooms(path)) == {"core", "storage"}


def test_no_rooms_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(imports_of_rooms()).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle of imports: {' -> '.join(error.args[1])}") from error


def test_no_file_is_too_long() -> None:
    too_long = {named(path) for path in sources() if len(path.read_text().splitlines()) > MAX_LINES}
    assert too_long == set(), "find the second reason in it: a file of its own"


def test_few_files_lie_at_the_root() -> None:
    files = [path.name for path in PACKAGE.glob("*.py")]
    assert len(files) <= MAX_ROOT_FILES, f"a room is missing for one of {', '.join(files)}"


def test_each_package_says_what_it_is_for() -> None:
    folders = {path.parent for path in sources()}
    packages = [folder for folder in folders if "_hydra" not in folder.parts]
    silent = [
        str(folder.relative_to(ROOT))
        for folder in packages
        if not (folder / "__init__.py").exists()
        or not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    ]
    assert silent == []


def test_what_a_newcomer_reads_first_is_there() -> None:
    assert [name for name in READ_FIRST if not (PACKAGE / name).is_file()] == []


# Of several modules of a room at once, or of a whole part of the program.
OF_A_ROOM = {
    "cli/test_check.py",  # cli/commands/check.py
    "cli/test_commands.py",
    "cli/test_restore.py",  # cli/commands/restore.py
    "doctor/test_doctor.py",
    "hardware/test_fake_nvml.py",
    "hardware/test_meters.py",
    "hardware/test_software.py",  # the part of host.py that names a trial's code
    "models/test_models.py",
    "paradigms/test_paradigms.py",
    "report/dashboard/test_page.py",
    "report/html/test_page.py",
    "storage/test_optuna_contract.py",
    "training/test_run_in_study.py",  # run.py as a job
    "storage/test_upgrade.py",
    "tasks/test_tasks.py",
    "testing/test_testing.py",
    "training/test_gpu_trials.py",
}
NO_ROOM_OF_THE_PACKAGE = {"benchmarks", "chaos", "docs", "end_to_end", "tools"}


def test_tests_mirror_the_package() -> None:
    tests = ROOT / "tests"
    mirrors = [
        name
        for name in (path.relative_to(tests) for path in tests.rglob("test_*.py"))
        if len(name.parts) > 1 and name.parts[0] not in NO_ROOM_OF_THE_PACKAGE
    ]
    assert len(mirrors) > 80
    without = {
        name.as_posix()
        for name in mirrors
        if not any(
            (PACKAGE / name.parent / (prefix + name.name.removeprefix("test_"))).exists()
            for prefix in ("", "_")
        )
    }
    assert without == OF_A_ROOM
