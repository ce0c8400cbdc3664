"""Pages that lie elsewhere in the repository: in a page, `<!-- from: PATH -->` or `PATH#HEADING`.

Links in them, and to them, are written as a forge shows them; here they lead to pages of the site.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).resolve().parents[2]

_MARK = re.compile(r"^<!-- from: ([\w./-]+)(?:#(.+))? -->$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!\w+:|#|/)([^)#\s]+)(#[^)\s]*)?\)")
_STUDY = re.compile(r"studies/(\w+)/README\.md")


def setup(app: Sphinx) -> dict[str, Any]:
    """Let Sphinx fill the pages in, and lead their links."""
    app.connect("source-read", _fill)
    app.connect("env-get-outdated", _made)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _made(
    _app: Sphinx, env: BuildEnvironment, _added: set[str], _changed: set[str], _removed: set[str]
) -> list[str]:
    """Pages that are made anew at each build: what they are made from may have changed."""
    return [page for page in env.found_docs if _MARK.search(env.doc2path(page).read_text())]


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    docs = Path(app.srcdir)
    here = (docs / page).parent
    text = _led(source[0], here, here, docs)
    source[0] = _MARK.sub(lambda found: _file(found[1], found[2], here, docs), text)


def _file(path: str, heading: str | None, here: Path, docs: Path) -> str:
    file = ROOT / path
    text = file.read_text()
    if heading is not None:
        (text,) = re.findall(
            rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
        )
    return _led(text, file.parent, here, docs)


def _led(text: str, written_in: Path, here: Path, docs: Path) -> str:
    """Rewrite links: those to pages from the root, others from where the page is."""

    def lead(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(written_in / found[1]))
        anchor = found[2] or ""
        study = _STUDY.fullmatch(target.relative_to(ROOT).as_posix())
        if study is not None:
            return f"](/results/{study[1]}.md{anchor})"
        if target == docs / "search.md":  # Sphinx has a page of that name
            return f"](/searching.md{anchor})"
        if target == ROOT / "CONTRIBUTING.md":
            return f"](/explanation/architecture.md{anchor})"
        if target.is_relative_to(docs) and target.suffix == ".md":
            return f"](/{target.relative_to(docs).as_posix()}{anchor})"
        return f"]({os.path.relpath(target, here)}{anchor})"

    return _LINK.sub(lead, text)
