"""Named places at which a test kills, stops or fails this program, with real signals.

    ENERGYOPT_FAILPOINT=told:kill        when the first outcome of a trial is stored
    ENERGYOPT_FAILPOINT=sql#17:fail      the 17th SQL statement of this process fails
    ENERGYOPT_FAILPOINT=write#2:kill     at the second SQL statement that is not a query

Without that variable a failpoint costs one look-up of a name.
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass

from energyopt.errors import ConfigError

_VARIABLE = "ENERGYOPT_FAILPOINT"
_FORM = re.compile(r"(?P<name>[a-z_]+)(#(?P<nth>[1-9][0-9]*))?:(?P<action>kill|stop|fail)")


class Injected(OSError):  # noqa: N818  # it stands for any OSError
    """The error that a failpoint raises."""


@dataclass(slots=True)
class _Armed:
    name: str
    remaining: int
    action: str


def _read(text: str) -> _Armed | None:
    if not text:
        return None
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError(f"{_VARIABLE}={text}: name:kill, name:stop, name:fail, or name#3:kill")
    return _Armed(match["name"], int(match["nth"] or 1), match["action"])


_armed: _Armed | None = None


def arm(text: str | None = None) -> None:
    """Arm a failpoint of this process and its forks.

    Args:
        text: As in ENERGYOPT_FAILPOINT; None reads that variable, an empty text disarms.

    Raises:
        ConfigError: If it is not a failpoint.
    """
    global _armed  # noqa: PLW0603  # one per process, like the variable
    _armed = _read(os.environ.get(_VARIABLE, "") if text is None else text)


def is_armed(name: str) -> bool:
    """Return True if a failpoint is armed; for those that are expensive to watch."""
    return _armed is not None and _armed.name == name


def has_struck() -> bool:
    """Return True if the armed failpoint has struck."""
    return _armed is not None and _armed.remaining <= 0


def hit(name: str) -> None:
    """Pass a failpoint.

    Raises:
        Injected: If the failpoint is armed to fail.
    """
    armed = _armed
    if armed is None or armed.name != name:
        return
    armed.remaining -= 1
    if armed.remaining:
        return
    if armed.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif armed.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        raise Injected(f"failpoint {name}")
