"""Prints rows, or writes them to a file in a format that astronomers use."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from lake.errors import invalid
from lake.files import atomic
from pipeline.tables.texttable import as_text, is_no_text, json_text, table_text

_JSON_ROWS = 10_000
"""Rows that are written together as JSON."""


def deliver(rows: pa.Table, out: Path | None, short: bool = False, style: str = "table") -> None:
    """Show the rows as a table (numbers of four digits if ``short``), CSV or JSON, or write them to ``out``."""
    if out is None:
        if style == "table":
            click.echo(table_text(rows, short, _width()))
            return
        for part in {"csv": _csv_parts, "json": _json_parts}[style](rows):
            click.echo(part, nl=False)
        return
    checked_out(out)
    _write(_WRITERS[out.suffix], rows, out)
    click.echo(f"{rows.num_rows} rows written to {out}")


def _write(writer: Callable[[pa.Table, Path], None], rows: pa.Table, out: Path) -> None:
    """Write to a temporary file, then move it into place: a failure does not lose an existing file."""
    whole = out.is_file() or not out.exists()
    try:
        with atomic.replacing(out) if whole else nullcontext(out) as draft:
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


def _csv_parts(rows: pa.Table) -> Iterator[str]:
    sink = pa.BufferOutputStream()
    _csv(rows, sink)
    yield sink.getvalue().to_pybytes().decode()


def _json_parts(rows: pa.Table) -> Iterator[str]:
    """A JSON array, one row a line, in parts: a reader such as `head` waits for none that it does not read."""
    repeated = [name for name in rows.column_names if rows.column_names.count(name) > 1]
    if repeated:
        allowed = "a query whose columns have different names, for JSON (`... as NAME` names one)"
        raise invalid("SQL", allowed, f"two named {repeated[0]}")
    before = "["
    for batch in filter(len, rows.to_batches(max_chunksize=_JSON_ROWS)):  # a table may have parts without rows
        yield before + ",\n ".join(json_text(row) for row in batch.to_pylist())
        before = ",\n "
    yield "]\n" if rows.num_rows else "[]\n"


def _fits(rows: pa.Table, out: Path) -> None:
    from pipeline.tables.fitsfile import write_fits

    write_fits(rows, out)


_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".parquet": partial(pq.write_table, compression="zstd"),
    ".csv": _csv,
    ".fits": _fits,
}
