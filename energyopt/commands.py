"""The commands: what one types after a study."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from energyopt.errors import ConfigError, HardwareError
from energyopt.store import DEFAULT_STORAGE

_LONGEST_WATCH_S = 60.0


def run(words: Sequence[str]) -> None:
    """Run a command.

    Args:
        words: The command's name and its arguments.

    Raises:
        EnergyoptError: In a sentence, what is wrong.
    """
    name, *rest = words
    if name not in COMMANDS:
        raise ConfigError(
            f"there is no command {name!r}; the commands are {', '.join(COMMANDS)}; "
            f"to set a config key write {name}=value"
        )
    COMMANDS[name](rest)


class _Parser(argparse.ArgumentParser):
    """Raises its complaints, so that they are said like all others."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `{self.prog} --help`")


class _Storage(argparse.Action):
    """Takes a storage that is typed: without a password, which process lists would show."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        if "://" in values:
            from energyopt.store.database import refuse_password

            refuse_password(values)
        namespace.storage = values


def _parser(name: str, description: str, examples: Sequence[str]) -> _Parser:
    parser = _Parser(
        prog=f"energyopt {name}",
        description=description,
        epilog="examples:\n" + "\n".join(f"  energyopt {name} {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--storage",
        metavar="FILE_OR_URL",
        action=_Storage,
        default=os.environ.get("ENERGYOPT_STORAGE", DEFAULT_STORAGE),
        help=f"where studies are (default: ENERGYOPT_STORAGE, else {DEFAULT_STORAGE})",
    )
    return parser


def _accuracy(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no accuracy above 0 and at most 1")
    return value


def _collect_nothing() -> None:
    """Leave garbage alone in a command that reads a study, prints and ends: it makes little.

    Looking for it again and again among all that was read takes a fifth of the time.
    """
    gc.disable()


def _studies(words: Sequence[str]) -> None:
    parser = _parser("studies", "List the studies of a storage.", [""])
    args = parser.parse_args(words)
    _collect_nothing()
    from energyopt.report.tables import studies_table, study_row
    from energyopt.store.reading import read_studies

    Console().print(studies_table(study_row(study) for study in read_studies(args.storage)))


def _show(words: Sequence[str]) -> None:
    parser = _parser(
        "show",
        "What a study found and what it cost: the summary that its run ended with.",
        ["demo", "demo --target 0.9", "demo --reuse 300"],
    )
    parser.add_argument("study", help="the study's name")
    parser.add_argument(
        "--target", type=_accuracy, help="accuracy to look at (default: the study's)"
    )
    _add_reuse(parser)
    args = parser.parse_args(words)
    _collect_nothing()
    from energyopt.report.summary import summarize
    from energyopt.report.tables import summary_panel
    from energyopt.store.reading import read_study

    study = read_study(args.storage, args.study)
    summary = summarize(study, args.target, reuse=args.reuse)
    Console().print(summary_panel(summary), crop=False)  # a command must stay whole


def _add_reuse(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reuse",
        type=_trainings,
        metavar="N",
        help="trainings that you plan: says what they save beyond the search",
    )


def _trainings(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of trainings above 0")
    return value


def _pareto(words: Sequence[str]) -> None:
    parser = _parser(
        "pareto",
        "The front of a study: setups that no other beats in both energy and accuracy. Each "
        "point comes with the overrides that reproduce it.",
        ["demo", "demo --target 0.9", "demo --out front.csv", "demo --points final --out f.json"],
    )
    parser.add_argument("study", help="the study's name")
    parser.add_argument(
        "--points",
        choices=("curve", "final"),
        default="curve",
        help="curve: all checkpoints of all trials, each a setup one could stop at; final: energy "
        "to target and best accuracy of the trials that reached it (default: curve)",
    )
    parser.add_argument("--target", type=_accuracy, help="only points of at least this accuracy")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write to a .csv, .json or .md file"
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    _add_reuse(parser)
    args = parser.parse_args(words)
    _collect_nothing()
    from energyopt.report.export import write_front
    from energyopt.report.front import curve_front, final_front, front_of
    from energyopt.report.tables import books_text, front_table
    from energyopt.store.reading import read_study

    study = read_study(args.storage, args.study)
    points = (curve_front if args.points == "curve" else final_front)(study)
    of = front_of(points, study)
    if args.target is not None:
        points = tuple(point for point in points if point.accuracy >= args.target)
        of += f", from accuracy {args.target:g}"
    console = Console()
    if args.out is None:
        target = study.target if args.target is None else args.target
        console.print(front_table(points, of, study=study.name, target=target, limit=None))
        console.print(books_text(study, reuse=args.reuse))
        return
    write_front(points, study, args.out, force=args.force)
    console.print(
        f"{args.out}: {len(points)} points, {of}", highlight=False, markup=False, soft_wrap=True
    )


def _retrain(words: Sequence[str]) -> None:
    parser = _parser(
        "retrain",
        "Train a setup of a study again, report its test accuracy, and keep the model. A setup "
        "that reached the target is trained up to it. Further words override the setup.",
        [
            "demo --out model.safetensors",
            "demo --trial 7 --seed 1",
            "demo objective=energy_vs_accuracy",
        ],
    )
    parser.add_argument("study", help="the study's name")
    parser.add_argument("overrides", nargs="*", help="key=value words, as for a training")
    parser.add_argument("--trial", type=int, help="its number (default: the cheapest setup)")
    parser.add_argument("--seed", type=int, help="another seed than the study's")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the model (.safetensors)")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("--config-dir", type=Path, help="folder of your own configs")
    args = parser.parse_intermixed_args(words)
    from energyopt.retrain import Request, retrain
    from energyopt.store.reading import read_study

    request = Request(
        overrides=tuple(args.overrides),
        trial=args.trial,
        seed=args.seed,
        out=args.out,
        force=args.force,
        config_dir=args.config_dir,
    )
    retrain(read_study(args.storage, args.study), request, Console())


def _recommend(words: Sequence[str]) -> None:
    parser = _parser(
        "recommend",
        "The setup of a study that is expected to reach the target with the least energy. Unlike "
        "the cheapest\ntraining it need not have been lucky: what others say of it counts, too. "
        "Each setup comes with the\nprobability that no other is better by more than --within.",
        ["demo", "demo --target 0.9", "demo --within 0.1 --json | jq '.setups[0].overrides'"],
    )
    parser.add_argument("study", help="the study's name")
    parser.add_argument("--target", type=_accuracy, help="accuracy to reach (default: the study's)")
    parser.add_argument(
        "--within",
        type=_share,
        default=0.05,
        metavar="SHARE",
        help="how much dearer than the best is as good (default: 0.05)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    args = parser.parse_args(words)
    _collect_nothing()
    from energyopt.report.recommended import advised, recommended_data, recommended_screen
    from energyopt.store.reading import read_study

    study = read_study(args.storage, args.study)
    found, target = advised(study, args.target, within=args.within)
    if args.json:
        data = recommended_data(study, found, target, args.within)
        sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")
        return
    screen = recommended_screen(study, found, target, args.within)
    Console().print(screen, crop=False, soft_wrap=False)  # a command must stay whole


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share of at least 0 and at most 1")
    return value


def _confirm(words: Sequence[str]) -> None:
    parser = _parser(
        "confirm",
        "Train the best setups of a study and its default again, with seeds that its search has "
        "not seen: the\nsame ones for all, one seed after the other. It says who wins only where "
        "the 95 % interval of the ratio\nof their energies excludes 1, and reports test accuracy. "
        "What it burns counts as the study's search\nenergy. Stopped, it goes on where it was; "
        "more --seeds add to those before.",
        ["demo", "demo --seeds 10 --top 1", "demo --target 0.9"],
    )
    parser.add_argument("study", help="the study's name")
    parser.add_argument("overrides", nargs="*", help="key=value words that change all setups")
    parser.add_argument(
        "--seeds", type=_whole, default=5, metavar="N", help="trainings a setup (default: 5)"
    )
    parser.add_argument(
        "--top", type=_whole, default=3, metavar="N", help="setups beside the default (default: 3)"
    )
    parser.add_argument("--target", type=_accuracy, help="accuracy to reach (default: the study's)")
    parser.add_argument("--config-dir", type=Path, help="folder of your own configs")
    args = parser.parse_intermixed_args(words)
    from energyopt.confirm import Request, confirm

    request = Request(
        seeds=args.seeds,
        top=args.top,
        target=args.target,
        overrides=tuple(args.overrides),
        config_dir=args.config_dir,
    )
    confirm(args.storage, args.study, request, Console())


def _summarize(words: Sequence[str]) -> None:
    parser = _parser(
        "summarize",
        "What an experiment found: its table, with intervals and what missed its target. Writes "
        "the table, a\nfigure, csv, json, and the trainings that all of it is made of.",
        ["power_of_training", "power_of_training --out results", "--from studies/paradigms"],
    )
    parser.add_argument("name", nargs="?", help="the experiment, or the study=name it was given")
    parser.add_argument(
        "--from",
        dest="folder",
        type=Path,
        metavar="DIR",
        help="a folder that this command has written, instead of studies",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write to it (default: studies/summaries/NAME)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the files in --out")
    args = parser.parse_args(words)
    if (args.name is None) == (args.folder is None):
        raise ConfigError("summarize takes the NAME of an experiment, or --from DIR")
    _collect_nothing()
    from energyopt.report.experiments.gathering import gather, summary_dir
    from energyopt.report.experiments.rows import read_raw
    from energyopt.report.experiments.summary import show_and_write

    if args.folder is not None:
        show_and_write(read_raw(args.folder), args.out, Console(), force=args.force)
        return
    out = summary_dir(args.name) if args.out is None else args.out
    force = args.force or args.out is None
    show_and_write(gather(args.name, args.storage), out, Console(), force=force)


def _dashboard(words: Sequence[str]) -> None:
    parser = _parser(
        "dashboard",
        "Show studies in a browser, with Optuna's dashboard: for this machine alone, and for "
        "reading alone,\nalso while a study runs. It has no login.",
        ["", "demo", "demo --port 8081", "--write"],
    )
    parser.add_argument("study", nargs="?", help="name the page of this study")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=int, default=8080, help="the port; 0 takes a free one (default: 8080)"
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="listen on a --host that other machines reach: whoever reaches it needs no login",
    )
    parser.add_argument(
        "--write", action="store_true", help="let the dashboard change and delete studies"
    )
    args = parser.parse_args(words)
    from energyopt.report.dashboard import is_loopback, serve

    if not is_loopback(args.host) and not args.allow_remote:
        raise ConfigError(
            f"--host {args.host}: the dashboard has no login, and other machines would reach it "
            "there; tunnel its port by ssh -L, or add --allow-remote if all who reach it may see "
            "the studies"
        )

    def say(url: str) -> None:
        may = "changes and deletes studies" if args.write else "only shows"
        Console().print(Text(f"{url}  ({may}; Ctrl-C ends it)"), soft_wrap=True)

    serve(args.storage, args.host, args.port, study=args.study, write=args.write, say=say)


def _doctor(words: Sequence[str]) -> None:
    parser = _parser(
        "doctor",
        "Tell whether this machine can measure the configured hardware, and why not. It is tried "
        "as a trial\nwould: leased, opened, metered for a moment, and given back; nothing is "
        "changed. Red lines begin with\nFAIL and name a remedy.",
        [
            "",
            "hardware=nvidia device=cuda:0 hardware.power_limit_w=profile",
            "--json | jq '.. | objects | select(.level == \"FAIL\")'",
        ],
    )
    parser.epilog = (
        f"{parser.epilog}\n\nexit code:\n"
        "  0  a trial would get its joules: the first line says whether measured or estimated,\n"
        "     or that another trial holds the GPUs at present\n"
        "  1  it could not be measured\n"
        "  2  the command itself is wrong"
    )
    parser.set_defaults(storage=None)
    parser.add_argument("overrides", nargs="*", help="key=value words, as for a training")
    parser.add_argument("--config-dir", type=Path, help="folder of your own configs")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=2.0,
        metavar="S",
        help="how long the energy counters of GPUs are watched (default: 2)",
    )
    parser.add_argument(
        "--no-probe",
        dest="probe",
        action="store_false",
        help="do not ask whether power limits may be set (by setting the one in force)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object: the records of energyopt.report.health",
    )
    args = parser.parse_intermixed_args(words)
    from energyopt.doctor import examine
    from energyopt.report.health import health_screen

    with Console(stderr=True).status(f"watching sensors for {args.seconds:g} s ..."):
        health = examine(
            args.overrides,
            config_dir=args.config_dir,
            storage=args.storage,
            seconds=args.seconds,
            probe=args.probe,
        )
    if args.json:
        sys.stdout.write(json.dumps(asdict(health), indent=2) + "\n")
    else:
        Console().print(health_screen(health))
    sys.exit(1 if health.configured.measurable is False else 0)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= _LONGEST_WATCH_S:
        raise argparse.ArgumentTypeError(
            f"{text} is no time above 0 and at most {_LONGEST_WATCH_S:g} s"
        )
    return value


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)


def _restore(words: Sequence[str]) -> None:
    parser = _Parser(
        prog="energyopt restore",
        description="Put back the power limits of GPUs that killed runs left changed. Those of "
        "runs that go on are left alone.\nWhere it takes the rights of another, such as root, run "
        "it with them: root puts back all users'.",
        epilog="examples:\n  energyopt restore\n  sudo energyopt restore\n\nexit code:\n"
        "  0  all are put back, or there was nothing to do\n"
        "  1  one could not be put back",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(words)
    from energyopt.hardware.lease import run_dir
    from energyopt.hardware.recover import restore_all

    if run_dir().exists() and not os.access(run_dir(), os.R_OK | os.X_OK):
        raise HardwareError(f"{run_dir()}, the place of what is to be restored, may not be read")
    found = restore_all(asked=True)
    console = Console()
    for restored in found:
        console.print(Text(str(restored)), soft_wrap=True)
    if not found:
        console.print(Text(f"nothing to restore in {run_dir()}"), soft_wrap=True)
    sys.exit(1 if any(restored.refusal is not None for restored in found) else 0)


def _help(words: Sequence[str]) -> None:
    """`energyopt help [command]`, for those who type it."""
    if words and words[0] in COMMANDS:
        COMMANDS[words[0]](["--help"])
    sys.stdout.write(f"commands: {', '.join(COMMANDS)}; energyopt COMMAND --help explains each\n")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "studies": _studies,
    "show": _show,
    "pareto": _pareto,
    "recommend": _recommend,
    "confirm": _confirm,
    "retrain": _retrain,
    "summarize": _summarize,
    "dashboard": _dashboard,
    "doctor": _doctor,
    "restore": _restore,
    "help": _help,
}
