"""What every package shares: survey facts, table contracts, cards and pins, stamp shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from lake.root import DataRoot


def read(
    table: str,
    columns: Sequence[str] | None = None,
    slices: Sequence[str | None] | None = None,
    root: DataRoot | str | Path = "data",
) -> pa.Table:
    """Rows of a table at its pinned version, as Arrow, without a JVM: ``lake.read("completeness_main")``.

    ``table`` may be a view (``completeness_main``), which has no slices. ``slices`` chooses generations (or whatever
    else the table is sliced by); ``root`` is the checkout's data folder, or a :class:`~lake.root.DataRoot` where the
    tables are in an object store.
    """
    from lake.errors import invalid
    from lake.root import DataRoot
    from lake.store import delta, views

    place = root if isinstance(root, DataRoot) else DataRoot.of(root)
    if table not in views.names():
        return delta.read(place, table, columns, slices)
    if slices is not None:
        raise invalid("slices", f"None of the view '{table}'", slices)
    from lake.store.query import read_view

    rows = read_view(place, table)
    return rows if columns is None else rows.select(list(columns))
