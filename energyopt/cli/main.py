"""The door: Hydra's for words with "=", commands for a first word without."""

from __future__ import annotations

import io
import os
import shutil
import sys
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, NoReturn

from energyopt import __version__
from energyopt.cli.commands import COMMAND_NAME
from energyopt.cli.commands import run as run_command
from energyopt.utils.files import private_files
from energyopt.utils.paths import PLUGINS, conf_dir
from energyopt.utils.text import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omegaconf import DictConfig

_USER_ERROR = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141
_FULL_ERROR = "HYDRA_FULL_ERROR"
_BYPASS = "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"
_full_error = os.environ.get(_FULL_ERROR) == "1"  # as the user set it


def script() -> NoReturn:
    """The console script: like `python -m energyopt`, with the current folder importable."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # sys.path holds strings
    main()


def main() -> NoReturn:
    """Run a command or a Hydra job; errors are one sentence and exit code 2."""
    words = sys.argv[1:]
    if "_ARGCOMPLETE" in os.environ:
        from energyopt.cli.completion import answer

        answer()
    _make_plugins_importable()
    _warn(words)
    try:
        if words == ["--version"]:
            sys.stdout.write(f"energyopt {__version__}\n")
            sys.exit(0)
        if words and COMMAND_NAME.fullmatch(words[0]):
            run_command(words)
        elif any(word.startswith("experiment=") for word in words):
            from energyopt.experiments.runner import run as experiment

            _refuse_passwords(words)
            experiment(words)
        else:
            _run_hydra()
    except KeyboardInterrupt as interrupt:
        _say("interrupted")
        sys.exit(getattr(interrupt, "exit_code", _INTERRUPTED))
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_BROKEN_PIPE)
    except Exception as error:
        if _full_error:
            raise
        _refuse(error)
    sys.exit(0)


def _warn(words: Sequence[str]) -> None:
    """Say what the user should know of the words and the environment."""
    if os.environ.get(_BYPASS):
        _say(f"mind: {_BYPASS} is set, so Hydra runs code that a config names and it would refuse")
    if "objective=function" in words:
        _say(
            "mind: objective=function is deprecated and will be removed; write objective=own "
            "objective._target_=my_code.score"
        )


def _refuse(error: Exception) -> NoReturn:
    from energyopt.config.error_messages import explain

    _say(explain(error))
    sys.exit(_USER_ERROR)


def _say(message: str) -> None:
    text = f"energyopt: {message}"
    if sys.stderr.isatty():
        text = _fitted(text)
    sys.stderr.write(f"{text}\n")


def _fitted(text: str) -> str:
    """Text in the width of the terminal."""
    width = shutil.get_terminal_size().columns
    return "\n".join(piece for line in text.splitlines() for piece in wrapped(line, width))


def _run_hydra() -> None:
    import hydra

    _refuse_passwords(sys.argv[1:])
    app = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_task)
    before = os.environ.get(_FULL_ERROR)
    # Hydra would print errors in its own way and exit; this hands them to us.
    os.environ[_FULL_ERROR] = "1"
    try:
        with private_files(), _help_wrapped():
            app()
    finally:
        if before is None:
            del os.environ[_FULL_ERROR]
        else:
            os.environ[_FULL_ERROR] = before


@contextmanager
def _help_wrapped() -> Iterator[None]:
    """Hydra prints help as it stands in its template: fill it in, in the terminal's width."""
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
        sys.stdout.write(f"{_fitted(fill_in(printed))}\n" if printed else "")


def _refuse_passwords(words: Sequence[str]) -> None:
    """Before Hydra writes its words into the run's folder."""
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key in ("storage", "hydra.sweeper.storage") and "://" in value:
            from energyopt.storage.credentials import refuse_password

            refuse_password(value)


def _make_plugins_importable() -> None:
    """In a bare checkout the namespace package of our Hydra plugins is not on the path."""
    if PLUGINS.is_dir() and str(PLUGINS) not in sys.path:
        sys.path.append(str(PLUGINS))


def _task(cfg: DictConfig) -> Any:
    """What Hydra runs: a trial of a study, or one training by itself."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    if not OmegaConf.is_missing(HydraConfig.get().job, "num"):
        from energyopt.jobs.job import job

        return job(cfg)
    from energyopt.workflows.train import train_once

    try:
        train_once(cfg)
    except BrokenPipeError:
        raise
    except Exception as error:
        if _full_error:
            raise
        _refuse(error)
    return None
