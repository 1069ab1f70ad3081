"""Rows of any column types as text for the terminal."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from lake import arrays

_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
_JSON = {only: json.JSONEncoder(ensure_ascii=only).encode for only in (False, True)}
SHOWN = 40
"""Rows of a longer table that are shown."""


def table_text(rows: pa.Table, short: bool = False, width: int | None = None) -> str:
    """Rows as text with every column; values below each other where a line is longer than ``width`` characters.

    Of more than 40 rows the first 40. If ``short``, all rows, one a line: numbers have four digits, positions are to a
    thousandth of an arcsecond.
    """
    if not rows.num_columns:
        return "(no columns)"
    if rows.column_names == ["explain_key", "explain_value"]:
        return "".join(rows.column(1).to_pylist()).rstrip()
    shown = rows if short else rows.slice(0, SHOWN)
    columns = [_cells(name, shown.column(place), short) for place, name in enumerate(rows.column_names)]
    numbers = [pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t) for t in rows.schema.types]
    widths = [max(map(len, cells)) for cells in columns]
    for place, cells in enumerate(columns):
        columns[place] = [
            f"{cell:>{widths[place]}}" if numbers[place] else f"{cell:<{widths[place]}}" for cell in cells
        ]
    lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
    if not short and width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        lines = _below_each_other(columns)
    if not short:
        shown_of = "" if rows.num_rows <= SHOWN else f", {SHOWN} shown; --format csv and --out give all"
        lines.append(f"({rows.num_rows:,} row{'' if rows.num_rows == 1 else 's'}{shown_of})")
    return "\n".join(lines)


def _below_each_other(columns: Sequence[Sequence[str]]) -> list[str]:
    names = max(len(cells[0].strip()) for cells in columns)
    return [
        line
        for row in range(1, len(columns[0]))
        for line in (f"-- row {row}", *(f"{cells[0].strip():<{names}}  {cells[row].strip()}" for cells in columns))
    ]


def _cells(name: str, values: pa.ChunkedArray, short: bool) -> list[str]:
    """A column's name and its values as text, without line breaks."""
    if short and pa.types.is_floating(values.type):
        digits = "{:.6f}" if name in ("ra", "dec") else "{:.4g}"
        texts = [None if v is None else digits.format(v) for v in values.to_pylist()]
    else:
        plain = not is_no_text(values.type) and not pa.types.is_timestamp(values.type)
        texts = values.cast(pa.string()).to_pylist() if plain else as_texts(values)
    return [name, *("-" if text is None else text.replace("\n", " ") for text in texts)]


def is_no_text(kind: pa.DataType) -> bool:
    """Whether Arrow itself does not write values of a type as text (lists, bytes), or only some of them, or without
    their unit (durations)."""
    return any(check(kind) for check in (pa.types.is_nested, pa.types.is_interval, pa.types.is_duration, *_BYTES))


def as_text(values: pa.Array, ascii_only: bool = False) -> pa.Array:
    """A column of :func:`as_texts`."""
    return arrays.texts(as_texts(values, ascii_only))


def as_texts(values: pa.Array | pa.ChunkedArray, ascii_only: bool = False) -> list[str | None]:
    """Lists, structs and other values that plain columns cannot contain, as text (:func:`plain`); null stays null.

    Times are in UTC, to microseconds, without their zone, which the header gives. With ``ascii_only`` other letters of
    nested values are JSON escapes.
    """
    kind = values.type
    write: Callable[[Any], str] = str
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.timestamp("us"))
        write = dt.datetime.isoformat
    elif pa.types.is_nested(kind):
        write = partial(json_text, ascii_only=ascii_only)
    elif is_no_text(kind):
        write = plain
    return [None if v is None else write(v) for v in values.to_pylist()]


def json_text(value: Any, ascii_only: bool = False) -> str:
    """A value as JSON (:func:`plain`), a map as its pairs, decimals as numbers with all their digits."""
    match value:
        case pa.MonthDayNano():
            pass  # a tuple
        case dict():
            quoted = _JSON[ascii_only]
            pairs = [f"{quoted(str(name))}: {json_text(one, ascii_only)}" for name, one in value.items()]
            return f"{{{', '.join(pairs)}}}"
        case list() | tuple():
            return f"[{', '.join(json_text(one, ascii_only) for one in value)}]"
        case decimal.Decimal():
            return f"{value:f}"
    return _JSON[ascii_only](plain(value))


def plain(value: Any) -> Any:
    """A single value as JSON has it: times and durations as ISO 8601, bytes as hexadecimal digits, null for what is not
    a number.
    """
    match value:
        case pa.MonthDayNano(months=months, days=days, nanoseconds=nanoseconds):
            return f"P{months}M{days}DT{_seconds(nanoseconds)}S"
        case dt.timedelta(days=days, seconds=seconds, microseconds=microseconds):
            below = microseconds * 1000 + getattr(value, "nanoseconds", 0)  # pandas' has nanoseconds too
            return f"P{days}DT{_seconds(seconds * 10**9 + below)}S"
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return value.hex()
        case None | bool() | int() | str():
            return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _seconds(nanoseconds: int) -> str:
    return f"{decimal.Decimal(nanoseconds).scaleb(-9).normalize():f}"


def size_text(count: float) -> str:
    """A number of bytes with its unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
