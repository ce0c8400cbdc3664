"""The messages between the ranks of a `Run`: arguments, joules, reports, and states of a pause."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from energyopt.core.energy import Energy
from energyopt.core.journal import PausedRecord
from energyopt.core.protocols import EnergyMeter
from energyopt.core.trial_result import End, PausePoint, Provenance, Purpose
from energyopt.errors import TrialError
from energyopt.hardware.host import descendants
from energyopt.training import run_state
from energyopt.training.checkpointing import NAME, State, check_same
from energyopt.training.ranks import Message, Ranks, own_rank
from energyopt.training.recorder import Recorder
from energyopt.training.run_progress import Counts, Progress
from energyopt.training.run_setup import Meter, Question, counts_ranks
from energyopt.training.run_timeline import Timeline

Verdict = tuple[End, str] | None
_SAME_VALUE = 1e-4  # relative: sums on GPUs depend on their order


def declared(question: Question, params: Mapping[str, Any], meter: Meter) -> Message:
    """Return the arguments of a run, which are the same in all ranks."""
    shared: dict[str, Any] = {f"params[{key!r}]": repr(value) for key, value in params.items()}
    monitor = question.monitor
    shared |= {"monitor": monitor.name, "mode": monitor.mode, "target": question.target}
    shared |= {"epochs": question.epochs, "stop_at_target": question.stop_at_target}
    return {"same": shared | {"meter": meter if isinstance(meter, str) else type(meter).__name__}}


def refuse_late_group(ranks: Ranks) -> None:
    """Refuse a process group that began after a run that did not know of its ranks.

    Raises:
        TrialError: If it did.
    """
    rank, size = own_rank()
    if (rank, size) != (ranks.rank, ranks.size):
        raise TrialError(
            f"this process became rank {rank} of {size} after its Run was made; start it by "
            "torchrun, or call init_process_group() before Run()"
        )


class RankRecord:
    """Brings what the other ranks meter and count into the record of rank 0.

    Args:
        ranks: The ranks.
        recorder: The record of this rank.
        timeline: The windows of this rank.
        progress: The learning curve.
    """

    def __init__(
        self, ranks: Ranks, recorder: Recorder, timeline: Timeline, progress: Progress
    ) -> None:
        self._ranks = ranks
        self._recorder = recorder
        self._timeline = timeline
        self._progress = progress
        self._sent: dict[Purpose, Energy] = {}
        self.can_all_pause = False
        progress.n_ranks = ranks.size

    def resume(self, record: PausedRecord | None, state: State) -> None:
        """Continue from a pause: rank 0 with its record, the others with what they counted."""
        if record is not None:
            self._progress.resume(record.at)
            self._timeline.training.unprofiled = record.at.training
        else:
            self._progress.counts = Counts(*state["counts"])
            self._recorder.next_pause = state["pause"] + 1

    def news(self) -> Message:
        """Return what this rank metered since it was last asked, and counted; rank 0 knows it."""
        if self._ranks.is_first:
            return {}
        booked = {purpose: self._recorder.booked(purpose) for purpose in get_args(Purpose)}
        fresh = {key: total - self._sent.get(key, Energy()) for key, total in booked.items()}
        self._sent = booked
        energies = {key: asdict(energy) for key, energy in fresh.items() if energy.total_j > 0}
        return {"energies": energies, "samples": self._progress.counts.samples}

    def add(self, messages: Sequence[Message]) -> None:
        """Add what the other ranks metered, in rank 0. Their time passes at the same time."""
        for message in messages:
            for purpose, energy in message["energies"].items():
                elsewhere = Energy.from_dict({**energy, "time_s": 0.0})
                self._recorder.add_elsewhere(purpose, elsewhere)
                if purpose == "training":
                    self._timeline.training.unprofiled += elsewhere
                elif purpose == "evaluation":
                    self._timeline.evaluation += elsewhere
        self._progress.others_samples = sum(message["samples"] or 0 for message in messages)

    def add_pause(self, messages: Sequence[Message]) -> list[str]:
        """Add what the others metered up to a pause. Returns the digests of their states."""
        self.add(messages)
        return [message["digest"] for message in messages]

    def agree(
        self,
        value: float | None,
        epoch: float,
        decide: Callable[[float], Verdict],
        *,
        can_pause: bool,
    ) -> tuple[float, Verdict]:
        """Return the value of a report and what rank 0 decides, the same in all ranks.

        Args:
            value: This rank's; None to take that of rank 0.
            epoch: Epochs trained.
            decide: Decides in rank 0.
            can_pause: Whether this rank has a state to keep.

        Raises:
            TrialError: If the ranks differ, or one of them does not arrive.
        """

        def judge(messages: Sequence[Message]) -> tuple[float, Verdict]:
            assert value is not None  # noqa: S101  # `Run.report` checks it in rank 0
            self._check_values(value, [message["value"] for message in messages])
            self.can_all_pause = can_pause and all(message["can_pause"] for message in messages)
            self.add(messages)
            return value, decide(value)

        agreed = {"epoch": epoch, "epochs": self._progress.epochs}
        news = {"same": agreed, "value": value, "can_pause": can_pause, **self.news()}
        reported, verdict = self._ranks.share("report()", news, judge)
        return reported, None if verdict is None else (verdict[0], verdict[1])

    def blame(self, end: End, reason: str) -> tuple[End, str]:
        """Tell the others how the run of this rank broke. Returns how another's broke it."""
        failed = self._ranks.fail({"end": end, "reason": reason, **self.news()})
        self.add([message for _, message in failed])
        causes = [f"rank {rank}: {m['reason']}" for rank, m in failed if m["end"] == "failed"]
        return ("failed", causes[0]) if causes else (end, reason)

    def _check_values(self, value: float, values: Sequence[float | None]) -> None:
        for rank, reported in enumerate(values, 1):
            if reported is None or (math.isnan(value) and math.isnan(reported)):
                continue
            if not math.isclose(value, reported, rel_tol=_SAME_VALUE):
                raise TrialError(
                    f"the ranks report {self._recorder.monitor.name}={value:g} in rank 0 and "
                    f"{reported:g} in rank {rank}; average it over the ranks first, or "
                    "report(None) in all ranks but 0"
                )


def state_path(folder: Path, rank: int, pause: int) -> Path:
    """Return the file of the state of a rank at a pause.

    Those of ranks other than 0 have one for each pause: an earlier pause is whole until rank 0,
    the last, has kept its state as well.
    """
    return folder / (f"paused-{rank}.{pause}.pt" if rank else NAME)


def check_ranks(state: State, ranks: Ranks) -> None:
    """Check that a training resumes with as many ranks as it paused with.

    Raises:
        TrialError: If it does not.
    """
    n_paused = 1 + len(state.get("ranks", ()))
    if n_paused != ranks.size:
        raise TrialError(
            f"the training paused with {n_paused} ranks and would resume with {ranks.size}; start "
            "as many as before"
        )


def for_others(
    ranks: Ranks, folder: Path | None, meter: EnergyMeter, state: State | None
) -> Message:
    """Return what ranks other than 0 need to know of a run that begins."""
    if ranks.size == 1:
        return {}
    is_own = counts_ranks(meter)
    below = descendants(os.getpid()) if is_own else {}  # counted as those of rank 0
    return {
        "folder": None if folder is None else str(folder),
        "provenance": asdict(meter.provenance),
        "metered": [pid for pid in ranks.pids if not is_own or pid in below],
        "pause": None if state is None else state["pause"],
        "digests": [] if state is None else list(state["ranks"]),
    }


def metered_by_first(answer: Message) -> Provenance | None:
    """Return where the joules of this rank come from, if rank 0 reads them, too; else None."""
    is_metered = os.getpid() in answer["metered"]
    return Provenance(**answer["provenance"]) if is_metered else None


def load_rank(folder: Path | None, rank: int, answer: Message) -> State | None:
    """Load the state of a rank other than 0; None if the training is new.

    States of other pauses are removed.

    Raises:
        DamagedFileError: If it is not as it was saved.
    """
    if folder is None or answer["pause"] is None:
        return None
    path = state_path(folder, rank, answer["pause"])
    state = run_state.load(path)
    digest = answer["digests"][rank - 1]
    check_same(path, PausePoint(None, None, None, Energy(), state=digest))
    for earlier in folder.glob(f"paused-{rank}.*.pt"):
        if earlier != path:
            earlier.unlink(missing_ok=True)
    return state
