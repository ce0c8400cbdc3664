"""Seeds among searched keys are known by name."""

from __future__ import annotations

import pytest

from energyopt.core.seeds import configuration_key, is_seed, without_seeds


@pytest.mark.parametrize(
    "key",
    ["seed", "+seed", "data.seed", "task.split_seed", "random_state", "Trainer/seed", "rng_seed"],
)
def test_a_seed_is_no_part_of_a_configuration(key: str):
    assert is_seed(key)
    assert without_seeds({"lr": 0.1, key: 3}) == {"lr": 0.1}
    assert configuration_key({"lr": 0.1, key: 3}) == configuration_key({key: 4, "lr": 0.1})


@pytest.mark.parametrize("key", ["lr", "model.seeded", "seedling", "reseed_every", "seed.size"])
def test_other_keys_are(key: str):
    assert not is_seed(key)
    assert configuration_key({key: 3}) != configuration_key({key: 4})
