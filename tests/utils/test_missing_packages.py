"""A missing package is named, with the command that installs it."""

from __future__ import annotations

import pytest
from optuna._imports import try_import

from energyopt.utils.missing_packages import describe_import_error


def imported(source: str) -> ImportError:
    with pytest.raises(ImportError) as caught:
        exec(source)  # an import statement of this file
    return caught.value


def test_what_python_says_of_a_package_that_is_missing() -> None:
    for source in ("import no_such_pkg", "from no_such_pkg.deep import x"):
        assert describe_import_error(imported(source)) == (
            "it needs the package no_such_pkg, which is not installed: pip install no_such_pkg"
        )


def test_what_optuna_says_of_one() -> None:
    with try_import() as imports:
        exec("import no_such_pkg.fit")  # an import statement of this file
    with pytest.raises(ImportError) as caught:
        imports.check()
    assert describe_import_error(caught.value).endswith("pip install no_such_pkg")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (imported("from json import no_such_name"), "the package json cannot be imported: cannot"),
        (ImportError("libcuda.so.1: cannot open\nmore"), "libcuda.so.1: cannot open"),
        (ImportError(), "a package is missing"),
    ],
)
def test_what_is_broken_is_told_as_it_is(error: ImportError, says: str) -> None:
    assert describe_import_error(error).startswith(says)
