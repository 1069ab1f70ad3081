"""Prints rows, or writes them to a file in a format that astronomers use."""

from __future__ import annotations

import decimal
import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from lake.errors import invalid
from lake.files import atomic
from pipeline.verbs.texttable import as_text, is_no_text, table_text


def deliver(rows: pa.Table, out: Path | None, short: bool = False, style: str = "table") -> None:
    """Show the rows as a table (numbers of four digits if ``short``), CSV or JSON, or write them to ``out``."""
    if out is None:
        if style == "table":
            click.echo(table_text(rows, short, _width()))
        else:
            click.echo({"csv": _csv_text, "json": _json_text}[style](rows), nl=False)
        return
    checked_out(out)
    _write(_WRITERS[out.suffix], rows, out)
    click.echo(f"{rows.num_rows} rows written to {out}")


def _write(writer: Callable[[pa.Table, Path], None], rows: pa.Table, out: Path) -> None:
    """Write to a temporary file, then move it into place: a failure does not lose an existing file."""
    place = Path(os.path.realpath(out))
    whole = place.is_file() or not place.exists()
    try:
        with atomic.replacing(place) if whole else nullcontext(out) as draft:
            writer(rows, draft)
    except OSError as error:
        number = error.errno or (errno.ENOENT if isinstance(error, FileNotFoundError) else None)
        raise (OSError(number, error.strerror or str(error), str(out)) if number else error) from error


def checked_out(out: Path | None) -> None:
    """Refuse a file that cannot be written, before the work that fills it."""
    if out is None:
        return
    if out.suffix not in _WRITERS:
        raise invalid("out", f"a file ending in {', '.join(_WRITERS)}", str(out))
    if not out.parent.is_dir() or out.is_dir():
        raise invalid("out", "a file in a folder that exists", str(out))


def _width() -> int | None:
    """Characters in a line of the terminal; None where the output goes to a file or a program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _csv(rows: pa.Table, out: Path | pa.NativeFile) -> None:
    """CSV has no lists and no bytes: they are written as JSON and as hexadecimal digits."""
    for place, field in enumerate(rows.schema):
        if is_no_text(field.type):
            rows = rows.set_column(place, field.name, as_text(rows.column(place).combine_chunks()))
    pc.write_csv(rows, out)


def _csv_text(rows: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    _csv(rows, sink)
    return str(sink.getvalue().to_pybytes().decode())


def _json_text(rows: pa.Table) -> str:
    """A JSON array, one row a line."""
    return "[" + ",\n ".join(json.dumps(_plain(row)) for row in rows.to_pylist()) + "]\n"


def _plain(value: Any) -> Any:
    """A value as JSON has it: times as ISO 8601, bytes as hexadecimal digits, null for what is not a number."""
    match value:
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case float():
            return value if math.isfinite(value) else None
        case decimal.Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.hex()
        case None | bool() | int() | str():
            return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _fits(rows: pa.Table, out: Path) -> None:
    from pipeline.verbs.fitsfile import write_fits

    write_fits(rows, out)


_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".parquet": partial(pq.write_table, compression="zstd"),
    ".csv": _csv,
    ".fits": _fits,
}
