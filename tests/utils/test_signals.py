"""Signals: passed on by a process that waits for another."""

from __future__ import annotations

import signal

import pytest

from energyopt.utils.signals import Interrupted, forwarding, interrupting


def test_each_signal_is_passed_on_and_counted_and_the_old_handlers_come_back() -> None:
    sent: list[int] = []
    with interrupting():
        with forwarding(sent.append) as received:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
        assert received == sent == [signal.SIGINT, signal.SIGTERM]
        with pytest.raises(Interrupted) as interrupted:
            signal.raise_signal(signal.SIGTERM)
    assert interrupted.value.exit_code == 143
