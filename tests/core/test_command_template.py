"""Commands with places for values."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.command_template import (
    CommandTemplate,
    refusal_to_train,
    shell_word,
    training_command,
)
from energyopt.errors import ConfigError

WORD = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def test_values_are_put_in_as_they_are_typed() -> None:
    template = CommandTemplate(("x", "--lr={lr}", "{flag}/{none}", "{name}", "{optim.lr}"))
    assert template.keys == ("lr", "flag", "none", "name", "optim.lr")
    values = {"lr": 1e-4, "flag": True, "none": None, "name": "a b", "optim.lr": 3}
    assert template.filled(values) == ("x", "--lr=0.0001", "true/null", "a b", "3")


@pytest.mark.parametrize("word", ["{", "a}", "{}", "{a b}", '{"lr": 1}', "{{{", "${HOME-1}"])
def test_other_braces_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"write \{\{ and \}\} for braces"):
        _ = CommandTemplate(("python", word)).keys


@given(st.lists(WORD, min_size=1))
def test_doubled_braces_are_those_of_the_command(words: list[str]) -> None:
    template = CommandTemplate(tuple(word.replace("{", "{{").replace("}", "}}") for word in words))
    assert template.keys == ()
    assert template.filled({}) == tuple(words)


@given(st.lists(WORD, min_size=1), WORD)
def test_a_study_keeps_the_command(words: list[str], value: str) -> None:
    template = CommandTemplate(
        ("{lr}{name}", *(w.replace("{", "").replace("}", "") for w in words))
    )
    kept = CommandTemplate.of_app(template.with_fixed({"name": value}).to_app())
    assert kept is not None
    assert kept.keys == ("lr",)
    assert kept.filled({"lr": 3}) == template.filled({"lr": 3, "name": value})


@pytest.mark.parametrize(
    "app", [None, "python train.py", "-- a", "-- ", "-- []", "-- {}", '-- ["{a b}"]']
)
def test_anything_else_is_no_command(app: str | None) -> None:
    assert CommandTemplate.of_app(app) is None


def test_a_shell_gets_each_word_and_value_as_it_is() -> None:
    app = CommandTemplate(("./my run", "--name={name}")).to_app()
    program, words = training_command(app, (), {"name": "$(x); y", "lr": 0.1}, "RUN")
    typed = shlex.split(f"{program} {shlex.join(words)}")
    assert typed == ['RUN={"params":{"lr":0.1}}', "./my run", "--name=$(x); y"]


@pytest.mark.parametrize("word", ["a b", "it's\n\t'two' \\n", 'a "b"\nc', "é\n€\x1b[31m"])
def test_a_shell_reads_a_word_as_it_is_on_one_line(word: str) -> None:
    typed = shell_word(word)
    assert typed.isprintable()
    ran = subprocess.run(
        ["bash", "-c", f"printf %s {typed}"], capture_output=True, check=True, text=True
    )
    assert ran.stdout == word


def test_what_a_database_names_is_shown_and_not_run() -> None:
    app = CommandTemplate(("python", "train.py", "{lr}")).to_app()
    assert refusal_to_train("a", app, {"lr": 3}, "RUN").endswith("paste it: python train.py 3")
    assert "`recommend a` shows the command" in refusal_to_train("a", app, {}, "RUN")
    assert "run that app" in refusal_to_train("a", "python a.py", {"lr": 3}, "RUN")


def test_a_hydra_app_takes_overrides() -> None:
    assert training_command("python a.py", ["x=1"], {"x": 1}, "RUN") == ("python a.py", ("x=1",))
