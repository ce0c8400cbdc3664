"""`energyopt doctor`: check whether this machine can measure energy."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_config_dir,
    add_json,
    command_parser,
    print_json,
    seconds,
)


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "doctor",
        "Tell whether this machine can measure the configured hardware, and why not. It is tried "
        "as a trial would: leased, opened, metered for a moment, and given back; nothing is "
        "changed. Red lines begin with FAIL and name a remedy.",
        [
            "",
            "hardware=nvidia device=cuda:0 hardware.power_limit_w=profile",
            "--json | jq '.. | objects | select(.level == \"FAIL\")'",
        ],
        notes="exit code:\n"
        "  0  a trial would get its joules: the first line says whether measured or\n"
        "     estimated, or that another trial holds the GPUs at present\n"
        "  1  it could not be measured\n"
        "  2  the command itself is wrong",
    )
    command.set_defaults(storage=None)
    command.add_argument("overrides", nargs="*", help="key=value words, as for a training")
    add_config_dir(command)
    command.add_argument(
        "--seconds",
        type=seconds,
        default=2.0,
        metavar="S",
        help="how long the energy counters of GPUs are watched (default: 2)",
    )
    command.add_argument(
        "--no-probe",
        dest="probe",
        action="store_false",
        help="do not ask whether power limits may be set (by setting the one in force)",
    )
    add_json(command)
    return command


def run(args: argparse.Namespace) -> None:
    """Check the configured hardware, print the findings, and exit with 1 if it cannot measure."""
    from energyopt.doctor import examine
    from energyopt.doctor.screen import health_screen
    from energyopt.report.console import waiting

    with waiting(Console(stderr=True), f"watching sensors for {args.seconds:g} s ..."):
        health = examine(
            args.overrides,
            config_dir=args.config_dir,
            storage=args.storage,
            seconds=args.seconds,
            probe=args.probe,
        )
    if args.json:
        print_json("doctor", asdict(health))
    else:
        Console().print(health_screen(health))
    sys.exit(1 if health.configured.measurable is False else 0)
