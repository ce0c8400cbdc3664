"""Sentences about packages that are not installed."""

from __future__ import annotations


def describe_import_error(error: ImportError) -> str:
    """Return what is missing, and what to type for it."""
    cause: BaseException = error
    while cause.__cause__ is not None and not getattr(cause, "name", None):
        cause = cause.__cause__  # Optuna raises an ImportError without a name from the first one
    package = str(getattr(cause, "name", None) or "").partition(".")[0]
    if not package:
        return f"{str(error).splitlines()[0] if str(error) else 'a package is missing'}"
    if not isinstance(cause, ModuleNotFoundError):
        return f"the package {package} cannot be imported: {str(cause).splitlines()[0]}"
    return f"it needs the package {package}, which is not installed: pip install {package}"
