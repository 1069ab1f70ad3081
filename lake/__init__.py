"""What every package shares: survey facts, table contracts, cards and pins, stamp shards. Imports no package.

For a user: ``lake.read``, ``lake.query`` and ``lake.spark`` (:mod:`lake.api`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lake.api import query, read, spark

__all__ = ["query", "read", "spark"]


def __getattr__(name: str) -> Any:
    """Load what users call when it is first called: importing any module of the lake costs nothing more."""
    if name in __all__:
        return getattr(import_module("lake.api"), name)
    raise AttributeError(f"module 'lake' has no attribute '{name}'")
