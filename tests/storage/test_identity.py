"""What a study's stored identity may say where it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.storage.identity import app_of, check_name, file_name


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ({}, None),
        ({"app": "python train.py"}, "python train.py"),
        ({"app": "python -m my.app"}, "python -m my.app"),
        ({"app": "python sub-folder/train.py"}, "python sub-folder/train.py"),
        ({"app": "rm -rf ."}, "python APP"),
        ({"app": "python x.py; rm -rf ."}, "python APP"),
        ({"app": "python -c 1"}, "python APP"),
        ({"app": "python 'my train.py'"}, "python 'my train.py'"),
        ({"app": "python 'x.py'; 'y.py'"}, "python APP"),
        ({"app": 3}, "python APP"),
    ],
)
def test_the_command_of_an_app_is_the_run_of_a_program(stored, shown) -> None:
    assert app_of(stored) == shown


@given(st.text())
def test_the_files_of_a_study_of_any_name_have_a_safe_one(name: str) -> None:
    check_name(file_name(name))
    assert file_name(file_name(name)) == file_name(name)


def test_a_safe_name_is_that_of_its_files_and_others_differ() -> None:
    assert file_name("digits-cnn-0123abcd") == "digits-cnn-0123abcd"
    names = ["a b", "a/b", "a_b", "../a", "", "é", "a" * 101, "a" * 102]
    assert len({file_name(name) for name in names}) == len(names)
