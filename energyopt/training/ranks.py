"""The ranks of a training that runs as several processes of one machine, as torchrun starts them.

Rank 0 keeps the record and decides. The others tell it at each step of a `Run` what they metered,
and are told what it decided. They speak through a Unix socket of their own: the program's process
group may not exist yet, and its messages may need a GPU.
"""

from __future__ import annotations

import json
import math
import os
import socket
import stat
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from energyopt import errors
from energyopt.errors import ConfigError, EnergyoptError, TrialError

T = TypeVar("T")
Message = Mapping[str, Any]

WAIT_S = 60.0
"""How long a rank waits for one that has not arrived at the same step, in s."""

_EVALUATION_S = 1800.0  # and for one that evaluates: torch's own limit for a collective of gloo
_RETRY_S = 0.05
_NOTHING: Mapping[str, Any] = {"energies": {}, "samples": None}  # metered and counted
_ONE_MACHINE = "all of them on one machine"
_FOLDER = "/tmp/energyopt-ranks-{}"  # noqa: S108  # made private; TMPDIR may be too long a path
_LAUNCH = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")


def own_rank() -> tuple[int, int]:
    """Return the rank of this process and the number of ranks: (0, 1) where it trains alone.

    They are those of torch's process group, or where it does not exist yet, of the environment.

    Raises:
        ConfigError: If the ranks are on several machines.
    """
    size = int(_number("WORLD_SIZE", "1"))
    rank = int(_number("RANK", "-1"))
    torch = sys.modules.get("torch")
    group = getattr(torch, "distributed", None)
    if group is not None and group.is_available() and group.is_initialized():
        rank, size = group.get_rank(), group.get_world_size()
    if size <= 1 or not 0 <= rank < size:
        return 0, 1
    local = int(_number("LOCAL_WORLD_SIZE", str(size)))
    if local != size:
        raise ConfigError(
            f"{size} ranks train, {local} of them on this machine, and a Run counts the joules of "
            "one machine only; start all ranks on one, as `torchrun --nnodes 1` does"
        )
    return rank, size


def train_alone() -> None:
    """Make this process, if it is rank 0 of several, one that trains alone; end it if it is not.

    Raises:
        ConfigError: If the ranks are on several machines.
        SystemExit: In other ranks than 0.
    """
    rank, size = own_rank()
    if size == 1:
        return
    if rank:
        sys.stderr.write(
            f"energyopt: rank {rank} of {size} has nothing to do: energyopt's own tasks train in "
            "one process, that of rank 0\n"
        )
        sys.exit(0)
    for name in (*_LAUNCH, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)


class Ranks:
    """The ranks of one `Run`, as one of them sees them; a process that trains alone is rank 0.

    Args:
        rank: Its own.
        size: Their number.

    Attributes:
        rank: Its own.
        size: Their number.
        pids: Numbers of the other processes, in rank 0.

    Raises:
        TrialError: If a rank makes no `Run`.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self.pids: tuple[int, ...] = ()
        self._arrived: list[Message] | None = None
        self._peers: list[_Peer] = []
        if size > 1:
            _open.add(self)
            self._peers = self._accept() if rank == 0 else [_connect(rank)]

    @property
    def is_first(self) -> bool:
        """True in rank 0, which keeps the record."""
        return self.rank == 0

    def await_others(self, step: str) -> None:
        """Wait in rank 0 until the others are at a step; `share` does so if it was not done.

        Args:
            step: Its name.

        Raises:
            TrialError: If one of them ended, is elsewhere, or does not arrive.
        """
        if not self.is_first or self._arrived is not None:
            return
        for peer in self._peers:
            peer.send({"note": "here"})
        try:
            self._arrived = [_at(step, peer.next(step), peer.rank) for peer in self._peers]
        except EnergyoptError as error:
            self.refuse(error)
            raise

    def share(self, step: str, message: Message, decide: Callable[[list[Message]], T]) -> T:
        """Return what rank 0 decides at a step that all ranks take.

        Args:
            step: Its name.
            message: What this rank tells rank 0. What is below `same` must be so in all.
            decide: Called in rank 0 with what the others tell. Returns plain data.

        Raises:
            EnergyoptError: If a rank ended, does not arrive or differs, or rank 0 raised it.
        """
        if not self.is_first:
            (first,) = self._peers
            first.send({"step": step, **message})
            answer = first.next(step)
            if "error" in answer:
                first.failure = answer
                raise getattr(errors, answer["kind"], TrialError)(answer["error"])
            decided: T = answer["decided"]
            return decided
        self.await_others(step)
        replies, self._arrived = self._arrived or [], None
        try:
            for peer, reply in zip(self._peers, replies, strict=True):
                _check_same(peer.rank, message.get("same", {}), reply.get("same", {}))
            decision = decide(replies)
        except EnergyoptError as error:
            self.refuse(error)
            raise
        for peer in self._peers:
            peer.send({"decided": decision})
        return decision

    def refuse(self, error: Exception) -> None:
        """Tell the others in rank 0 that a step failed."""
        for peer in self._peers if self.is_first else ():
            peer.send({"error": str(error), "kind": type(error).__name__})

    def evaluates(self) -> None:
        """Tell the others that this rank evaluates, and may be long: they wait for it."""
        for peer in self._peers:
            peer.send({"note": "evaluating"})

    def fail(self, message: Message) -> list[tuple[int, Message]]:
        """Tell the others that the run of this rank broke, and leave them.

        Args:
            message: How, as `end` and `reason`, and what it metered.

        Returns:
            The ranks whose run broke before, with their messages; none in ranks other than 0.
        """
        for peer in self._peers:
            if peer.failure is None:  # else it knows the cause
                peer.send({"note": "failed", **message})
                peer.poll()
        failed = [(peer.rank, peer.failure) for peer in self._peers if peer.failure is not None]
        self.close()
        return failed if self.is_first else []

    def close(self) -> None:
        """Leave the others."""
        for peer in self._peers:
            peer.close()
        self._peers = []

    def _accept(self) -> list[_Peer]:
        """Wait in rank 0 for the others."""
        until_s = time.monotonic() + WAIT_S
        peers: dict[int, _Peer] = {}
        path = _address()
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(self.size)
            while len(peers) < self.size - 1:
                listener.settimeout(max(until_s - time.monotonic(), _RETRY_S))
                try:
                    peer = _Peer(-1, listener.accept()[0])
                except TimeoutError:
                    missing = [rank for rank in range(1, self.size) if rank not in peers]
                    error = TrialError(_absent(missing, self.size))
                    for peer in peers.values():
                        peer.send({"error": str(error), "kind": "TrialError"})
                    raise error from None
                hello = peer.next("Run()")
                peer.rank = hello["rank"]
                self.pids += (hello["pid"],)
                peers[peer.rank] = peer
            path.unlink(missing_ok=True)
        return [peers[rank] for rank in sorted(peers)]


class _Peer:
    """A connection to another rank; messages are lines of JSON.

    Attributes:
        rank: The other rank.
        failure: What it told when its run broke, or refused a step; None before.
    """

    def __init__(self, rank: int, connection: socket.socket) -> None:
        self.rank = rank
        self.failure: Message | None = None
        self._connection = connection
        self._buffer = bytearray()

    def send(self, message: Message) -> None:
        """Send a message; one that has ended is noticed where it is waited for."""
        self._connection.settimeout(WAIT_S)
        with suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def next(self, step: str) -> Message:
        """Wait for its next message at a step.

        Raises:
            TrialError: If it ended, or does not arrive.
        """
        until_s = time.monotonic() + WAIT_S
        while True:
            message = self._read(until_s)
            if message is None:
                raise TrialError(
                    f"rank {self.rank} did not arrive at {step} within {WAIT_S:g} s; all ranks "
                    "take the same steps of a Run, and one that evaluates alone for long does so "
                    "in run.evaluation()"
                )
            note = message.get("note")
            if note is None:
                return message
            if note == "failed":
                self.failure = message
                raise TrialError(f"rank {self.rank}: {message['reason']}")
            # Rank 0 that is here decides by its own limits, such as that for a leased GPU.
            until_s = math.inf if note == "here" else time.monotonic() + _EVALUATION_S

    def poll(self) -> None:
        """Look whether its run broke, without waiting."""
        try:
            while self.failure is None:
                message = self._read(time.monotonic())
                if message is None:
                    return
                if message.get("note") == "failed":
                    self.failure = message
        except TrialError:  # it was killed
            self.failure = {"end": "failed", "reason": "it ended before its run did", **_NOTHING}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _read(self, until_s: float) -> Message | None:
        """Return a message; None if there was none until a moment."""
        while b"\n" not in self._buffer:
            left_s = max(until_s - time.monotonic(), 1e-3)
            self._connection.settimeout(None if math.isinf(left_s) else left_s)
            try:
                received = self._connection.recv(65536)
            except TimeoutError:
                return None
            except OSError:
                received = b""
            if not received:
                raise TrialError(f"rank {self.rank} ended before its run did")
            self._buffer += received
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        message: Message = json.loads(line)
        return message


def _connect(rank: int) -> _Peer:
    """Wait in another rank for rank 0."""
    until_s = time.monotonic() + WAIT_S
    path = str(_address())
    while time.monotonic() < until_s:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except OSError:  # it does not listen yet
            connection.close()
            time.sleep(_RETRY_S)
            continue
        peer = _Peer(0, connection)
        peer.send({"rank": rank, "pid": os.getpid()})
        return peer
    raise TrialError(_absent([0], own_rank()[1]))


def _absent(ranks: list[int], size: int) -> str:
    names = f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))} of {size}"
    return (
        f"{names} made no Run within {WAIT_S:g} s; each rank makes one, with the same arguments, "
        f"{_ONE_MACHINE}"
    )


def _at(step: str, message: Message, rank: int) -> Message:
    if message["step"] != step:
        raise TrialError(
            f"rank {rank} is at {message['step']} and rank 0 at {step}; all ranks take the same "
            "steps of a Run, in the same order"
        )
    return message


def _check_same(rank: int, first: Message, second: Message) -> None:
    for key in [*first, *(second.keys() - first.keys())]:
        if first.get(key) != second.get(key):
            raise ConfigError(
                f"the ranks disagree: {key} is {first.get(key)} in rank 0 and {second.get(key)} in "
                f"rank {rank}; give all ranks the same"
            )


def _address() -> Path:
    """Return the path of rank 0's socket, which all ranks of a launch derive alike.

    Raises:
        ConfigError: If its folder is not this user's own.
    """
    folder = Path(_FOLDER.format(os.getuid()))
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigError(f"{folder} must be a folder of this user's alone; remove it")
    launch = [os.environ.get(name, "") for name in _LAUNCH]
    if not os.environ.get("MASTER_PORT"):  # started by multiprocessing: one parent
        launch = [str(os.getppid())]
    return folder / blake2b(json.dumps(launch).encode(), digest_size=12).hexdigest()


def _number(name: str, otherwise: str) -> str:
    text = os.environ.get(name, otherwise)
    return text if text.removeprefix("-").isdecimal() else otherwise


_open: weakref.WeakSet[Ranks] = weakref.WeakSet()


def _leave_in_child() -> None:
    """Leave the connections to the parent: a forked loader worker must not hold them open."""
    for ranks in _open:
        ranks.close()


os.register_at_fork(after_in_child=_leave_in_child)
