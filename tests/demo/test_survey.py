"""The written survey: formats, counts, determinism, resuming."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from demo.catalogue import columns, sweep_dtype
from demo.grid import brick_name, columns_per_row, sweep_name
from demo.listing import COLUMNS, CONFIRMED
from demo.sources import NO_LENS
from demo.survey import write_survey
from lake.errors import DataError
from lake.sky.healpix import pixel
from lake.sky.split import split_of
from tests.demo.conftest import SPLIT, Made, make, survey_params, tiny_params


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_sweeps_have_the_surveys_columns_and_byte_order(survey: Made) -> None:
    path = sorted((survey.folder / "sweeps").glob("*.fits"))[0]
    with fits.open(path) as file:
        data = file[1].data
        assert list(data.dtype.names) == [name for name, _, _ in columns()]
        assert data.dtype["RA"].str == ">f8"
        assert data.dtype["FLUX_R"].str == ">f4"
        assert data.dtype["NOBS_Z"].str == ">i2"
        assert data.dtype["DCHISQ"].shape == (5,)
        assert file[1].header["TFORM1"] == "I"
    assert len(columns()) == 130
    assert sweep_dtype().itemsize == data.dtype.itemsize


def test_sweeps_hold_what_real_ones_hold(survey: Made) -> None:
    rows = survey.rows()
    finite = rows[np.isfinite(rows["RA"])]
    keys = Counter(zip(finite["BRICKNAME"], finite["OBJID"], strict=True))
    assert rows.size - finite.size == 2
    assert max(keys.values()) == 2
    assert {b"SER", b"DEV", b"REX", b"EXP", b"PSF"} == set(finite["TYPE"])
    assert np.any(finite["MASKBITS"] & (1 << 11))
    assert all(finite["DEC"] < 32)
    assert set(np.unique(rows["RELEASE"])) == {10000}


def test_every_row_lies_in_its_sweep(survey: Made) -> None:
    for path in (survey.folder / "sweeps").glob("*.fits"):
        data = fits.getdata(path)
        finite = np.isfinite(data["RA"])
        names = {sweep_name(ra, dec) for ra, dec in zip(data["RA"][finite], data["DEC"][finite], strict=True)}
        assert names == {path.name}


@pytest.mark.parametrize(
    ("row", "column", "brickid", "name"),
    [(408, 958, 400014, "2447p120"), (598, 361, 616029, "1773p595"), (458, 451, 467899, "1238p245")],
)
def test_bricks_are_those_of_the_official_grid(row: int, column: int, brickid: int, name: str) -> None:
    counts = columns_per_row()
    ra = (column + 0.5) * 360 / counts[row]
    assert int(counts[:row].sum()) + column + 1 == brickid
    assert brick_name(ra, -90 + 0.25 * row) == name


def test_bricks_fall_in_distinct_pixels_with_the_wanted_splits(survey: Made) -> None:
    table = fits.getdata(survey.folder / "survey-bricks.fits")
    pixels = pixel(table["RA"], table["DEC"])
    assert len(set(pixels)) == 3
    assert sorted(split_of(pixels, SPLIT)) == ["test", "train", "val"]


def test_each_source_lies_in_the_pixel_of_its_brick(survey: Made) -> None:
    rows = survey.rows()
    rows = rows[np.isfinite(rows["RA"])]
    where = pixel(rows["RA"], rows["DEC"])
    assert all(len(set(where[rows["BRICKNAME"] == name])) == 1 for name in np.unique(rows["BRICKNAME"]))


def test_candidate_list_has_the_lenscat_columns(survey: Made, real_data: Path) -> None:
    lines = (survey.folder / "candidates.csv").read_text().splitlines()
    real = (real_data / "catalogues" / "desi_candidates.csv").read_text().splitlines()[0]
    rows = list(csv.DictReader(lines))
    assert lines[0] == ",".join(COLUMNS) == f"{real},theta_e", "the columns of real lists, and one that some have"
    assert Counter(row["grading"] for row in rows) == {"confident": 3, "probable": 4, "rejected": 2}
    assert {row["type"] for row in rows if row["grading"] == "rejected"} <= {"ring galaxy", "merger"}
    assert all("Simulated" in row["ref"] for row in rows)
    assert Counter(row["ref"] for row in rows)[CONFIRMED] == 3, "those graded confident"


def test_the_list_gives_measured_radii_of_some_lenses(survey: Made) -> None:
    """All of Tier A, near their true values; none of the objects that are no lenses."""
    truth = {(record["brickname"], record["objid"]): record["theta_e_arcsec"] for record in survey.table("lenses")}
    sources = {(record["brickname"], record["objid"]): record for record in survey.table("sources")}
    with (survey.folder / "candidates.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        place = np.array([float(row["ra"]), float(row["dec"])])
        key = min(sources, key=lambda each: np.hypot(*(place - (sources[each]["ra"], sources[each]["dec"]))))
        near = np.hypot(*(place - (sources[key]["ra"], sources[key]["dec"]))) < 2 / 3600
        if near and sources[key]["role"] == "tier_a":
            assert abs(np.log(float(row["theta_e"]) / truth[key])) < 0.12
        if not near or sources[key]["role"] in NO_LENS:
            assert row["theta_e"] == ""
    assert any(row["theta_e"] for row in rows)


def test_catalogue_positions_agree_with_the_images_wcs(survey: Made) -> None:
    rows, truth = survey.rows(), survey.table("sources")
    where = {(row["BRICKNAME"].decode(), row["OBJID"]): row for row in rows}
    for brick in {record["brickname"] for record in truth}:
        wcs = WCS(survey.plane(brick, "image", "r")[1])
        for record in (record for record in truth if record["brickname"] == brick):
            row = where[brick, record["objid"]]
            x, y = wcs.all_world2pix(row["RA"], row["DEC"], 0)
            assert np.hypot(x - record["x_px"], y - record["y_px"]) < 1e-3


@pytest.mark.usefixtures("whole_stage")
def test_the_same_parameters_give_the_same_bytes(survey: Made, tmp_path: Path) -> None:
    again = make(tiny_params(), tmp_path)
    assert digests(again.folder) == digests(survey.folder)
    assert digests(again.truth) == digests(survey.truth)


def test_killed_and_resumed_by_two_processes_gives_the_same_bytes(
    whole_stage: None, survey: Made, tmp_path: Path
) -> None:
    script = "from pathlib import Path; from tests.demo.conftest import make, tiny_params; import sys"
    command = [sys.executable, "-c", f"{script}; make(tiny_params(), Path(sys.argv[1]))", str(tmp_path)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "survey" / "coadds").glob("*/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / "survey" / "parts").exists()
    resumed = make(tiny_params(workers=2), tmp_path)
    assert digests(resumed.folder) == digests(survey.folder)
    assert digests(resumed.truth) == digests(survey.truth)


def test_a_folder_of_other_parameters_is_refused(survey: Made) -> None:
    other = tiny_params(brick_pixels=330)
    with pytest.raises(DataError, match="other parameters"):
        write_survey(other, survey_params(), survey.folder, survey.truth)
