"""The site builds without a warning, and its reference names all that there is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import energyopt
from energyopt.cli.commands import COMMANDS, parser_of
from energyopt.report.json_text import schema as output_schema
from energyopt.search.sampler_names import SAMPLERS
from energyopt.utils.paths import conf_dir
from tests.conftest import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does: warnings and broken references are errors."""
    out = tmp_path_factory.mktemp("site")
    (recipe,) = re.findall(
        r"-m (sphinx .*?\\\n.*) docs build/docs", (ROOT / "Makefile").read_text()
    )
    words = recipe.replace("\\\n", " ").split()
    ran = subprocess.run(
        [sys.executable, "-m", *words, "-d", out / "doctrees", DOCS, out / "html"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return out / "html"


class _Page(HTMLParser):
    """Its ids, and where its links and images lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key == "id" and value:
                self.ids.add(value)
            if key in ("href", "src") and value:
                self.targets.append(value)


def text_of(site: Path, page: str) -> str:
    return (site / f"{page}.html").read_text()


def options() -> Iterator[tuple[str, Path]]:
    for file in conf_dir().glob("*/*.yaml"):
        yield file.parent.name, file


@pytest.mark.slow
def test_links_lead_to_what_is_there_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = {path: _Page(path.read_text()) for path in site.rglob("*.html")}
    assert len(pages) > 25
    for path, page in pages.items():
        assert 'rel="stylesheet" type="text/css" href="http' not in path.read_text()
        for target in page.targets:
            name, _, anchor = target.partition("#")
            if re.match(r"\w+:", name):
                continue
            file = (path.parent / name.partition("?")[0]).resolve() if name else path
            assert file.exists(), f"{path.relative_to(site)}: {target}"
            if anchor and file in pages:
                assert anchor in pages[file].ids, f"{path.relative_to(site)}: {target}"


@pytest.mark.slow
def test_every_page_is_in_the_menu(site: Path) -> None:
    menu = (site / "index.html").read_text()
    for source in DOCS.rglob("*.md"):
        page = source.relative_to(DOCS).with_suffix(".html").as_posix()
        assert page == "index.html" or f'href="{page}"' in menu, page


@pytest.mark.slow
def test_the_reference_has_every_option_with_its_keys(site: Path) -> None:
    text = text_of(site, "reference/groups")
    page = _Page(text)
    for group, file in options():
        assert f"{group}-{file.stem}".replace("_", "-") in page.ids, file
        if group == "experiment":
            continue
        for key in set(yaml.safe_load(file.read_text()) or {}) - {
            "defaults",
            "_target_",
            "_partial_",
        }:
            assert f'<span class="pre">{group}.{key}' in text, f"{file}: {key}"


@pytest.mark.slow
def test_the_reference_has_every_root_key_and_sampler(site: Path) -> None:
    text = text_of(site, "reference/keys")
    root = yaml.safe_load((conf_dir() / "config.yaml").read_text())
    groups = {key for key, value in root.items() if isinstance(value, dict)}
    inner = {f"{group}.{key}" for group in groups - {"hydra"} for key in root[group]}
    for key in {*root, *SAMPLERS, *inner} - {"defaults", *groups}:
        assert f'<span class="pre">{key}</span>' in text, key


@pytest.mark.slow
def test_the_reference_has_every_command_with_its_options(site: Path) -> None:
    text = text_of(site, "reference/commands")
    for name in COMMANDS:
        assert f'id="energyopt-{name}"' in text
        for action in parser_of(name)._actions:
            for option in action.option_strings:
                assert option in text, f"{name} {option}"


@pytest.mark.slow
def test_the_reference_has_every_key_of_the_outputs_for_programs(site: Path) -> None:
    text = text_of(site, "reference/json")
    for name, definition in output_schema()["$defs"].items():
        for key in definition.get("properties", {}):
            assert re.search(rf'<span class="pre">{key}</span>', text), f"{name}: {key}"
        assert name not in COMMANDS or f'id="energyopt-{name}-json"' in text


@pytest.mark.slow
def test_the_reference_has_every_public_name(site: Path) -> None:
    text = text_of(site, "reference/api")
    for name in set(energyopt.__all__) - {"__version__"}:
        assert re.search(rf'<h3>.*<span class="pre">{name}\b', text), name
    for name in ("front(target=None,", "recommendation", "to_pandas()"):
        assert f'<span class="pre">{name}</span>' in text, name


def test_the_environment_is_that_of_the_code() -> None:
    page = (DOCS / "reference/environment.md").read_text()
    code = "".join(path.read_text() for path in (ROOT / "energyopt").rglob("*.py"))
    read = set(re.findall(r"\bENERGYOPT_[A-Z_]+", code))
    assert read == set(re.findall(r"`(ENERGYOPT_[A-Z_]+)`", page))


def test_exit_codes_are_those_of_the_code() -> None:
    from energyopt.cli import main as cli
    from energyopt.errors import TrialsFailedError
    from energyopt.utils.signals import Interrupted

    page = (DOCS / "reference/exit-codes.md").read_text()
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    signals = {Interrupted(number).exit_code for number in (1, 2, 15)}
    own = {cli._USER_ERROR, TrialsFailedError.exit_code, cli._BROKEN_PIPE, cli._INTERRUPTED}
    assert codes == {0, 1} | own | signals
