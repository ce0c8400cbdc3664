"""A source or a teacher is trained once, by the same loop, and its joules are counted once."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from energyopt.config.trial_factory import TrialFactory
from energyopt.core.energy import Energy
from energyopt.core.journal import NAME, JournalReader, JournalWriter
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import TrialResult, TrialStart
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import ConfigError, StorageError, TrialError
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.jobs.job import ready_trial
from energyopt.report.flags import explain_flag
from energyopt.training.checkpointing import NAME as PAUSED
from energyopt.training.checkpointing import ResumeState, load, save_to
from energyopt.training.plan import Plan
from energyopt.training.pretraining import (
    RECORD,
    WEIGHTS,
    PretrainingSpec,
    read_weights,
    train_or_load,
)
from energyopt.training.recorder import Recorder
from energyopt.training.trial import run_trial
from tests.composing import composed
from tests.damage import flips
from tests.toys import ESTIMATED, Counter, Scripted, ToyMeter

START = TrialStart(0.9, 2, seed=1, provenance=ESTIMATED)
PLAN = Plan(0.9, 2, stop_at_target=True)
ASKED = {"task": "toy", "seed": 0}


@pytest.fixture(autouse=True)
def _one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Savable(Scripted):
    """A script with weights."""

    def save(self, path: Path) -> None:
        save_file({"w": torch.ones(2)}, path)


def course(counter: Counter, accuracies: Any = (0.5, 0.95), **changes: Any) -> PretrainingSpec:
    it = PretrainingSpec(
        name="source",
        inputs=ASKED,
        make_paradigm=lambda: Savable(counter, accuracies),
        meter=ToyMeter(counter),
        plan=PLAN,
        start=START,
        gpus=GpuAllocation(GpuOptions(), "cpu"),
    )
    return replace(it, **changes)


def recorder(folder: Path, meter: ToyMeter) -> Recorder:
    return Recorder(meter, JournalWriter(folder / NAME), START)


# --- the cache


def test_it_is_trained_once_and_its_joules_are_booked_once(tmp_path: Path) -> None:
    counter = Counter()
    first, second = (recorder(tmp_path / name, ToyMeter(counter)) for name in "ab")
    state, upfront = train_or_load(course(counter), tmp_path / "knowledge", first)
    assert torch.equal(state["w"], torch.ones(2))
    # Two evaluations, a quarter of an epoch apart, at 1 J per sample; the rest is separate.
    assert upfront.energy.total_j == 50
    assert (upfront.fresh, upfront.accuracy, upfront.samples) == (True, 0.95, 50)
    assert first.booked("pretraining").total_j == counter.total_j == 64 + 32 + 50 + 2 * 16
    again, kept = train_or_load(course(counter), tmp_path / "knowledge", second)
    assert kept == replace(upfront, fresh=False)
    assert torch.equal(again["w"], state["w"])
    assert second.spent()[0].total_j == 0
    journal = JournalReader(tmp_path / "a" / NAME).read()
    assert {window.purpose for window in journal.windows} == {"pretraining"}
    assert journal.checkpoints == []


def test_what_determines_it_is_a_place_of_its_own(tmp_path: Path) -> None:
    counter = Counter()
    known = recorder(tmp_path / "a", ToyMeter(counter))
    for seed in (0, 1, 0):
        train_or_load(
            course(counter, inputs={**ASKED, "seed": seed}), tmp_path / "knowledge", known
        )
    places = [path for path in (tmp_path / "knowledge").iterdir() if path.is_dir()]
    assert len(places) == 2
    assert all(place.stat().st_mode & 0o077 == 0 for place in places)


@pytest.mark.parametrize("damage", [WEIGHTS, RECORD, "record of another"])
def test_what_is_damaged_is_learnt_again(tmp_path: Path, damage: str) -> None:
    counter = Counter()
    known = recorder(tmp_path / "a", ToyMeter(counter))
    _, upfront = train_or_load(course(counter), tmp_path / "knowledge", known)
    place = tmp_path / "knowledge" / upfront.digest
    if damage == "record of another":
        record = json.loads((place / RECORD).read_text())
        (place / RECORD).write_text(json.dumps({**record, "asked": {}}))
    else:
        (place / damage).write_bytes(b"\x00" * 9)
    assert train_or_load(course(counter), tmp_path / "knowledge", known)[1].fresh
    assert not train_or_load(course(counter), tmp_path / "knowledge", known)[1].fresh


@pytest.mark.parametrize("name", [WEIGHTS, RECORD])
def test_a_flipped_bit_is_learnt_again(tmp_path: Path, name: str) -> None:
    counter = Counter()
    known = recorder(tmp_path / "a", ToyMeter(counter))
    weights, upfront = train_or_load(course(counter), tmp_path / "knowledge", known)
    path = tmp_path / "knowledge" / upfront.digest / name
    for _ in flips(path, 40):
        again, taken = train_or_load(course(counter), tmp_path / "knowledge", known)
        assert taken.fresh or all(torch.equal(again[key], weights[key]) for key in weights)
        assert name == RECORD or taken.fresh
    assert "damaged_knowledge" in known.conditions.flags


def test_a_divergence_teaches_nothing(tmp_path: Path) -> None:
    counter = Counter()
    known = recorder(tmp_path / "a", ToyMeter(counter))
    wild = course(counter, make_paradigm=lambda: Savable(counter, (0.1,), (1.0, float("nan"))))
    with pytest.raises(TrialError, match=r"the training of the source diverged .* lower paradigm"):
        train_or_load(wild, tmp_path / "knowledge", known)
    assert known.booked("pretraining").total_j == counter.total_j
    assert not [path for path in (tmp_path / "knowledge").iterdir() if path.is_dir()]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    known = recorder(tmp_path / "a", ToyMeter(Counter()))
    with pytest.raises(StorageError, match=r"^knowledge=.*file.*cannot be kept"):
        train_or_load(course(Counter()), tmp_path / "file" / "knowledge", known)


def test_two_at_once_train_it_once(tmp_path: Path) -> None:
    counter = Counter()

    class Slow(Savable):
        def train(self, samples: int) -> Any:
            time.sleep(0.3)
            return super().train(samples)

    slow = course(counter, make_paradigm=lambda: Slow(counter, (0.95,)))
    found: list[UpfrontCost] = []

    def trial(name: str) -> None:
        known = recorder(tmp_path / name, ToyMeter(counter))
        found.append(train_or_load(slow, tmp_path / "knowledge", known)[1])

    threads = [threading.Thread(target=trial, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.fresh for each in found) == [False, True]
    said = [JournalReader(tmp_path / name / NAME).read().now for name in "ab"]
    assert any("waiting for another trial that trains the source (" in str(now) for now in said)


# --- what it does to a record


def known_trial(upfront: UpfrontCost, plan: Plan = PLAN) -> TrialResult:
    """A trial of 1 J a sample that begins with something."""
    counter = Counter()
    return run_trial(
        lambda: Scripted(counter, (0.5, 0.95, 0.96)),
        ToyMeter(counter),
        plan,
        START,
        JournalWriter(None),
        learn=lambda recorder: recorder.add_upfront_cost(upfront),
    )


def test_its_share_is_a_part_of_each_point_and_not_of_the_books() -> None:
    upfront = UpfrontCost("source", "trained", Energy(50, cpu_j=100), reuse=4, fresh=False)
    record = known_trial(upfront, Plan(0.9, 1))
    assert record.upfront_j == 25
    assert record.curve.training_j == (50, 75, 175 - 50)
    assert record.curve.training_s[0] == 12.5 + 12.5
    assert record.energy_to_target_j == 75
    assert (record.training_j, record.cost_j, record.epoch_j) == (100, 125, 100)
    assert record.booked("pretraining").total_j == 0
    assert TrialResult.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_a_record_of_old_began_with_nothing() -> None:
    record = known_trial(UpfrontCost("source", "trained", Energy(1, cpu_j=1)))
    data = record.to_dict()
    for key in ("upfront", "head_targets", "inference_j_per_1000"):
        del data[key]
    old = TrialResult.from_dict(data)
    assert (old.upfront, old.upfront_j, dict(old.inference_j_per_1000)) == ((), 0, {})
    assert old.energy_to_target_j == record.energy_to_target_j - 1  # type: ignore[operator]


@pytest.mark.parametrize(
    ("upfront", "regime", "missed"),
    [
        (UpfrontCost("s", "trained", Energy(1, cpu_j=1)), "own", False),
        (UpfrontCost("s", "trained", Energy(), reuse=3, accuracy=0.5, target=0.6), "shared", True),
        (UpfrontCost("s", "loaded", Energy(), accuracy=0.7, target=0.7), "downloaded", False),
        (UpfrontCost("s", "loaded", Energy(), given_j=9, reuse=2), "shared", False),
    ],
)
def test_who_pays_for_it(upfront: UpfrontCost, regime: str, missed: bool) -> None:
    assert (upfront.regime, upfront.missed) == (regime, missed)
    assert ("s_missed_target" in known_trial(upfront).flags) == missed
    assert UpfrontCost.from_dict(json.loads(json.dumps(upfront.to_dict()))) == upfront


# --- setups

QUICK = (
    *("hardware=simulated", "model=mlp", "model.width=8", "num_threads=1", "lr=0.01", "epochs=2"),
    *("task.n_train=200", "target=0.8", "batch_size=16"),
)
SOURCE = (
    *(*QUICK, "paradigm=pretrained", "paradigm.source.task.n_train=200"),
    *("paradigm.source.lr=0.01", "paradigm.source.epochs=3", "paradigm.source.batch_size=16"),
)
TEACHER = (
    *(*QUICK, "paradigm=distillation", "paradigm.teacher.lr=0.01", "paradigm.teacher.epochs=3"),
    "inference_s=0.02",
)


def build(*words: str) -> None:
    """Build all that a trial would, as a study does before its first one."""
    with TrialFactory(composed(*words)) as setup:
        setup.build_without_pretraining()
        setup.make_paradigm()


def trial(folder: Path, *words: str) -> TrialResult:
    journal = JournalWriter(folder / NAME, is_rerun=True)
    with TrialFactory(composed(*words)) as setup, ready_trial(setup, journal) as ready:
        return ready.train()


def test_a_trial_pays_for_its_source_once_and_the_next_ones_take_it(tmp_path: Path) -> None:
    first = trial(tmp_path / "0", *SOURCE)
    second = trial(tmp_path / "1", *SOURCE, "paradigm.reuse=4", "paradigm.trainable=head", "lr=0.1")
    (source,), (kept,) = first.upfront, second.upfront
    assert (source.name, source.origin, source.fresh, kept.fresh) == (
        "source", "trained", True, False,
    )  # fmt: skip
    assert source.energy == kept.energy
    assert first.booked("pretraining").total_j > source.total_j  # with its evaluations
    assert second.booked("pretraining").total_j == 0
    assert first.upfront_j == source.total_j == 4 * second.upfront_j
    assert first.curve.training_j[0] > first.upfront_j
    place = tmp_path / "studies" / "knowledge" / source.digest
    assert sorted(path.name for path in place.iterdir()) == [RECORD, WEIGHTS]
    record = json.loads((place / RECORD).read_text())
    assert record["asked"]["lr"] == 0.01  # the source's own, also in its optimizer
    assert record["asked"]["optimizer"]["lr"] == 0.01
    assert JournalReader(tmp_path / "1" / NAME).read().result("lost", "") is not None


def test_a_source_depends_on_what_it_is_asked_and_on_nothing_else(tmp_path: Path) -> None:
    words = ((), ("lr=0.1", "batch_size=64", "optimizer=sgd", "epochs=1"), ("model.width=16",))
    fresh = [
        trial(tmp_path / str(index), *SOURCE, *more).upfront for index, more in enumerate(words)
    ]
    assert [each.fresh for (each,) in fresh] == [True, False, True]
    assert fresh[0][0].energy == fresh[1][0].energy  # though the meter counts by the batch


def test_a_teacher_its_answers_and_both_inferences_are_counted(tmp_path: Path) -> None:
    record = trial(tmp_path / "0", *TEACHER)
    teacher, preparation = record.upfront
    assert (teacher.name, preparation.name, preparation.origin) == (
        "teacher", "preparation", "prepared",
    )  # fmt: skip
    assert preparation.energy == record.booked("preparation")
    assert record.upfront_j == teacher.total_j + preparation.total_j
    assert list(record.inference_j_per_1000) == ["student", "teacher"]
    assert all(energy_j > 0 for energy_j in record.inference_j_per_1000.values())
    assert record.booked("inference").total_j > 0
    assert record.spent_j == sum(energy.total_j for energy in record.books.values())


def test_inference_is_measured_where_it_is_asked_for(tmp_path: Path) -> None:
    assert trial(tmp_path / "0", *QUICK).inference_j_per_1000 == {}
    asked = trial(tmp_path / "1", *QUICK, "inference_s=0.01")
    assert list(asked.inference_j_per_1000) == ["model"]
    words = ("objective=life_cycle", "objective.n_inferences=1e6", "inference_s=0.01")
    with TrialFactory(composed(*QUICK, *words)) as setup:
        with ready_trial(setup, JournalWriter(None)) as ready:
            record = ready.train()
        (life_j,) = setup.objective(record)
    per_1000 = record.inference_j_per_1000["model"]
    assert life_j == pytest.approx(record.cost_j + 1000 * per_1000)
    with TrialFactory(composed(*QUICK, *words[:2])) as setup:
        assert setup.plan.inference_s == 1


def test_the_test_split_is_evaluated_where_it_is_asked_for_and_kept_with_the_record(
    tmp_path: Path,
) -> None:
    plain = trial(tmp_path / "0", *QUICK)
    tested = trial(tmp_path / "1", *QUICK, "test_at_end=true")
    assert (plain.test_value, "test_value" in plain.to_dict()) == (None, False)
    assert tested.test_value is not None
    assert 0 < tested.test_value <= 1
    assert TrialResult.from_dict(tested.to_dict()).test_value == tested.test_value
    assert tested.booked("inference").time_s > 0
    assert tested.booked("evaluation") == plain.booked("evaluation")  # of the curve alone


def _weights_of(folder: Path) -> dict[str, torch.Tensor]:
    (source,) = trial(folder, *SOURCE).upfront
    path = folder.parent / "studies" / "knowledge" / source.digest / WEIGHTS
    weights: dict[str, torch.Tensor] = load_file(path)
    return weights


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "nested"])
def test_weights_of_ones_own_are_downloaded_or_cost_what_is_said(
    tmp_path: Path, suffix: str
) -> None:
    weights = _weights_of(tmp_path / "0")
    path = tmp_path / f"mine.{suffix}"
    if suffix == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights if suffix == "pt" else {"state_dict": weights, "epoch": 3}, path)
    shutil.rmtree(tmp_path / "studies" / "knowledge")
    words = (*SOURCE, f"paradigm.source.weights={path.name}")
    (free,) = trial(tmp_path / "1", *words).upfront
    assert (free.origin, free.regime, free.total_j, free.fresh) == (
        "loaded", "downloaded", 0, False,
    )  # fmt: skip
    expensive = trial(tmp_path / "2", *words, "paradigm.source.energy_j=40", "paradigm.reuse=10")
    assert (expensive.upfront_j, expensive.upfront[0].regime) == (4, "shared")
    assert expensive.booked("pretraining").total_j == 0
    assert not (tmp_path / "studies" / "knowledge").exists()


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("pwned"),))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is not a file; give a .safetensors file or a state_dict"),
        (b"rubbish", "cannot be read as weights"),
        ({"a": _Evil()}, "cannot be read as weights: .* and no code"),
        ([torch.ones(2)], "holds no tensors by name"),
        ({"a": 3}, "holds no tensors by name"),
        ({}, "holds no tensors by name"),
        ({"a": torch.ones(2)}, "the weights lack"),
    ],
)
def test_weights_that_are_none_are_refused_before_anything_is_burnt(
    tmp_path: Path, content: Any, says: str
) -> None:
    path = tmp_path / "bad.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=says) as caught:
        build(*SOURCE, "paradigm.source.weights=bad.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ConfigError, match=r"x=.*bad.safetensors cannot be read as weights"):
        read_weights(tmp_path / "bad.safetensors", "x")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("paradigm.source.lr=0",), "^paradigm.source: lr=0 is not allowed: a number above 0"),
        (("paradigm.source.target=2",), "^paradigm.source: target=2 is not allowed"),
        (("~paradigm.source.epochs",), "^paradigm.source: epochs=None is not allowed"),
        (("+paradigm.source.momentum=1",), "paradigm.source.momentum: there is no such key; there"),
        (("paradigm.reuse=0",), "paradigm.reuse=0: a number of trainings of at least 1"),
        (("paradigm.source.energy_j=3",), "energy_j=3 is of a file of weights, and there is none"),
        (("+task@paradigm.source.more=wine",), "paradigm.source.more: there is no such key"),
        (("task@paradigm.source.task=wine", "model=cnn"), "^paradigm.source: model=cnn needs imag"),
        (("task@paradigm.source.task=wine",), "have trunk.1.weight of shape"),
        (("paradigm.precision=amp", "device=cpu"), "choose bf16 or fp32"),
    ],
)
def test_a_mistake_in_a_source_names_it(words: tuple[str, ...], says: str) -> None:
    base = [w for w in SOURCE if "source.task" not in w or "source.task" not in str(words)]
    with pytest.raises(ConfigError, match=says):
        build(*base, *words)


def test_a_replayed_meter_plays_no_source(tmp_path: Path) -> None:
    trial(tmp_path / "0", *QUICK)
    words = ("hardware=replay", f"hardware.meter.path={tmp_path / '0'}")
    with pytest.raises(ConfigError, match=r"^paradigm.source: hardware=replay plays one training"):
        trial(tmp_path / "1", *[w for w in SOURCE if not w.startswith("hardware")], *words)


def test_what_is_doubtful_about_a_source_is_a_flag_of_its_trials() -> None:
    doubtful = UpfrontCost("source", "trained", Energy(1, cpu_j=1), flags=("shared_gpu",))
    (flag,) = known_trial(doubtful).flags
    assert explain_flag(flag).startswith("source_shared_gpu: of the source's training: another")
    assert explain_flag("source_mine") == "source_mine"


def test_nothing_is_trained_that_was_not_taught() -> None:
    with (
        TrialFactory(composed(*SOURCE)) as setup,
        pytest.raises(TrialError, match="the source was not"),
    ):
        setup.make_paradigm()


def test_a_trial_that_dies_after_its_source_keeps_the_joules_and_the_weights(
    tmp_path: Path,
) -> None:
    class Died(Exception):  # noqa: N818
        pass

    class Dying(TrialFactory):
        def make_paradigm(self) -> Any:
            raise Died

    journal = JournalWriter(tmp_path / "0" / NAME)
    with (
        Dying(composed(*SOURCE)) as setup,
        ready_trial(setup, journal) as ready,
        pytest.raises(Died),
    ):
        ready.train()
    lost = JournalReader(tmp_path / "0" / NAME).read().result("lost", "died")
    assert lost is not None
    assert lost.booked("pretraining").total_j > 0
    again = trial(tmp_path / "0", *SOURCE)
    assert again.booked("restarted").total_j == lost.spent_j
    assert again.booked("pretraining").total_j == 0
    assert not again.upfront[0].fresh
    assert again.upfront_j > 0


@pytest.mark.parametrize("words", [SOURCE, TEACHER], ids=["pretrained", "distillation"])
def test_it_pauses_and_goes_on_as_if_it_had_not(tmp_path: Path, words: tuple[str, ...]) -> None:
    whole = trial(tmp_path / "whole", *words)
    upfront_j = whole.upfront_j

    def part(until_j: float | None, *, resume: bool) -> TrialResult:
        path = tmp_path / "parts" / NAME
        state = load(path.with_name(PAUSED)) if resume else None
        journal = JournalWriter(path, is_rerun=True, samples=state["samples"] if state else None)
        resumed = ResumeState(journal.resumed, state) if journal.resumed and state else None
        keep = save_to(path.with_name(PAUSED))
        context = RunContext(pause_at_j=until_j)
        with (
            TrialFactory(composed(*words), context=context) as setup,
            ready_trial(setup, journal, keep=keep, resumed=resumed) as ready,
        ):
            return ready.train()

    first = part(upfront_j / 2, resume=False)  # its share is spent: at its first evaluation
    assert (first.end, len(first.curve)) == ("paused", 1)
    assert JournalReader(tmp_path / "parts" / NAME).read().paused_result("") is not None
    second = part(upfront_j + whole.training_j / 2, resume=True)
    assert second.end == "paused"
    last = part(None, resume=True)
    assert last.checkpoints == whole.checkpoints
    assert last.curve.training_j == pytest.approx(whole.curve.training_j)
    assert [each.name for each in last.upfront] == [each.name for each in whole.upfront]
    assert last.energy_to_target_j == pytest.approx(whole.energy_to_target_j)
