"""List the lines of prose in Markdown files that are longer than 100 characters.

Tables, code, images and lines without a space to break at (a long link) may be longer, and so may
the pages that `energyopt export` writes.

    python tools/prose.py [FILE ...]     # without files: all Markdown files of the repository
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 100
FOLDERS = ("benchmarks", "docs", "studies", "tests")

_FENCE = re.compile(r"\s*(```+|~~~+)")
_LIST_ITEM = re.compile(r"\s*([-*+]|\d+[.)])\s")
# Prefixes that the first word of a line may follow without a place to break between them.
_PREFIX = re.compile(r"\s*(?:(?:[-*+>#]+|\d+[.)])\s+)*")


def markdown_files() -> list[Path]:
    """Return the Markdown files of the repository that people write."""
    files = [*ROOT.glob("*.md")]
    for folder in FOLDERS:
        files += (ROOT / folder).rglob("*.md")
    return sorted(file for file in files if not is_generated(file))


def is_generated(file: Path) -> bool:
    """Return True for the README that `energyopt export` writes with a study's files."""
    return (file.parent / "study.json").exists()


def long_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of prose that is too long."""
    fence = ""
    in_list = False
    after_blank = True
    for number, line in enumerate(text.splitlines(), start=1):
        opening = _FENCE.match(line)
        if fence:
            if line.strip() == fence:
                fence = ""
        elif opening:
            fence = opening[1]
        else:
            if _LIST_ITEM.match(line):
                in_list = True
            elif line.strip() and not line.startswith(" "):
                in_list = False
            indented_code = after_blank and line.startswith("    ") and not in_list
            if not indented_code:
                if is_prose(line) and len(line) > WIDTH and can_be_broken(line):
                    yield number, line
                after_blank = not line.strip()


def is_prose(line: str) -> bool:
    """Return False for rows of tables, images and comments, which cannot be wrapped."""
    return not line.lstrip().startswith(("|", "![", "<!--"))


def can_be_broken(line: str) -> bool:
    """Return True if there is a space before the limit at which the line could end."""
    prefix = _PREFIX.match(line)
    start = prefix.end() if prefix else 0
    return " " in line[start : WIDTH + 1]


def main(arguments: list[str]) -> int:
    """Print each long line as `FILE:LINE: LENGTH characters`, and return 1 if there is one."""
    files = [Path(argument).resolve() for argument in arguments] or markdown_files()
    count = 0
    for file in files:
        for number, line in long_lines(file.read_text(encoding="utf-8")):
            name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
            print(f"{name}:{number}: {len(line)} characters; wrap prose at {WIDTH}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
