"""A made-up ``tractor_pool`` of any size, with candidates and their sources: as published tables, without a survey."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.tables.partwriter import PartWriter
from lake import provenance, tables
from lake.config import SplitParams
from lake.contract.columns import NOBS_BINS
from lake.contract.fingerprint import Sums
from lake.contract.rules import conform
from lake.root import DataRoot
from lake.sky.hashing import key_hash
from lake.sky.healpix import pixel
from lake.sky.split import split_of
from lake.sky.survey import BANDS
from lake.store import cards, delta, parts, quarantine, writing
from lake.store.parts import Part
from lake.store.stamps import bucket_of
from lake.store.writing import Provenance, Target

POOL = tables.spec("tractor_pool")
CELLS = [(ra, dec) for ra in range(0, 360, 5) for dec in range(-18, 32, 5)]
"""South-western corners (degrees) of the cells of five by five degrees, each of which is a sweep and a part."""
LISTED, MATCHED = 5_104, 4_788
_PROCESSES = 2
_OTHERS = 1_000_000
"""First object number of sources outside the pool."""
_TYPES, _SHARES = ("SER", "DEV", "REX"), (0.32, 0.29, 0.39)


def lake(root: DataRoot, rows: int, split: SplitParams) -> DataRoot:
    """A lake with a pool of ``rows`` rows, sources near candidates and the candidates, made unless it is there."""
    if not cards.slices(root, "lens_candidates"):
        _pool(root, rows, split)
        publish_candidates(root, split)
    return root


def _pool(root: DataRoot, rows: int, split: SplitParams) -> None:
    counts = np.diff(np.linspace(0, rows, len(CELLS) + 1).astype(int))
    writing.made(root, POOL)
    tasks = list(zip(range(len(CELLS)), counts.tolist(), strict=True))
    with get_context("spawn").Pool(_PROCESSES) as processes:
        made = processes.map(partial(part_of, place=root.table(POOL.name), split=split), tasks, chunksize=4)
    publish_pool(root, made)


def publish_pool(root: DataRoot, made: Sequence[tuple[Part | None, Sums]]) -> None:
    """Publish parts (:func:`part_of`) as the pool."""
    files = tuple(part for part, _ in made if part is not None)
    total = sum((sums for _, sums in made), Sums())
    target = Target(root, POOL, None, {}, Provenance("pool"))
    parts.publish(target, parts.Parts(files, total.render()), quarantine.SCHEMA.empty_table())


def part_of(task: tuple[int, int], place: str, split: SplitParams) -> tuple[Part | None, Sums]:
    """One part of the pool, in its place."""
    number, count = task
    rows = sources(count, number, split)
    for name, value in provenance.lineage().items():
        rows = rows.append_column(name, pa.repeat(pa.scalar(value, POOL.column(name).arrow.type), count))
    with PartWriter(place, parts.name(f"{number:032x}"), POOL) as part:
        part.write(conform(POOL, rows))
        return part.closed(), part.sums


def publish_candidates(root: DataRoot, split: SplitParams) -> None:
    """Listed candidates, the first of which have a source, and these sources."""
    near = sources(MATCHED, len(CELLS), split)
    names = pa.array([f"c{i:04d}@made-up" for i in range(LISTED)])
    more = {
        "candidate_id": names[:MATCHED],
        "separation_arcsec": pa.array(np.full(MATCHED, 0.5)),
        "failed_cut": pa.nulls(MATCHED, pa.string()),
    }
    spec = tables.spec("tractor_near_candidates")
    for name, values in more.items():
        near = near.append_column(name, values)
    quarantine.publish(Target(root, spec, None, {}, Provenance("pool")), near.select(spec.row_schema().names))
    rng = np.random.default_rng(LISTED)
    ra, dec = near["ra"].to_numpy(), near["dec"].to_numpy()
    ra, dec = (np.append(have, have[: LISTED - MATCHED]) for have in (ra, dec))
    matched = np.arange(LISTED) < MATCHED
    spec = tables.spec("lens_candidates")
    values = {
        "candidate_id": names,
        "ra": ra,
        "dec": dec,
        "grading": np.full(LISTED, "probable"),
        "tier": rng.choice(["A", "B"], LISTED, p=[0.085, 0.915]),
        "galaxy_id": pa.concat_arrays([near["galaxy_id"].combine_chunks(), pa.nulls(LISTED - MATCHED, pa.string())]),
        "match_reason": np.where(matched, "matched", "no source within the radius"),
        **_places(ra, dec, split),
    }
    schema = spec.row_schema()
    listed = pa.table({n: values.get(n, pa.nulls(LISTED, schema.field(n).type)) for n in schema.names}, schema=schema)
    quarantine.publish(Target(root, spec, None, {}, Provenance("candidates")), listed)


def sources(count: int, number: int, split: SplitParams) -> pa.Table:
    """Rows of the pool in one cell of the sky, lineage excepted; those of a number beyond the cells are all over it."""
    rng = np.random.default_rng(number)
    here = CELLS[number : number + 1] or CELLS
    cell = np.array(here)[rng.integers(0, len(here), count)]
    ra, dec = (cell + 5 * rng.random((count, 2))).T
    ra_number, dec_number = (np.floor(values * 4).astype(int) for values in (ra, dec))
    brick = np.char.add(
        np.char.zfill((ra_number * 5 // 2).astype("U5"), 4),
        np.char.add(np.where(dec_number < 0, "m", "p"), np.char.zfill((np.abs(dec_number) * 5 // 2).astype("U4"), 3)),
    )
    nobs = {band: np.maximum(rng.poisson(6, count), 3).astype(np.int32) for band in BANDS}
    flux = 10 ** rng.normal(1.2, 0.5, count)
    fluxes = {
        b: flux * s * rng.normal(1, 0.1, count) for b, s in zip((*BANDS, "w1"), (0.3, 0.6, 1.0, 1.4), strict=True)
    }
    mag = {band: 22.5 - 2.5 * np.log10(np.abs(value)) for band, value in fluxes.items()}
    objid = np.arange(count) + (0 if number < len(CELLS) else _OTHERS)
    kind = np.array(_TYPES)[rng.choice(len(_TYPES), count, p=_SHARES)]
    values = {
        "galaxy_id": np.char.add(np.char.add("bench:10000_", brick), np.char.add("_", objid.astype("U8"))),
        "release": np.full(count, 10000),
        "brickname": brick,
        "objid": objid,
        "ra": ra,
        "dec": dec,
        **{f"nobs_{band}": value for band, value in nobs.items()},
        "nobs_z_bin": np.array(NOBS_BINS)[np.digitize(nobs["z"], [1, 3, 6, 11])],
        "type": kind,
        "type_bin": kind,
        **{f"flux_{band}": value for band, value in fluxes.items()},
        **{f"mag_{band}": mag[band] for band in BANDS},
        "g_minus_r": mag["g"] - mag["r"],
        "r_minus_z": mag["r"] - mag["z"],
        "z_minus_w1": mag["z"] - mag["w1"],
        **{f"psfsize_{band}": rng.uniform(0.9, 1.8, count) for band in BANDS},
        **{f"psfdepth_{band}": rng.uniform(100, 900, count) for band in BANDS},
        **{f"galdepth_{band}": rng.uniform(80, 700, count) for band in BANDS},
        "ebv": rng.uniform(0, 0.1, count),
        **{f"mw_transmission_{band}": rng.uniform(0.8, 1, count) for band in BANDS},
        "maskbits": np.zeros(count, np.int64),
        "fitbits": rng.integers(0, 2, count),
        "shape_r": rng.gamma(2.0, 0.4, count),
        "shape_e1": np.clip(rng.normal(0, 0.2, count), -0.99, 0.99),
        "shape_e2": np.clip(rng.normal(0, 0.2, count), -0.99, 0.99),
        "sersic": rng.uniform(0.5, 6, count),
        **_places(ra, dec, split),
        "sweep_file": np.full(count, f"sweep-{number:04d}.fits"),
        "row_index": np.arange(count),
    }
    schema = POOL.row_schema()
    return pa.table({f.name: pa.array(values[f.name]).cast(f.type, safe=False) for f in schema})


def _places(ra: NDArray[np.float64], dec: NDArray[np.float64], split: SplitParams) -> dict[str, NDArray[np.generic]]:
    healpix_128 = pixel(ra, dec, 128)
    return {"healpix_64": pixel(ra, dec, 64), "healpix_128": healpix_128, "split": split_of(healpix_128, split)}


def cutouts(root: DataRoot) -> None:
    """Publish ``cutouts`` of all negatives and matched candidates, of which 1.4 % are rejected, without pixels."""
    ids = pa.concat_tables(
        [delta.read(root, "negatives", ["galaxy_id"]), delta.read(root, "tractor_near_candidates", ["galaxy_id"])]
    )["galaxy_id"].combine_chunks()
    bucket = bucket_of(ids, 256)
    order = np.argsort(bucket, kind="stable")
    first = np.searchsorted(bucket[order], np.arange(256))
    row = np.empty(len(ids), dtype=np.int64)
    row[order] = np.arange(len(ids)) - first[bucket[order]]
    bad = key_hash(0, ids) % np.uint64(1000) < np.uint64(14)
    values = {
        "galaxy_id": ids,
        "cutout_version": np.full(len(ids), "made-up"),
        "status": np.where(bad, "rejected", "ok"),
        "reason": pa.array(np.where(bad, "made up", ""), mask=~bad),
        "shard": pa.array(bucket, mask=bad),
        "shard_row": pa.array(row, mask=bad),
        "sha256": pa.array([f"{value:064x}" for value in key_hash(1, ids).tolist()], mask=bad),
    }
    spec = tables.spec("cutouts")
    fields = spec.row_schema()
    table = pa.table(
        {
            f.name: pa.array(values[f.name]).cast(f.type) if f.name in values else pa.nulls(len(ids), f.type)
            for f in fields
        }
    )
    quarantine.publish(Target(root, spec, None, {}, Provenance("cutouts")), table)
