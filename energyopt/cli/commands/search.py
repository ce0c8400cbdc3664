"""`energyopt search WORDS -- COMMAND`: search the values of any command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from energyopt.cli.commands._arguments import Parser, plain_parser

_NOTES = """\
words:
  key=RANGE            what is searched: interval(0,1), range(1,9),
                       choice(8,16), tag(log,interval(1e-4,1))
  key=VALUE            a value of {key} in the command that is not searched
  default.key=VALUE    its value in trial 0; if left out, the middle
  run_params=true      the program takes values without a {key} from run.params
  monitor=, mode=, target=, epochs=
                       the metric; else the Run of trial 0 declares it
  study=, storage=, n_trials=, n_jobs=, sampler=, seed=, stopping=, hardware=,
  search_budget_j=, search_budget_s=, planned_trainings=, trial_timeout_s=,
  max_failures=, dry_run=true
                       as in a search of energyopt's own tasks

The program needs an energyopt.Run in its training loop. Braces of the command
itself are written {{ and }}; a shell's own $NAME or pipe needs bash -c '...'.
The same command continues a study."""


class _SearchParser(Parser):
    """Leaves what follows "--" alone: it is the command, whatever its options are called."""

    def parse_intermixed_args(  # type: ignore[override]  # our commands are parsed in one way
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse the words before "--"."""
        words = list(args or ())
        place = words.index("--") if "--" in words else len(words)
        parsed = super().parse_intermixed_args(words[:place], namespace)
        parsed.command = words[place + 1 :]
        return parsed


def parser() -> argparse.ArgumentParser:
    """Return the parser of `energyopt search`."""
    described = plain_parser(
        "search",
        "Search the values of a command, such as a training script, torchrun or a shell script. "
        "Each trial starts it with other values in place of its {keys}; its output goes to "
        "output.log in the folder of the trial. A paused trial ends the program, and starts it "
        "again later.",
        [
            "'lr=interval(1e-4,1e-1)' -- python train.py --lr={lr}",
            "'wd=choice(0,0.1)' default.wd=0 -- bash -c './train.sh {wd}'",
        ],
        notes=_NOTES,
    )
    command = _SearchParser(
        prog=described.prog,
        usage="energyopt search WORD... -- COMMAND...",
        description=described.description,
        epilog=described.epilog,
        formatter_class=described.formatter_class,
    )
    command.add_argument("words", nargs="*", default=[], help="key=value words, as below")
    return command


def run(args: argparse.Namespace) -> None:
    """Run the search; its jobs are processes of their own."""
    from energyopt.cli.main import run_hydra
    from energyopt.cli.search_words import read_words
    from energyopt.storage.credentials import refuse_password

    for word in args.words:
        key, _, value = word.partition("=")
        if key == "storage" and "://" in value:
            refuse_password(value)
    search = read_words(args.words, args.command)
    sys.argv = [sys.argv[0], *search.arguments]
    run_hydra(search.task)
