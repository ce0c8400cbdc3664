"""The GPUs of one trial: leased, cooled down, at their power limit, used by no one else.

And the CPU packages, where their counters are read: leased as well.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from energyopt.core.conditions import Machine
from energyopt.core.energy import Energy
from energyopt.core.trial_result import Provenance
from energyopt.errors import ConfigError, HardwareError, PowerLimitRefusedError
from energyopt.hardware.gpu_options import PROFILE, GpuOptions
from energyopt.hardware.host import commit, cuda_has_begun, descendants, package_versions
from energyopt.hardware.lease import Lease, take_packages
from energyopt.hardware.nvml import Board, GpuProcess, driver_version
from energyopt.hardware.power_limit import PowerLimit, check_range, restore

_POLL_S = 0.5


class GpuAllocation:
    """The GPUs that one trial holds, none if no GPU is metered, and perhaps the CPU packages.

    Args:
        options: How they are treated.
        device: Where to train: "cpu", "cuda:N" or "mps".
        boards: The GPUs.
        leases: Leases of these GPUs; released on `close`.
        max_parallel: Number of trials that can hold them at the same time; None if none is held.
        flags: Warnings about them, as short words.
        ranks: Numbers of the other processes of a training of several.

    Attributes:
        holds_packages: Whether it holds the CPU packages, too.
    """

    def __init__(
        self,
        options: GpuOptions,
        device: str,
        boards: Sequence[Board] = (),
        *,
        leases: Sequence[Lease] = (),
        max_parallel: int | None = None,
        flags: Sequence[str] = (),
        ranks: Sequence[int] = (),
    ) -> None:
        self.options = options
        self.device = device
        self.boards = tuple(boards)
        self.max_parallel = max_parallel
        self.holds_packages = False
        self._leases = list(leases)
        self._flags = list(flags)
        self._ranks = tuple(ranks)
        self._may_limit = True
        self._accepted_pids: set[int] = set()
        self._is_listed = False  # whether the driver lists this trial's own process
        self._is_recorded = False  # whether `record_processes` has told own ones from others
        self._limit: PowerLimit | None = None
        self.is_traced = False  # a training inside this one shares its trace

    @property
    def flags(self) -> tuple[str, ...]:
        """Warnings about the GPUs, as short words."""
        return tuple(dict.fromkeys(self._flags))

    def close(self) -> None:
        """Release the leases."""
        for lease in self._leases:
            lease.release()
        self._leases = []
        self.holds_packages = False

    def hold_packages_for(
        self, meter: object, on_wait: Callable[[str], None] | None = None
    ) -> None:
        """Lease the CPU packages if a meter reads their counters; wait for them as for GPUs.

        It is also checked that each counter moves: one that stands still hides in their sum.

        Args:
            meter: The meter; one that reads them has a true `reads_packages`.
            on_wait: Called once with their holder if it has to wait.

        Raises:
            GpusBusyError: If others hold them for too long.
            HardwareError: If a counter stands still.
        """
        if self.holds_packages or not getattr(meter, "reads_packages", False):
            return
        on_gpus = bool(self.boards)
        lease = take_packages(self.options.lease_wait_s, on_wait, on_gpus=on_gpus)
        self._leases.append(lease)
        self.holds_packages = True
        self.max_parallel = 1
        check_moving = getattr(meter, "check_moving", None)
        if check_moving is not None:  # a meter of the user's own may have none
            check_moving()

    def machine(self) -> Machine:
        """Return the hardware and software of the trial in their present state."""
        return Machine(
            gpus=tuple(board.record() for board in self.boards),
            driver=driver_version() if self.boards else None,
            packages=package_versions(),
            commit=commit(Path.cwd()),
        )

    # The power limit -----------------------------------------------------------------------

    @contextmanager
    def limited(self) -> Iterator[PowerLimit | None]:
        """Hold the configured power limit, and restore the previous one at the end.

        Yields:
            The limit to change while profiling; None if it is left alone or cannot be set.

        Raises:
            PowerLimitRefusedError: If a number is configured that may not be set.
        """
        self.check_limit()
        options = self.options
        if options.power_limit_w is None or not self._may_limit:
            yield None
            return
        fixed_w = None if options.profiles else float(options.power_limit_w)
        with PowerLimit(self.boards, fixed_w) as limit:
            self._limit = limit
            try:
                yield limit
            finally:
                self._limit = None

    @property
    def held_w(self) -> float | None:
        """The power limit that the trial set, in W; None if it set none."""
        return None if self._limit is None else self._limit.held_w

    @property
    def is_limit_changing(self) -> bool:
        """True while the trial sets another limit."""
        return self._limit is not None and self._limit.is_changing

    def limits_w(self) -> tuple[float, float]:
        """Return the lowest and highest limit, in W, that all GPUs accept and the user allows.

        Raises:
            PowerLimitRefusedError: If they have no limit, or the user allows none that they accept.
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

    def limit_problem(self) -> str | None:
        """Say why the limits may not be set; None if they may."""
        return next(filter(None, (board.limit_problem() for board in self.boards)), None)

    def check_limit(self) -> None:
        """Refuse a limit that cannot be held, before any energy is used.

        Where limits may not be set, profiling is skipped and flagged, unless `strict`.

        Raises:
            ConfigError: If there is no GPU whose limit can be set.
            PowerLimitRefusedError: If it is out of range, or may not be set.
        """
        limit_w = self.options.power_limit_w
        if limit_w is None:
            return
        if not self.boards:
            raise ConfigError(
                f"hardware.power_limit_w={limit_w}: this meter reads no NVIDIA GPU, so no limit "
                "could be set, and none would show in its joules; choose hardware=nvidia, or leave "
                "it null"
            )
        if limit_w != PROFILE:
            for board in self.boards:
                check_range(board, float(limit_w))
        else:
            self.limits_w()
        refusal = self.limit_problem()
        if refusal is None:
            return
        if limit_w != PROFILE or self.options.strict:
            raise PowerLimitRefusedError(refusal)
        self._may_limit = False
        self._flags.append("no_power_limit")

    def check_limit_is_metered(self, provenance: Provenance) -> None:
        """Refuse a limit whose effect the meter would not see.

        Raises:
            ConfigError: If the joules are estimated.
        """
        limit_w = self.options.power_limit_w
        if limit_w is not None and provenance.kind == "estimated":
            raise ConfigError(
                f"hardware.power_limit_w={limit_w}: the joules are estimated by "
                f"{provenance.meter}, which sees no effect of a power limit; choose a meter of "
                "the GPU, such as hardware=nvidia, or leave it null"
            )

    # Temperature and other processes -------------------------------------------------------

    def temperature_c(self) -> float | None:
        """Return the temperature of the hottest GPU, in degC; None if it cannot be read."""
        readings = [board.temperature_c() for board in self.boards]
        return max((t for t in readings if t is not None), default=None)

    def cool_down(self, reference_c: float) -> None:
        """Wait until the GPUs are about as cool as when the study began.

        A warm chip leaks more current, so the same work takes more energy. ML.ENERGY ("Thermally
        Stable Profiling", 2026) found a pause of 5 s enough on 8 x A100, but says that it depends
        on workload, GPU and cooling: hence the pause until a temperature, with an upper bound.

        Args:
            reference_c: Their temperature when the study began, in degC.
        """
        options = self.options
        began_s = time.monotonic()
        time.sleep(options.cool_down_s)
        while (self.temperature_c() or 0.0) > reference_c + options.cool_down_c:
            if time.monotonic() - began_s >= options.cool_down_max_s:
                self._flags.append("warm_start")
                return
            time.sleep(min(_POLL_S, options.cool_down_max_s))

    def record_processes(self) -> None:
        """Check for processes that began while the trial was built, and record those present.

        Raises:
            HardwareError: If other processes began, unless they are to be flagged.
        """
        self.check_processes()
        self._is_recorded = True
        pids = {process.pid for process in self._processes()}
        self._is_listed = bool(pids - self._accepted_pids)
        self._accepted_pids = pids

    def check_processes(self) -> None:
        """Check for other processes that have begun to compute on the GPUs.

        Raises:
            HardwareError: If there are some, unless they are to be flagged.
        """
        self._refuse_or_flag(self._foreign_processes())

    def prepare(self, *, repair: bool = True) -> None:
        """Check for other processes, and restore a power limit that a dead process changed.

        Args:
            repair: Restore the limit.

        Raises:
            HardwareError: If other processes compute on the GPUs, unless they are to be flagged.
        """
        self.check_processes()
        # Flag those present once, not at each later check.
        self._accepted_pids = {process.pid for process in self._processes()}
        for board in self.boards if repair else ():
            try:
                restore(board)
            except PowerLimitRefusedError:
                self._flags.append("stale_power_limit")

    def _foreign_processes(self) -> list[GpuProcess]:
        """Return the processes on the GPUs that are neither accepted nor of this trial."""
        return self._foreign(self._processes())

    def company_of(self, board: Board) -> list[GpuProcess] | None:
        """Return other processes that compute on a board; None if they cannot be told.

        While a process initialises CUDA in a container, its own number looks like another's.
        """
        processes = board.processes() if self._is_recorded else None
        return None if processes is None else self._foreign(processes)

    def _foreign(self, processes: Sequence[GpuProcess]) -> list[GpuProcess]:
        own_pid = os.getpid()
        if {process.pid for process in processes} <= {own_pid, *self._accepted_pids}:
            return []  # without a look at all processes of the machine
        trial_pids = {own_pid, *self._ranks}
        for rank in tuple(trial_pids):
            trial_pids.update(descendants(rank))
        foreign = [p for p in processes if p.pid not in trial_pids | self._accepted_pids]
        is_listed = self._is_listed or any(p.pid in trial_pids for p in processes)
        # In a container the driver lists this process by its number on the host: a single
        # unknown number is this process, and as many are there as the training has ranks.
        n_ranks = 1 + len(self._ranks)
        is_hidden = cuda_has_begun() and not is_listed
        return [] if is_hidden and len({p.pid for p in foreign}) <= n_ranks else foreign

    def _refuse_or_flag(self, processes: Sequence[GpuProcess]) -> None:
        if not processes:
            return
        if self.options.shared == "flag":
            self._flags.append("shared_gpu")
            return
        raise HardwareError(
            f"others compute on {', '.join(map(str, self.boards))}: "
            f"{', '.join(map(str, processes))}; a GPU's counter would book their joules here: end "
            "them, choose another with hardware.gpus=[...], or accept it with hardware.shared=flag"
        )

    def _processes(self) -> list[GpuProcess]:
        lists = [board.processes() for board in self.boards]
        if None in lists:
            self._flags.append("company_unknown")
        return [process for processes in lists for process in processes or ()]

    # Plausibility --------------------------------------------------------------------------

    def power_problem(
        self, energy: Energy, windows: int, period_s: float, idle_w: float | None
    ) -> str | None:
        """Check the mean power of a whole trial against idle power and the power limit.

        Plausible is f P_idle (t - s) <= E <= c P_limit (t + s), with f `power_floor`, c
        `power_ceiling`, P_limit the highest limits of all GPUs together, and s the time that the
        counter may be off. It moves once a period T, so a window's energy is wrong by up to T of
        power, with a standard deviation of T / sqrt(6) (the difference of two uniform phases).
        Over n windows s = (2 + sqrt(n)) T is more than 2.4 standard deviations.

        Args:
            energy: Energy of all its windows.
            windows: Number of windows.
            period_s: Update period of the counter, in s.
            idle_w: Idle power, in W; None if it was not measured.

        Returns:
            What is implausible; None if nothing is.
        """
        if not self.boards or energy.gpu_j is None:
            return None
        options = self.options
        slack_s = period_s * (2 + math.sqrt(windows))
        floor_j = options.power_floor * (idle_w or 0.0) * (energy.time_s - slack_s)
        reading = f"{energy.gpu_j:.4g} J in {energy.time_s:.4g} s"
        if energy.gpu_j < floor_j:
            return (
                f"the GPUs read {reading}, below {options.power_floor:g} of the {idle_w:.4g} W "
                "that they draw at rest; the counter cannot be trusted (hardware.power_floor)"
            )
        limits_w = [board.record().max_limit_w for board in self.boards]
        if None in limits_w:
            return None
        highest_w = sum(filter(None, limits_w))
        if energy.gpu_j > options.power_ceiling * highest_w * (energy.time_s + slack_s):
            return (
                f"the GPUs read {reading}, above {options.power_ceiling:g} of the "
                f"{highest_w:.4g} W that they may draw; the counter cannot be trusted "
                "(hardware.power_ceiling)"
            )
        return None
