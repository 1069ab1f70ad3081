"""A contract with every column type, and random rows that meet it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import strategies as st

from lake.contract.spec import Column, TableSpec

EVERY_TYPE = TableSpec(
    name="every_type",
    meaning="It's a table with every type",
    engine="spark",
    columns=(
        Column("name", "string", "identifier", role="key"),
        Column("word", "string", "text", nullable=True),
        Column("count32", "int", "integer", nullable=True),
        Column("count64", "bigint", "integer", nullable=True),
        Column("x32", "float", "number", nullable=True),
        Column("x64", "double", "number", nullable=True),
        Column("flag", "boolean", "yes or no", nullable=True),
        Column("seen_at", "timestamp", "time", nullable=True),
    ),
)

MEASURED = TableSpec(
    name="tractor_near_candidates",
    meaning="Rows in slices, under a name of the lake",
    engine="spark",
    slice_by=("part",),
    columns=(
        Column("part", "string", "slice", role="key"),
        Column("name", "string", "identifier", role="key"),
        Column("x", "double", "number", low=0, high=100),
        Column("sweep_file", "string", "file", nullable=True),
        Column("row_index", "bigint", "row", nullable=True),
    ),
)
WITHOUT_ORIGIN = replace(MEASURED, columns=MEASURED.columns[:3])

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)
_TIME = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
_VALUES = {
    "word": _TEXT,
    "count32": st.integers(-(2**31), 2**31 - 1),
    "count64": st.integers(-(2**63), 2**63 - 1),
    "x32": st.floats(width=32),
    "x64": st.floats(),
    "flag": st.booleans(),
    "seen_at": _TIME,
}


@st.composite
def every_type_rows(draw: st.DrawFn) -> pa.Table:
    """Rows of ``EVERY_TYPE`` without lineage; floats may be NaN, infinite or -0.0, which a fingerprint must bear."""
    names = draw(st.lists(_TEXT, max_size=8, unique=True))
    values = {
        name: draw(st.lists(st.none() | kind, min_size=len(names), max_size=len(names)))
        for name, kind in _VALUES.items()
    }
    fields = [pa.field(c.name, c.arrow.type) for c in EVERY_TYPE.columns if c.role != "lineage"]
    return pa.table({"name": names, **values}, schema=pa.schema(fields))
