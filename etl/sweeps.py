"""Reading Tractor sweeps: streamed in row ranges, only the columns the lake keeps, bad files told apart by reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from etl import storage, units
from etl.fitstable import Field, Layout, layout
from etl.shapes import DERIVABLE, derive
from lake.errors import DataError
from lake.healpix import pixel
from lake.survey import BANDS
from lake.tables.tractor_pool import SPEC

EXCLUSION_NSIDE = 8192
"""Order 13: pixels of 26", a few of which cover the circle round a candidate."""

NEEDED = (
    "brickname", "objid", "type", "ra", "dec", "maskbits", "flux_w1",
    *(f"{kind}_{band}" for kind in ("nobs", "flux") for band in BANDS),
)  # fmt: skip
"""Columns without which a sweep is of no use."""

OPTIONAL = (
    *(f"{kind}_{band}" for kind in ("psfsize", "psfdepth", "galdepth", "mw_transmission") for band in BANDS),
    "release", "ebv", "fitbits", "shape_r", "shape_e1", "shape_e2", "sersic",
)  # fmt: skip
"""Columns that are null where a release lacks them and the survey defines no way to derive them."""

ROWS_PER_BATCH = 65_536
_HASH_CHUNK = 8 << 20

FACTS_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sweep_file", pa.string()),
        ("rows", pa.int64()),
        ("row_bytes", pa.int64()),
        ("missing", pa.list_(pa.string())),
        ("derived", pa.list_(pa.string())),
        ("sha256", pa.string()),
        ("problem", pa.string()),
    ]
)
ROWS_SCHEMA = pa.schema(
    [
        ("sweep_file", pa.string()),
        ("row_index", pa.int64()),
        *((name, SPEC.column(name).arrow.type) for name in (*NEEDED, *OPTIONAL)),
        ("survey_type", pa.string()),
        ("healpix_64", pa.int64()),
        ("healpix_128", pa.int64()),
        ("healpix_exclusion", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Task:
    """A range of rows of one file."""

    path: str
    start: int
    stop: int


def find(folder: str) -> list[str]:
    """Sweep files of a folder, by name."""
    return storage.find(folder, ".fits")


def identity(path: str) -> str:
    """Name, size and time of change of a file: enough to tell partial work on it from work on another."""
    return f"{storage.name(path)} {storage.state(path)}"


def inspect(path: str) -> dict[str, object]:
    """What a file holds, as a row of ``FACTS_SCHEMA``; ``problem`` says why it cannot be used."""
    facts: dict[str, object] = {"path": path, "sweep_file": storage.name(path), "rows": 0, "row_bytes": 0}
    facts |= {"missing": [], "derived": [], "sha256": None, "problem": None}
    try:
        with storage.open_file(path) as file:
            facts["sha256"] = _sha256(file)
            found = layout(file)
    except (DataError, OSError) as error:
        return facts | {"problem": str(error)}
    lacking = [name for name in NEEDED if name not in found.fields]
    if lacking:
        return facts | {"rows": found.rows, "problem": f"the needed columns {', '.join(lacking)} are missing"}
    known = [found.fields[name] for name in (*NEEDED, *OPTIONAL) if name in found.fields]
    faults = [units.fault(f"column {f.name}", f.unit, SPEC.column(f.name).unit) for f in known]
    if any(faults):
        return facts | {"rows": found.rows, "problem": "; ".join(fault for fault in faults if fault)}
    absent = [name for name in OPTIONAL if name not in found.fields]
    derived = [name for name in absent if derivable(name, found)]
    missing = [name for name in absent if name not in derived]
    return facts | {"rows": found.rows, "row_bytes": found.row_bytes, "missing": missing, "derived": derived}


def derivable(name: str, found: Layout) -> bool:
    """Whether a column can be derived from those the file has."""
    return name in DERIVABLE and all(source in found.fields for source in DERIVABLE[name])


def plan(facts: pa.Table, task_bytes: int, limit_rows: int | None) -> list[Task]:
    """Row ranges to read, file by file, at most ``limit_rows`` rows in all."""
    left = limit_rows if limit_rows is not None else 1 << 62
    tasks = []
    for fact in facts.to_pylist():
        rows = 0 if fact["problem"] else min(fact["rows"], left)
        left -= rows
        step = max(1, task_bytes // max(1, fact["row_bytes"]))
        tasks += [Task(fact["path"], start, min(start + step, rows)) for start in range(0, rows, step)]
    return tasks


def inspect_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """``mapInArrow`` function: paths -> ``FACTS_SCHEMA``."""
    for batch in batches:
        rows = [inspect(path) for path in batch.column("path").to_pylist()]
        yield pa.RecordBatch.from_pylist(rows, schema=FACTS_SCHEMA)


def read_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """``mapInArrow`` function: tasks (path, start, stop) -> ``ROWS_SCHEMA``."""
    for batch in batches:
        for task in batch.select(["path", "start", "stop"]).to_pylist():
            yield from read(Task(**task))


def read(task: Task) -> Iterator[pa.RecordBatch]:
    """Rows of one task, in batches of ``ROWS_SCHEMA``."""
    with storage.open_file(task.path) as file:
        found = layout(file)
        names = _columns_to_read(found)
        dtype = found.dtype(names)
        buffer = np.empty(min(ROWS_PER_BATCH, max(1, task.stop - task.start)) * found.row_bytes, dtype=np.uint8)
        for start in range(task.start, task.stop, ROWS_PER_BATCH):
            count = min(ROWS_PER_BATCH, task.stop - start)
            view = memoryview(buffer.data)[: count * found.row_bytes]
            file.seek(found.start + start * found.row_bytes)
            _fill(file, view, task.path)
            raw = np.frombuffer(view, dtype=dtype)
            yield _batch(found, raw, storage.name(task.path), start)


def _columns_to_read(found: Layout) -> list[str]:
    names = [name for name in (*NEEDED, *OPTIONAL) if name in found.fields]
    for name in OPTIONAL:
        if name not in found.fields and derivable(name, found):
            names += [source for source in DERIVABLE[name] if source not in names]
    return names


def _fill(file: pa.NativeFile, view: memoryview, path: str) -> None:
    done = 0
    while done < len(view):
        read_now = file.readinto(view[done:])
        if not read_now:
            raise DataError(f"{path} ended while it was read")
        done += read_now


def _batch(found: Layout, raw: NDArray[np.void], sweep_file: str, start: int) -> pa.RecordBatch:
    columns = {name: _values(found.fields[name], raw) for name in raw.dtype.names or ()}
    survey_type = columns["type"]
    columns |= derive(columns, [n for n in OPTIONAL if n not in found.fields and derivable(n, found)])
    columns["survey_type"] = survey_type
    ra, dec = (columns[n].to_numpy(zero_copy_only=False).astype(np.float64) for n in ("ra", "dec"))
    ra = np.where((ra >= 0) & (ra <= 360), ra, np.nan)
    for name, nside in (("healpix_64", 64), ("healpix_128", 128), ("healpix_exclusion", EXCLUSION_NSIDE)):
        columns[name] = pa.array(pixel(ra, dec, nside))
    columns["sweep_file"] = pa.array([sweep_file] * len(raw), pa.string())
    columns["row_index"] = pa.array(np.arange(start, start + len(raw)))
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(len(raw), field.type)
        for field in ROWS_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=ROWS_SCHEMA)


def _values(field: Field, raw: NDArray[np.void]) -> pa.Array:
    """A column as Arrow: text trimmed, NaN and the header's null value as null."""
    values = field.decode(raw)
    if values.dtype.kind == "S":
        return pc.utf8_trim_whitespace(_text(values))
    null = field.missing(raw)
    return pa.array(values, mask=null if null.any() else None, from_pandas=True)


def _text(values: NDArray[np.generic]) -> pa.Array:
    try:
        return pa.array(values, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(np.char.decode(values.astype(np.bytes_), "ascii", "replace").tolist(), pa.string())


def _sha256(file: pa.NativeFile) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_HASH_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def input_hash(facts: pa.Table, settings: Sequence[object]) -> str:
    """Hash of what the files hold and how they are read."""
    held = [[f["sweep_file"], f["sha256"], f["problem"]] for f in facts.to_pylist()]
    return hashlib.sha256(json.dumps([held, list(settings)], sort_keys=True).encode()).hexdigest()[:16]
