"""Entry points: a first argument without "=" is a command, anything else is for Hydra."""

from __future__ import annotations

import io
import os
import shutil
import sys
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, NoReturn

from energyopt import __version__
from energyopt.cli.commands import COMMAND_NAME, COMMANDS
from energyopt.cli.commands import run as run_command
from energyopt.utils.failure import FULL_ERROR
from energyopt.utils.files import private_files
from energyopt.utils.paths import PLUGINS, STORAGE_VARIABLE, conf_dir
from energyopt.utils.text import wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from omegaconf import DictConfig

_USER_ERROR = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141
_BYPASS = "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"
_DRY_RUN = "--dry-run"
_OLD_REUSE = frozenset({"reuse", "+reuse", "++reuse", "--reuse", "hydra.sweeper.reuse"})
_full_error = os.environ.get(FULL_ERROR) == "1"  # read before _run_hydra() sets it


def script() -> NoReturn:
    """Run the console script: `python -m energyopt`, with the current folder importable."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # sys.path holds strings
    main()


def main() -> NoReturn:
    """Run a command or a Hydra job; an error is printed as one sentence, with exit code 2."""
    words, dashes, command = _split(sys.argv)  # what follows "--" is a command of the user's
    if _DRY_RUN in words:  # Hydra has no options but its own
        words = ["dry_run=true" if word == _DRY_RUN else word for word in words]
        sys.argv = [*words, *dashes, *command]
    arguments = sys.argv[1:]
    if "_ARGCOMPLETE" in os.environ:
        from energyopt.cli.completion import answer

        answer()
    _make_plugins_importable()
    _warn(words[1:])
    _withhold_storage(arguments)
    try:
        _train_alone()
        if arguments == ["--version"]:
            sys.stdout.write(f"energyopt {__version__}\n")
            sys.exit(0)
        if arguments and COMMAND_NAME.fullmatch(arguments[0]):
            run_command(arguments)
        elif any(argument.startswith("experiment=") for argument in arguments):
            from energyopt.experiments.runner import run as run_experiment

            _check_passwords(arguments)
            run_experiment(arguments)
        else:
            _check_passwords(arguments)
            run_hydra(_task, config_path=str(conf_dir()), config_name="config")
    except KeyboardInterrupt as interrupt:
        _print_message("interrupted")
        sys.exit(getattr(interrupt, "exit_code", _INTERRUPTED))
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_BROKEN_PIPE)
    except Exception as error:
        if _full_error:
            raise
        _exit_with(error)
    sys.exit(0)


def _train_alone() -> None:
    """Leave the work to rank 0, where torchrun starts this program several times."""
    if "WORLD_SIZE" in os.environ:
        from energyopt.training.ranks import train_alone

        train_alone()


def _withhold_storage(arguments: Sequence[str]) -> None:
    """Take the storage out of the environment that other processes see and trials inherit."""
    is_foreign = arguments and COMMAND_NAME.fullmatch(arguments[0]) and arguments[0] not in COMMANDS
    if STORAGE_VARIABLE in os.environ and not is_foreign:
        from energyopt.storage.credentials import withhold_storage

        withhold_storage()


def _warn(arguments: Sequence[str]) -> None:
    """Print warnings about the arguments and the environment."""
    if os.environ.get(_BYPASS):
        _print_message(f"warning: {_BYPASS} is set; Hydra will run code that it normally blocks")
    if any(word.partition("=")[0] in _OLD_REUSE for word in arguments):
        _print_message(
            "warning: reuse is deprecated and will be removed; write planned_trainings=N"
        )
    if "objective=function" in arguments:
        _print_message(
            "warning: objective=function is deprecated and will be removed; write objective=own "
            "objective._target_=my_code.score"
        )


def _exit_with(error: Exception) -> NoReturn:
    """Print an error for the user and exit with its code."""
    from energyopt.config.error_messages import explain
    from energyopt.errors import TrialsFailedError
    from energyopt.utils.failure import attached_traceback, frames_of, has_own_code

    if has_own_code(error) and not attached_traceback(error):  # else the sweeper has printed it
        sys.stderr.write(f"{frames_of(error)}\n")
    _print_message(explain(error))
    is_of_trials = isinstance(error.__cause__, TrialsFailedError)  # Hydra's plugin wraps it
    sys.exit(TrialsFailedError.exit_code if is_of_trials else _USER_ERROR)


def _print_message(message: str) -> None:
    text = f"energyopt: {message}"
    if sys.stderr.isatty():
        text = _wrap(text)
    sys.stderr.write(f"{text}\n")


def _wrap(text: str) -> str:
    """Return a text wrapped to the width of the terminal."""
    width = shutil.get_terminal_size().columns
    return "\n".join(part for line in text.splitlines() for part in wrapped(line, width))


def _split(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the words before the first "--", that one, and those behind it."""
    place = words.index("--") if "--" in words else len(words)
    return list(words[:place]), list(words[place : place + 1]), list(words[place + 1 :])


def run_hydra(
    task: Callable[[DictConfig], Any], *, config_path: str | None = None, **options: str
) -> None:
    """Run a Hydra app with the arguments in `sys.argv`; Hydra's errors are raised.

    Args:
        task: Its function.
        config_path: Its folder of configs; None for none.
        **options: Other options of `hydra.main`.
    """
    import hydra

    from energyopt.utils.failure import show_all_frames

    show_all_frames(_full_error)
    _share_config_store()
    app = hydra.main(version_base="1.3", config_path=config_path, **options)(task)
    previous = os.environ.get(FULL_ERROR)
    # Makes Hydra raise errors, which main() prints, instead of printing them itself and exiting.
    os.environ[FULL_ERROR] = "1"
    try:
        with private_files(), _filled_help():
            app()
    finally:
        if previous is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = previous


def _share_config_store() -> None:
    """Keep Hydra from copying its store of configs, of which it changes nothing.

    It copies it for each composition, and for each group that its help lists: half of `--help`.
    """
    from hydra.core.config_store import ConfigStore

    setattr(ConfigStore, "__deepcopy__", lambda store, _: store)  # noqa: B010  # for mypy


@contextmanager
def _filled_help() -> Iterator[None]:
    """Capture the help that Hydra prints; replace its placeholders and wrap it."""
    if not {"--help", "-h"} & set(sys.argv[1:]):
        yield
        return
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            yield
    finally:
        from energyopt.cli.help import fill_in

        printed = text.getvalue()
        sys.stdout.write(f"{_wrap(fill_in(printed))}\n" if printed else "")


def _check_passwords(arguments: Sequence[str]) -> None:
    """Raise ConfigError for a password in a storage URL.

    Hydra would write the overrides into the run's folder, so this runs before it.
    """
    for argument in arguments:
        key, _, value = argument.lstrip("+").partition("=")
        if key in ("storage", "hydra.sweeper.storage") and "://" in value:
            from energyopt.storage.credentials import refuse_password

            refuse_password(value)


def _make_plugins_importable() -> None:
    """Add our Hydra plugins to the path: in a bare checkout they are not installed."""
    if PLUGINS.is_dir() and str(PLUGINS) not in sys.path:
        sys.path.append(str(PLUGINS))


def _task(cfg: DictConfig) -> Any:
    """Run a trial of a study or, without a job number, one standalone training."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    if not OmegaConf.is_missing(HydraConfig.get().job, "num"):
        from energyopt.jobs.job import job

        return job(cfg)
    from energyopt.storage.credentials import forget_storage
    from energyopt.utils.environment import reopen_memory
    from energyopt.workflows.train import train_once

    forget_storage()  # this training is of no study
    reopen_memory()
    try:
        train_once(cfg)
    except BrokenPipeError:
        raise
    except Exception as error:
        if _full_error:
            raise
        _exit_with(error)
    return None
