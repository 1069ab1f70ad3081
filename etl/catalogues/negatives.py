"""``tractor_pool`` -> ``negatives``: strata that follow the positives, random galaxies and confusers, by keyed hash.

A galaxy's place in the order depends on its identifier and the seed alone. Spark's workers read the pool twice: first
to count each stratum, which sets a limit of the hash with enough galaxies below it, then for the few galaxies below.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from etl.config import ConfuserParams, NegativesParams
from etl.tables.scan import Scan
from lake import tables
from lake.sky.hashing import key_hash
from lake.tables.lens_candidates import MATCHED
from lake.tables.negatives import CONFUSERS

log = logging.getLogger(__name__)

STAGE = "negatives"
SPEC = tables.spec("negatives")
_STRATUM = ("type_bin", "nobs_z_bin")
_MEASURED = ("type", "sersic", "flux_r", "shape_r", "shape_e1", "shape_e2", "g_minus_r", "mag_r")
"""Columns that decide the confuser category of a galaxy."""
_POOLS = ("N1", "N2")
_COUNTED = pa.schema([("stratum", pa.int64()), *((pool, pa.int64()) for pool in _POOLS)])
_COPIED = ("galaxy_id", "ra", "dec", "brickname", "split", "healpix_128", *_STRATUM)
_DRAWN = pa.schema(
    [*(SPEC.row_schema().field(n) for n in (*_COPIED, "confuser_category")), *((p, pa.int64()) for p in _POOLS)]
)
_END = 1 << 63
"""Upper bound of the places in the hash order."""
_SPREAD = 8.0
"""Margin above the wanted number of rows, in units of its Poisson noise."""


@dataclass(frozen=True)
class Supply:
    """Rows wanted of a stratum, available, and sampled."""

    type_bin: str
    nobs_z_bin: str
    wanted_n1: int
    wanted_n2: int
    available: int
    confusers: int
    sampled_n1: int
    sampled_n2: int

    @property
    def name(self) -> str:
        return f"{self.type_bin} {self.nobs_z_bin}"


def sample(
    scan: Scan, near: pa.Table, candidates: pa.Table, params: NegativesParams, seed: int
) -> tuple[pa.Table, pa.Table]:
    """Negatives for the matched ``candidates``, and their rows of ``ingest_counts``; ``scan`` reads the pool.

    A stratum that cannot supply them is named in the log and in the counts.
    """
    counted = scan(Tally(params)).group_by("stratum").aggregate([(pool, "sum") for pool in _POOLS])
    available = {row["stratum"]: (row["N1_sum"], row["N2_sum"]) for row in counted.to_pylist()}
    supply = _plan(available, positives_by_stratum(candidates, near), params)
    for stratum in supply:
        short = stratum.wanted_n1 - stratum.sampled_n1, stratum.wanted_n2 - stratum.sampled_n2
        if any(short):
            log.warning("stratum %s is short of %d random and %d confuser negatives", stratum.name, *short)
    return _drawn(scan, supply, params, seed).select(SPEC.row_schema().names), _counts(supply)


def positives_by_stratum(candidates: pa.Table, near: pa.Table) -> dict[tuple[str, str], int]:
    """Matched candidates in each (type, nobs_z bin); those outside the strata are among them."""
    matched = candidates.filter(pc.equal(candidates["match_reason"], MATCHED)).select(["galaxy_id"])
    found = near.select(["galaxy_id", *_STRATUM]).join(matched, "galaxy_id", join_type="inner")
    counts = found.group_by(list(_STRATUM)).aggregate([([], "count_all")]).to_pylist()
    return {(row["type_bin"], row["nobs_z_bin"]): row["count_all"] for row in counts}


def confusers(rows: pa.Table, params: ConfuserParams) -> NDArray[np.int8]:
    """The first catalogue proxy that each source (rows,) satisfies, as its place in ``CONFUSERS``; -1 if none.

    A null satisfies none.
    """
    kind = _codes(rows["type"], ("DEV", "SER"))
    dev, ser = kind == 0, kind == 1
    sersic, flux, radius, e1, e2, colour, mag = (rows[name].to_numpy() for name in _MEASURED[1:])
    bound = {name: np.float64(value) for name, value in params.model_dump().items()}
    proxies = {
        "ring": (dev | (ser & (sersic > bound["ring_sersic_min"]))) & (flux > bound["ring_flux_r_min_nmgy"]),
        "edge_on": (radius >= np.float32(bound["edge_on_radius_min_arcsec"]))
        & (
            np.sqrt(np.square(e1, dtype=np.float64) + np.square(e2, dtype=np.float64))
            > bound["edge_on_ellipticity_min"]
        ),
        "blue_clumpy": (colour < bound["clumpy_g_minus_r_max"]) & (mag < bound["clumpy_mag_r_max"]),
        "large": (radius > bound["large_radius_min_arcsec"]) & (flux > bound["large_flux_r_min_nmgy"]),
    }
    found = np.full(rows.num_rows, -1, dtype=np.int8)
    for place, name in reversed(list(enumerate(CONFUSERS))):
        found[proxies[name]] = place
    return found


def _codes(column: pa.ChunkedArray, values: Sequence[str]) -> NDArray[np.int8]:
    """Place of each text among ``values``, -1 for others."""
    texts = column.combine_chunks().dictionary_encode()
    known = {name: place for place, name in enumerate(values)}
    places = [known.get(name, -1) for name in texts.dictionary.to_pylist()]
    indices = texts.indices.fill_null(len(places)).to_numpy(zero_copy_only=False)
    return np.array([*places, -1], dtype=np.int8)[indices]


def _strata(rows: pa.Table, params: NegativesParams) -> NDArray[np.int8]:
    """Number of each row's stratum, types before bins; -1 outside all."""
    kind, nobs = _codes(rows["type_bin"], params.types), _codes(rows["nobs_z_bin"], params.nobs_z_bins)
    return np.where((kind < 0) | (nobs < 0), -1, kind * len(params.nobs_z_bins) + nobs)


@dataclass(frozen=True)
class Tally:
    """How many galaxies (N1) and confusers (N2) each stratum has."""

    params: NegativesParams
    columns = (*_STRATUM, *_MEASURED)
    schema = _COUNTED

    def __call__(self, rows: pa.Table) -> pa.Table:
        stratum = _strata(rows, self.params)
        inside = stratum >= 0
        confused = inside & (confusers(rows, self.params.confusers) >= 0)
        count = len(self.params.types) * len(self.params.nobs_z_bins)
        counts = (np.bincount(stratum[which], minlength=count) for which in (inside, confused))
        return pa.table([np.arange(count), *counts], schema=_COUNTED)


@dataclass(frozen=True)
class Draw:
    """The galaxies whose place in the order of either pool is below a limit of their stratum, with both places.

    Only confusers have one in N2.
    """

    params: NegativesParams
    seed: int
    below: NDArray[np.uint64]
    """Limits (pool, stratum)."""
    columns = (*_COPIED, *_MEASURED)
    schema = _DRAWN

    def __call__(self, rows: pa.Table) -> pa.Table:
        stratum, confuser = _strata(rows, self.params), confusers(rows, self.params.confusers)
        asked = (stratum >= 0, (stratum >= 0) & (confuser >= 0))
        order = [self._order(pool, rows["galaxy_id"], of) for pool, of in zip(_POOLS, asked, strict=True)]
        below = (of & (place < limit[stratum]) for of, place, limit in zip(asked, order, self.below, strict=True))
        chosen = np.flatnonzero(np.logical_or(*below))
        some, category = rows.take(pa.array(chosen)), confuser[chosen]
        columns = [
            *(some[name] for name in _COPIED),
            pa.array(CONFUSERS).take(pa.array(category, mask=category < 0)),
            *(place[chosen].view(np.int64) for place in order),
        ]
        return pa.table(columns, names=_DRAWN.names)

    def _order(self, pool: str, ids: pa.ChunkedArray, asked: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """The place of each ``asked`` galaxy in the order of a pool; 0 for the others."""
        place = np.zeros(len(ids), dtype=np.uint64)
        names = pc.binary_join_element_wise(pool, ids.filter(pa.array(asked)), "/")
        place[asked] = key_hash(self.seed, names) >> np.uint64(1)
        return place


def _plan(
    available: Mapping[int, tuple[int, int]], positives: Mapping[tuple[str, str], int], params: NegativesParams
) -> list[Supply]:
    """What each stratum supplies, in the order of their numbers."""
    strata = [(kind, nobs) for kind in params.types for nobs in params.nobs_z_bins]
    plan = []
    for number, stratum in enumerate(strata):
        galaxies, confused = available.get(number, (0, 0))
        wanted = params.per_positive * positives.get(stratum, 0)
        wanted_n2 = round(params.confuser_fraction * wanted)
        sampled_n2 = min(wanted_n2, confused)
        sampled_n1 = min(wanted - wanted_n2, galaxies - sampled_n2)
        plan.append(Supply(*stratum, wanted - wanted_n2, wanted_n2, galaxies, confused, sampled_n1, sampled_n2))
    return plan


def _drawn(scan: Scan, supply: Sequence[Supply], params: NegativesParams, seed: int) -> pa.Table:
    """Each stratum's first confusers in their hash order, then its first galaxies of the others in theirs.

    Where chance has left too few below the limits, they are raised.
    """
    spread = _SPREAD
    while True:
        below = np.array(
            [
                [_limit(s.sampled_n1 + s.sampled_n2, s.available, spread) for s in supply],
                [_limit(s.sampled_n2, s.confusers, spread) for s in supply],
            ],
            dtype=np.uint64,
        )
        found = scan(Draw(params, seed, below))
        number = _strata(found, params)
        drawn = [
            _of_stratum(found.filter(pa.array(number == n)), s, *below[:, n].tolist()) for n, s in enumerate(supply)
        ]
        if sum(rows.num_rows for rows in drawn) == sum(s.sampled_n1 + s.sampled_n2 for s in supply):
            return pa.concat_tables(drawn)
        spread *= _SPREAD


def _limit(wanted: int, available: int, spread: float) -> int:
    """The place in the hash order below which there should be ``wanted`` of the ``available`` rows."""
    if not wanted:
        return 0
    share = (wanted + spread * (np.sqrt(wanted) + spread)) / available
    return _END if share >= 1 else int(share * _END)


def _of_stratum(rows: pa.Table, supply: Supply, below_n1: int, below_n2: int) -> pa.Table:
    """The negatives of one stratum among those of its rows that have a place below a limit."""
    confused = rows.filter(pc.and_(pc.is_valid(rows["confuser_category"]), _below(rows["N2"], below_n2)))
    n2 = _first(confused, "N2", supply.sampled_n2)
    others = rows.filter(pc.and_(pc.invert(pc.is_in(rows["galaxy_id"], n2["galaxy_id"])), _below(rows["N1"], below_n1)))
    return pa.concat_tables([n2, _first(others, "N1", supply.sampled_n1)])


def _below(places: pa.ChunkedArray, limit: int) -> pa.ChunkedArray:
    return pc.less_equal(places, limit - 1)


def _first(rows: pa.Table, pool: str, count: int) -> pa.Table:
    """The first ``count`` rows in the hash order of a pool, ranked."""
    first = rows.sort_by([(pool, "ascending"), ("galaxy_id", "ascending")]).slice(0, count)
    first = first.append_column("pool", pa.repeat(pool, first.num_rows))
    return first.append_column("rank", pa.array(np.arange(first.num_rows)))


def _counts(supply: Sequence[Supply]) -> pa.Table:
    rows: list[dict[str, object]] = []
    for stratum in supply:
        sampled = stratum.sampled_n1 + stratum.sampled_n2
        outcomes = (
            ("kept", "", sampled),
            ("rejected", "not drawn", stratum.available - sampled),
            ("short", "N1", stratum.wanted_n1 - stratum.sampled_n1),
            ("short", "N2", stratum.wanted_n2 - stratum.sampled_n2),
        )
        rows += [
            {"stage": STAGE, "source_file": f"tractor_pool {stratum.name}", "outcome": o, "reason": r, "rows": n}
            for o, r, n in outcomes
            if n or o == "kept"
        ]
    return tables.spec("ingest_counts").table(rows)
