"""The fate of rows, fast and in bulk, against a plain account of one row at a time; odd columns; records of rejects."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import angular_separation
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from etl.catalogues import partfile
from etl.catalogues.account import Account
from etl.catalogues.fates import record
from etl.catalogues.partfile import Recipe, Task
from etl.files import values
from etl.files.fitstable import Field
from lake import provenance
from lake.sky.photometry import magnitude_from_flux
from lake.store import parts
from tests.etl.survey_files import SPLIT, params, sources, write_sweep

CUTS = ("brick_primary", "type", "nobs_g", "nobs_r", "nobs_z", "mag_z", "dec", "maskbits")
MASKED = (1, 5, 6, 7, 11, 12, 13)
LISTED = pa.table({"candidate_id": ["b", "a"], "ra": [3.0, 3.0], "dec": [1.0, 1.0005]})


def made(path: Path, listed: pa.Table = LISTED, **changes: Any) -> Account:
    table = str(path.parent / "table")
    recipe = Recipe(params("pool", **changes), SPLIT, "c", listed, provenance.lineage(), table)
    partfile.make(Task(path.name, str(path), None, "0" * 32), recipe)
    return Account.load(f"{table}/{parts.account('0' * 32)}")


def odd_sources(count: int, seed: int) -> dict[str, np.ndarray]:
    """Sources of which each has a few odd values, drawn at random."""
    rng = np.random.default_rng(seed)
    columns = sources(count, seed) | {"BRICK_PRIMARY": rng.random(count) < 0.9}
    columns["TYPE"] = rng.choice(np.array(["SER", "DEV", "REX", "EXP", "PSF", "COMP", "SIMP", "DUP"], "S4"), count)

    def spoil(name: str, value: Any, share: float = 0.04) -> None:
        columns[name][rng.random(count) < share] = value

    for name, value in (
        ("NOBS_G", 2), ("NOBS_R", 0), ("NOBS_Z", 2), ("FLUX_Z", 9.9), ("FLUX_Z", -1), ("FLUX_Z", np.nan),
        ("FLUX_Z", np.inf), ("DEC", 40), ("DEC", np.nan), ("DEC", -91), ("RA", 361), ("RA", np.nan), ("MASKBITS", 4096),
        ("MASKBITS", 8), ("BRICKNAME", b""), ("BRICKNAME", b"  "), ("BRICKNAME", b"\xc3\xa9"), ("FLUX_W1", np.nan),
        ("PSFDEPTH_R", -np.inf), ("SHAPE_E1", 2), ("SERSIC", np.nan), ("EBV", np.inf), ("OBJID", -1),
    ):  # fmt: skip
        spoil(name, value)
    near = rng.random(count) < 0.3
    columns["RA"][near] = 3.0 + rng.uniform(-0.004, 0.004, near.sum())
    columns["DEC"][near] = 1.0 + rng.uniform(-0.004, 0.004, near.sum())
    return columns


def fate(row: dict[str, Any]) -> tuple[str, str]:
    """Outcome and reason of a row in plain Python, in the order in which the page on ETL states them."""
    floats = [n for n, value in row.items() if isinstance(value, np.floating)]
    faults = [name.lower() for name in floats if np.isinf(row[name])]
    order = ["ra", "dec", "flux_w1", "flux_z", "psfdepth_r", "ebv"]
    if faults:
        return "quarantined", f"'{min(faults, key=order.index)}' must be a finite number"
    if not (0 <= row["RA"] <= 360 and abs(row["DEC"]) <= 90):
        return "quarantined", "coordinates must be numbers in [0, 360] and [-90, 90]"
    if not row["BRICKNAME"].strip():
        return "quarantined", "brickname and objid must be given"
    kind = {b"COMP": b"SER", b"SIMP": b"REX"}.get(row["TYPE"], row["TYPE"])
    passed = {
        "brick_primary": row["BRICK_PRIMARY"],
        "type": kind in (b"SER", b"DEV", b"REX"),
        **{f"nobs_{band}": row[f"NOBS_{band.upper()}"] >= 3 for band in "grz"},
        "mag_z": magnitude_from_flux(row["FLUX_Z"]) < 20,
        "dec": -18 < row["DEC"] < 32,
        "maskbits": not any(int(row["MASKBITS"]) >> bit & 1 for bit in MASKED),
    }
    first = next((name for name in CUTS if not passed[name]), None)
    near = _separation(row) <= 11.0
    broken = None
    if (first is None and not near) or (near and row["BRICK_PRIMARY"]):
        broken = _broken(row, in_pool=first is None and not near)
    if broken:
        return "quarantined", broken
    return ("rejected", first or "near_candidate") if first or near else ("kept", "")


def _separation(row: dict[str, Any]) -> float:
    ra, dec = np.deg2rad([row["RA"], row["DEC"]])
    places = np.deg2rad([[3.0, 1.0], [3.0, 1.0005]])
    return min(float(np.rad2deg(angular_separation(*place, ra, dec)) * 3600) for place in places)


def _broken(row: dict[str, Any], in_pool: bool) -> str | None:
    if row["OBJID"] < 0:
        return "'objid' must be given, in [0, inf]"
    if in_pool and np.isnan(row["FLUX_W1"]):
        return "'flux_w1' must be given, a number"
    return "'shape_e1' must be a number, in [-1, 1]" if abs(row["SHAPE_E1"]) > 1 else None


@pytest.mark.parametrize("packed", [False, True])
def test_every_row_has_the_fate_that_a_plain_account_gives_it(tmp_path: Path, packed: bool) -> None:
    columns = odd_sources(6000, 5)
    path = write_sweep(tmp_path / "sweep.fits", columns)
    if packed:
        path = path.with_suffix(".fits.gz")
        path.write_bytes(gzip.compress((tmp_path / "sweep.fits").read_bytes(), 1))
    account = made(path)
    rows = [{name: values[i] for name, values in columns.items()} for i in range(6000)]
    fates = [fate(row) for row in rows]
    assert account.counts == {each: fates.count(each) for each in set(fates)}
    assert len(account.counts) > 15
    assert account.renamed == {kind: int((columns["TYPE"] == kind.encode()).sum()) for kind in ("COMP", "SIMP")}
    bad = {row["row_index"]: row["reason"] for row in account.rejected.to_pylist()}
    assert bad == {i: reason for i, (outcome, reason) in enumerate(fates) if outcome == "quarantined"}
    near = [
        i
        for i, row in enumerate(rows)
        if fates[i][0] != "quarantined" and row["BRICK_PRIMARY"] and _separation(row) <= 11.0
    ]
    assert account.near["row_index"].to_pylist() == near
    assert account.sums.rows == fates.count(("kept", ""))
    assert account.keys.num_rows == len(near) + account.sums.rows


def test_null_values_and_scales_of_the_header_count_in_the_cuts(tmp_path: Path) -> None:
    """NOBS_R of 7 means none; MASKBITS is stored from 2^31 on, FLUX_Z in tens."""
    columns = sources(8)
    columns["NOBS_R"][:], columns["MASKBITS"][:] = 5, -(2**31)
    columns["NOBS_R"][:2], columns["MASKBITS"][2] = 7, -(2**31) + 2
    columns["FLUX_Z"][:], columns["FLUX_Z"][3] = 2.0, 0.5
    path = write_sweep(tmp_path / "sweep.fits", columns)
    with fits.open(path) as hdus:
        place = {name: number for number, name in enumerate(hdus[1].columns.names, 1)}
        hdus[1].header[f"TNULL{place['NOBS_R']}"] = 7
        hdus[1].header[f"TZERO{place['MASKBITS']}"] = 2**31
        hdus[1].header[f"TSCAL{place['FLUX_Z']}"] = 10.0
        raw = "".join(hdu.header.tostring() for hdu in hdus).encode()
    path.write_bytes(raw + path.read_bytes()[len(raw) :])
    cut = {("rejected", "nobs_r"): 2, ("rejected", "maskbits"): 1, ("rejected", "mag_z"): 1}
    assert made(path).counts == {**cut, ("kept", ""): 4}


def test_a_faintest_magnitude_between_two_single_numbers_is_compared_in_double(tmp_path: Path) -> None:
    """20.4 as a single number is below 20.4: a source of that magnitude passes."""
    columns = sources(40)
    columns["FLUX_Z"] = (10 ** (np.full(40, 22.5 - 20.4) / 2.5)).astype(np.float32)
    columns["FLUX_Z"] = np.nextafter(columns["FLUX_Z"], np.float32(0))
    columns["FLUX_Z"] += np.arange(-20, 20).astype(np.float32) * np.float32(2e-7)
    single = magnitude_from_flux(columns["FLUX_Z"]).astype(np.float32)
    passes = int((single.astype(float) < 20.4).sum())
    assert passes != int((single < np.float32(20.4)).sum())
    assert made(write_sweep(tmp_path / "sweep.fits", columns), mag_z_max=20.4).counts["kept", ""] == passes


@pytest.mark.parametrize(("ra", "dec"), [(0.0, -90.0), (360.0, 90.0), (360.0, 0.0), (0.0, 0.0)])
def test_the_ends_of_the_sky_are_on_it(tmp_path: Path, ra: float, dec: float) -> None:
    columns = sources(3)
    columns["RA"][:], columns["DEC"][:] = ra, dec
    listed = pa.table({"candidate_id": ["end"], "ra": [0.0], "dec": [dec]})
    account = made(write_sweep(tmp_path / "sweep.fits", columns), listed, dec_min_deg=-90, dec_max_deg=90)
    assert account.near.num_rows == 3
    assert account.near["separation_arcsec"].to_pylist() == pytest.approx([0.0] * 3, abs=1e-6)
    poles = abs(dec) == 90
    assert account.counts == {("rejected", "dec" if poles else "near_candidate"): 3}


KINDS = {"I": "i2", "J": "i4", "K": "i8", "E": "f4", "D": "f8", "B": "u1"}


@given(
    code=st.sampled_from(list(KINDS)),
    kind=st.sampled_from([pa.int32(), pa.int64(), pa.float32(), pa.float64()]),
    scale=st.sampled_from([(1.0, 0.0), (2.0, 0.0), (1.0, 32768.0)]),
    null=st.none() | st.integers(-3, 3),
    held=st.lists(st.integers(-100, 100) | st.sampled_from([2.5, math.nan, math.inf, -math.inf]), max_size=20),
)
def test_numbers_are_those_of_the_arrow_column(
    code: str, kind: pa.DataType, scale: tuple[float, float], null: int | None, held: list[float]
) -> None:
    dtype = np.dtype(KINDS[code]).newbyteorder(">")
    whole = dtype.kind in "iu"
    fitting = [v for v in held if not whole or float(v).is_integer()]
    stored = np.array([abs(v) for v in fitting] if code == "B" else fitting).astype(dtype)
    raw = np.zeros(len(stored), dtype=[("x", dtype)])
    raw["x"] = stored
    field = Field("x", 0, code, dtype.str, *scale, null if whole else None, "")
    found, absent, bad = values.numbers(field, raw, kind)
    expected = values.values(field, raw, kind)
    assert found.dtype == kind.to_pandas_dtype()
    theirs = expected.array.to_pylist()
    for i, value in enumerate(theirs):
        if value is None:
            wrong = bad is not None and bad[i]
            assert wrong or (absent is not None and absent[i]) or np.isnan(found[i])
        else:
            assert found[i] == value
    assert np.array_equal(
        np.zeros(len(raw), bool) if bad is None else bad,
        np.zeros(len(raw), bool) if expected.bad is None else expected.bad,
    )


@pytest.mark.parametrize(
    ("ra", "text"),
    [
        (0.0, "0.0"), (10.0, "10.0"), (1 / 3, "0.3333333333333333"), (0.001, "0.001"), (1e-4, "1.0E-4"),
        (1.5e-7, "1.5E-7"), (123456.75, "123456.75"), (-2.25e-5, "-2.25E-5"), (12345678.5, "1.23456785E7"),
    ],
)  # fmt: skip
def test_numbers_of_records_are_written_as_by_java(ra: float, text: str) -> None:
    assert record("a", ra, None, "SER") == f'{{"galaxy_id":"a","ra":{text},"type":"SER"}}'


def test_records_hold_any_text_and_no_nulls(tmp_path: Path) -> None:
    assert json.loads(record('"\\é\n', None, -0.5, None)) == {"galaxy_id": '"\\é\n', "dec": -0.5}
    columns = sources(1)
    columns["RA"][0] = np.nan
    account = made(write_sweep(tmp_path / "sweep.fits", columns))
    assert json.loads(account.rejected["record"][0].as_py()).keys() == {"galaxy_id", "dec", "type"}
