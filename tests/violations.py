"""Messages of checks about parts that break their contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from energyopt.testing import ContractViolation


def caught(check: Callable[..., object], *args: Any, **options: Any) -> ContractViolation:
    """Return the message of a check about a part that breaks its contract."""
    with pytest.raises(ContractViolation) as raised:
        check(*args, **options)
    violation = raised.value
    assert isinstance(violation, AssertionError)
    assert str(violation) == (
        f"{violation.check}: expected {violation.expected}, got {violation.observed}; "
        f"{violation.remedy}"
    )
    return violation
