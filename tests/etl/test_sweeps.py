"""The sweep reader against astropy: every value, every release, every way a file can be bad."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from etl.files import sweepfiles, sweeps
from lake.errors import DataError
from tests.etl.survey_files import read_rows, sources, sweep_of, write_sweep


def inspect(path: Path) -> sweeps.Facts:
    return sweeps.inspect(sweep_of(path))


def assert_same(ours: pa.Array, theirs: np.ndarray) -> None:
    """Equal value for value; NaN there is null here."""
    if theirs.dtype.kind == "S":
        assert ours.to_pylist() == [text.decode().strip() for text in theirs.tolist()]
        return
    values = ours.to_numpy(zero_copy_only=False).astype(np.float64)
    np.testing.assert_array_equal(values, theirs.astype(np.float64))


def test_real_sweeps_equal_astropy(real_data: Path) -> None:
    paths = sorted((real_data / "sweeps").glob("*/sweep-*.fits")) + sorted((real_data / "sweeps").glob("*/tractor-*"))
    for path in paths:
        rows, table = read_rows(path), Table.read(path)
        for name in (*sweeps.NEEDED, *sweeps.OPTIONAL):
            if name.upper() in table.colnames and name != "type":
                assert_same(rows[name].combine_chunks(), np.asarray(table[name.upper()]))
        assert rows["sweep_file"].unique().to_pylist() == [path.name]
    assert len(paths) == 14


def test_real_dr8_reports_what_it_lacks_and_derives(real_data: Path) -> None:
    path = real_data / "sweeps" / "desitarget_dr8" / "sweep-320m005-330p000.fits"
    facts = inspect(path)
    assert facts.missing == ("psfsize_g", "psfsize_r", "psfsize_z", "fitbits")
    assert facts.derived == ("shape_r", "shape_e1", "shape_e2", "sersic")
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    rows, table = read_rows(path).to_pylist(), Table.read(path)
    for row, theirs in zip(rows, table, strict=True):
        model = {"DEV": "SHAPEDEV_R", "EXP": "SHAPEEXP_R", "REX": "SHAPEEXP_R"}.get(theirs["TYPE"].strip())
        assert row["shape_r"] == (theirs[model] if model else 0.0)
        assert row["sersic"] == {"DEV": 4.0, "EXP": 1.0, "REX": 1.0, "PSF": 0.0}[row["type"]]


@pytest.mark.parametrize("lower", [True, False])
def test_either_case_of_column_names(tmp_path: Path, lower: bool) -> None:
    columns = sources(7)
    rows = read_rows(write_sweep(tmp_path / "sweep.fits", columns, lower))
    assert_same(rows["flux_r"].combine_chunks(), columns["FLUX_R"])


def test_types_of_older_releases_get_their_successors(tmp_path: Path) -> None:
    columns = sources(5)
    for name in ("SHAPE_R", "SHAPE_E1", "SHAPE_E2", "SERSIC"):
        del columns[name]
    for part in ("R", "E1", "E2"):
        columns[f"SHAPEDEV_{part}"] = np.full(5, 0.5, np.float32)
        columns[f"SHAPEEXP_{part}"] = np.full(5, 0.25, np.float32)
    columns["TYPE"] = np.array(["SIMP", "COMP", "COMP", "DEV", "PSF"], "S4")
    columns["FRACDEV"] = np.array([0, 0.8, 0.2, 1, 0], np.float32)
    rows = read_rows(write_sweep(tmp_path / "sweep.fits", columns))
    assert rows["type"].to_pylist() == ["REX", "SER", "SER", "DEV", "PSF"]
    assert rows["survey_type"].to_pylist() == ["SIMP", "COMP", "COMP", "DEV", "PSF"]
    assert rows["shape_r"].to_pylist() == [0.25, 0.5, 0.25, 0.5, 0.0]
    assert rows["sersic"].to_pylist() == [1.0, None, None, 4.0, 0.0]


FLOATS = hnp.arrays(np.float32, 6, elements=st.floats(width=32, allow_infinity=False))
WHOLE = hnp.arrays(np.int16, 6, elements=st.integers(-32768, 32767))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flux=FLOATS, nobs=WHOLE, name=st.lists(st.text("pm0123456789 ", min_size=1, max_size=8), min_size=6, max_size=6))
def test_any_values_survive_the_round_trip(tmp_path: Path, flux: np.ndarray, nobs: np.ndarray, name: list[str]) -> None:
    columns = sources(6) | {"FLUX_G": flux, "NOBS_R": nobs, "BRICKNAME": np.array(name, "S8")}
    rows = read_rows(write_sweep(tmp_path / "sweep.fits", columns))
    assert_same(rows["flux_g"].combine_chunks(), flux)
    assert rows["nobs_r"].to_pylist() == nobs.tolist()
    assert rows["brickname"].to_pylist() == [text.strip() for text in name]


def test_scaled_columns_and_null_values(tmp_path: Path) -> None:
    columns = sources(3)
    path = write_sweep(tmp_path / "sweep.fits", columns)
    with fits.open(path) as hdus:
        names = hdus[1].columns.names
        hdus[1].header[f"TZERO{names.index('MASKBITS') + 1}"] = 2**31
        hdus[1].header[f"TNULL{names.index('FITBITS') + 1}"] = 0
        hdus[1].header[f"TSCAL{names.index('EBV') + 1}"] = 2.0
        raw = [hdu.header.tostring() for hdu in hdus]
    start = len(raw[0]) + len(raw[1])
    path.write_bytes("".join(raw).encode() + path.read_bytes()[start:])
    rows = read_rows(path)
    assert rows["maskbits"].to_pylist() == [2**31] * 3
    assert rows["fitbits"].null_count == 3
    np.testing.assert_allclose(rows["ebv"], 2 * columns["EBV"], rtol=1e-6)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_rows_are_the_same_in_any_pieces_and_the_hash_is_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Also where a file has an image before its table and more after it."""
    path = write_sweep(tmp_path / "sweep.fits", sources(100))
    with fits.open(path) as hdus:
        fits.HDUList([hdus[0], fits.ImageHDU(np.ones((90, 90))), hdus[1], fits.ImageHDU(np.ones((70, 70)))]).writeto(
            tmp_path / "more.fits"
        )
    content = (tmp_path / "more.fits").read_bytes()
    other = tmp_path / f"more.fits{suffix}"
    other.write_bytes(gzip.compress(content) if suffix else content)
    whole = read_rows(path).drop_columns(["sweep_file"])
    assert read_rows(other).drop_columns(["sweep_file"]).equals(whole)
    for chunk in (1, 1000, 5000):
        monkeypatch.setattr(sweeps, "_CHUNK", chunk)
        assert read_rows(other).drop_columns(["sweep_file"]).equals(whole)
        assert inspect(other) == sweeps.Facts(hashlib.sha256(other.read_bytes()).hexdigest(), None, 100)
    assert read_rows(other, 13).drop_columns(["sweep_file"]).equals(whole[:13])
    assert sweeps.inspect(sweep_of(other), 13) == sweeps.Facts(None, None, 100)


def test_bad_files_say_why(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "good.fits", sources(400))
    content = path.read_bytes()
    bad = {
        "the file is empty": b"",
        "the file is truncated: a header has no end": content[:4000],
        "the file is truncated": content[:-5000],
        "it is not a FITS file": b"this is text" * 300,
    }
    for reason, data in bad.items():
        (tmp_path / "bad.fits").write_bytes(data)
        assert reason in str(inspect(tmp_path / "bad.fits").problem)
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "image.fits")
    assert "no binary table" in str(inspect(tmp_path / "image.fits").problem)
    lacking = sources(3)
    del lacking["FLUX_Z"], lacking["TYPE"]
    facts = inspect(write_sweep(tmp_path / "lacking.fits", lacking))
    assert facts.problem == "the required columns type, flux_z are missing"
    assert facts.rows == 3
    assert inspect(tmp_path / "absent.fits").problem


def test_another_unit_is_an_error_and_the_surveys_spellings_are_not(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "sweep.fits", sources(3))

    def problem(column: str, unit: str) -> object:
        with fits.open(path, mode="update") as hdus:
            hdus[1].header[f"TUNIT{hdus[1].columns.names.index(column) + 1}"] = unit
        return inspect(path).problem

    assert problem("FLUX_G", "nanomaggy") is problem("RA", "deg") is problem("PSFDEPTH_R", "1/nanomaggy^2") is None
    assert problem("PSFSIZE_Z", "pixel") == "column psfsize_z must be in arcsec, the header says pixel"
    assert "column flux_g must be in nMgy, the header says uJy; " in str(problem("FLUX_G", "uJy"))


def test_every_truncation_is_seen(tmp_path: Path) -> None:
    content = write_sweep(tmp_path / "good.fits", sources(20)).read_bytes()
    padding = len(content) % 2880
    for length in range(0, len(content) - 2880 - padding, 1440):
        (tmp_path / "bad.fits").write_bytes(content[:length])
        assert inspect(tmp_path / "bad.fits").problem, length


def test_a_folder_without_sweeps_is_an_error(tmp_path: Path) -> None:
    endings = re.escape("(*.fits, *.fits.gz, *.fits.fz, *.csv, *.csv.gz, *.parquet)")
    with pytest.raises(DataError, match=rf"contains no table {endings}$"):
        sweepfiles.find(str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"but 1 other files, such as notes.txt: not a table, by its name"):
        sweepfiles.find(str(tmp_path))
