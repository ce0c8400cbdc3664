"""Ways into studies for code of other packages, over `Run`; each imports its own framework."""

from typing import Any

_MODULES = ("lightning", "optuna", "transformers")

__all__ = ["lightning", "optuna", "transformers"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(_MODULES)
