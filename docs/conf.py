"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "_ext"))

from energyopt import __version__  # noqa: E402

project = "energyopt"
author = "the energyopt developers"
release = version = __version__

extensions = ["myst_parser", "reference", "repository"]
exclude_patterns = ["_build", "search.md"]  # whose page is searching.md: Sphinx has a search.html
nitpicky = True
smartquotes = False  # --option is no dash

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

html_theme = "furo"
html_title = f"energyopt {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
