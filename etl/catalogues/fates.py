"""What becomes of rows that the sieve lets through: columns derived, the nearest listed position, contracts, fate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from etl.catalogues.near import Listed
from etl.config import PoolParams
from etl.files import sweeps
from lake import tables
from lake.config import SplitParams
from lake.contract.asking import ask
from lake.contract.columns import NOBS_BINS, NOBS_UNKNOWN
from lake.contract.rules import reason_sql
from lake.contract.spec import TableSpec
from lake.sky.healpix import SPLIT_NSIDE, pixel
from lake.sky.photometry import magnitude_from_flux
from lake.sky.split import split_of
from lake.sky.survey import BANDS
from lake.store import quarantine

POOL, NEAR = (tables.spec(name) for name in ("tractor_pool", "tractor_near_candidates"))
NEAR_CUT = "near_candidate"
KEPT, REJECTED, QUARANTINED = "kept", "rejected", "quarantined"
_NOTHING = pa.scalar(None, pa.string())
_NOT_PLACED = "coordinates must be numbers in [0, 360] and [-90, 90]"
_NEEDED = ("flux_w1", *(f"nobs_{band}" for band in BANDS))
"""Columns that the pool's contract leaves open for catalogues that are declared to lack them."""
_NOT_NAMED = "brickname and objid must be given"
_COLOURS = {"g_minus_r": ("g", "r"), "r_minus_z": ("r", "z"), "z_minus_w1": ("z", "w1")}
_BIN_EDGES = (1, 3, 6, 11)


def derived(rows: pa.Table, split: SplitParams, collection: str, exposures: bool = True) -> pa.Table:
    """Rows (``sweeps.ROWS_SCHEMA``) with the columns that follow from the catalogue's, which may lack ``exposures``."""
    magnitudes = {band: magnitude_from_flux(rows[f"flux_{band}"].to_numpy()) for band in (*BANDS, "w1")}
    colours = {name: magnitudes[blue] - magnitudes[red] for name, (blue, red) in _COLOURS.items()}
    ra, dec = rows["ra"].to_numpy(), rows["dec"].to_numpy()
    place = pixel(np.where((ra >= 0) & (ra <= 360), ra, np.nan), dec, SPLIT_NSIDE)
    return _with(
        rows,
        galaxy_id=_names(rows, collection),
        **{f"mag_{band}": _single(magnitudes[band]) for band in BANDS},
        **{name: _single(values) for name, values in colours.items()},
        nobs_z_bin=_bins(rows["nobs_z"]) if exposures else pa.repeat(pa.scalar(NOBS_UNKNOWN), rows.num_rows),
        type_bin=rows["type"],
        healpix_64=pa.array(place >> 2),
        healpix_128=pa.array(place),
        split=pa.array(split_of(place, split).tolist(), pa.string()),
    )


def _names(rows: pa.Table, collection: str) -> pa.ChunkedArray:
    text = {name: rows[name].cast(pa.string()) for name in ("release", "brickname", "objid")}
    release = pc.fill_null(pc.binary_join_element_wise(text["release"], "", "_"), "")
    front = pc.binary_join_element_wise(f"{collection}:", release, text["brickname"], "")
    return pc.binary_join_element_wise(front, text["objid"], "_")


def _single(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values.astype(np.float32), from_pandas=True)


def _bins(exposures: pa.ChunkedArray) -> pa.Array:
    """Bin of a number of exposures."""
    place = np.digitize(pc.fill_null(exposures, 0).to_numpy(), _BIN_EDGES)
    lowest = np.where(pc.less(exposures, 0).fill_null(False).to_numpy(), 1, place)
    return pa.array(np.array(NOBS_BINS, dtype=object)[lowest], pa.string(), mask=exposures.is_null().to_numpy())


@dataclass
class Judge:
    """Gives rows of one file their fate."""

    params: PoolParams
    split: SplitParams
    collection: str
    listed: Listed
    cuts: tuple[str, ...]

    def __post_init__(self) -> None:
        self._pool = _complete(POOL, sweeps.lacked(self.params.catalogue))

    def __call__(self, rows: pa.Table, failed: NDArray[np.int8]) -> pa.Table:
        """Rows with derived columns, ``outcome``, ``reason``, ``failed_cut`` (null: none but the last) and ``is_near``.

        ``failed`` are numbers of the first cuts that they fail, -1 where they pass.
        """
        rows = derived(rows, self.split, self.collection, "exposures" not in self.params.catalogue.absent)
        index, separation = self.listed.nearest(rows["ra"].to_numpy(), rows["dec"].to_numpy())
        primary = pc.fill_null(rows[sweeps.PRIMARY], True).to_numpy()
        is_near = (separation <= self.params.near_radius_arcsec) & primary
        excluded = pa.array(separation <= self.params.exclusion_radius_arcsec)
        cut = _named(self.cuts, failed)
        rows = _with(
            rows,
            failed_cut=cut,
            candidate_id=_named(self.listed.names, index),
            separation_arcsec=pa.array(separation, from_pandas=True),
            is_near=pa.array(is_near),
            cut=pc.coalesce(cut, pc.if_else(excluded, NEAR_CUT, _NOTHING)),
        )
        broken = self._broken(rows)
        outcome = pc.if_else(pc.is_valid(broken), QUARANTINED, pc.if_else(pc.is_valid(rows["cut"]), REJECTED, KEPT))
        return _with(rows, outcome=outcome, reason=pc.coalesce(broken, rows["cut"], ""))

    def _broken(self, rows: pa.Table) -> pa.Array:
        """Why a row can be in neither table: a fault, no position or identity, or a rule of the table it belongs to."""
        ra, dec = rows["ra"].to_numpy(), rows["dec"].to_numpy()
        placed = pa.array((ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90))
        named = pc.and_(pc.is_valid(rows["objid"]), pc.not_equal(rows["brickname"], ""))
        passed = pc.is_null(rows["cut"])
        return pc.coalesce(
            rows["fault"],
            pc.if_else(placed, _NOTHING, _NOT_PLACED),
            pc.if_else(named, _NOTHING, _NOT_NAMED),
            self._reasons(self._pool, rows, passed),
            self._reasons(NEAR, rows, pc.and_(pc.invert(passed), rows["is_near"])),
        )

    def _reasons(self, spec: TableSpec, rows: pa.Table, which: pa.ChunkedArray) -> pa.ChunkedArray:
        """The first rule of a table that each of the rows in question breaks."""
        if not pc.any(which).as_py():
            return pa.nulls(rows.num_rows, pa.string())
        judged = _with(rows.select(spec.row_schema().names), in_question=which)
        rule = reason_sql(spec, "duckdb", lineage=False)
        query = f"SELECT CASE WHEN in_question THEN {rule} END AS reason FROM judged"
        return ask(query, {"judged": judged}, threads=1, memory_limit="256MB")["reason"]


def _complete(pool: TableSpec, lacked: Sequence[str]) -> TableSpec:
    """The pool's contract for a catalogue: it must give what it is not declared to lack."""
    given = [name for name in _NEEDED if name not in lacked]
    columns = (replace(each, nullable=False) if each.name in given else each for each in pool.columns)
    return replace(pool, columns=tuple(columns))


def _named(names: Sequence[str], places: NDArray[np.integer[Any]]) -> pa.Array:
    """The name at each place, null at -1."""
    return pa.array(names, pa.string()).take(pa.array(places, mask=places < 0))


def _with(rows: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        rows = rows.append_column(name, values)
    return rows


def rejects(rows: pa.Table) -> pa.Table:
    """The quarantined of judged rows, as ``quarantine.SCHEMA``."""
    bad = rows.filter(pc.equal(rows["outcome"], QUARANTINED))
    names = ["galaxy_id", "ra", "dec", "survey_type"]
    records = [record(*row.values()) for row in bad.select(names).to_pylist()]
    columns = [bad["sweep_file"], bad["row_index"], bad["reason"], pa.array(records, pa.string())]
    return pa.table(columns, schema=quarantine.SCHEMA)


def record(galaxy_id: str | None, ra: float | None, dec: float | None, survey_type: str | None) -> str:
    """What is kept of a row that is rejected, as JSON without nulls; numbers as Java writes them."""
    values = {"galaxy_id": galaxy_id, "ra": ra, "dec": dec, "type": survey_type}
    texts = (
        f"{json.dumps(name)}:{_java(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)}"
        for name, value in values.items()
        if value is not None
    )
    return f"{{{','.join(texts)}}}"


def _java(value: float) -> str:
    """A finite number as Java's ``Double.toString`` writes it."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    digits, exponent = f"{Decimal(repr(value)):E}".split("E")
    whole = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return f"{whole if '.' in whole else whole + '.0'}E{int(exponent)}"
