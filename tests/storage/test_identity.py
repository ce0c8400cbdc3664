"""What a study's stored identity may say where it is shown."""

from __future__ import annotations

import pytest

from energyopt.storage.identity import app_of


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
