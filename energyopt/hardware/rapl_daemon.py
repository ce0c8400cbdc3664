"""Energy counters of CPU packages through zeusd, which root runs for users who may not read them.

It is asked only where the files cannot be read: most users name it for power limits of GPUs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from energyopt.errors import HardwareError
from energyopt.hardware.powercap import Zone

_VARIABLES = ("ZEUSD_SOCK_PATH", "ZEUSD_HOST_PORT")


class DaemonCounters:
    """Asks zeusd for the counters.

    Args:
        client: The connection to it.
        endpoint: Its socket, or host and port.
        reason: Why the files are not read, with the remedy.
    """

    def __init__(self, client: Any, endpoint: str, reason: str) -> None:  # zeus is untyped
        self._client = client
        self._endpoint = endpoint
        self._reason = reason
        self.name = f"zeusd at {endpoint}"

    @classmethod
    def connect(cls, reason: str) -> DaemonCounters:
        """Connect to the zeusd that the environment names.

        Args:
            reason: Why the files are not read, with the remedy.

        Raises:
            HardwareError: If it does not answer, or may not be asked.
        """
        quieten()
        from zeus.utils.zeusd import ZeusdClient, ZeusdConfig, require_capabilities

        endpoint = next(filter(None, map(os.environ.get, _VARIABLES)))
        with daemon_errors(endpoint, reason):
            client = ZeusdClient(ZeusdConfig.from_env())
            require_capabilities(client, read_cpu=True)
        return cls(client, endpoint, reason)

    def read_uj(self, zones: Sequence[Zone]) -> list[int]:
        """Return the counters of zones, in uJ, in one request.

        zeusd adds up wraps that it sees; we count them ourselves, so they are taken off again.
        """
        if not zones:
            return []
        numbers = sorted({zone.number for zone in zones})
        with daemon_errors(self._endpoint, self._reason):
            answers = self._client.get_cpu_energy(numbers, cpu=True, dram=True)
            return [_reading_uj(answers[zone.number], zone) for zone in zones]

    def check(self, zones: Sequence[Zone]) -> None:
        """Check that the counters of zones can be read."""
        self.read_uj(zones)


def _reading_uj(answer: Any, zone: Zone) -> int:
    total_uj = answer.dram_energy_uj if zone.name == "dram" else answer.cpu_energy_uj
    if total_uj is None:
        raise ValueError(f"it gives no energy of {zone.name}")
    return int(total_uj) % zone.range_uj()


def names_daemon() -> bool:
    """Return whether the environment names a zeusd."""
    return any(map(os.environ.get, _VARIABLES))


def quieten() -> None:
    """Keep zeusd's client from printing a line for each request."""
    logging.getLogger("zeus").setLevel(logging.ERROR)
    logging.getLogger("httpx").setLevel(logging.WARNING)


@contextmanager
def daemon_errors(endpoint: str, reason: str) -> Iterator[None]:
    """Turn errors of zeusd and its client into a `HardwareError`."""
    import httpx  # zeusd's client lets its errors through
    from zeus.exception import ZeusBaseError

    try:
        yield
    except (ZeusBaseError, httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        problem, _, remedy = reason.partition("; ")
        lines = str(error).splitlines() or [type(error).__name__]
        raise HardwareError(
            f"{problem}, and not through zeusd at {endpoint} either: {lines[0]}; have it started "
            f"with the group cpu-read, or {remedy}"
        ) from error
