"""SQL on Arrow tables in memory, by DuckDB: a database is kept, since making one takes longer than most queries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb


def ask(query: str, sources: Mapping[str, pa.Table], **config: str | int) -> pa.Table:
    """The rows of a query on tables by name, which no other query sees; ``config`` are settings of DuckDB."""
    with _database(os.getpid(), **config).cursor() as connection:
        for name, table in sources.items():
            connection.register(name, table)
        return connection.sql(query).arrow().read_all()


@cache
def _database(process: int, **config: str | int) -> duckdb.DuckDBPyConnection:
    """A process's database of these settings: a forked one has none of its parent's threads."""
    import duckdb  # late: see lake.gc_tuning

    return duckdb.connect(config=config)
