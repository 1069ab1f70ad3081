"""Reading Tractor sweeps once, from the first byte to the last; bad files are reported with reasons."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.config import CatalogueParams
from etl.files import plaintable
from etl.files.fitstable import Layout, layout
from etl.files.plaintable import PlainTable
from etl.files.shapes import DERIVABLE, SOURCES, derive
from etl.files.sweepfiles import Opened, Sweep, opened
from etl.files.values import Values, values, wanted
from lake.errors import DataError, ParameterError
from lake.files import storage
from lake.files.fitsheader import unit_fault
from lake.sky.bricklayout import brick_names
from lake.sky.healpix import pixel
from lake.sky.survey import BANDS
from lake.tables.tractor_pool import SPEC

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

ABSENCES: dict[str, tuple[str, ...]] = {
    "mask": ("maskbits",),
    "exposures": tuple(f"nobs_{band}" for band in BANDS),
    "w1": ("flux_w1",),
    "objid": ("objid",),
    "brickname": ("brickname",),
}
"""Columns that a catalogue may be declared to lack."""

PRIMARY = "brick_primary"
"""False in Tractor files if a source belongs to the neighbouring brick. Sweeps lack it: their sources are primary."""

_TYPES = {name: SPEC.column(name).arrow.type for name in (*NEEDED, *OPTIONAL)} | {PRIMARY: pa.bool_()}
_CHUNK = 16 << 20
_PLACE_NSIDE = 1 << 29
"""HEALPix pixels of this division, 0.4 milliarcsec wide, number the sources of a catalogue without numbers."""
AS_SWEEPS = CatalogueParams(columns={}, absent=())
_UNREADABLE = (DataError, OSError, EOFError, zlib.error)

ROWS_SCHEMA = pa.schema(
    [
        ("sweep_file", pa.string()),
        ("row_index", pa.int64()),
        *_TYPES.items(),
        ("fault", pa.string()),
        ("survey_type", pa.string()),
    ]
)


@dataclass(frozen=True)
class Facts:
    """What is known of a file; ``problem`` says why it cannot be used."""

    sha256: str | None = None
    problem: str | None = None
    rows: int = 0
    missing: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()


class UnreadableError(DataError):
    """A file that cannot be used; its facts say why."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(str(facts.problem))
        self.facts = facts


@dataclass
class Reading:
    """A file whose rows are read once, in order; its facts are complete when all of it is read."""

    file: Opened | PlainTable
    found: Layout
    stop: int
    """Rows to read; where the file has more, the rest is not read and the file has no hash."""
    facts: Facts = field(init=False)

    def __post_init__(self) -> None:
        absent = [name for name in OPTIONAL if name not in self.found.fields]
        derived = tuple(name for name in absent if derivable(name, self.found))
        missing = tuple(name for name in (*NEEDED, *absent) if name not in (*self.found.fields, *derived))
        self.facts = Facts(None, None, self.found.rows, missing, derived)

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Structured dtype of a row that sees the columns that are kept, and those that others are derived from."""
        names = [name for name in _TYPES if name in self.found.fields]
        for name in self.facts.derived:
            names += [source for source in DERIVABLE[name] if source not in names]
        return self.found.dtype(names)

    def rows(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Consecutive rows as bytes (rows, row_bytes), with the number of the first; UnreadableError if they end."""
        try:
            yield from self._rows()
        except _UNREADABLE as error:
            raise _unreadable(self.file, error) from error

    def _rows(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        if isinstance(self.file, Opened):
            yield from self._fits_rows(self.file)
        else:
            yield from self.file.parts(self.found, self.stop)
            if self.stop == self.found.rows:
                self.facts = replace(self.facts, sha256=self.file.sha256())

    def _fits_rows(self, file: Opened) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        found = self.found
        file.file.seek(found.start)
        step = max(1, _CHUNK // found.row_bytes)
        for start in range(0, self.stop, step):
            size = min(step, self.stop - start) * found.row_bytes
            content = file.file.read(size)
            if len(content) < size:
                held = found.start + start * found.row_bytes + len(content)
                raise DataError(f"the file is truncated: {held} bytes of at least {found.end}")
            yield start, np.frombuffer(content, np.uint8).reshape(-1, found.row_bytes)
        if self.stop == found.rows:
            file.exhaust(found.end)
            self.facts = replace(self.facts, sha256=file.stored.sha256())


@contextmanager
def reading(sweep: Sweep, stop: int | None = None, catalogue: CatalogueParams = AS_SWEEPS) -> Iterator[Reading]:
    """A file to be read up to row ``stop``, or to its end; UnreadableError if it cannot be used.

    Its columns go by our names, whatever ``catalogue`` says they are called in the file.
    """
    if sweep.problem:
        raise UnreadableError(Facts(problem=sweep.problem))
    with ExitStack() as stack:
        try:
            plain = plaintable.is_plain(sweep.name)
            file = plaintable.opened(sweep.path) if plain else stack.enter_context(opened(sweep.path))
        except (OSError, DataError) as error:
            raise UnreadableError(Facts(problem=str(error))) from error
        try:
            written = file.layout() if isinstance(file, PlainTable) else layout(file.file, file.size, file.too_short)
            found = _of_use(_called(written, catalogue))
        except _UNREADABLE as error:
            raise _unreadable(file, error) from error
        if fault := _fault(found, catalogue):
            raise _unreadable(file, DataError(fault), found.rows)
        yield Reading(file, found, found.rows if stop is None else min(stop, found.rows))


def _called(found: Layout, catalogue: CatalogueParams) -> Layout:
    """A table whose columns go by our names; DataError where what is declared is not so."""
    if not catalogue.columns and not catalogue.absent:
        return found
    theirs = {ours: name.lower() for ours, name in catalogue.columns.items()}
    kept = {name: field for name, field in found.fields.items() if name not in theirs.values()}
    named = {ours: replace(found.fields[name], name=ours) for ours, name in theirs.items() if name in found.fields}
    faults = {ours: found.faults[name] for ours, name in theirs.items() if name in found.faults}
    lacking = [name for name in theirs.values() if name not in found.fields and name not in found.faults]
    if lacking:
        raise DataError(f"the columns {', '.join(lacking)}, which pool.catalogue names, are missing")
    fields = {**kept, **named}
    there = [name for name in lacked(catalogue) if name in fields]
    if there:
        raise DataError(f"the columns {', '.join(there)} are there, but pool.catalogue declares them absent")
    return replace(found, fields=fields, faults={**found.faults, **faults})


def _of_use(found: Layout) -> Layout:
    """A table without the columns that are neither kept nor needed to derive others: these may hold anything."""
    used = {**_TYPES, **dict.fromkeys(SOURCES)}
    return replace(found, fields={name: each for name, each in found.fields.items() if name in used})


def require_known(catalogue: CatalogueParams) -> None:
    """ParameterError unless names are declared for columns that are read."""
    known = {**_TYPES, **dict.fromkeys(SOURCES)}
    if odd := sorted(set(catalogue.columns) - set(known)):
        raise ParameterError(f"'pool.catalogue.columns' must name some of {', '.join(known)}, got {', '.join(odd)}")


def lacked(catalogue: CatalogueParams) -> list[str]:
    """Columns that a catalogue is declared to lack."""
    return [name for absence in catalogue.absent for name in ABSENCES[absence]]


def _unreadable(file: Opened | PlainTable, error: Exception, rows: int = 0) -> UnreadableError:
    try:
        digest = file.sha256() if isinstance(file, PlainTable) else file.stored.sha256()
    except OSError:
        digest = None
    return UnreadableError(Facts(digest, str(error), rows))


def inspect(sweep: Sweep, stop: int | None = None, catalogue: CatalogueParams = AS_SWEEPS) -> Facts:
    """Facts of a file, of which all is read, or what a reading up to row ``stop`` needs."""
    try:
        with reading(sweep, stop, catalogue) as file:
            for _ in file.rows():
                pass
            return file.facts
    except UnreadableError as error:
        return error.facts


def _fault(found: Layout, catalogue: CatalogueParams) -> str | None:
    """Why a table cannot be used, by column."""
    odd = [fault for name, fault in found.faults.items() if name in _TYPES or name in SOURCES]
    if odd:
        return "; ".join(odd)
    lacking = [name for name in NEEDED if name not in (*found.fields, *lacked(catalogue))]
    if lacking:
        return f"the required columns {', '.join(lacking)} are missing"
    known = [found.fields[name] for name in _TYPES if name in found.fields]
    faults = [unit_fault(f"column {f.name}", f.unit, SPEC.column(f.name).unit) for f in known if f.name != PRIMARY]
    faults += [f"column {f.name} must be text" for f in known if f.code != "A" and pa.types.is_string(_TYPES[f.name])]
    return "; ".join(fault for fault in faults if fault) or None


def derivable(name: str, found: Layout) -> bool:
    """Whether a column can be derived from those the file has."""
    return name in DERIVABLE and all(source in found.fields for source in DERIVABLE[name])


def type_of(name: str) -> pa.DataType:
    """The lake's type of a column that is read; of one that others are derived from, float."""
    return _TYPES.get(name, pa.float32())


def decoded(file: Reading, raw: NDArray[np.void], sweep_file: str, places: NDArray[np.int64]) -> pa.Table:
    """Raw rows, which lie at ``places`` (row numbers) in the file, as rows of ``ROWS_SCHEMA``."""
    held = {n: values(file.found.fields[n], raw, type_of(n)) for n in raw.dtype.names or ()}
    columns = {name: each.array for name, each in held.items()}
    survey_type = columns["type"]
    columns |= derive(columns, file.facts.derived)
    columns |= {"survey_type": survey_type, "fault": _faults(held, len(raw)), "row_index": pa.array(places)}
    columns |= _from_position(columns, file.found)
    columns["sweep_file"] = pa.repeat(pa.scalar(sweep_file, pa.string()), len(raw))
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(len(raw), field.type)
        for field in ROWS_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=ROWS_SCHEMA)


def _from_position(columns: dict[str, pa.Array], found: Layout) -> dict[str, pa.Array]:
    """Identity of the rows of a catalogue that gives none: the brick of their position, and the number of its pixel."""
    ra, dec = (columns[name].to_numpy(zero_copy_only=False) for name in ("ra", "dec"))
    made = {}
    if "brickname" not in found.fields:
        made["brickname"] = pa.array(brick_names(ra, dec), pa.string())
    if "objid" not in found.fields:
        place = pixel(np.where((ra >= 0) & (ra <= 360), ra, np.nan), dec, _PLACE_NSIDE)
        made["objid"] = pa.array(place, mask=place < 0)
    return made


def _faults(held: dict[str, Values], rows: int) -> pa.Array:
    """For each row, the first column whose value cannot be read, and the values it must have."""
    bad = {name: each.bad for name, each in held.items() if each.bad is not None}
    if not bad:
        return pa.nulls(rows, pa.string())
    found = np.full(rows, None, dtype=object)
    for name, where in reversed(bad.items()):
        found[where] = f"'{name}' must be {wanted(held[name].array.type)}"
    return pa.array(found, pa.string())


def identity(sweep: Sweep) -> str:
    """Size and time of change of a file, or why it is not read: enough to tell work on it from work on another."""
    return sweep.problem or storage.state(sweep.path)
