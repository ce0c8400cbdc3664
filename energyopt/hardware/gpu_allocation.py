"""The GPUs of one trial: leased, cooled down, at their power limit, without company."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from energyopt.core.conditions import Machine
from energyopt.core.energy import Energy
from energyopt.errors import ConfigError, HardwareError, PowerLimitRefusedError
from energyopt.hardware.gpu_options import PROFILE, GpuOptions
from energyopt.hardware.host import commit, cuda_has_begun, descendants, package_versions
from energyopt.hardware.lease import Lease
from energyopt.hardware.nvml import Board, GpuProcess, driver_version
from energyopt.hardware.power_limit import PowerLimit, check_range, restore

_POLL_S = 0.5


class GpuAllocation:
    """The GPUs that one trial holds; none where none is metered.

    Args:
        options: How they are treated.
        device: Where to train: "cpu", "cuda:N" or "mps".
        boards: The GPUs.
        leases: Of the same; released on `close`.
        rivals: How many trials can have GPUs at the same time; None where none is held.
        flags: What is doubtful about them, as short words.
    """

    def __init__(
        self,
        options: GpuOptions,
        device: str,
        boards: Sequence[Board] = (),
        *,
        leases: Sequence[Lease] = (),
        rivals: int | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.options = options
        self.device = device
        self.boards = tuple(boards)
        self.rivals = rivals
        self._leases = list(leases)
        self._flags = list(flags)
        self._may_limit = True
        self._known: set[int] = set()
        self._found_itself = False

    @property
    def flags(self) -> tuple[str, ...]:
        """What is doubtful about the GPUs, as short words."""
        return tuple(dict.fromkeys(self._flags))

    def close(self) -> None:
        """Give the GPUs back."""
        for lease in self._leases:
            lease.release()
        self._leases = []

    def machine(self) -> Machine:
        """What the trial runs on and with, as it is set now."""
        return Machine(
            gpus=tuple(board.record() for board in self.boards),
            driver=driver_version() if self.boards else None,
            packages=package_versions(),
            commit=commit(Path.cwd()),
        )

    # The power limit -----------------------------------------------------------------------

    @contextmanager
    def limited(self) -> Iterator[PowerLimit | None]:
        """Hold the power limit that is asked for; the previous one is put back at the end.

        Yields:
            The limit to change while profiling; None where it is left or cannot be set.

        Raises:
            PowerLimitRefusedError: If a number is asked for that may not be set.
        """
        self.check_limit()
        options = self.options
        if options.power_limit_w is None or not self._may_limit:
            yield None
            return
        fixed_w = None if options.profiles else float(options.power_limit_w)
        with PowerLimit(self.boards, fixed_w) as limit:
            yield limit

    def limits_w(self) -> tuple[float, float]:
        """The lowest and the highest limit that all GPUs take and the user lets them have, in W.

        Raises:
            PowerLimitRefusedError: If they have none.
        """
        ranges = [board.limits_w() for board in self.boards]
        low_w, high_w = max(low for low, _ in ranges), min(high for _, high in ranges)
        cap_w = self.options.max_power_limit_w
        if cap_w is not None and cap_w < low_w:
            raise PowerLimitRefusedError(
                f"hardware.max_power_limit_w={cap_w:g} is below the {low_w:g} W that "
                f"{self.boards[0].name} takes at least; raise it, or set "
                "hardware.power_limit_w=null to leave the limit"
            )
        return low_w, high_w if cap_w is None else min(high_w, cap_w)

    def why_not_limited(self) -> str | None:
        """Why the limits may not be set, in words; None if they may."""
        return next(filter(None, (board.why_not_limited() for board in self.boards)), None)

    def check_limit(self) -> None:
        """Refuse a limit that could not be held, before there is anything to lose.

        Where limits may not be set, profiling them is left out and flagged, unless `strict`.

        Raises:
            ConfigError: If there is no GPU whose limit could be set.
            PowerLimitRefusedError: If it is out of range, or may not be set.
        """
        wanted = self.options.power_limit_w
        if wanted is None:
            return
        if not self.boards:
            raise ConfigError(
                f"hardware.power_limit_w={wanted}: this meter reads no NVIDIA GPU, so no limit "
                "could be set, and none would show in its joules; choose hardware=nvidia, or leave "
                "it null"
            )
        if wanted != PROFILE:
            for board in self.boards:
                check_range(board, float(wanted))
        else:
            self.limits_w()
        refusal = self.why_not_limited()
        if refusal is None:
            return
        if wanted != PROFILE or self.options.strict:
            raise PowerLimitRefusedError(refusal)
        self._may_limit = False
        self._flags.append("no_power_limit")

    # Temperature and company ---------------------------------------------------------------

    def temperature_c(self) -> float | None:
        """Of the hottest GPU, in degC; None where it is not told."""
        told = [board.temperature_c() for board in self.boards]
        return max((each for each in told if each is not None), default=None)

    def cool_down(self, reference_c: float) -> None:
        """Wait until the GPUs are about as cool as when the study began.

        Args:
            reference_c: Their temperature then, in degC.
        """
        options = self.options
        began_s = time.monotonic()
        time.sleep(options.cool_down_s)
        while (self.temperature_c() or 0.0) > reference_c + options.cool_down_c:
            if time.monotonic() - began_s >= options.cool_down_max_s:
                self._flags.append("warm_start")
                return
            time.sleep(min(_POLL_S, options.cool_down_max_s))

    def note_company(self) -> None:
        """Look for others that began while the trial was built, and remember who is there now.

        Raises:
            HardwareError: If there are some, unless they are to be flagged.
        """
        self._mind(self._strangers())
        known = {process.pid for process in self._processes()}
        self._found_itself = bool(known - self._known)
        self._known = known

    def check_company(self) -> None:
        """Look for others that began to compute on the GPUs since.

        Raises:
            HardwareError: If there are some, unless they are to be flagged.
        """
        self._mind(self._strangers())

    def take_over(self, *, repair: bool = True) -> None:
        """Look for others on the GPUs, and put back a power limit that a dead process left.

        Args:
            repair: Whether to put it back.

        Raises:
            HardwareError: If others compute on them, unless that is to be flagged.
        """
        self._mind(self._strangers())
        self._known = {process.pid for process in self._processes()}  # let pass, and flagged
        for board in self.boards if repair else ():
            try:
                restore(board)
            except PowerLimitRefusedError:
                self._flags.append("stale_power_limit")

    def _strangers(self) -> list[GpuProcess]:
        """Those on the GPUs that are neither known nor this trial."""
        listed = self._processes()
        own = {os.getpid(), *descendants(os.getpid())}
        strangers = [each for each in listed if each.pid not in own | self._known]
        found = self._found_itself or any(each.pid in own for each in listed)
        hidden = cuda_has_begun() and not found
        # In a container this process is listed by its number on the host: one of them is it.
        return [] if hidden and len({each.pid for each in strangers}) == 1 else strangers

    def _mind(self, others: Sequence[GpuProcess]) -> None:
        if not others:
            return
        if self.options.shared == "flag":
            self._flags.append("shared_gpu")
            return
        raise HardwareError(
            f"others compute on {', '.join(map(str, self.boards))}: "
            f"{', '.join(map(str, others))}; a GPU's counter would book their joules here: end "
            "them, choose another with hardware.gpus=[...], or accept it with hardware.shared=flag"
        )

    def _processes(self) -> list[GpuProcess]:
        told = [board.processes() for board in self.boards]
        if None in told:
            self._flags.append("company_unknown")
        return [process for of in told for process in of or ()]

    # What cannot be ------------------------------------------------------------------------

    def implausible(
        self, spent: Energy, windows: int, period_s: float, idle_w: float | None
    ) -> str | None:
        """Judge the mean power of a whole trial.

        Args:
            spent: Energy of all its windows.
            windows: Their number: at the edge of each the counter may be a period behind.
            period_s: How often the counter moves, in s.
            idle_w: Power at rest, in W; None if it was not measured.

        Returns:
            What cannot be, in words; None if it can.
        """
        if not self.boards or spent.gpu_j is None:
            return None
        options = self.options
        slack_s = period_s * (2 + math.sqrt(windows))
        floor_j = options.power_floor * (idle_w or 0.0) * (spent.time_s - slack_s)
        mean = f"{spent.gpu_j:.4g} J in {spent.time_s:.4g} s"
        if spent.gpu_j < floor_j:
            return (
                f"the GPUs read {mean}, below {options.power_floor:g} of the {idle_w:.4g} W that "
                "they draw at rest; the counter cannot be trusted (hardware.power_floor)"
            )
        limits = [board.record().max_limit_w for board in self.boards]
        if None in limits:
            return None
        highest_w = sum(filter(None, limits))
        if spent.gpu_j > options.power_ceiling * highest_w * (spent.time_s + slack_s):
            return (
                f"the GPUs read {mean}, above {options.power_ceiling:g} of the {highest_w:.4g} W "
                "that they may draw; the counter cannot be trusted (hardware.power_ceiling)"
            )
        return None
