"""A trial that pauses and resumes has the same weights, curve and energy as one that did not."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energyopt.core.journal import NAME, JournalReader, JournalWriter
from energyopt.core.journal_lines import line_of
from energyopt.core.outcome import outcome_of, outcome_of_stopped
from energyopt.core.trial_result import TrialResult, TrialStart
from energyopt.errors import DamagedFileError, TrialError
from energyopt.models.cnn import CNN
from energyopt.models.mlp import MLP
from energyopt.objectives import EnergyVsAccuracy
from energyopt.paradigms.scratch import Scratch
from energyopt.schedulers import cosine, one_cycle
from energyopt.tasks.digits import Digits
from energyopt.training.checkpointing import NAME as PAUSED
from energyopt.training.checkpointing import (
    ResumeState,
    capture_state,
    check_same,
    load,
    restore,
    save_to,
)
from energyopt.training.plan import Plan
from energyopt.training.trial import run_trial
from energyopt.utils.digests import SEAL_BYTES
from tests.damage import flips
from tests.toys import ESTIMATED, Counter, Pausable, Scripted, ToyMeter

TASK = Digits(n_train=150, n_validation=40, n_test=20)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# What is trained ---------------------------------------------------------------------------


def mlp() -> torch.nn.Module:
    return MLP(input_shape=(1, 8, 8), num_classes=10, width=8, depth=1)


def cnn() -> torch.nn.Module:
    return CNN(input_shape=(1, 8, 8), num_classes=10)


def noisy() -> torch.nn.Module:
    """A network that keeps statistics and draws random numbers."""
    return torch.nn.Sequential(
        *(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8)),
        *(torch.nn.Dropout(0.3), torch.nn.Linear(8, 10)),
    )


MODELS = {"mlp": mlp, "cnn": cnn, "dropout": noisy}
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda of: torch.optim.SGD(of, lr=0.05),
    "momentum": lambda of: torch.optim.SGD(of, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda of: torch.optim.Adam(of, lr=0.01),
    "adamw": lambda of: torch.optim.AdamW(of, lr=0.01, amsgrad=True),
    "rmsprop": lambda of: torch.optim.RMSprop(of, lr=0.01, momentum=0.5, centered=True),
}
SCHEDULERS: Mapping[str, Any] = {
    "none": None,
    "cosine": lambda optimizer, total_steps: cosine(optimizer, total_steps, warmup=0.2),
    "one_cycle": one_cycle,
    "torch's one cycle": lambda optimizer, total_steps: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=total_steps + 10
    ),
}


def scratch(model: str = "mlp", optimizer: str = "sgd", scheduler: str = "none") -> Scratch:
    torch.manual_seed(0)
    return Scratch(
        task=TASK,
        model=MODELS[model](),
        optimizer=OPTIMIZERS[optimizer],
        scheduler=SCHEDULERS[scheduler],
        batch_size=32,
        epochs=4,
        seed=3,
    )


def in_pieces(make: Callable[[], Scratch], pieces: list[int], path: Path) -> list[object]:
    """Train some samples, pause, resume in a fresh paradigm, and so on; return all observations."""
    seen: list[object] = []
    for index, samples in enumerate(pieces):
        torch.manual_seed(99)  # a process of its own has drawn other numbers
        random.seed(index)
        paradigm = make()
        paradigm.warm_up()
        if index:
            restore(paradigm, load(path))
        seen += [paradigm.train(32) for _ in range(samples // 32)]
        seen.append((paradigm.evaluate(), random.random(), float(torch.rand(()))))
        with save_to(path)(capture_state(paradigm, samples)):
            pass
    return [*seen, {name: of.tolist() for name, of in paradigm.model.state_dict().items()}]


def at_once(make: Callable[[], Scratch], pieces: list[int]) -> list[object]:
    seen: list[object] = []
    torch.manual_seed(99)
    random.seed(0)
    paradigm = make()
    paradigm.warm_up()
    for samples in pieces:
        seen += [paradigm.train(32) for _ in range(samples // 32)]
        seen.append((paradigm.evaluate(), random.random(), float(torch.rand(()))))
    return [*seen, {name: of.tolist() for name, of in paradigm.model.state_dict().items()}]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_in_pieces_is_the_training_bit_by_bit(
    model: str, optimizer: str, tmp_path: Path
) -> None:
    def make() -> Scratch:
        return scratch(model, optimizer, "cosine")

    pieces = [96, 32, 192, 64]  # within an epoch of five batches, at its end, across two
    assert in_pieces(make, pieces, tmp_path / PAUSED) == at_once(make, pieces)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_schedule_goes_on_where_it_was(scheduler: str, tmp_path: Path) -> None:
    def make() -> Scratch:
        return scratch("dropout", "momentum", scheduler)

    pieces = [32, 128, 160]
    assert in_pieces(make, pieces, tmp_path / PAUSED) == at_once(make, pieces)


def test_numpys_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    numpys = np.random.mtrand._rand  # the global one, which a user's own code may draw from
    numpys.seed(5)
    numpys.standard_normal(3)
    paradigm = scratch()
    with save_to(tmp_path / PAUSED)(capture_state(paradigm, 0)):
        pass
    expected = numpys.standard_normal(4).tolist()
    numpys.seed(6)
    restore(paradigm, load(tmp_path / PAUSED))
    assert numpys.standard_normal(4).tolist() == expected


# What is kept ------------------------------------------------------------------------------


class Holds:
    """A paradigm that keeps whatever it is given."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def state(self) -> dict[str, Any]:
        return {"of": self._state}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._state = state["of"]


def test_code_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / PAUSED
    with (
        pytest.raises(TrialError, match=r"state\(\) holds pathlib\.\S*Path, and a paused trial"),
        save_to(path)(capture_state(Holds(Path("x")), 0)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / PAUSED
    torch.save({"samples": Evil()}, path)
    with pytest.raises(TrialError, match=r"the paused trial cannot go on: \S+paused\.pt: "):
        load(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_file_that_cannot_be_read_is_said_in_a_sentence(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / PAUSED
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrialError, match=r"the paused trial cannot go on: \S+paused\.pt: "):
        load(path)


def test_an_earlier_pause_stays_until_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / PAUSED
    with save_to(path)(capture_state(Holds(1), 1)):
        assert not path.exists()
    with pytest.raises(RuntimeError, match="died"), save_to(path)(capture_state(Holds(2), 2)):
        raise RuntimeError("died")
    assert load(path)["paradigm"] == {"of": 1}
    assert [path.name for path in tmp_path.iterdir()] == [PAUSED]


# What was changed on the disk --------------------------------------------------------------


def saved(path: Path) -> Any:
    """A state with weights, which is kept; return its content."""
    torch.manual_seed(1)
    with save_to(path)(capture_state(Holds(torch.rand(64)), 1, pause=0)):
        pass
    return content(path)


def content(path: Path) -> Any:
    state = load(path)
    tensor = state["paradigm"]["of"]
    return tensor.tolist(), state["samples"], state["random"]["python"], state["pause"]


def without_seal(path: Path) -> None:
    """Make the file what earlier versions kept."""
    path.write_bytes(path.read_bytes()[:-SEAL_BYTES])


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_flipped_bit_is_never_resumed(tmp_path: Path, is_sealed: bool) -> None:
    path = tmp_path / PAUSED
    whole = saved(path)
    if not is_sealed:
        without_seal(path)
        assert content(path) == whole
    for _ in flips(path, 300):
        with contextlib.suppress(DamagedFileError):
            assert content(path) == whole  # in bytes without a meaning


def test_a_file_that_lost_its_end_is_never_resumed(tmp_path: Path) -> None:
    path = tmp_path / PAUSED
    whole = saved(path)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with contextlib.suppress(DamagedFileError):
            assert content(path) == whole  # only its seal was cut


def test_the_state_of_another_trial_is_not_resumed(tmp_path: Path) -> None:
    mine, theirs = Folder(tmp_path / "a", SCRIPT), Folder(tmp_path / "b", [0.3, 0.5])
    mine.run(plan(0))
    theirs.run(plan(0))
    theirs.run(plan(60), resume=True)
    (theirs.path / PAUSED).replace(mine.path / PAUSED)
    paused = JournalReader(mine.path / NAME).read().paused()
    assert paused is not None
    with pytest.raises(DamagedFileError, match=r"paused\.pt is not the state that it paused with"):
        check_same(mine.path / PAUSED, paused.at)


# The loop ----------------------------------------------------------------------------------


class Folder:
    """A trial's folder, in which it is begun, paused and resumed."""

    def __init__(self, path: Path, accuracies: list[Any], **script: Any) -> None:
        self.path = path
        self.counter = Counter()
        self.script = {"accuracies": accuracies, "batch_size": 5, **script}
        self.make: Any = Pausable
        self.provenance = ESTIMATED

    def run(self, plan: Plan, *, resume: bool = False, **more: Any) -> TrialResult:
        resumed = None
        if resume:
            state = load(self.path / PAUSED)
            place = {"pause": state.get("pause"), "samples": state["samples"]}
            journal = JournalWriter(self.path / NAME, is_rerun=True, **place)
            assert journal.resumed is not None
            resumed = ResumeState(journal.resumed, state)
        else:
            journal = JournalWriter(self.path / NAME, is_rerun=True)
        return run_trial(
            lambda: self.make(self.counter, **self.script),
            ToyMeter(self.counter),
            plan,
            TrialStart(plan.target, plan.epochs, seed=0, provenance=self.provenance),
            journal,
            keep=save_to(self.path / PAUSED),
            resumed=resumed,
            **more,
        )


def plan(pause_at_j: float | None, **more: Any) -> Plan:
    return Plan(target=0.9, epochs=3, pause_at_j=pause_at_j, **more)


SCRIPT = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.92]


def test_it_pauses_at_the_first_evaluation_at_or_beyond_its_joules(tmp_path: Path) -> None:
    for pause_at_j, samples in ((0, 25), (25, 25), (26, 50), (80, 100)):
        result = Folder(tmp_path / str(pause_at_j), SCRIPT).run(plan(pause_at_j))
        assert result.end == "paused"
        assert result.checkpoints[-1].samples == samples
        assert result.valid
        assert result.epoch_j == 100
        assert result.reason.startswith(f"paused after {samples / 100:.3g} epoch")


def test_it_does_not_pause_before_its_sensor_has_seen_what_it_cost(tmp_path: Path) -> None:
    for resolution_s, samples in ((0.0, 25), (12.5, 25), (13.0, 50), (30.0, 75)):
        folder = Folder(tmp_path / str(resolution_s), SCRIPT)
        folder.provenance = replace(ESTIMATED, resolution_s=resolution_s)
        assert folder.run(plan(0)).checkpoints[-1].samples == samples


def test_what_is_over_does_not_pause(tmp_path: Path) -> None:
    assert Folder(tmp_path / "a", [0.1]).run(plan(300)).end == "epochs"
    stops = plan(0, stop_at_target=True)
    assert Folder(tmp_path / "b", [0.9]).run(stops).end == "target"


def test_what_reached_the_target_may_pause_too(tmp_path: Path) -> None:
    folder = Folder(tmp_path, [0.95])
    result = folder.run(plan(0))
    assert (result.end, result.energy_to_target_j) == ("paused", 25)
    outcome = outcome_of(result, EnergyVsAccuracy())
    assert (outcome.state, outcome.values) == ("paused", (25, 0.95))
    assert outcome_of_stopped(outcome).state == "complete"
    missed = outcome_of(Folder(tmp_path / "m", [0.1]).run(plan(0)), EnergyVsAccuracy())
    assert outcome_of_stopped(missed).state == "pruned"
    assert outcome_of_stopped(missed).attributes["end"] == "stopped"
    assert folder.run(plan(None), resume=True).end == "epochs"


def test_a_paused_and_resumed_trial_has_the_curve_of_one_that_was_not(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SCRIPT)
    parts = [folder.run(plan(0))]
    parts += [folder.run(plan(at), resume=True) for at in (60, 110, None)]
    whole = Folder(tmp_path / "whole", SCRIPT).run(plan(None))
    assert [part.end for part in parts] == ["paused", "paused", "paused", "epochs"]
    assert parts[-1].curve == whole.curve
    assert parts[-1].checkpoints == whole.checkpoints
    # What each execution repeats is counted, and nothing else.
    assert parts[-1].booked("training") == whole.booked("training")
    assert parts[-1].booked("evaluation") == whole.booked("evaluation")
    assert parts[-1].booked("loading").total_j == 4 * 64
    assert parts[-1].booked("warmup").total_j == 4 * 32
    assert parts[-1].spent_j == folder.counter.total_j
    assert JournalReader(tmp_path / NAME).read().result("epochs", whole.reason) == parts[-1]


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    pauses=st.lists(st.integers(0, 320), max_size=5),
    cuts=st.lists(st.integers(1, 8), max_size=3),
    eval_every=st.none() | st.integers(3, 80),
)
def test_no_joule_is_lost_or_counted_twice(
    tmp_path_factory: pytest.TempPathFactory,
    pauses: list[int],
    cuts: list[int],
    eval_every: int | None,
) -> None:
    """Whatever is paused where, and whichever of its executions die on the way."""
    losses: list[float | Exception] = [1.0] * 50
    folder = Folder(tmp_path_factory.mktemp("trial"), SCRIPT, losses=losses)
    marks = {"eval_every": eval_every}
    result = folder.run(plan(min(pauses, default=None), **marks))
    for pause_at_j in [*sorted(pauses), None]:
        if result.end != "paused":
            break
        for cut in cuts:  # executions that die on the way
            folder.script["losses"] = [*losses[: len(result.checkpoints) + cut], RuntimeError("x")]
            with contextlib.suppress(RuntimeError):
                folder.run(plan(None, **marks), resume=True)
                return  # it came to its end before
            remains = JournalReader(folder.path / NAME).read().paused_result("it died")
            assert remains is not None
            assert remains.spent_j == pytest.approx(folder.counter.total_j)
            assert remains.curve == result.curve
        folder.script["losses"] = losses
        result = folder.run(plan(pause_at_j, **marks), resume=True)
        assert result.spent_j == pytest.approx(folder.counter.total_j)
    whole = Folder(tmp_path_factory.mktemp("whole"), SCRIPT).run(plan(None, **marks))
    assert result.curve == whole.curve


def test_a_death_before_the_state_is_in_place_leaves_the_earlier_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, SCRIPT)
    folder.run(plan(0))

    def die(self: Path, target: Path) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die)
        # Not the journal's: it is rewritten before the training resumes.
        patched.setattr(
            "energyopt.core.journal.write_atomically", lambda path, text: path.write_text(text)
        )
        with pytest.raises(RuntimeError, match="killed"):
            folder.run(plan(100), resume=True)
    journal = JournalReader(tmp_path / NAME).read()
    assert [paused.at.samples for paused in journal.pauses] == [25, 100]
    last = folder.run(plan(None), resume=True)
    assert load(tmp_path / PAUSED)["samples"] == 25
    assert last.curve == Folder(tmp_path / "whole", SCRIPT).run(plan(None)).curve
    assert last.booked("restarted").total_j > 0
    assert last.spent_j == folder.counter.total_j


def test_pauses_are_numbered_over_all_that_a_trial_does(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SCRIPT)
    for number, until_j in enumerate((0, 60, 120)):
        folder.run(plan(until_j), resume=number > 0)
        assert load(tmp_path / PAUSED)["pause"] == number
        last = JournalReader(tmp_path / NAME).read().paused()
        assert last is not None
        assert last.at.index == number
    whole = Folder(tmp_path / "whole", SCRIPT).run(plan(None))
    assert folder.run(plan(None), resume=True).curve == whole.curve


def test_what_paused_before_pauses_had_numbers_goes_on(tmp_path: Path) -> None:
    """Its state says how many samples it had trained, and nothing else of its place."""
    folder = Folder(tmp_path, SCRIPT)
    folder.run(plan(0))
    folder.run(plan(60), resume=True)
    lines = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()]
    for line in lines:
        del line["blake2b"]
        for data in line.values():
            if isinstance(data, dict):
                data.pop("index", None)
                data.pop("state", None)
    (tmp_path / NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    state = {key: of for key, of in load(tmp_path / PAUSED).items() if key != "pause"}
    with save_to(tmp_path / PAUSED)(state):
        pass
    paused = folder.run(plan(120), resume=True)
    assert paused.end == "paused"
    whole = Folder(tmp_path / "whole", SCRIPT).run(plan(None))
    assert folder.run(plan(None), resume=True).curve == whole.curve


def test_a_pause_that_did_not_count_does_not_go_on_here(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SCRIPT)
    folder.run(plan(0))
    text = (tmp_path / NAME).read_text()
    assert '{"Pause": {"samples": 25, ' in text
    text = text.replace('{"Pause": {"samples": 25, ', '{"Pause": {"samples": null, ')
    lines = [json.loads(line) for line in text.splitlines()]
    content = [{key: line[key] for key in line if key != "blake2b"} for line in lines]
    (tmp_path / NAME).write_text("".join(map(line_of, content)))
    with pytest.raises(TrialError, match="it does not say how much was trained"):
        folder.run(plan(None), resume=True)


def test_what_cannot_pause_trains_on_and_says_so(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SCRIPT)
    folder.make = Scripted
    result = folder.run(plan(0))
    assert result.end == "epochs"
    assert result.flags == ("cannot_pause",)
    assert not (tmp_path / PAUSED).exists()


def test_joules_of_two_kinds_do_not_mix(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SCRIPT)
    folder.run(plan(0))
    state = load(tmp_path / PAUSED)
    journal = JournalWriter(tmp_path / NAME, is_rerun=True, samples=state["samples"])
    assert journal.resumed is not None
    start = TrialStart(0.9, 3, 0, replace(ESTIMATED, device="other"))
    with pytest.raises(TrialError, match="joules of two kinds do not mix"):
        run_trial(
            lambda: Pausable(folder.counter, SCRIPT),
            ToyMeter(folder.counter),
            plan(None),
            start,
            journal,
            resumed=ResumeState(journal.resumed, state),
        )


def test_of_two_who_go_on_with_a_trial_the_earlier_gives_up(tmp_path: Path) -> None:
    """A job outlives its coordinator, on a cluster: the next run resumes from the pause."""
    folder = Folder(tmp_path, SCRIPT)
    folder.run(plan(0))
    calls = 0

    class Overtaken(Pausable):
        def evaluate(self) -> float:
            nonlocal calls
            calls += 1
            if calls == 2:
                folder.make = Pausable
                folder.run(plan(50), resume=True)
            return super().evaluate()

    folder.make = Overtaken
    with pytest.raises(TrialError, match="another process goes on with this trial"):
        folder.run(plan(100), resume=True)
    assert load(tmp_path / PAUSED)["samples"] == 50
    folder.make = Pausable
    whole = Folder(tmp_path / "whole", SCRIPT).run(plan(None))
    assert folder.run(plan(None), resume=True).curve == whole.curve
