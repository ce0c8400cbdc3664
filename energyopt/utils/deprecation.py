"""Deprecated aliases of module attributes, kept for one release."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def deprecated_names(
    module: str, places: Mapping[str, str], *, stacklevel: int = 2
) -> Callable[[str], Any]:
    """Return a module `__getattr__` that serves renamed attributes with a warning (PEP 562).

    Args:
        module: The module's name.
        places: New dotted path by old name.
        stacklevel: 2 if the module's `__getattr__` is the returned function; one more for each
            function in between, so that the warning names the importing line.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new_module, _, new_name = places[name].rpartition(".")
        warnings.warn(
            f"{module}.{name} goes with the next release; write "
            f"`from {new_module} import {new_name}`",
            DeprecationWarning,
            stacklevel=stacklevel,
        )
        return getattr(import_module(new_module), new_name)

    return get
