"""The pool: first cut that rejects, exclusion against a brute force, duplicates, quarantine, counts that add up."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import astropy.units as u
import healpy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.catalogues import partfile, pool
from etl.catalogues.account import Account
from etl.catalogues.fates import POOL
from etl.catalogues.near import Listed
from etl.catalogues.partfile import Recipe
from etl.catalogues.sieve import cuts
from etl.files import sweepfiles, sweeps
from etl.files.candidatelist import read_list
from lake import provenance
from lake.contract.fingerprint import fingerprint
from lake.errors import DataError
from lake.sky import survey
from lake.sky.photometry import magnitude_from_flux
from lake.sky.split import split_of
from tests.etl.inprocess import Here
from tests.etl.survey_files import SPLIT, params, sources, write_sweep

DUPLICATE = "duplicate key (galaxy_id)"
NOBODY = {"candidate_id": ["far"], "ra": [180.0], "dec": [80.0]}


def listed(values: Mapping[str, list[Any]] = NOBODY) -> pa.Table:
    return pa.table(dict(values))


def build(
    folder: Path, candidates: pa.Table, spark: Any = None, collection: str = "ls-dr10", **changes: Any
) -> pool.Made:
    """What is made of a folder of sweeps, here or by Spark; parts of the pool go to a folder next to it."""
    table = folder.with_name(f"{folder.name}-table")
    recipe = Recipe(params("pool", **changes), SPLIT, collection, candidates, provenance.lineage(), str(table))
    return pool.build(Here() if spark is None else lambda: spark, sweepfiles.find(str(folder)), recipe, {}, "code")


def pool_rows(folder: Path, made: pool.Made) -> list[dict[str, Any]]:
    """The rows of the parts of a pool, whose fingerprint must be theirs."""
    table = folder.with_name(f"{folder.name}-table")
    parts = [pq.read_table(table / part.path).cast(POOL.arrow_schema()) for part in made.parts.files]
    rows = pa.concat_tables([POOL.arrow_schema().empty_table(), *parts])
    assert made.parts.fingerprint == fingerprint(rows, POOL)
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_each_row_is_counted_by_the_first_cut_that_rejects_it(tmp_path: Path) -> None:
    """Row i fails cut i and every later one; NaN and negative fluxes have no magnitude, which fails its cut."""
    columns = sources(12)
    spoilt = (
        ("TYPE", b"EXP"), ("NOBS_G", 2), ("NOBS_R", 0), ("NOBS_Z", 2), ("FLUX_Z", 9.9), ("DEC", 32.0),
        ("MASKBITS", 1 << 12),
    )  # fmt: skip
    for row, (name, value) in enumerate(spoilt):
        columns[name][: row + 1] = value
    columns["FLUX_Z"][7], columns["FLUX_Z"][8] = -1.0, np.nan
    columns["MASKBITS"][9] = 1 << 3
    write_sweep(tmp_path / "sweep-a.fits", columns)
    counts = {(c["outcome"], c["reason"]): c["rows"] for c in rows_of(build(tmp_path, listed()).counts)}
    alone = {("rejected", cut): 1 for cut in ("type", "nobs_g", "nobs_r", "nobs_z", "dec", "maskbits")}
    assert counts == {**alone, ("rejected", "mag_z"): 3, ("kept", ""): 3}


@pytest.mark.parametrize(
    ("cut", "column", "value"),
    [
        ("type", "TYPE", b"PSF"), ("nobs_g", "NOBS_G", 2), ("nobs_r", "NOBS_R", 2), ("nobs_z", "NOBS_Z", 0),
        ("mag_z", "FLUX_Z", 9.9), ("dec", "DEC", -18.5), ("maskbits", "MASKBITS", 1 << 5),
    ],
)  # fmt: skip
def test_a_cut_alone(cut: str, column: str, value: Any) -> None:
    """The order of cuts and their conditions, in plain Python, for one spoilt column each."""
    row = {k: v[0] for k, v in sources(1).items()} | {column: value}
    conditions = {
        "brick_primary": row.get("BRICK_PRIMARY", True),
        "type": row["TYPE"] in (b"SER", b"DEV", b"REX"),
        **{f"nobs_{b}": row[f"NOBS_{b.upper()}"] >= 3 for b in "grz"},
        "mag_z": magnitude_from_flux(row["FLUX_Z"]) < 20,
        "dec": -18 < row["DEC"] < 32,
        "maskbits": not any(int(row["MASKBITS"]) >> bit & 1 for bit in (1, 5, 6, 7, 11, 12, 13)),
    }
    assert list(conditions) == list(cuts(params("pool")))
    assert next(name for name, good in conditions.items() if not good) == cut


def test_derived_columns_equal_python(tmp_path: Path) -> None:
    columns = sources(50)
    columns["FLUX_W1"][:5] = -1.0
    write_sweep(tmp_path / "sweep-a.fits", columns)
    rows = {r["objid"]: r for r in pool_rows(tmp_path, build(tmp_path, listed()))}
    assert len(rows) == 50
    mag = {b: magnitude_from_flux(columns[f"FLUX_{b.upper()}"]) for b in (*survey.BANDS, "w1")}
    for i, row in rows.items():
        assert row["galaxy_id"] == f"ls-dr10:10000_0001p000_{i}"
        for band in survey.BANDS:
            assert row[f"mag_{band}"] == pytest.approx(mag[band][i], abs=2e-6)
        assert row["g_minus_r"] == pytest.approx(mag["g"][i] - mag["r"][i], abs=2e-6)
        assert (row["z_minus_w1"] is None) == (i < 5)
        n = int(columns["NOBS_Z"][i])
        assert row["nobs_z_bin"] == ("3-5" if n <= 5 else "6-10" if n <= 10 else "11+")
        assert row["split"] == split_of([row["healpix_128"]], SPLIT)[0]
        for nside in (64, 128):
            place = healpy.ang2pix(nside, columns["RA"][i], columns["DEC"][i], nest=True, lonlat=True)
            assert row[f"healpix_{nside}"] == place


def test_bad_rows_are_quarantined_and_counted(tmp_path: Path) -> None:
    columns = sources(12)
    columns["RA"][0], columns["DEC"][1], columns["RA"][2], columns["DEC"][3] = np.nan, np.nan, 361.0, -91.0
    columns["BRICKNAME"][4] = b""
    columns["FLUX_W1"][5] = np.nan
    columns["OBJID"][7] = 6
    write_sweep(tmp_path / "sweep-a.fits", columns)
    twin = sources(12)
    twin["OBJID"] += 100
    twin["OBJID"][11] = 6
    write_sweep(tmp_path / "sweep-b.fits", twin)
    (tmp_path / "sweep-c.fits").write_bytes(b"")
    frames = build(tmp_path, listed())
    bad = {(q["source_file"], q["row_index"]): q for q in rows_of(frames.quarantine)}
    assert {place for place, q in bad.items() if "coordinates" in q["reason"]} == {
        ("sweep-a.fits", i) for i in range(4)
    }
    assert bad["sweep-a.fits", 4]["reason"] == "brickname and objid must be given"
    assert bad["sweep-a.fits", 5]["reason"].startswith("'flux_w1' must be given")
    assert bad["sweep-a.fits", 7]["reason"] == bad["sweep-b.fits", 11]["reason"] == "duplicate key (galaxy_id)"
    assert bad["sweep-c.fits", -1]["reason"] == "the file is empty"
    assert len(bad) == 9
    assert json.loads(bad["sweep-a.fits", 7]["record"])["galaxy_id"] == "ls-dr10:10000_0001p000_6"
    totals: Counter[tuple[str, str]] = Counter()
    for count in rows_of(frames.counts):
        totals[count["source_file"], count["outcome"]] += count["rows"]
    assert totals["sweep-a.fits", "kept"] == 5
    assert totals["sweep-a.fits", "quarantined"] == 7
    assert totals["sweep-b.fits", "kept"] == 11
    assert {r["objid"] for r in pool_rows(tmp_path, frames)} == {6, 8, 9, 10, 11} | {100 + i for i in range(11)}


@pytest.mark.usefixtures("whole_stage")
def test_the_same_brick_and_objid_in_two_releases_are_two_sources(tmp_path: Path) -> None:
    north = sources(3)
    north["RELEASE"][:] = 9011
    unknown = {name: values for name, values in sources(3).items() if name != "RELEASE"}
    for name, columns in (("north", north), ("south", sources(3)), ("unknown", unknown), ("twice", sources(2))):
        write_sweep(tmp_path / f"sweep-{name}.fits", columns)
    frames = build(tmp_path, listed())
    assert {row["galaxy_id"] for row in pool_rows(tmp_path, frames)} == {
        f"ls-dr10:{release}0001p000_{i}" for release in ("9011_", "10000_", "") for i in range(3)
    }
    assert {row["release"] for row in pool_rows(tmp_path, frames)} == {9011, 10000, None}
    bad = rows_of(frames.quarantine)
    assert {(q["source_file"], q["reason"]) for q in bad} == {("sweep-twice.fits", "duplicate key (galaxy_id)")}
    missing = [
        c["source_file"] for c in rows_of(frames.counts) if (c["outcome"], c["reason"]) == ("column_missing", "release")
    ]
    assert missing == ["sweep-unknown.fits"]


@pytest.mark.usefixtures("whole_stage")
def test_the_cases_of_two_releases(cases: Path, tmp_path: Path) -> None:
    for name in ("sweep-041-ns_dup_north.fits", "sweep-042-ns_dup_south.fits"):
        (tmp_path / name).write_bytes((cases / "sweeps" / name).read_bytes())
    found = {c["outcome"]: c["rows"] for c in rows_of(build(tmp_path, listed()).counts)}
    assert found == {"kept": 20}


@pytest.mark.usefixtures("whole_stage")
def test_every_file_and_row_is_accounted_for_whatever_is_beside_the_sweeps(tmp_path: Path) -> None:
    """Rows of neighbouring bricks (one near a candidate) and infinite fluxes; a packed file, an empty one, others."""
    columns = sources(8) | {"BRICK_PRIMARY": np.array([False, False] + [True] * 6)}
    columns["FLUX_G"][2], columns["FLUX_W1"][3], columns["PSFDEPTH_R"][4] = np.inf, -np.inf, np.inf
    columns["RA"][:2] = 180.0
    columns["DEC"][:2] = 20.0, 30.0
    plain = write_sweep(tmp_path / "sweep-a.fits", columns).read_bytes()
    (tmp_path / "north").mkdir()
    columns["OBJID"] += 100
    write_sweep(tmp_path / "north" / "sweep-a.FITS", columns)
    (tmp_path / "sweep-a.fits.gz").write_bytes(gzip.compress(plain))
    write_sweep(tmp_path / "sweep-none.fits", sources(0))
    (tmp_path / "sweep-gone.fits").symlink_to("gone")
    (tmp_path / "README").write_text("x")
    frames = build(tmp_path, listed({"candidate_id": ["a"], "ra": [180.0], "dec": [20.0]}))
    counts = {(c["source_file"], c["outcome"], c["reason"]): c["rows"] for c in rows_of(frames.counts)}
    faults = {("quarantined", f"'{name}' must be a finite number"): 1 for name in ("flux_g", "flux_w1", "psfdepth_r")}
    each = {("rejected", "brick_primary"): 2, **faults}
    assert {key: rows for key, rows in counts.items() if key[1] != "column_missing"} == {
        **{("sweep-a.fits", *key): rows for key, rows in (each | {("kept", ""): 3}).items()},
        **{("north/sweep-a.FITS", *key): rows for key, rows in (each | {("kept", ""): 3}).items()},
        **{("sweep-a.fits.gz", *key): rows for key, rows in (each | {("quarantined", DUPLICATE): 3}).items()},
        ("sweep-none.fits", "kept", ""): 0,
        ("sweep-gone.fits", "quarantined", "a broken link"): 0,
        ("README", "quarantined", "not a table, by its name"): 0,
    }
    assert rows_of(frames.near) == []
    assert {q["source_file"]: q["reason"] for q in rows_of(frames.quarantine) if q["row_index"] == -1} == {
        "sweep-gone.fits": "a broken link", "README": "not a table, by its name",
    }  # fmt: skip


@pytest.mark.usefixtures("whole_stage")
def test_a_file_whose_bytes_are_in_the_wrong_order_is_refused_as_a_whole(tmp_path: Path) -> None:
    """Some of its numbers would be positions, fluxes and counts that pass every cut."""
    columns, rng = sources(4000), np.random.default_rng(1)
    columns["RA"], columns["DEC"] = rng.uniform(0, 360, 4000), rng.uniform(-20, 30, 4000)
    path = write_sweep(tmp_path / "sweep-a.fits", columns)
    columns["OBJID"] += 4000
    swapped = {name: values.byteswap() for name, values in columns.items()}
    assert write_sweep(tmp_path / "sweep-b.fits", swapped).stat().st_size == path.stat().st_size
    made = build(tmp_path, listed())
    (refused,) = (row for row in rows_of(made.quarantine) if row["source_file"] == "sweep-b.fits")
    assert re.fullmatch(
        r"\d+ of 4000 rows have no place on the sky: are its bytes in FITS's order \(big-endian\)\?", refused["reason"]
    )
    assert {row["sweep_file"] for row in pool_rows(tmp_path, made)} == {"sweep-a.fits"}
    assert len(pool_rows(tmp_path, made)) > 3000


def test_near_table_and_exclusion(tmp_path: Path) -> None:
    """Of a position without an accepted grade as of a graded one of the same name."""
    columns = sources(6)
    columns["RA"][:] = 0.0
    columns["DEC"][:] = [0, 10.9 / 3600, 11.1 / 3600, 1, 2, 3]
    columns["TYPE"][1] = b"PSF"
    folder = tmp_path / "sweeps"
    folder.mkdir()
    write_sweep(folder / "sweep-a.fits", columns)
    text = "name,ra,dec,grading\nb,0,0,perhaps\nb,0,3,confident\n"
    (tmp_path / "candidates.csv").write_text(text)
    frames = build(folder, read_list(str(tmp_path / "candidates.csv"), {"confident": "A"}).rows)
    near_rows = {r["objid"]: r for r in rows_of(frames.near)}
    assert {i: (r["candidate_id"], r["failed_cut"]) for i, r in near_rows.items()} == {
        0: ("b@0.00000+0.00000", None), 1: ("b@0.00000+0.00000", "type"), 5: ("b@0.00000+3.00000", None),
    }  # fmt: skip
    assert near_rows[1]["separation_arcsec"] == pytest.approx(10.9, abs=1e-6)
    assert {r["objid"] for r in pool_rows(folder, frames)} == {2, 3, 4}
    reasons = {c["reason"]: c["rows"] for c in rows_of(frames.counts) if c["rows"]}
    assert reasons == {"": 3, "near_candidate": 2, "type": 1}


def test_spark_makes_the_same_and_partitions_change_nothing(
    jobs_spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweeps").mkdir()
    for i in range(3):
        columns = sources(400, i)
        columns["OBJID"] += 300 * i
        write_sweep(tmp_path / "sweeps" / f"sweep-{i}.fits", columns)
    candidates = listed(
        {"candidate_id": [f"c{i}" for i in range(40)], "ra": list(sources(40)["RA"]), "dec": list(sources(40)["DEC"])}
    )
    by_spark = build(tmp_path / "sweeps", candidates, jobs_spark)
    assert pc.sum(pc.equal(by_spark.quarantine["reason"], DUPLICATE)).as_py() > 100
    for name, chunk, some in (("a", 5000, 7), ("b", 1 << 20, 100)):
        (tmp_path / name).symlink_to(tmp_path / "sweeps")
        monkeypatch.setattr(sweeps, "_CHUNK", chunk)
        monkeypatch.setattr(partfile, "_SIFTED_ROWS", some)
        monkeypatch.setattr(partfile, "_JUDGED_ROWS", some)
        again = build(tmp_path / name, candidates)
        assert again.parts.fingerprint == by_spark.parts.fingerprint
        assert (again.near, again.counts, again.quarantine) == (by_spark.near, by_spark.counts, by_spark.quarantine)
        pool_rows(tmp_path / name, again)


@pytest.mark.usefixtures("whole_stage")
def test_limits_prune_what_is_read(tmp_path: Path) -> None:
    for i in range(3):
        columns = sources(10, i)
        columns["OBJID"] += 10 * i
        write_sweep(tmp_path / f"sweep-{i}.fits", columns)
    counts = rows_of(build(tmp_path, listed(), limit_files=2, limit_rows=13).counts)
    assert {c["source_file"]: c["rows"] for c in counts} == {"sweep-0.fits": 10, "sweep-1.fits": 3}


def test_rows_that_do_not_add_up_are_an_error() -> None:
    account = Account("sweep-a.fits", sweeps.Facts(rows=5), read=5, counts=Counter({("kept", ""): 4}))
    with pytest.raises(DataError, match=r"accounted for differ.*sweep-a.fits': \(5, 4\)"):
        pool.reconciled([account])


def test_real_sweeps_reconcile(jobs_spark: Any, real_data: Path, tmp_path: Path) -> None:
    for release in ("desitarget_dr7_history", "desitarget_dr8"):
        folder = real_data / "sweeps" / release
        paths = sweepfiles.find(str(folder))
        (tmp_path / release).symlink_to(folder)
        frames = build(tmp_path / release, listed(), jobs_spark, "ls")
        totals: Counter[str] = Counter()
        for count in rows_of(frames.counts):
            if count["outcome"] in ("kept", "rejected", "quarantined"):
                totals[count["source_file"]] += count["rows"]
        held = {sweep.name: sweeps.inspect(sweep).rows for sweep in paths}
        assert totals == held
        missing = {c["reason"] for c in rows_of(frames.counts) if c["outcome"] == "column_missing"}
        assert missing == {"psfsize_g", "psfsize_r", "psfsize_z", "fitbits"}
        assert all(row["psfsize_r"] is None for row in pool_rows(tmp_path / release, frames))


def sky() -> st.SearchStrategy[tuple[float, float]]:
    edge = st.sampled_from([(0.0, 0.0), (360.0, 10.0), (10.0, 90.0), (200.0, -90.0), (45.0, 41.810314)])
    return st.one_of(edge, st.tuples(st.floats(0, 360), st.floats(-90, 90)))


@settings(max_examples=60, deadline=None)
@given(place=sky(), bearing=st.floats(0, 360), separation=st.floats(0, 11.0))
def test_every_neighbour_may_be_near(place: tuple[float, float], bearing: float, separation: float) -> None:
    """The map of the sky that is looked up first, round the wrap of right ascension and at the poles."""
    centre = SkyCoord(*place, unit="deg")
    other = centre.directional_offset_by(bearing * u.deg, separation * u.arcsec)
    positions = Listed(["a"], np.array([place[0]]), np.array([place[1]]), 11.0)
    ra, dec = np.array([other.ra.deg, other.ra.deg % 360]), np.array([other.dec.deg, other.dec.deg])
    assert positions.maybe(ra, dec).all()
    if separation < 11.0 - 1e-6:
        index, found = positions.nearest(ra, dec)
        assert index.tolist() == [0, 0]
        assert found == pytest.approx([centre.separation(other).arcsec] * 2, abs=2e-6)


def test_a_source_far_from_all_positions_is_not_looked_at() -> None:
    rng = np.random.default_rng(0)
    positions = Listed(["a", "b"], np.array([10.0, 200.0]), np.array([-80.0, 5.0]), 11.0)
    assert positions.maybe(rng.uniform(0, 360, 10_000), rng.uniform(-90, 90, 10_000)).mean() < 1e-3
    assert positions.maybe(np.array([0.0, 360.0]), np.array([90.0, -90.0])).tolist() == [False, False]


def test_nearest_equals_a_brute_force() -> None:
    """Against astropy's separations, round the wrap of right ascension and at the poles."""
    rng = np.random.default_rng(1)
    centres = SkyCoord([0, 359.9999, 120, 240, 45, 83.2], [0, -30, 90, -90, 41.810314, 12], unit="deg")
    listed_ = centres.directional_offset_by(rng.uniform(0, 360, (8, 6)) * u.deg, rng.uniform(0, 20, (8, 6)) * u.arcsec)
    sources_ = centres.directional_offset_by(
        rng.uniform(0, 360, (60, 6)) * u.deg, rng.uniform(0, 30, (60, 6)) * u.arcsec
    )
    positions = Listed([f"c{i:02d}" for i in range(48)], listed_.ra.deg.ravel(), listed_.dec.deg.ravel(), 11.0)
    ra, dec = sources_.ra.deg.ravel(), sources_.dec.deg.ravel()
    index, found = positions.nearest(ra, dec)
    separation = SkyCoord(ra, dec, unit="deg")[:, None].separation(listed_.ravel()[None, :]).arcsec
    best, inside = separation.argmin(axis=1), separation.min(axis=1) <= 11.0
    assert [positions.names[i] if i >= 0 else None for i in index] == [
        f"c{i:02d}" if near else None for i, near in zip(best, inside, strict=True)
    ]
    np.testing.assert_allclose(found[inside], separation.min(axis=1)[inside], atol=2e-6)
    assert np.isnan(found[~inside]).all()
    assert 0 < inside.sum() < 360


def test_of_positions_equally_near_the_first_by_name_counts() -> None:
    positions = Listed(["b", "a", "c"], np.array([10.0] * 3), np.array([5.0, 5.0, 5.001]), 11.0)
    index, separation = positions.nearest(np.array([10.0, np.nan]), np.array([5.0, 5.0]))
    assert (positions.names[index[0]], index[1]) == ("a", -1)
    assert separation[0] == 0
