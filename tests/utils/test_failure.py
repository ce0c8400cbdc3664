"""The sentence of a failure has its cause, and its traceback the lines of the user's code."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import hydra
import pytest
from hydra.errors import ConfigCompositionException

from energyopt.core.metric import Monitor
from energyopt.errors import ConfigError, TrialError
from energyopt.utils import failure
from energyopt.utils.failure import (
    Failure,
    about,
    attach,
    attached_traceback,
    failure_of,
    frames_of,
    has_own_code,
    reason_of,
)


def caught(work: Callable[[], object]) -> BaseException:
    try:
        work()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def chained(outer: BaseException, cause: BaseException | None) -> BaseException:
    def work() -> None:
        raise outer from cause

    return caught(work)


def in_handler() -> None:
    try:
        dict[str, int]()["lr"]
    except KeyError:
        raise ValueError("no such option")  # noqa: B904  # what people write


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("odd"), "ValueError: odd"),
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "MemoryError"),
        (SystemExit(3), "SystemExit: 3"),
        (ValueError("\n  first\n\n second "), "ValueError: first; second"),
        (RuntimeError("in Net:\n\tsize mismatch"), "RuntimeError: in Net: size mismatch"),
        (
            chained(RuntimeError("outer"), ValueError("bad x")),
            "RuntimeError: outer; because of ValueError: bad x",
        ),
        (
            chained(RuntimeError("a"), chained(OSError("b"), ValueError("bad x"))),
            "RuntimeError: a; because of ValueError: bad x",
        ),
        (chained(RuntimeError("outer: bad x"), ValueError("bad x")), "RuntimeError: outer: bad x"),
        (caught(in_handler), "ValueError: no such option; while handling KeyError: 'lr'"),
        (
            ExceptionGroup("two", [ValueError("bad x"), OSError("b")]),
            "ExceptionGroup: two (2 sub-exceptions); because of ValueError: bad x",
        ),
        (
            chained(
                ConfigCompositionException("Error merging override width=4.5"),
                ValueError("Value '4.5' could not be converted to Integer\n    full_key: width"),
            ),
            "ConfigCompositionException: Error merging override width=4.5; because of ValueError: "
            "Value '4.5' could not be converted to Integer; full_key: width",
        ),
        (ConfigError("lr=0 is not allowed"), "lr=0 is not allowed"),
        (chained(ConfigError("lr=0 is not allowed"), ValueError("0")), "lr=0 is not allowed"),
        (chained(RuntimeError("in a call"), ConfigError("lr=0: no")), "lr=0: no"),
        (MuteError(), "MuteError: its message cannot be made (RuntimeError)"),
    ],
    ids=repr,
)
def test_the_reason_has_the_cause(error: BaseException, reason: str) -> None:
    assert reason_of(error) == reason


def test_notes_belong_to_the_message() -> None:
    error = ValueError("odd")
    error.add_note("in layer 3")
    assert reason_of(error) == "ValueError: odd; in layer 3"


def test_a_long_message_keeps_both_ends() -> None:
    reason = reason_of(ValueError("begin " + "x" * 9999 + " end"))
    assert reason.startswith("ValueError: begin ")
    assert reason.endswith(" end")
    assert len(reason) < 500


REMOTE = """Job (task=0) failed during processing with trace:
----------------------
Traceback (most recent call last):
  File "/a.py", line 7, in set
    raise ValidationError(
omegaconf.errors.ValidationError: Value '4.5' could not be converted to Integer
    full_key: width

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/b.py", line 3, in compose
    raise ConfigCompositionException(
hydra.errors.ConfigCompositionException: Error merging override width=4.5

----------------------
You can check full logs with 'job.stderr(0)'
"""


def test_the_traceback_in_a_text_of_another_process_is_read() -> None:
    class FailedJobError(Exception):
        __module__ = "submitit.core.utils"

    error = caught(lambda: (_ for _ in ()).throw(FailedJobError(REMOTE)))
    assert "because of ValidationError: Value '4.5' could not be converted" in reason_of(error)

    class _RemoteTraceback(Exception):  # noqa: N818  # its name in joblib
        pass

    far = chained(OSError("it failed"), _RemoteTraceback(f'\n"""\n{REMOTE}"""'))
    assert reason_of(far).startswith("OSError: it failed; because of ValidationError: Value '4.5'")


def test_our_frames_and_those_of_hydra_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure, "_all_frames", None)  # another test may have set it
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    node = {"_target_": f"{__name__}.in_handler"}
    error = caught(lambda: hydra.utils.instantiate(node))
    frames = frames_of(error)
    assert "in in_handler" in frames
    assert "KeyError: 'lr'" in frames
    assert "raise ValueError" in frames
    assert str(Path(hydra.__file__).parent) not in frames
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert str(Path(hydra.__file__).parent) in frames_of(error)


def test_a_sentence_of_ours_or_of_hydra_without_a_line_of_the_user_needs_no_traceback() -> None:
    for error in (
        ConfigError("lr=0"),
        chained(TrialError("a"), None),
        ConfigCompositionException(),
    ):
        error.__traceback__ = None
        assert frames_of(error) == ""


def test_the_users_own_line_stays_where_energyopt_refuses_it() -> None:
    frames = frames_of(caught(lambda: Monitor("loss", "upwards")))  # type: ignore[arg-type]
    assert f'File "{__file__}"' in frames
    assert "energyopt/core" not in frames


def test_an_error_about_a_job_has_the_traceback_of_the_job() -> None:
    error = about(ConfigError("the default failed"), "Traceback: ...")
    assert attached_traceback(chained(ConfigError("no study"), error)) == "Traceback: ..."
    assert attached_traceback(ConfigError("lr=0")) == ""


def test_a_sentence_about_a_library_needs_no_traceback_either() -> None:
    def read() -> None:
        try:
            json.loads("{")
        except ValueError as error:
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without us
            raise ConfigError("the file cannot be read") from error

    error = caught(read)
    error.__traceback__ = None
    assert not has_own_code(error)
    assert frames_of(error) == ""
    assert has_own_code(caught(in_handler))


def test_of_a_sentence_of_ours_about_the_users_code_the_code_is_shown() -> None:
    error = chained(ConfigError("model cannot be built"), caught(in_handler))
    error.__traceback__ = None
    assert "in in_handler" in frames_of(error)
    assert "ConfigError" not in frames_of(error)


def test_a_failure_travels_with_its_exception() -> None:
    error = ValueError("odd")
    why = Failure("why", "where")
    attach(error, why)
    assert failure_of(pickle.loads(pickle.dumps(error))) == why
    assert failure_of(TrialError("x")).reason == "x"
