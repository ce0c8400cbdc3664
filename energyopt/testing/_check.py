"""Named checks of a part, their runner, and the error that a failed check raises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

CaseT = TypeVar("CaseT")


class ContractViolation(AssertionError):  # noqa: N818  # what happened, as AssertionError says it
    """A part breaks the contract that energyopt relies on.

    Attributes:
        expected: The expected behaviour.
        observed: The observed behaviour.
        remedy: How to fix the part.
        check: Name of the failed check; empty until it has run.
    """

    def __init__(self, expected: str, observed: str, remedy: str) -> None:
        super().__init__(expected, observed, remedy)
        self.expected = expected
        self.observed = observed
        self.remedy = remedy
        self.check = ""

    def __str__(self) -> str:
        prefix = f"{self.check}: " if self.check else ""
        return f"{prefix}expected {self.expected}, got {self.observed}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Check(Generic[CaseT]):
    """One property that a part must have.

    Attributes:
        function: Takes a case and raises `ContractViolation` if it lacks the property.
        why_skipped: Returns why a case cannot be checked for it, or None if it can.
    """

    function: Callable[[CaseT], None]
    why_skipped: Callable[[CaseT], str | None]

    @property
    def name(self) -> str:
        """Name of the check, a valid identifier."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """Description of the check in one sentence."""
        return (self.function.__doc__ or self.name).strip().splitlines()[0]

    def __call__(self, case: CaseT) -> None:
        """Check a case.

        Raises:
            ContractViolation: If it does not have the property.
        """
        try:
            self.function(case)
        except ContractViolation as violation:
            violation.check = self.name
            raise


def check(function: Callable[[CaseT], None]) -> Check[CaseT]:
    """Turn a function into a check that applies to every case."""
    return Check(function, _never_skipped)


def check_unless(
    why_skipped: Callable[[CaseT], str | None],
) -> Callable[[Callable[[CaseT], None]], Check[CaseT]]:
    """Turn a function into a check that is skipped for some cases.

    Args:
        why_skipped: Returns why a case cannot be checked, or None if it can.
    """
    return lambda function: Check(function, why_skipped)


def run_checks(
    checks: Iterable[Check[CaseT]], case: CaseT, *, skip: Collection[str] = ()
) -> tuple[str, ...]:
    """Run checks one after the other, up to the first that fails.

    Args:
        checks: Checks to run, in this order.
        case: What to check.
        skip: Names of checks to leave out.

    Returns:
        Names of the checks that passed; those that do not apply to the case are left out.

    Raises:
        ContractViolation: If the case fails a check.
        ValueError: If `skip` names a check that does not exist.
    """
    checks = tuple(checks)
    unknown = sorted(set(skip) - {candidate.name for candidate in checks})
    if unknown:
        names = ", ".join(candidate.name for candidate in checks)
        raise ValueError(f"skip={unknown[0]} is no check of this kind of part: choose from {names}")
    passed = []
    for candidate in checks:
        if candidate.name in skip or candidate.why_skipped(case):
            continue
        candidate(case)
        passed.append(candidate.name)
    return tuple(passed)


def require(condition: object, expected: str, observed: object, remedy: str) -> None:
    """Raise a violation unless a condition holds."""
    if not condition:
        raise ContractViolation(expected, str(observed), remedy)


def require_error(function: Callable[[], object], expected: str, remedy: str) -> None:
    """Require that a call raises an error, of any type, with a message."""
    try:
        result = function()
    except Exception as error:  # a user's part may raise any type
        require(
            str(error), f"{expected} with a message", f"an empty {type(error).__name__}", remedy
        )
        return
    raise ContractViolation(expected, f"no error, but {result!r}", remedy)


def require_protocols(part: object, protocols: Iterable[type]) -> None:
    """Require that a part has the methods and attributes of protocols."""
    for protocol in protocols:
        missing = [name for name in members_of(protocol) if not hasattr(part, name)]
        require(
            isinstance(part, protocol),
            f"a {protocol.__name__} (energyopt.core.protocols)",
            f"{type(part).__name__} without {' and '.join(missing) or 'all of its methods'}",
            f"give {type(part).__name__} what {protocol.__name__} asks for",
        )


def members_of(protocol: type) -> list[str]:
    """Return the names of a protocol's methods and attributes."""
    return sorted(name for name in vars(protocol) if not name.startswith("_") or name == "__call__")


def _never_skipped(_case: object) -> str | None:
    return None
