"""`energyopt check`: run the contract of its kind on a part of the user's own."""

from __future__ import annotations

import argparse
import math
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from energyopt.cli.commands._arguments import plain_parser, positive_int
from energyopt.errors import ConfigError
from energyopt.report.console import say

if TYPE_CHECKING:
    from energyopt.testing import Check, MeterCase
    from energyopt.workflows.check import OwnPart

_LIBRARIES = ("energyopt", "hydra", "omegaconf", "importlib")
_STYLES = {"passed": "", "failed": "red", "skipped": "dim"}
# Work for a meter: one unit is as long as the update period of its sensor, but not so long that the
# checks take minutes.
_UNIT_S = 0.005
_MAX_UNITS = 40
_KINDS = ("paradigm", "task", "model", "meter", "objective", "rule", "schedule")


def parser() -> argparse.ArgumentParser:
    """Return the parser of `energyopt check`."""
    command = plain_parser(
        "check",
        "Check a part of your own, such as a paradigm or a meter, against what energyopt relies "
        "on, and say for each check whether it passed, or what is wrong and what to do. The part "
        "is built as a training builds it, on the CPU: add the words of that training, such as "
        "task=wine model=mlp, and those that its constructor takes. A small task checks faster.",
        [
            "my_loop.Loop task=wine model=mlp lr=0.1 momentum=0.5",
            "my_data.Stars path=stars.csv",
            "my_meter.Plug --kind meter",
        ],
        notes="exit code:\n"
        "  0  all checks passed\n"
        "  1  a check failed\n"
        "  2  the part cannot be imported or built, or the command itself is wrong",
    )
    command.add_argument("target", metavar="MODULE.NAME", help="a class, or what makes the part")
    command.add_argument(
        "overrides",
        nargs="*",
        default=[],
        help="key=value words: as for a training, or of the constructor",
    )
    command.add_argument(
        "--kind",
        choices=_KINDS,
        metavar="KIND",
        help=f"what it is: {', '.join(_KINDS)} (default: what it looks like)",
    )
    command.add_argument(
        "--models",
        type=positive_int,
        default=1,
        metavar="N",
        help="models that a paradigm trains at once (default: 1)",
    )
    command.add_argument(
        "--skip", action="append", default=[], metavar="CHECK", help="a check to leave out"
    )
    command.add_argument(
        "--config-dir", type=Path, metavar="DIR", help="folder of your own configs"
    )
    return command


def run(args: argparse.Namespace) -> None:
    """Check the part, print a line for each check, and exit with 1 if one failed."""
    from energyopt.workflows.check import CheckRequest, OwnPart

    console = Console()
    request = CheckRequest(args.target, tuple(args.overrides), args.kind, args.config_dir)
    with _user_traceback(), OwnPart(request) as part:
        case, checks = _case_of(part, part.make(), args.models)
        _check_skipped(args.skip, checks)
        say(console, f"{part.kind} {part.target}{_context(part)}: {len(checks)} checks")
        report = _Report(console)
        for check in checks:
            report.run(check, case, skip=check.name in args.skip)
    say(console, ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items()))
    sys.exit(1 if report.counts["failed"] else 0)


def _context(part: OwnPart) -> str:
    """Return the options that a paradigm is trained with, if its constructor takes any."""
    takes = part.parameters & {"task", "model", "make_model"}
    groups = [group for group in ("task", "model") if {group, f"make_{group}"} & takes]
    if part.kind != "paradigm" or not groups:
        return ""
    names = (str(part.config[group]._target_).rpartition(".")[2] for group in groups)
    return f" with {' and '.join(names)}"


def _case_of(part: OwnPart, built: Any, models: int) -> tuple[Any, tuple[Check[Any], ...]]:
    """Return the case of a part, and the checks of its kind."""
    from energyopt import testing

    case: Any
    match part.kind:
        case "paradigm":
            abilities = testing.abilities_of(built)
            case = testing.ParadigmCase(part.make, models, abilities, part.monitor)
            checks: tuple[Check[Any], ...] = testing.PARADIGM_CHECKS
        case "model":
            task = part.task
            case = testing.ModelCase(lambda **_: part.make(), task.input_shape, task.num_classes)
            checks = testing.MODEL_CHECKS
        case "task":
            case, checks = testing.TaskCase(part.make), testing.TASK_CHECKS
        case "objective":
            case = testing.ObjectiveCase(built, testing.EXAMPLE_RESULTS)
            checks = testing.OBJECTIVE_CHECKS
        case "rule":
            case, checks = testing.StoppingRuleCase(part.make), testing.STOPPING_RULE_CHECKS
        case "schedule":
            case, checks = testing.ScheduleCase(part.make), testing.SCHEDULE_CHECKS
        case _:
            case, checks = _meter_case(part, built)
    return case, checks


def _meter_case(part: OwnPart, meter: Any) -> tuple[MeterCase, tuple[Check[Any], ...]]:
    """Return the case of a meter, and all checks if it counts what the CPU does."""
    from energyopt import testing
    from energyopt.testing.meters import use_cpu

    provenance = getattr(meter, "provenance", None)
    resolution_s = getattr(provenance, "resolution_s", 0.0)
    units = min(max(math.ceil(resolution_s / _UNIT_S), 1), _MAX_UNITS)
    case = testing.MeterCase(part.make, lambda amount: use_cpu(units * amount))
    counts = getattr(provenance, "kind", None) in ("measured", "estimated")
    if counts and "gpus" not in part.parameters:
        return case, testing.COUNTING_METER_CHECKS
    return case, testing.METER_CHECKS


def _check_skipped(names: list[str], checks: tuple[Check[Any], ...]) -> None:
    unknown = sorted(set(names) - {check.name for check in checks})
    if unknown:
        choices = ", ".join(check.name for check in checks)
        raise ConfigError(f"--skip {unknown[0]} is no check of this kind: choose from {choices}")


class _Report:
    """Runs checks, prints a line for each, and counts the outcomes."""

    def __init__(self, console: Console) -> None:
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self._console = console
        self._tracebacks: dict[str, str] = {}  # the check that first raised it

    def run(self, check: Check[Any], case: Any, *, skip: bool) -> None:
        """Run a check, unless it does not apply to the case or `skip` is set."""
        from energyopt.testing import ContractViolation

        try:
            reason = "--skip" if skip else check.why_skipped(case)
            if reason is None:
                check.function(case)
        except ContractViolation as violation:
            self._print("failed", f"FAIL  {check.name}: {violation}")
        except (Exception, SystemExit) as error:  # a user's part may raise any type
            self._print_error(check.name, error)
        else:
            if reason is not None:
                self._print("skipped", f"skip  {check.name}: {reason}")
            else:
                summary = check.summary.removeprefix("Check that ").removesuffix(".")
                self._print("passed", f"ok    {check.name}: {summary}")

    def _print_error(self, name: str, error: BaseException) -> None:
        lines = _user_lines(error)
        raised = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        if lines in self._tracebacks:
            context = f"as in {self._tracebacks[lines]}"
        else:
            context = "in your code:" if lines else "with what the part returned"
        if lines:
            self._tracebacks.setdefault(lines, name)
        self._print("failed", f"FAIL  {name}: expected no error, got {raised}, {context}")
        if context.endswith(":"):
            self._console.print(
                lines, end="", markup=False, highlight=False, soft_wrap=True, style="dim"
            )

    def _print(self, outcome: str, line: str) -> None:
        self.counts[outcome] += 1
        say(self._console, line, style=_STYLES[outcome])


@contextmanager
def _user_traceback() -> Iterator[None]:
    """Print the user's part of a traceback if importing or building the part raises."""
    try:
        yield
    except ConfigError as error:
        if error.__cause__ is not None:
            sys.stderr.write(_user_lines(error.__cause__))
        raise


def _user_lines(error: BaseException) -> str:
    """Return the traceback from the first frame of the user's code; empty without one."""
    frames = _own_frames(error)
    if frames is None and not isinstance(error, SyntaxError):  # which has no frame of its own
        return ""
    return "".join(traceback.format_exception(type(error), error, frames))


def _own_frames(error: BaseException) -> TracebackType | None:
    """Return the traceback without the frames of libraries that lead to the user's code."""
    frames = error.__traceback__
    while frames is not None and _is_of_library(frames):
        frames = frames.tb_next
    return frames


def _is_of_library(frames: TracebackType) -> bool:
    module = str(frames.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in _LIBRARIES
