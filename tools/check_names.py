"""Count functions whose variables are prepositions, participles or pronouns: `make lint` runs it.

    python tools/check_names.py [--list]

A variable says what it holds: `checkpoint`, not `at`; `matches`, not `found`. LIMIT is the share of
functions that may still do otherwise; it may only fall.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "energyopt"

LIMIT = 0.0075
"""Share of functions; lower it as it falls, never raise it."""

NAMES = frozenset(
    {
        "at",
        "of",
        "by",
        "on",
        "off",
        "to",
        "for_",
        "with_",
        "from_",
        "into",
        "until",
        "since",
        "beside",
    }
    | {"beyond", "before", "after", "there", "here", "where", "else_", "again", "once", "apart"}
    | {"each", "other", "others", "own", "one", "both", "such", "same", "mine", "ours", "theirs"}
    | {"found", "told", "known", "made", "left", "asked", "kept", "given", "said", "taken", "seen"}
    | {"shown", "begun", "gone", "done", "lost", "burnt", "spent", "learnt", "meant", "put", "set_"}
    | {"saying", "doing", "trying", "going", "being", "having", "looking"}
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> int:
    """Count, and compare with the limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--list", action="store_true", help="print each function")
    arguments = parser.parse_args()
    n_functions, hits = 0, []
    for path in sorted(PACKAGE.rglob("*.py")):
        for function in _functions(ast.parse(path.read_text())):
            n_functions += 1
            names = sorted(NAMES & set(_bound(function)))
            if names:
                hits.append(f"{path.relative_to(ROOT)}:{function.lineno}: {', '.join(names)}")
    share = len(hits) / n_functions
    if arguments.list:
        sys.stdout.writelines(f"{hit}\n" for hit in hits)
    sys.stdout.write(f"{len(hits)} of {n_functions} functions ({share:.1%})\n")
    if share > LIMIT:
        sys.stderr.write(
            f"more than {LIMIT:.1%} of the functions name a variable by a preposition, participle "
            "or pronoun; `python tools/check_names.py --list` shows them: say what it holds\n"
        )
        return 1
    return 0


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _bound(function: Function) -> Iterator[str]:
    """Names that a function binds itself: its variables and parameters, not those of inner ones."""
    parameters = function.args
    for parameter in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs):
        yield parameter.arg
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function | ast.ClassDef):
            continue
        if isinstance(node, ast.Lambda):
            yield from (parameter.arg for parameter in node.args.args)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        waiting += ast.iter_child_nodes(node)


if __name__ == "__main__":
    sys.exit(main())
