"""The pool: first cut that rejects, exclusion against a brute force, duplicates, quarantine, counts that add up."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import astropy.units as u
import healpy
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.catalogues import near, pool
from etl.files import sweepfiles, sweeps
from etl.files.candidatelist import read_list
from lake.errors import DataError
from lake.sky import survey
from lake.sky.photometry import magnitude_from_flux
from lake.sky.split import split_of
from tests.etl.survey_files import SPLIT, params, sources, write_sweep

DUPLICATE = "duplicate key (galaxy_id)"
NOBODY = {"candidate_id": ["far"], "ra": [180.0], "dec": [80.0]}


def listed(values: Mapping[str, list[Any]] = NOBODY) -> pa.Table:
    return pa.table(dict(values))


def build(spark: Any, folder: Path, candidates: pa.Table, **changes: Any) -> pool.PoolFrames:
    paths = sweepfiles.find(str(folder))
    return pool.build(
        spark,
        paths,
        candidates,
        params("pool", **changes),
        SPLIT,
        "ls-dr10",
        str(folder.with_name(f"{folder.name}-work")),
    )


def rows_of(frame: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (frame if isinstance(frame, pa.Table) else frame.toArrow()).to_pylist()
    return found


def test_each_row_is_counted_by_the_first_cut_that_rejects_it(jobs_spark: Any, tmp_path: Path) -> None:
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
    counts = {(c["outcome"], c["reason"]): c["rows"] for c in rows_of(build(jobs_spark, tmp_path, listed()).counts)}
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
    assert list(conditions) == list(pool.cuts(params("pool")))
    assert next(name for name, good in conditions.items() if not good) == cut


def test_derived_columns_equal_python(jobs_spark: Any, tmp_path: Path) -> None:
    columns = sources(50)
    columns["FLUX_W1"][:5] = -1.0
    write_sweep(tmp_path / "sweep-a.fits", columns)
    rows = {r["objid"]: r for r in rows_of(build(jobs_spark, tmp_path, listed()).pool)}
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
        assert row["healpix_64"] == row["healpix_128"] // 4


def test_bad_rows_are_quarantined_and_counted(jobs_spark: Any, tmp_path: Path) -> None:
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
    frames = build(jobs_spark, tmp_path, listed())
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
    assert {r["objid"] for r in rows_of(frames.pool)} == {6, 8, 9, 10, 11} | {100 + i for i in range(11)}


def test_the_same_brick_and_objid_in_two_releases_are_two_sources(jobs_spark: Any, tmp_path: Path) -> None:
    north = sources(3)
    north["RELEASE"][:] = 9011
    unknown = {name: values for name, values in sources(3).items() if name != "RELEASE"}
    for name, columns in (("north", north), ("south", sources(3)), ("unknown", unknown), ("twice", sources(2))):
        write_sweep(tmp_path / f"sweep-{name}.fits", columns)
    frames = build(jobs_spark, tmp_path, listed())
    assert {row["galaxy_id"] for row in rows_of(frames.pool)} == {
        f"ls-dr10:{release}0001p000_{i}" for release in ("9011_", "10000_", "") for i in range(3)
    }
    assert {row["release"] for row in rows_of(frames.pool)} == {9011, 10000, None}
    bad = rows_of(frames.quarantine)
    assert {(q["source_file"], q["reason"]) for q in bad} == {("sweep-twice.fits", "duplicate key (galaxy_id)")}
    missing = [
        c["source_file"] for c in rows_of(frames.counts) if (c["outcome"], c["reason"]) == ("column_missing", "release")
    ]
    assert missing == ["sweep-unknown.fits"]


def test_the_cases_of_two_releases(jobs_spark: Any, cases: Path, tmp_path: Path) -> None:
    for name in ("sweep-041-ns_dup_north.fits", "sweep-042-ns_dup_south.fits"):
        (tmp_path / name).write_bytes((cases / "sweeps" / name).read_bytes())
    found = {c["outcome"]: c["rows"] for c in rows_of(build(jobs_spark, tmp_path, listed()).counts)}
    assert found == {"kept": 20}


def test_every_file_and_row_is_accounted_for_whatever_is_beside_the_sweeps(jobs_spark: Any, tmp_path: Path) -> None:
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
    frames = build(jobs_spark, tmp_path, listed({"candidate_id": ["a"], "ra": [180.0], "dec": [20.0]}))
    counts = {(c["source_file"], c["outcome"], c["reason"]): c["rows"] for c in rows_of(frames.counts)}
    faults = {("quarantined", f"'{name}' must be a finite number"): 1 for name in ("flux_g", "flux_w1", "psfdepth_r")}
    each = {("rejected", "brick_primary"): 2, **faults}
    assert {key: rows for key, rows in counts.items() if key[1] != "column_missing"} == {
        **{("sweep-a.fits", *key): rows for key, rows in (each | {("kept", ""): 3}).items()},
        **{("north/sweep-a.FITS", *key): rows for key, rows in (each | {("kept", ""): 3}).items()},
        **{("sweep-a.fits.gz", *key): rows for key, rows in (each | {("quarantined", DUPLICATE): 3}).items()},
        ("sweep-none.fits", "kept", ""): 0,
        ("sweep-gone.fits", "quarantined", "a broken link"): 0,
        ("README", "quarantined", "not a FITS table, by its name"): 0,
    }
    assert rows_of(frames.near) == []
    assert {q["source_file"]: q["reason"] for q in rows_of(frames.quarantine) if q["row_index"] == -1} == {
        "sweep-gone.fits": "a broken link", "README": "not a FITS table, by its name",
    }  # fmt: skip


def test_near_table_and_exclusion(jobs_spark: Any, tmp_path: Path) -> None:
    """Of a position without an accepted grade as of a graded one of the same name."""
    columns = sources(6)
    columns["RA"][:] = 0.0
    columns["DEC"][:] = [0, 10.9 / 3600, 11.1 / 3600, 1, 2, 3]
    columns["TYPE"][1] = b"PSF"
    write_sweep(tmp_path / "sweep-a.fits", columns)
    text = "name,ra,dec,grading\nb,0,0,perhaps\nb,0,3,confident\n"
    (tmp_path / "candidates.csv").write_text(text)
    frames = build(jobs_spark, tmp_path, read_list(tmp_path / "candidates.csv", {"confident": "A"}).rows)
    near_rows = {r["objid"]: r for r in rows_of(frames.near)}
    assert {i: (r["candidate_id"], r["failed_cut"]) for i, r in near_rows.items()} == {
        0: ("b@0.00000+0.00000", None), 1: ("b@0.00000+0.00000", "type"), 5: ("b@0.00000+3.00000", None),
    }  # fmt: skip
    assert near_rows[1]["separation_arcsec"] == pytest.approx(10.9, abs=1e-6)
    assert {r["objid"] for r in rows_of(frames.pool)} == {2, 3, 4}
    reasons = {c["reason"]: c["rows"] for c in rows_of(frames.counts) if c["rows"]}
    assert reasons == {"": 3, "near_candidate": 2, "type": 1}


def test_result_is_the_same_whatever_the_partitions_and_is_resumed(jobs_spark: Any, tmp_path: Path) -> None:
    for i in range(3):
        columns = sources(400, i)
        columns["OBJID"] += 300 * i
        write_sweep(tmp_path / f"sweep-{i}.fits", columns)
    candidates = listed(
        {"candidate_id": [f"c{i}" for i in range(40)], "ra": list(sources(40)["RA"]), "dec": list(sources(40)["DEC"])}
    )
    paths = sweepfiles.find(str(tmp_path))
    results = []
    for work, order in (("a", paths), ("b", paths[::-1])):
        changed = params("pool", task_mib=1)
        facts = pool.inspect(jobs_spark, order)
        tasks = sweeps.plan(facts, (1 << 20) if work == "a" else 30_000, None)
        rows = pool.classified(pool.read(jobs_spark, tasks, facts), candidates, changed, SPLIT, "x")
        final = pool.unique(rows).orderBy("sweep_file", "row_index", "is_near").toPandas()
        results.append(final)
    columns_ = sorted(results[0].columns)
    assert results[0][columns_].equals(results[1][columns_])
    assert (results[0]["reason"] == DUPLICATE).sum() > 100
    frames = build(jobs_spark, tmp_path, candidates)
    before = rows_of(frames.counts)
    staged = next(tmp_path.with_name(f"{tmp_path.name}-work").glob("rows-*"))
    stamp = (staged / "_SUCCESS").stat().st_mtime_ns
    assert rows_of(build(jobs_spark, tmp_path, candidates).counts) == before
    assert (staged / "_SUCCESS").stat().st_mtime_ns == stamp


def test_limits_prune_what_is_read(jobs_spark: Any, tmp_path: Path) -> None:
    for i in range(3):
        columns = sources(10, i)
        columns["OBJID"] += 10 * i
        write_sweep(tmp_path / f"sweep-{i}.fits", columns)
    counts = rows_of(build(jobs_spark, tmp_path, listed(), limit_files=2, limit_rows=13).counts)
    assert {c["source_file"]: c["rows"] for c in counts} == {"sweep-0.fits": 10, "sweep-1.fits": 3}


def test_rows_that_do_not_add_up_are_an_error(jobs_spark: Any, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep-a.fits", sources(5))
    facts = pool.inspect(jobs_spark, sweepfiles.find(str(tmp_path)))
    tasks = sweeps.plan(facts, 1 << 20, None)
    rows = pool.classified(pool.read(jobs_spark, tasks, facts), listed(), params("pool"), SPLIT, "x")
    with pytest.raises(DataError, match=r"accounted for differ.*sweep-a.fits': \(5, 4\)"):
        pool.reconciled(rows.where("row_index < 4"), facts, tasks)


def test_real_sweeps_reconcile(jobs_spark: Any, real_data: Path, tmp_path: Path) -> None:
    for release in ("desitarget_dr7_history", "desitarget_dr8"):
        folder = real_data / "sweeps" / release
        paths = sweepfiles.find(str(folder))
        frames = pool.build(jobs_spark, paths, listed(), params("pool"), SPLIT, "ls", str(tmp_path / release))
        totals: Counter[str] = Counter()
        for count in rows_of(frames.counts):
            if count["outcome"] in ("kept", "rejected", "quarantined"):
                totals[count["source_file"]] += count["rows"]
        held = {str(f["sweep_file"]): f["rows"] for f in map(sweeps.inspect, paths)}
        assert totals == held
        missing = {c["reason"] for c in rows_of(frames.counts) if c["outcome"] == "column_missing"}
        assert missing == {"psfsize_g", "psfsize_r", "psfsize_z", "fitbits"}
        assert all(row["psfsize_r"] is None for row in rows_of(frames.pool))


def sky() -> st.SearchStrategy[tuple[float, float]]:
    edge = st.sampled_from([(0.0, 0.0), (360.0, 10.0), (10.0, 90.0), (200.0, -90.0), (45.0, 41.810314)])
    return st.one_of(edge, st.tuples(st.floats(0, 360), st.floats(-90, 90)))


@settings(max_examples=60, deadline=None)
@given(place=sky(), bearing=st.floats(0, 360), separation=st.floats(0, 11.0))
def test_covering_pixels_hold_every_neighbour(place: tuple[float, float], bearing: float, separation: float) -> None:
    centre = SkyCoord(*place, unit="deg")
    other = centre.directional_offset_by(bearing * u.deg, separation * u.arcsec)
    pixels = near.covering_pixels(np.array([place[0]]), np.array([place[1]]), 11.0, sweeps.EXCLUSION_NSIDE)[0]
    assert healpy.ang2pix(sweeps.EXCLUSION_NSIDE, other.ra.deg, other.dec.deg, nest=True, lonlat=True) in pixels


def test_nearest_equals_a_brute_force(jobs_spark: Any) -> None:
    """Against astropy's separations, round the wrap of right ascension and at the poles."""
    rng = np.random.default_rng(1)
    centres = SkyCoord([0, 359.9999, 120, 240, 45, 83.2], [0, -30, 90, -90, 41.810314, 12], unit="deg")
    listed_ = centres.directional_offset_by(rng.uniform(0, 360, (8, 6)) * u.deg, rng.uniform(0, 20, (8, 6)) * u.arcsec)
    sources_ = centres.directional_offset_by(
        rng.uniform(0, 360, (60, 6)) * u.deg, rng.uniform(0, 30, (60, 6)) * u.arcsec
    )
    table = pa.table(
        {
            "candidate_id": [f"c{i:02d}" for i in range(48)],
            "ra": listed_.ra.deg.ravel(),
            "dec": listed_.dec.deg.ravel(),
        }
    )
    ra, dec = sources_.ra.deg.ravel(), sources_.dec.deg.ravel()
    place = healpy.ang2pix(sweeps.EXCLUSION_NSIDE, ra, dec, nest=True, lonlat=True)
    frame = jobs_spark.createDataFrame(
        list(zip(range(360), ra.tolist(), dec.tolist(), place.tolist(), strict=True)),
        "id int, ra double, dec double, pix bigint",
    )
    places = near.listing(jobs_spark, table, 11.0, sweeps.EXCLUSION_NSIDE)
    found = {r["id"]: r for r in rows_of(near.with_nearest(frame, places, "pix", 11.0))}
    separation = SkyCoord(ra, dec, unit="deg")[:, None].separation(listed_.ravel()[None, :]).arcsec
    best = separation.argmin(axis=1)
    for i in range(360):
        inside = separation[i, best[i]] <= 11.0
        assert found[i]["candidate_id"] == (f"c{best[i]:02d}" if inside else None)
        if inside:
            assert found[i]["separation_arcsec"] == pytest.approx(separation[i, best[i]], abs=2e-6)
    assert 0 < sum(separation.min(axis=1) <= 11.0) < 360
