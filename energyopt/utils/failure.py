"""Why a job failed: the sentence that says so, and the lines of the user's code that led there.

Both are made where the exception is raised, and travel with it to the process that records them:
pickling keeps neither the cause nor the traceback of an exception.
"""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from energyopt.errors import EnergyoptError

FULL_ERROR = "HYDRA_FULL_ERROR"
"""Hydra's variable: with 1, tracebacks have the frames of libraries as well."""

_NOT_OF_THE_USER = ("energyopt", "hydra", "hydra_plugins", "omegaconf", "submitit", "joblib")
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_all_frames: bool | None = None
_CARRIED = "_energyopt_failure"
_HEAD, _TAIL = 320, 160  # characters that are kept of a long message
_MOST = 20_000  # characters of a traceback
_BECAUSE = "; because of "
_HANDLING = "; while handling "

_HEADER = "Traceback (most recent call last):\n"
_CONNECTORS = re.compile(
    r"\n\s*(?:The above exception was the direct cause of the following exception:|"
    r"During handling of the above exception, another exception occurred:)\s*\n"
)
_END_OF_REMOTE = re.compile(r"\n(?:-{5,}|\"\"\")")
_MODULE = re.compile(r"^(?:\w+\.)+(?=\w+(?::|$))")
_END_OF_A_PHRASE = (":", ";", ",", ".")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of a job, as it is recorded and shown.

    Attributes:
        reason: The sentence that says why.
        traceback: The user's frames, as Python prints them; empty where one sentence says it all.
    """

    reason: str
    traceback: str = ""


def failure_of(error: BaseException) -> Failure:
    """Return the failure that an exception carries from its process, or is."""
    carried = getattr(error, _CARRIED, None)
    return carried if isinstance(carried, Failure) else Failure(reason_of(error), frames_of(error))


def is_carried(error: BaseException) -> bool:
    """Return True if the failure was attached to its exception already."""
    return isinstance(getattr(error, _CARRIED, None), Failure)


def attached_traceback(error: BaseException) -> str:
    """Return the traceback of the job that an error is about; empty without one."""
    failures = (getattr(link, _CARRIED, None) for link in _causes(error))
    texts = (f.traceback for f in failures if isinstance(f, Failure) and f.traceback)
    return next(texts, "")


def about(error: EnergyoptError, job_traceback: str) -> EnergyoptError:
    """Return an error with the traceback of the job that it is about."""
    attach(error, Failure(str(error), job_traceback))
    return error


def attach(error: BaseException, failure: Failure) -> None:
    """Let an exception carry its failure through pickling."""
    setattr(error, _CARRIED, failure)


# The sentence -------------------------------------------------------------------------


def reason_of(error: BaseException) -> str:
    """Return the sentence that says why: of an exception with a cause it has both.

    A message of several lines becomes one line, since any of them may have the cause.
    """
    sentences = [link for link in _causes(error) if isinstance(link, EnergyoptError)]
    if sentences:
        return _cut(_text(sentences[0]))
    outer, (root, connector) = _phrase(error), _root(error)
    if not root or root.partition(": ")[2] in outer:
        return _cut(outer)
    return f"{_cut(outer)}{connector}{_cut(root)}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and all(link is not earlier for earlier in links):
        links.append(link)
        yield link
        link = link.__cause__


def _root(error: BaseException) -> tuple[str, str]:
    """Return the first exception of a chain as a phrase, and the words that connect it.

    Both are empty where there is no other exception.
    """
    links: list[BaseException] = [error]
    connector = _BECAUSE
    while (cause := _before(links[-1])) is not None and all(cause is not link for link in links):
        if cause.__class__.__name__ == "_RemoteTraceback":  # of joblib and multiprocessing
            return _root_of_text(str(cause)), _BECAUSE
        if len(links) == 1 and error.__cause__ is None and cause is error.__context__:
            connector = _HANDLING
        links.append(cause)
    if len(links) == 1:
        return _root_of_text(text_of(error)), _BECAUSE
    return _phrase(links[-1]), connector


def _before(error: BaseException) -> BaseException | None:
    """Return the exception that led to this one; of a group the first of its own."""
    if isinstance(error, BaseExceptionGroup):
        first: BaseException = error.exceptions[0]
        return first
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _root_of_text(text: str) -> str:
    """Return the first exception of a traceback that is in a text, as submitit's errors have."""
    _, header, chain = text.partition(_HEADER)
    if not header:
        return ""
    lines = _CONNECTORS.split(chain)[0].splitlines()
    message: list[str] = []
    for line in lines:
        if message and (not line.strip() or set(line.strip()) == {"-"} or line.strip() == '"""'):
            break
        if message or (line and not line.startswith((" ", "\t"))):
            message.append(line)
    return _MODULE.sub("", _joined(message))


def _phrase(error: BaseException) -> str:
    text = _text(error)
    if isinstance(error, EnergyoptError):
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _text(error: BaseException) -> str:
    text = text_of(error).partition(_HEADER)[0]
    return _joined([*text.splitlines(), *map(str, getattr(error, "__notes__", ()))])


def text_of(error: BaseException) -> str:
    """Return the message of an exception, also of one whose message cannot be made."""
    try:
        return str(error)
    except Exception as broken:  # of a user's exception
        return f"its message cannot be made ({type(broken).__name__})"


def _joined(lines: list[str]) -> str:
    """Return lines as one."""
    text = ""
    for line in (" ".join(line.split()) for line in lines):
        if line:
            between = " " if text.endswith(_END_OF_A_PHRASE) else "; "
            text += f"{between}{line}" if text else line
    return text


def _cut(text: str) -> str:
    """Return a text without the middle of a very long one: its cause may stand at either end."""
    if len(text) <= _HEAD + _TAIL + len(" ... "):
        return text
    return f"{text[:_HEAD]} ... {text[-_TAIL:]}"


# The lines of code --------------------------------------------------------------------


def has_all_frames() -> bool:
    """Return True if tracebacks are to have the frames of libraries as well."""
    return os.environ.get(FULL_ERROR) == "1" if _all_frames is None else _all_frames


def show_all_frames(are_shown: bool) -> None:
    """Set what `has_all_frames` returns: our own app sets Hydra's variable for its own ends."""
    global _all_frames  # noqa: PLW0603  # as the variable, one per process
    _all_frames = are_shown


def frames_of(error: BaseException) -> str:
    """Return the traceback of an exception, with the frames of the user's code and libraries.

    Those of energyopt and Hydra are left out, unless HYDRA_FULL_ERROR is 1 or there are no others.
    """
    whole = traceback.TracebackException.from_exception(error)
    if not has_all_frames():
        trimmed = traceback.TracebackException.from_exception(_below_sentences(error))
        links = list(_links(trimmed))
        for link in links:
            frames = [frame for frame in link.stack if _is_of_the_user(frame.filename)]
            link.stack = traceback.StackSummary.from_list(frames)
        is_of_ours = any(isinstance(link, EnergyoptError) for link in _causes(error))
        if any(link.stack for link in links) and (not is_of_ours or has_own_code(error)):
            return _bounded("".join(trimmed.format()).rstrip())
        if isinstance(error, EnergyoptError) or type(error).__module__.startswith(_NOT_OF_THE_USER):
            return _remote_frames(error)
    return _bounded("".join(whole.format()).rstrip())


def _below_sentences(error: BaseException) -> BaseException:
    """Return the cause of a sentence of ours that has no line of the user's own."""
    while isinstance(error, EnergyoptError) and error.__cause__ is not None:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if any(_is_of_the_user(file) and not _is_of_a_library(file) for file in files):
            return error
        error = error.__cause__
    return error


def has_own_code(error: BaseException) -> bool:
    """Return True if a file of the user's own is in a traceback: none of a library."""
    links = _links(traceback.TracebackException.from_exception(error))
    files = {frame.filename for link in links for frame in link.stack}
    return any(_is_of_the_user(file) and not _is_of_a_library(file) for file in files)


def _is_of_a_library(file: str) -> bool:
    is_installed = not _INSTALLED.isdisjoint(Path(file).parts)
    return is_installed or file.startswith(("<", f"{sysconfig.get_path('stdlib')}{os.sep}"))


def _bounded(text: str) -> str:
    if len(text) <= _MOST:
        return text
    return f"{text[: _MOST // 2]}\n...\n{text[-_MOST // 2 :]}"


def _remote_frames(error: BaseException) -> str:
    """Return the traceback of another process that an exception has in its text or its cause."""
    for text in (text_of(error), text_of(error.__cause__) if error.__cause__ else ""):
        _, header, chain = text.partition(_HEADER)
        if header:
            return f"{header}{_END_OF_REMOTE.split(chain)[0]}".rstrip()
    return ""


def _links(error: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    yield error
    for cause in (error.__cause__, error.__context__, *(error.exceptions or ())):
        if cause is not None:
            yield from _links(cause)


def _is_of_the_user(file: str) -> bool:
    return not file.startswith(("<frozen ", *_folders()))


@cache
def _folders() -> tuple[str, ...]:
    specs = (find_spec(name) for name in _NOT_OF_THE_USER)
    folders = [f for spec in specs if spec for f in spec.submodule_search_locations or ()]
    return tuple(f"{Path(folder)}{os.sep}" for folder in folders)
