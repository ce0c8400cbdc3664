"""Count lines that are not written as an English-speaking engineer writes: `make lint` runs it.

    python tools/check_english.py [--list] [PATH ...]

The count may only fall: a change that adds such a line fails, and one that removes many is asked to
lower LIMIT. With --list every line is printed with what to write instead.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LIMIT = 104
"""Lines that there may be; lower it as they go, never raise it."""

_SLACK = 50  # lines below LIMIT from which on it must be lowered
_SUFFIXES = {".py", ".md", ".yaml"}
_EXCLUDED = ("tests/stored/", "studies/", "tools/check_english.py")

PATTERNS: dict[str, str] = {
    r"\bburn(s|t|ed|ing)?\b": "use, consume",
    r"\b(go(es)?|going|went|gone) on\b": "resume, continue",
    r"\bluck(y|ier|iest)?\b": "seed noise",
    r"\bmind:|\bconditions to mind\b": "warning:",
    r"\bdear(er|est)?\b": "expensive",
    r"\bbeside\b": "alongside, in addition to",
    r"\bis no (whole )?(number|name|accuracy|folder|file)\b": "must be ..., got ...",
    r"\bin vain\b|\bby fate\b|\bin (no|the) books?\b": "spent on, by outcome, accounted for",
    r"\basks? another question\b|\brepeat its words\b": "was created with other settings",
    r"\b(the )?told (values?|setups?)\b|\bwhat is told\b": "objective values, reported",
    r"\b(some|no|any)body('s)?\b": "a user, another process",
    r'"""(What|Whether|How many|How much|The same)\b': "an imperative: Return ..., Check ...",
    r"\bbe it\b|\bas one likes\b|\bof old\b|\bfor reading alone\b": "whether, older, read-only",
}


def main() -> int:
    """Count, and compare with the limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("paths", nargs="*", help="only these files or folders; no limit then")
    parser.add_argument("--list", action="store_true", help="print each line")
    arguments = parser.parse_args()
    hits = [hit for path in _tracked(arguments.paths) for hit in _hits(path)]
    if arguments.list or arguments.paths:
        _print(hits)
    if arguments.paths:
        return 0
    if len(hits) > LIMIT:
        _print(hits if arguments.list else [])
        sys.stderr.write(
            f"{len(hits)} lines in the old dialect, {LIMIT} are allowed; "
            "`python tools/check_english.py --list` shows them, and what to write instead\n"
        )
        return 1
    if len(hits) < LIMIT - _SLACK:
        sys.stderr.write(
            f"{len(hits)} lines in the old dialect, {LIMIT} are allowed: set LIMIT to {len(hits)} "
            "in tools/check_english.py\n"
        )
        return 1
    return 0


def _tracked(paths: list[str]) -> Iterator[Path]:
    listed = subprocess.run(  # noqa: S603  # git, of this checkout
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in sorted(set(listed.splitlines())):
        path = ROOT / name
        if path.suffix in _SUFFIXES and path.is_file() and not name.startswith(_EXCLUDED):
            yield path


def _hits(path: Path) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        for pattern, better in PATTERNS.items():
            match = re.search(pattern, line, 0 if pattern.startswith('"') else re.IGNORECASE)
            if match:
                yield f"{path.relative_to(ROOT)}:{number}", match[0], better
                break


def _print(hits: list[tuple[str, str, str]]) -> None:
    for place, text, better in hits:
        sys.stdout.write(f"{place}: {text!r} -> {better}\n")
    if hits:
        sys.stdout.write(f"{len(hits)} lines\n")


if __name__ == "__main__":
    sys.exit(main())
