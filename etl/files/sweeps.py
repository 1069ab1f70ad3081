"""Reading Tractor sweeps in row ranges, only the columns that the lake keeps; bad files are reported with reasons."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.files import storage
from etl.files.fitstable import Layout, layout
from etl.files.shapes import DERIVABLE, derive
from etl.files.sweepfiles import Opened, Sweep, opened
from etl.files.values import Values, values, wanted
from lake.errors import DataError
from lake.files.fitsheader import unit_fault
from lake.sky.healpix import pixel
from lake.sky.survey import BANDS
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

PRIMARY = "brick_primary"
"""False in Tractor files if a source belongs to the neighbouring brick. Sweeps lack it: their sources are primary."""

_TYPES = {name: SPEC.column(name).arrow.type for name in (*NEEDED, *OPTIONAL)} | {PRIMARY: pa.bool_()}
_PIXELS = {"healpix_64": 64, "healpix_128": 128, "healpix_exclusion": EXCLUSION_NSIDE}
ROWS_PER_BATCH = 65_536
_BATCH_BYTES = 64 << 20
_CHUNK = 8 << 20
_UNREADABLE = (DataError, OSError, EOFError, zlib.error)

FACTS_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("path", "sweep_file", "sha256", "problem")),
        *((name, pa.int64()) for name in ("rows", "row_bytes")),
        *((name, pa.list_(pa.string())) for name in ("missing", "derived")),
        ("packed", pa.bool_()),
    ]
)
ROWS_SCHEMA = pa.schema(
    [
        ("sweep_file", pa.string()),
        ("row_index", pa.int64()),
        *_TYPES.items(),
        ("fault", pa.string()),
        ("survey_type", pa.string()),
        *((name, pa.int64()) for name in _PIXELS),
    ]
)


@dataclass(frozen=True)
class Task:
    """A range of rows of one file."""

    sweep_file: str
    path: str
    start: int
    stop: int


def identity(sweep: Sweep) -> str:
    """Name, size and time of change of a file: enough to tell partial work on it from work on another."""
    return f"{sweep.name} {sweep.problem or storage.state(sweep.path)}"


def inspect(sweep: Sweep) -> dict[str, object]:
    """Facts of a file, as a row of ``FACTS_SCHEMA``; ``problem`` says why it cannot be used."""
    facts: dict[str, object] = {"path": sweep.path, "sweep_file": sweep.name, "rows": 0, "row_bytes": 0}
    facts |= {"missing": [], "derived": [], "sha256": None, "problem": sweep.problem, "packed": False}
    if sweep.problem:
        return facts
    try:
        with opened(sweep.path) as file:
            facts |= {"sha256": _sha256(file), "packed": file.packed}
            found = _whole(file)
    except _UNREADABLE as error:
        return facts | {"problem": str(error)}
    if fault := _fault(found):
        return facts | {"rows": found.rows, "problem": fault}
    absent = [name for name in OPTIONAL if name not in found.fields]
    derived = [name for name in absent if derivable(name, found)]
    missing = [name for name in absent if name not in derived]
    return facts | {"rows": found.rows, "row_bytes": found.row_bytes, "missing": missing, "derived": derived}


def _whole(file: Opened) -> Layout:
    """The layout of a file, checked to contain all its rows; a packed one is unpacked to its end."""
    if not file.packed:
        return layout(file.file, file.size)
    found = layout(file.file, file.size, "the file unpacks to many times its size, or is truncated")
    length = file.file.seek(found.start)
    while part := len(file.file.read(_CHUNK)):
        length += part
        if length > file.size:
            raise DataError(f"the file unpacks to more than {file.size} bytes")
    if length < found.end:
        raise DataError(f"the file is truncated: {length} bytes of at least {found.end}")
    return found


def _fault(found: Layout) -> str | None:
    """Why a table cannot be used, by column."""
    sources = {source for each in DERIVABLE.values() for source in each}
    odd = [fault for name, fault in found.faults.items() if name in _TYPES or name in sources]
    if odd:
        return "; ".join(odd)
    lacking = [name for name in NEEDED if name not in found.fields]
    if lacking:
        return f"the required columns {', '.join(lacking)} are missing"
    known = [found.fields[name] for name in _TYPES if name in found.fields]
    faults = [unit_fault(f"column {f.name}", f.unit, SPEC.column(f.name).unit) for f in known if f.name != PRIMARY]
    faults += [f"column {f.name} must be text" for f in known if f.code != "A" and pa.types.is_string(_TYPES[f.name])]
    return "; ".join(fault for fault in faults if fault) or None


def derivable(name: str, found: Layout) -> bool:
    """Whether a column can be derived from those the file has."""
    return name in DERIVABLE and all(source in found.fields for source in DERIVABLE[name])


def plan(facts: pa.Table, task_bytes: int, limit_rows: int | None) -> list[Task]:
    """Row ranges to read, file by file, at most ``limit_rows`` rows in all; a packed file is one range."""
    left = limit_rows if limit_rows is not None else 1 << 62
    tasks = []
    for fact in facts.to_pylist():
        rows = 0 if fact["problem"] else min(fact["rows"], left)
        left -= rows
        step = max(1, rows if fact["packed"] else task_bytes // max(1, fact["row_bytes"]))
        place = fact["sweep_file"], fact["path"]
        tasks += [Task(*place, start, min(start + step, rows)) for start in range(0, rows, step)]
    return tasks


def inspect_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """``mapInArrow`` function: sweeps (name, path, problem) -> ``FACTS_SCHEMA``."""
    for batch in batches:
        rows = [inspect(Sweep(**sweep)) for sweep in batch.select(["name", "path", "problem"]).to_pylist()]
        yield pa.RecordBatch.from_pylist(rows, schema=FACTS_SCHEMA)


def read_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """``mapInArrow`` function: tasks (sweep_file, path, start, stop) -> ``ROWS_SCHEMA``."""
    for batch in batches:
        for task in batch.select(["sweep_file", "path", "start", "stop"]).to_pylist():
            yield from read(Task(**task))


def read(task: Task) -> Iterator[pa.RecordBatch]:
    """Rows of one task, in batches of ``ROWS_SCHEMA``."""
    with opened(task.path) as file:
        found = layout(file.file, file.size)
        dtype = found.dtype(_columns_to_read(found))
        step = max(1, min(ROWS_PER_BATCH, _BATCH_BYTES // found.row_bytes, task.stop - task.start))
        for start in range(task.start, task.stop, step):
            size = min(step, task.stop - start) * found.row_bytes
            file.file.seek(found.start + start * found.row_bytes)
            content = file.file.read(size)
            if len(content) < size:
                raise DataError(f"{task.path} ended while it was read")
            yield _batch(found, np.frombuffer(content, dtype=dtype), task.sweep_file, start)


def _columns_to_read(found: Layout) -> list[str]:
    names = [name for name in _TYPES if name in found.fields]
    for name in OPTIONAL:
        if name not in found.fields and derivable(name, found):
            names += [source for source in DERIVABLE[name] if source not in names]
    return names


def _batch(found: Layout, raw: NDArray[np.void], sweep_file: str, start: int) -> pa.RecordBatch:
    held = {n: values(found.fields[n], raw, _TYPES.get(n, pa.float32())) for n in raw.dtype.names or ()}
    columns = {name: each.array for name, each in held.items()}
    survey_type = columns["type"]
    columns |= derive(columns, [n for n in OPTIONAL if n not in found.fields and derivable(n, found)])
    columns |= {"survey_type": survey_type, "fault": _faults(held, len(raw))}
    ra, dec = (columns[n].to_numpy(zero_copy_only=False).astype(np.float64) for n in ("ra", "dec"))
    ra = np.where((ra >= 0) & (ra <= 360), ra, np.nan)
    for name, nside in _PIXELS.items():
        columns[name] = pa.array(pixel(ra, dec, nside))
    columns["sweep_file"] = pa.array([sweep_file] * len(raw), pa.string())
    columns["row_index"] = pa.array(np.arange(start, start + len(raw)))
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(len(raw), field.type)
        for field in ROWS_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=ROWS_SCHEMA)


def _faults(held: dict[str, Values], rows: int) -> pa.Array:
    """For each row, the first column whose value cannot be read, and the values it must have."""
    bad = {name: each.bad for name, each in held.items() if each.bad is not None}
    if not bad:
        return pa.nulls(rows, pa.string())
    found = np.full(rows, None, dtype=object)
    for name, where in reversed(bad.items()):
        found[where] = f"'{name}' must be {wanted(held[name].array.type)}"
    return pa.array(found, pa.string())


def _sha256(file: Opened) -> str:
    digest = hashlib.sha256()
    while chunk := file.stored.read(_CHUNK):
        digest.update(chunk)
    file.stored.seek(0)
    return digest.hexdigest()


def input_hash(facts: pa.Table, settings: Sequence[object]) -> str:
    """Hash of the files' contents and of the settings."""
    held = [[f["sweep_file"], f["sha256"], f["problem"]] for f in facts.to_pylist()]
    return hashlib.sha256(json.dumps([held, list(settings)], sort_keys=True).encode()).hexdigest()[:16]
