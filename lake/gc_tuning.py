"""Garbage-collector settings for short processes.

Torch, MLflow and the like are a million objects that live to the end. To search them over and over while they are
imported, and once more at the end, takes a quarter of a short stage's time.
"""

from __future__ import annotations

import atexit
import gc
import sys

_OBJECTS_BETWEEN_SEARCHES = 50_000


def search_seldom() -> None:
    """For the start of a process."""
    gc.set_threshold(_OBJECTS_BETWEEN_SEARCHES)
    atexit.register(spare_imported)


def spare_imported() -> None:
    """Leave what is there by now out of every later search, the one at the end of the process included.

    Not once DuckDB is there, which reports what is not collected at the end as leaked: it is imported late.
    """
    if "duckdb" not in sys.modules:
        gc.freeze()
