"""A pinned table as a HATS catalogue (hats.readthedocs.io), which LSDB opens.

Rows are divided into HEALPix pixels (NESTED) that hold at most so many rows each, one Parquet file per pixel, sorted by
the pixel of order 29 that each position lies in. The layout is that of HATS 1.0: ``hats.properties``,
``partition_info.csv``, ``dataset/Norder=<order>/Dir=<n>/Npix=<pixel>.parquet`` and Parquet's own metadata files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import dataset, ipc

from lake import progress, tables
from lake.contract.spec import TableSpec
from lake.errors import LakeError, invalid
from lake.files.publishing import replacing_folder
from lake.provenance import pipeline_version
from lake.root import DataRoot
from lake.sky.healpix import pixel
from lake.store import delta
from lake.store.cards import SURVEY, Slice

PLACE = "_healpix_29"
"""The column by which rows are sorted and divided."""
MAX_ROWS = 1_000_000
"""Rows of a partition, unless the user says otherwise; the default of the HATS import."""
_FINEST, _DEEPEST = 29, 10
"""Order of the column, and the highest order of a partition."""
_PROPERTIES = "hats.properties"


@dataclass(frozen=True)
class Partition:
    """A HEALPix pixel with its rows."""

    order: int
    pixel: int
    rows: int

    @property
    def name(self) -> str:
        return f"Norder={self.order}/Dir={self.pixel // 10_000 * 10_000}/Npix={self.pixel}.parquet"

    @property
    def first(self) -> int:
        """Its first pixel of order 29."""
        return self.pixel << 2 * (_FINEST - self.order)


def export(root: DataRoot, entry: Slice, folder: Path, max_rows: int = MAX_ROWS) -> list[Partition]:
    """Write a pinned slice as a catalogue, which takes the place of an earlier one in ``folder``.

    Batches of rows are spilled by partition, so memory holds one partition at a time and one integer per row.
    ParameterError of a table without positions, or of a folder that holds something else.
    """
    spec = tables.spec(entry.card.table)
    if not {"ra", "dec"} <= set(spec.names):
        raise invalid("table", "one with positions (ra, dec)", spec.name)
    _require_free(folder)
    if max_rows < 1:
        raise invalid("max_rows", "at least 1", max_rows)
    places = np.concatenate([np.empty(0, np.int64), *(_places(rows) for rows in _batches(root, entry, ["ra", "dec"]))])
    if len(places) != entry.card.rows or (places < 0).any():
        raise LakeError(f"'{entry.name}' has {len(places)} rows, its card {entry.card.rows}: run `dhs verify --deep`")
    parts = divided(places, max_rows)
    with replacing_folder(folder) as draft:
        _spill(draft, parts, _batches(root, entry, list(spec.names)))
        _write_files(draft, parts, spec)
        shutil.rmtree(draft / "spill")
        _describe(draft, parts, entry, spec, max_rows)
    return parts


def divided(places: NDArray[np.int64], max_rows: int) -> list[Partition]:
    """The coarsest pixels with at most ``max_rows`` of these order-29 pixels each, in the order of the sky."""
    found, rest = [], np.sort(places)
    for order in range(_DEEPEST + 1):
        pixels, counts = np.unique(rest >> 2 * (_FINEST - order), return_counts=True)
        final = (counts <= max_rows) | (order == _DEEPEST)
        found += [Partition(order, int(p), int(n)) for p, n in zip(pixels[final], counts[final], strict=True)]
        rest = rest[np.repeat(~final, counts)]
    return sorted(found, key=lambda part: part.first)


def _require_free(folder: Path) -> None:
    if folder.exists() and not (folder / _PROPERTIES).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise invalid("hats", "a new or empty folder, or an earlier catalogue", str(folder))


def _places(rows: pa.RecordBatch | pa.Table) -> NDArray[np.int64]:
    return pixel(rows["ra"].to_numpy(zero_copy_only=False), rows["dec"].to_numpy(zero_copy_only=False), 1 << _FINEST)


def _batches(root: DataRoot, entry: Slice, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """A slice's rows as they lie in its files."""
    table = delta.open_pinned(root, entry)
    delta.require_files(root, entry, table)
    source: dataset.Dataset = table.to_pyarrow_dataset(
        file_pruning_predicate=delta.pruning(entry.card.where), filesystem=delta.arrow_files(table)
    )
    wanted = None
    for name, value in entry.card.where.items():
        one = dataset.field(name) == value
        wanted = one if wanted is None else wanted & one
    yield from source.to_batches(columns=list(columns), filter=wanted)


def _spill(draft: Path, parts: Sequence[Partition], batches: Iterator[pa.RecordBatch]) -> None:
    """Append each batch's rows to a file of their partition."""
    (draft / "spill").mkdir(parents=True)
    starts, writers = np.array([part.first for part in parts], np.int64), {}
    try:
        for batch in batches:
            places = _places(batch)
            owners = np.searchsorted(starts, places, side="right") - 1
            rows = pa.Table.from_batches([batch]).add_column(0, PLACE, pa.array(places))
            for owner in np.unique(owners):
                if owner not in writers:
                    writers[owner] = ipc.new_file(str(draft / "spill" / f"{owner}.arrow"), rows.schema)
                writers[owner].write_table(rows.filter(pa.array(owners == owner)))
    finally:
        for writer in writers.values():
            writer.close()


def _write_files(draft: Path, parts: Sequence[Partition], spec: TableSpec) -> None:
    """Sort each partition and write it, and the metadata of all."""
    schema, footers = _schema(spec), []
    for number, part in progress.track(enumerate(parts), "Writing partitions", len(parts)):
        rows = ipc.open_file(str(draft / "spill" / f"{number}.arrow")).read_all()
        rows = rows.sort_by([(PLACE, "ascending"), *((key, "ascending") for key in spec.key)]).cast(schema)
        path = draft / "dataset" / part.name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path, compression="zstd")
        footers.append(pq.read_metadata(path))
        footers[-1].set_file_path(part.name)
    (draft / "dataset").mkdir(exist_ok=True)
    pq.write_metadata(schema, draft / "dataset" / "_common_metadata")
    pq.write_metadata(schema, draft / "dataset" / "_metadata", metadata_collector=footers)


def _schema(spec: TableSpec) -> pa.Schema:
    """The contract's columns, each with what it means and its unit."""
    told = {c.name: {"description": c.meaning, **({"unit": c.unit} if c.unit else {})} for c in spec.columns}
    fields = [field.remove_metadata().with_metadata(told[field.name]) for field in spec.arrow_schema()]
    place = pa.field(PLACE, pa.int64(), metadata={"description": "HEALPix pixel, order 29, NESTED"})
    return pa.schema([place, *fields])


def _describe(draft: Path, parts: Sequence[Partition], entry: Slice, spec: TableSpec, max_rows: int) -> None:
    lines = "".join(f"{part.order},{part.pixel}\n" for part in parts)
    (draft / "partition_info.csv").write_text(f"Norder,Npix\n{lines}", encoding="ascii")
    size = sum(path.stat().st_size for path in draft.rglob("*") if path.is_file())
    card, pin = entry.card, entry.pin
    facts = {
        "obs_collection": entry.name,
        "obs_description": spec.meaning,
        "dataproduct_type": "object",
        "hats_nrows": card.rows,
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": PLACE,
        "hats_col_healpix_order": _FINEST,
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": max_rows,
        "hats_order": max((part.order for part in parts), default=0),
        "moc_sky_fraction": f"{sum(1 / (12 * 4**part.order) for part in parts):.10f}",
        "hats_builder": f"darkhaloscope {pipeline_version()}",
        "hats_creation_date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MUTC"),
        "hats_estsize": size // 1024,
        "hats_release_date": "2025-08-22",
        "hats_version": "v1.0",
        "dhs_survey": pin.inputs.get(SURVEY, ""),
        "dhs_table_id": pin.table_id,
        "dhs_version": pin.version,
        "dhs_fingerprint": card.fingerprint,
        "dhs_git_commit": pin.code.get("git_commit", ""),
    }
    text = "#HATS catalog\n" + "".join(f"{name}={value}\n" for name, value in facts.items())
    for name in (_PROPERTIES, "properties"):  # the second for readers of HATS before 0.6
        (draft / name).write_text(text, encoding="utf-8")
