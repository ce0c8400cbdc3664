"""`energyopt completion`: print the shell script that completes its command line."""

from __future__ import annotations

import argparse
import sys

from energyopt.cli.commands._arguments import plain_parser

SHELLS = ("bash", "zsh", "fish")


def parser() -> argparse.ArgumentParser:
    command = plain_parser(
        "completion",
        "Print a script that lets a shell complete commands, their options, studies, groups, "
        "options and keys of `energyopt` with the tab key. Studies are those of a file; a server "
        "is not asked.",
        ["bash", "zsh", "fish"],
        notes="to have it in every shell, add a line to its start-up file:\n"
        '  ~/.bashrc                   eval "$(energyopt completion bash)"\n'
        '  ~/.zshrc, after compinit    eval "$(energyopt completion zsh)"\n'
        "  ~/.config/fish/config.fish  energyopt completion fish | source",
    )
    command.add_argument("shell", choices=SHELLS, help="the shell that you type in")
    return command


def run(args: argparse.Namespace) -> None:
    """Print the completion script of the chosen shell."""
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(["energyopt"], shell=args.shell))
