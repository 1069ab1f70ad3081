"""Rows to the screen or to a file that astronomers read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import click
import pyarrow as pa

from lake.errors import invalid
from lake.files import atomic

SUFFIXES = (".parquet", ".csv", ".fits")


def deliver(rows: pa.Table, out: Path | None, whole: bool = False) -> None:
    """Show the rows, every column of them if ``whole``, or write them to ``out`` by its suffix."""
    if out is None:
        click.echo(lines(rows) if whole else render(rows))
        return
    _check_suffix(out)
    _write({".parquet": _parquet, ".csv": _csv, ".fits": _fits}[out.suffix], rows, out)
    click.echo(f"{rows.num_rows} rows written to {out}")


def _write(writer: Callable[[pa.Table, Path], None], rows: pa.Table, out: Path) -> None:
    """Write to a temporary file, then move it into place, so that a failure does not lose an existing file."""
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
    _check_suffix(out)
    if not out.parent.is_dir() or out.is_dir():
        raise invalid("out", "a file in a folder that exists", str(out))


def _check_suffix(out: Path) -> None:
    if out.suffix not in SUFFIXES:
        raise invalid("out", f"a file ending in {', '.join(SUFFIXES)}", str(out))


def render(rows: pa.Table) -> str:
    """The first rows as text."""
    import duckdb

    if not rows.num_columns:
        return "(no columns)"
    with duckdb.connect() as connection:
        return str(connection.from_arrow(rows))


def lines(rows: pa.Table) -> str:
    """All rows and columns as text, however wide; positions to a thousandth of an arcsecond."""
    digits = {name: "{:.6f}".format for name in rows.column_names if name in ("ra", "dec")}
    return str(rows.to_pandas().to_string(index=False, formatters=digits, float_format="{:.4g}".format, na_rep="-"))


def _parquet(rows: pa.Table, out: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(rows, out, compression="zstd")


def _csv(rows: pa.Table, out: Path) -> None:
    """CSV has no lists: they are written as JSON."""
    import pyarrow.csv as pc

    from pipeline.verbs.fitsfile import as_text

    for place, field in enumerate(rows.schema):
        if pa.types.is_nested(field.type):
            rows = rows.set_column(place, field.name, as_text(rows.column(place).combine_chunks()))
    pc.write_csv(rows, out)


def _fits(rows: pa.Table, out: Path) -> None:
    from pipeline.verbs.fitsfile import write_fits

    write_fits(rows, out)
