"""Garbage-collector settings for short processes.

Torch, MLflow and the like are a million objects that live to the end. To search them over and over while they are
imported, and once more at the end, takes a quarter of a short stage's time.
"""

from __future__ import annotations

import atexit
import gc
import sys
from importlib.abc import MetaPathFinder

OBJECTS_BETWEEN_SEARCHES = 50_000


def search_seldom() -> None:
    """For the start of a process."""
    gc.set_threshold(OBJECTS_BETWEEN_SEARCHES)
    if "duckdb" not in sys.modules:
        sys.meta_path.insert(0, _BeforeDuckDB())
    atexit.register(spare_imported)


def spare_imported() -> None:
    """Exclude all present objects from every later search, including that at the end of the process.

    Not if DuckDB is loaded, which reports objects that are not collected at the end as leaked; what is there before it
    is spared then.
    """
    if "duckdb" not in sys.modules:
        gc.freeze()


class _BeforeDuckDB(MetaPathFinder):
    """Spares what is there when DuckDB is about to be imported; finds no module itself."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "duckdb" and self in sys.meta_path:
            sys.meta_path.remove(self)
            spare_imported()
