from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.storage.exchange.anonymize import Anonymizer, may_be_same


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/alice/data/mnist", ".../mnist"),
        ("/home/Alice Doe/my data/", ".../my data"),
        ("~/data", ".../data"),
        ("task.root=/home/alice/mnist", "task.root=.../mnist"),
        ("+task.root='/home/Alice Doe/mnist'", "+task.root='.../mnist'"),
        ("--config-dir=/home/alice/conf", "--config-dir=.../conf"),
        ("paradigm.weights=[/a/b/x.pt,/a/c/x.pt]", "paradigm.weights=[.../x.pt,.../x.pt#2]"),
        ("No such file: '/home/Alice Doe/x.csv'", "No such file: '.../x.csv'"),
        ("File \"/home/alice/net.py\", line 3", 'File ".../net.py", line 3'),
        ("held by process 12 of alice (/home/alice/x)", "held by process 12 of somebody (.../x)"),
        ("sqlite:////home/alice/a.db is locked", "sqlite:///.../a.db is locked"),
        ("postgresql+psycopg://alice:pa55@host/db", "postgresql+psycopg://alice:***@host/db"),
        ("see https://optuna.org/a/b", "see https://optuna.org/a/b"),
        ("cpu-time x 4 W/core", "cpu-time x 4 W/core"),
        ("9 / 10, 3 J/sample, and/or", "9 / 10, 3 J/sample, and/or"),
        ("hydra/sweeper=energyopt", "hydra/sweeper=energyopt"),
    ],
)  # fmt: skip
def test_folders_users_and_passwords_are_left_out(text: str, left: str) -> None:
    assert Anonymizer().text(text) == left
    assert Anonymizer().text(left) == left


def test_the_same_stays_the_same_and_others_stay_different() -> None:
    unnamed = Anonymizer()
    found = unnamed.data(
        ["/a/x", "/b/x", "/a/x", {"host": "anna"}, {"host": "otto"}, {"host": "anna"}]
    )
    assert found == [
        ".../x",
        ".../x#2",
        ".../x",
        {"host": "host-1"},
        {"host": "host-2"},
        {"host": "host-1"},
    ]


def test_a_reason_may_begin_with_a_path() -> None:
    found = Anonymizer().data({"reason": "/home/alice/x is no file; give and/or take"})
    assert found == {"reason": ".../x is no file; give and/or take"}


_NAMES = st.lists(st.text("abc.-", min_size=1, max_size=4), min_size=1, max_size=4)
_PATHS = st.builds(
    lambda start, names: start + "/".join(names), st.sampled_from(["/", "~/"]), _NAMES
)
_TEXTS = st.builds(
    lambda before, path, after: before + path + after,
    *(st.sampled_from(["", "key=", "key='", "no file ", "[1, ", "('"]), _PATHS),
    st.sampled_from(["", "'", "]", ", line 3", "/", "; a/b"]),
)


@given(st.recursive(st.none() | st.floats(allow_nan=False) | _TEXTS, st.lists))
def test_doing_it_again_changes_nothing(data: object) -> None:
    once = Anonymizer().data(data)
    assert Anonymizer().data(once) == once


def test_a_question_without_folders_may_be_the_one_with_them() -> None:
    assert may_be_same(".../mnist", "/data/mnist")
    assert may_be_same(".../mnist#2", "/elsewhere/mnist")
    assert not may_be_same(".../mnist", "/data/cifar")
    assert not may_be_same(".../mnist", None)
    assert may_be_same(0.5, 0.5)
    assert not may_be_same(0.5, "0.5")
