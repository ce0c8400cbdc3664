"""Each check of a paradigm finds what it is for, and says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from energyopt import testing
from energyopt.core import protocols
from energyopt.core.protocols import TrainStep
from energyopt.testing import check_paradigm
from tests.violations import caught

INPUTS = torch.linspace(-1, 1, 40).reshape(20, 2)
LABELS = (INPUTS.sum(dim=1) > 0).long()
BATCH = 5


class Linear:
    """A small paradigm that keeps the contract; each subclass breaks one thing.

    Everything is done on 20 samples in batches of 5.
    """

    epoch_samples = len(INPUTS)

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = nn.Linear(2, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.generator = torch.Generator().manual_seed(seed)
        self.place = 0
        self.order = torch.arange(0)

    def train(self, samples: int) -> TrainStep:
        steps, losses = -(-samples // BATCH), 0.0
        for _ in range(steps):
            losses += self.step()
        return TrainStep(steps * BATCH, steps, losses / steps)

    def step(self) -> float:
        if self.place % len(INPUTS) == 0:
            self.order = torch.randperm(len(INPUTS), generator=self.generator)
        start = self.place % len(INPUTS)
        batch = self.order[start : start + BATCH]
        self.place += BATCH
        loss = nn.functional.cross_entropy(self.model(INPUTS[batch]), LABELS[batch])
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return float(loss.detach())

    @torch.inference_mode()
    def evaluate(self) -> float:
        return float((self.model(INPUTS).argmax(dim=1) == LABELS).float().mean())

    def test(self) -> float:
        return self.evaluate()

    def warm_up(self) -> None: ...

    def save(self, path: Path) -> None:
        from safetensors.torch import save_file

        save_file(self.model.state_dict(), path)

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "generator": self.generator.get_state(),
            "place": self.place,
            "order": self.order,
        }

    def load_state(self, state: Any) -> None:
        self.model.load_state_dict(state["model"])
        self.generator.set_state(state["generator"])
        self.place, self.order = state["place"], state["order"]


class Bare:
    """A paradigm with nothing but what is needed."""

    def __init__(self, seed: int) -> None:
        self._inner = Linear(seed)
        self.epoch_samples = self._inner.epoch_samples
        self.train = self._inner.train
        self.evaluate = self._inner.evaluate


class Empty(Linear):
    epoch_samples = 0


class TooFew(Linear):
    def train(self, samples: int) -> TrainStep:
        return super().train(min(samples, BATCH))


class SaysMore(Linear):
    """It trains one batch, and says that it trained what it was asked for."""

    def train(self, samples: int) -> TrainStep:
        steps = -(-samples // BATCH)
        return TrainStep(steps * BATCH, steps, self.step())


class NanLoss(Linear):
    def train(self, samples: int) -> TrainStep:
        return super().train(samples)._replace(loss=math.nan)


class WholeEpochs(Linear):
    def train(self, samples: int) -> TrainStep:
        return super().train(-(-samples // len(INPUTS)) * len(INPUTS))


class Frozen(Linear):
    def step(self) -> float:
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        loss = super().step()
        self.model.load_state_dict(before)
        return loss


class Percent(Linear):
    def evaluate(self) -> float:
        return 100 * super().evaluate()


class NanScore(Linear):
    def evaluate(self) -> float:
        return math.nan


class RandomScore(Linear):
    scored = 0

    def evaluate(self) -> float:
        self.scored += 1
        return super().evaluate() / self.scored


class ScoringTrains(Linear):
    """Its score is that of before it changes the weights a little."""

    def evaluate(self) -> float:
        accuracy = super().evaluate()
        with torch.no_grad():
            self.model.bias.mul_(1.0001)
        return accuracy


class ScoringDraws(Linear):
    def evaluate(self) -> float:
        torch.randperm(3, generator=self.generator)
        return super().evaluate()


class Unseeded(Linear):
    made = 0

    def __init__(self, seed: int) -> None:
        Unseeded.made += 1
        super().__init__(1000 * seed + Unseeded.made)


class OneSeed(Linear):
    def __init__(self, seed: int) -> None:
        super().__init__(7)


class WarmUpTrains(Linear):
    def warm_up(self) -> None:
        self.step()


class WarmUpDraws(Linear):
    def warm_up(self) -> None:
        torch.rand(1)


class ForgetsItsPlace(Linear):
    def load_state(self, state: Any) -> None:
        self.model.load_state_dict(state["model"])


class NoNamedTuple(Linear):
    def train(self, samples: int) -> Any:
        return tuple(super().train(samples))


@pytest.mark.parametrize("paradigm", [Linear, Bare])
def test_a_paradigm_that_keeps_the_contract_passes(paradigm: Callable[[int], Any]):
    passed = check_paradigm(paradigm)
    every = [check.name for check in testing.PARADIGM_CHECKS]
    needing_more = {
        "training_changes_the_weights", "is_another_for_another_seed",
        "warming_up_leaves_no_trace", "goes_on_where_it_paused",
    }  # fmt: skip
    left_out = needing_more if paradigm is Bare else set()
    assert passed == tuple(name for name in every if name not in left_out)


@pytest.mark.parametrize(
    ("paradigm", "check", "says"),
    [
        (Empty, "is_a_paradigm", "epoch_samples to be above 0, got 0"),
        (NoNamedTuple, "trains_at_least_what_is_asked_and_says_so", "train(1) to return"),
        (TooFew, "trains_at_least_what_is_asked_and_says_so", "at least 6 samples, got 5"),
        (NanLoss, "trains_at_least_what_is_asked_and_says_so", "finite mean loss, got nan"),
        (WholeEpochs, "stops_at_the_batch_that_suffices", "train(1) to make 1 step, got 4"),
        (Frozen, "training_changes_the_weights", "the same values in all 2 tensors"),
        (SaysMore, "training_in_two_calls_is_training_in_one", "other values in bias, weight"),
        (Percent, "scores_are_shares", "evaluate() to return an accuracy in [0, 1]"),
        (NanScore, "scores_are_shares", "got nan"),
        (RandomScore, "scoring_twice_gives_the_same", "model.eval()"),
        (ScoringTrains, "scoring_does_not_change_training", "leave weights"),
        (ScoringDraws, "scoring_does_not_change_training", "leave weights"),
        (OneSeed, "is_another_for_another_seed", "use the seed that the constructor"),
        (WarmUpTrains, "warming_up_leaves_no_trace", "other values in bias, weight (2 of 2"),
        (WarmUpDraws, "warming_up_leaves_no_trace", "torch's random generator"),
        (ForgetsItsPlace, "goes_on_where_it_paused", "training 1, 20, 1 samples"),
    ],
)
def test_a_broken_paradigm_is_caught_by_the_check_that_is_for_it(
    paradigm: Callable[[int], Any], check: str, says: str
):
    violation = caught(check_paradigm, paradigm)
    assert violation.check == check
    assert says in str(violation)


def test_a_paradigm_without_a_seed_is_caught():
    """Whatever compares two trainings notices; the check that is for it, too."""
    caught(check_paradigm, Unseeded)
    others = [check.name for check in testing.PARADIGM_CHECKS if "for_a_seed" not in check.name]
    assert caught(check_paradigm, Unseeded, skip=others).check == "is_the_same_for_a_seed"


def test_an_ability_that_is_claimed_must_be_there():
    violation = caught(
        check_paradigm, Bare, abilities=(protocols.SupportsTest, protocols.SupportsSave)
    )
    assert violation.check == "is_a_paradigm"
    assert "Bare without test" in str(violation)


def test_several_models_at_once_are_said():
    violation = caught(check_paradigm, Linear, models=2)
    assert violation.check == "stops_at_the_batch_that_suffices"
    assert "says how many in `models`" in violation.remedy
