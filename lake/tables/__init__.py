"""One module per table, with its contract as ``SPEC``, loaded on demand. Imports ``lake.contract`` and ``lake.sky``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from lake.contract.spec import TableSpec
from lake.errors import not_one_of


@cache
def names() -> tuple[str, ...]:
    """Names of all tables of the lake."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def spec(name: str) -> TableSpec:
    """The contract of a table."""
    if name not in names():
        raise not_one_of("table", names(), name)
    found: TableSpec = importlib.import_module(f"lake.tables.{name}").SPEC
    return found
