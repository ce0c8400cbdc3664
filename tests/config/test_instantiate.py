"""From a node to an object: what a constructor of a user's does wrong is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from energyopt.config.instantiate import Instantiator
from energyopt.errors import ConfigError

SCRIPT = """
from argparse import ArgumentParser

def main():
    words = ArgumentParser()
    words.add_argument("--data", required=True)
    return words.parse_args([])
"""


def test_a_function_that_reads_its_own_command_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "instantiated_script.py").write_text(SCRIPT)
    monkeypatch.syspath_prepend(tmp_path)
    node = OmegaConf.create({"_target_": "instantiated_script.main"})
    with pytest.raises(ConfigError) as refused:
        Instantiator((tmp_path,), (), {}).make("paradigm", node)
    assert str(refused.value) == (
        "paradigm (instantiated_script.main) ends the program when it is called (SystemExit: 2), "
        "as a script does that reads its own command line; name a class or function that takes its "
        "options as arguments"
    )
