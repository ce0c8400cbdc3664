"""Messages of the storage name the keys that another app has."""

from __future__ import annotations

import pytest

from energyopt.sweep.key_names import in_keys_of_other_app


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("study='a' is not a name", "hydra.sweeper.study_name='a' is not a name"),
        ("storage=a.db is empty", "hydra.sweeper.storage=a.db is empty"),
        ("sampler=3 is not known", "hydra.sweeper.sampler=3 is not known"),
        ("x; give it another study=name", "x; give it another hydra.sweeper.study_name"),
        ("x their own study=name", "x their own hydra.sweeper.study_name"),
        ("may not; give storage=b.db", "may not; give hydra.sweeper.storage=b.db"),
        ("no trial completed; the last: study=3", "no trial completed; the last: study=3"),
    ],
)
def test_keys_are_those_of_the_other_app(message: str, said: str) -> None:
    assert in_keys_of_other_app(message) == said
