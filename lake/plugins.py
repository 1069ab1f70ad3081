"""Objects of a user's own code, named ``package:object``."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from lake.errors import DataError, one_line


def imported(path: str, what: str) -> Any:
    """The object that ``path`` names, instantiated if it is a class; ``what`` it is, for errors (DataError)."""
    module_name, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # a script exits where it finds no arguments of its own
        raise DataError(
            f"the {what} '{path}' cannot be imported: {raised(error)}; install its package, or put it into the "
            "project's folder"
        ) from error
    try:
        return found() if inspect.isclass(found) else found
    except (Exception, SystemExit) as error:
        raise DataError(
            f"the {what} '{path}' cannot be created: {raised(error)}; its class is called without arguments"
        ) from error


def raised(error: BaseException) -> str:
    """An error of a user's code, in one line."""
    return f"{type(error).__name__}: {one_line(error)}"
