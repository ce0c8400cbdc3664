"""`energyopt dashboard`: show studies in a browser."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.text import Text

from energyopt.cli.commands._arguments import command_parser
from energyopt.errors import ConfigError


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "dashboard",
        "Show studies in a browser, with Optuna's dashboard: for this machine alone, and for "
        "reading alone, also while a study runs. It has no login.",
        ["", "demo", "demo --port 8081", "--write"],
    )
    command.add_argument("study", nargs="?", help="name the page of this study")
    command.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    command.add_argument(
        "--port", type=int, default=8080, help="the port; 0 takes a free one (default: 8080)"
    )
    command.add_argument(
        "--allow-remote",
        action="store_true",
        help="listen on a --host that other machines reach: whoever reaches it needs no login",
    )
    command.add_argument(
        "--write", action="store_true", help="let the dashboard change and delete studies"
    )
    return command


def run(args: argparse.Namespace) -> None:
    """Serve the dashboard until Ctrl-C.

    Raises:
        ConfigError: If other machines could reach it and --allow-remote is not set.
    """
    from energyopt.report.dashboard.server import is_loopback, serve

    if not is_loopback(args.host) and not args.allow_remote:
        raise ConfigError(
            f"--host {args.host}: the dashboard has no login, and other machines would reach it "
            "there; tunnel its port by ssh -L, or add --allow-remote if all who reach it may see "
            "the studies"
        )

    def print_url(url: str) -> None:
        access = "changes and deletes studies" if args.write else "only shows"
        Console().print(Text(f"{url}  ({access}; Ctrl-C ends it)"), soft_wrap=True)

    serve(
        args.storage, args.host, args.port, study=args.study, write=args.write, print_text=print_url
    )
