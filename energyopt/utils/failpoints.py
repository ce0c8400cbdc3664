"""Named places at which a test kills, stops or fails this program, with real signals.

    ENERGYOPT_FAILPOINT=told:kill        at the first telling of a trial's end
    ENERGYOPT_FAILPOINT=sql#17:fail      the 17th SQL statement of this process fails
    ENERGYOPT_FAILPOINT=write#2:kill     at the second SQL statement that is no query

Without that variable a place costs a look-up of a name.
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass

from energyopt.errors import ConfigError

_VARIABLE = "ENERGYOPT_FAILPOINT"
_FORM = re.compile(r"(?P<name>[a-z_]+)(#(?P<nth>[1-9][0-9]*))?:(?P<action>kill|stop|fail)")


class Injected(OSError):  # noqa: N818  # what happened, not what it is
    """What a failpoint raises."""


@dataclass(slots=True)
class _Armed:
    name: str
    left: int
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
        text: As in ENERGYOPT_FAILPOINT; None takes that, an empty one disarms.

    Raises:
        ConfigError: If it is none.
    """
    global _armed  # noqa: PLW0603  # one a process, as the variable is
    _armed = _read(os.environ.get(_VARIABLE, "") if text is None else text)


def is_armed(name: str) -> bool:
    """Whether a place may still strike: for those that cost something to be watched."""
    return _armed is not None and _armed.name == name


def has_struck() -> bool:
    """Whether the armed place was passed often enough."""
    return _armed is not None and _armed.left <= 0


def at(name: str) -> None:
    """Pass a place.

    Raises:
        Injected: If it is armed to fail.
    """
    armed = _armed
    if armed is None or armed.name != name:
        return
    armed.left -= 1
    if armed.left:
        return
    if armed.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif armed.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        raise Injected(f"failpoint {name}")
