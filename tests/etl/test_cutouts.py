"""Cut-outs: pixels equal to the FITS files', the right brick, gates, resumption, shards."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from etl.cutouts import cutter, cutting, packing, qa
from etl.cutouts.bricks import Bricks, Tan, holding_brick, tangent_pixels
from etl.cutouts.coadds import BrickReader, brick_folder, coadd_name, opened
from etl.cutouts.cutter import CONDITIONS
from etl.cutouts.cutting import Coadds, Sources
from lake import tables
from lake.contract import rules
from lake.errors import DataError
from lake.sky.survey import MASKBITS
from lake.store.stamps import StampStore
from tests.etl.survey_files import params, write_brick, write_bricks

SIZE = 200
NO_DATA = sum(1 << MASKBITS[f"ALLMASK_{band}"] for band in "GRZ")
PARAMS = params("cutouts", stamp_pixels=41, coadd_pixels=SIZE, buckets=3)


def noise(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {band: rng.normal(0.1, 1, (SIZE, SIZE)).astype(np.float32) for band in "grz"}


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, WCS], dict[str, dict[str, np.ndarray]]]:
    """Two good bricks, one without a g image, one with an empty z image, one with NaN, one with a truncated file."""
    folder = tmp_path_factory.mktemp("survey")
    places = {f"100{i}p000": (100 + 0.3 * i, 0.0) for i in range(6)}
    images = {name: noise(i) for i, name in enumerate(places)}
    for i, image in enumerate(images.values()):
        image["maskbits"] = np.random.default_rng(i).integers(0, 1 << 14, (SIZE, SIZE)).astype(np.int32) & ~NO_DATA
    images["1003p000"]["z"][:] = 0
    images["1004p000"]["r"][100, 100] = np.nan
    images["1004p000"]["g"][0:60, 0:60] = np.nan
    write_bricks(folder, places)
    wcs = {name: write_brick(folder, name, *places[name], images[name]) for name in places}
    (folder / "coadds/100/1002p000/legacysurvey-1002p000-image-g.fits.fz").unlink()
    broken = folder / "coadds/100/1005p000/legacysurvey-1005p000-image-z.fits.fz"
    broken.write_bytes(broken.read_bytes()[:9000])
    return folder, wcs, images


def path_of(folder: Path, kind: str, band: str) -> Path:
    return Path(brick_folder(str(folder), "1000p000"), coadd_name("1000p000", kind, band))


def sky(wcs: WCS, x: float, y: float) -> tuple[float, float]:
    ra, dec = wcs.all_pix2world(x, y, 0)
    return float(ra), float(dec)


def test_our_projection_is_astropys(survey: Any) -> None:
    folder, wcs, _ = survey
    with fits.open(folder / "coadds/100/1000p000/legacysurvey-1000p000-image-r.fits.fz") as hdus:
        ours = Tan.of(hdus[1].header, "r")
    rng = np.random.default_rng(0)
    ra, dec = 100 + rng.uniform(-0.2, 0.2, 500), rng.uniform(-0.2, 0.2, 500)
    np.testing.assert_allclose(ours.pixels(ra, dec), wcs["1000p000"].all_world2pix(ra, dec, 0), atol=1e-7)
    turned = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 359.99, "CRVAL2": 80.0})
    turned.update({"CRPIX1": 7, "CRPIX2": 9, "CDELT1": -0.262 / 3600, "CDELT2": 0.262 / 3600})
    turned.update({"PC1_1": 0.8, "PC1_2": 0.6, "PC2_1": -0.6, "PC2_2": 0.8})
    ra, dec = (359.99 + rng.uniform(-1, 1, 500)) % 360, 80 + rng.uniform(-0.2, 0.2, 500)
    np.testing.assert_allclose(Tan.of(turned, "x").pixels(ra, dec), WCS(turned).all_world2pix(ra, dec, 0), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"CTYPE1": "RA---SIN"}, "projection must be RA---TAN"), ({"CD1_1": -1e-4}, "pixel scale must be 0.262")],
)
def test_another_projection_or_scale_is_an_error(survey: Any, change: dict[str, Any], message: str) -> None:
    header = survey[1]["1000p000"].to_header()
    header.update({"CD1_1": -0.262 / 3600, "CD2_2": 0.262 / 3600})
    header.update(change)
    with pytest.raises(DataError, match=message):
        Tan.of(header, "coadd")


def test_pixels_equal_the_files_and_offsets_say_where_the_source_is(survey: Any) -> None:
    folder, wcs, images = survey
    x, y = np.array([60.4, 100.0, 20.49, 179.2]), np.array([77.7, 60.5, 20.0, 179.4])
    ra, dec = wcs["1001p000"].all_pix2world(x, y, 0)
    found = BrickReader().stamps(str(folder), "1001p000", ra, dec, 41, (3, 12))
    assert found.inside.tolist() == [True] * 4
    for i in range(4):
        column, row = round(float(x[i])), round(float(y[i]))
        window = (slice(row - 20, row + 21), slice(column - 20, column + 21))
        expected = np.stack([images["1001p000"][b][window] for b in "grz"])
        np.testing.assert_array_equal(found.stamps[i], expected)
        np.testing.assert_array_equal(found.masked[i], (images["1001p000"]["maskbits"][window] & (8 | 4096)) != 0)
        assert found.windows.x_offset_px[i] == pytest.approx(x[i] - column, abs=1e-6)
        assert found.windows.y_offset_px[i] == pytest.approx(y[i] - row, abs=1e-6)


def test_another_unit_is_an_error(survey: Any, tmp_path: Path) -> None:
    path = path_of(survey[0], "image", "z")
    shutil.copy(path, tmp_path)
    with fits.open(tmp_path / path.name, mode="update") as hdus:
        hdus[1].header["BUNIT"] = "nanomaggy"
    with opened(str(tmp_path), path.name, "nMgy") as found:
        assert found.shape == (SIZE, SIZE)
    with fits.open(tmp_path / path.name, mode="update") as hdus:
        hdus[1].header["BUNIT"] = "uJy"
    with (
        pytest.raises(DataError, match=r"image-z.fits.fz must be in nMgy, the header says uJy"),
        opened(str(tmp_path), path.name, "nMgy"),
    ):
        pass


def holed(folder: Path, **more: np.ndarray) -> tuple[WCS, dict[str, np.ndarray]]:
    """A brick with a hole of zeros in g, a patched one in z, and whatever else is given."""
    images = noise(8)
    images["g"][90:95, 90:95] = 0
    images["z"][110:112, 110:112] = 7
    return write_brick(folder, "1000p000", 100.0, 0.0, {**images, **more}), images


def middle_stamp(folder: Path, wcs: WCS, lacking: bool = False) -> Any:
    ra, dec = (np.array([v]) for v in sky(wcs, 100, 100))
    return BrickReader().stamps(str(folder), "1000p000", ra, dec, 41, (1,), np.array([lacking]))


def test_pixels_without_inverse_variance_are_missing(tmp_path: Path) -> None:
    """Zeros in holes, and values patched in from bad pixels: neither is light. A true zero with a weight is data."""
    weights = {f"invvar-{band}": np.full((SIZE, SIZE), 25.0, np.float32) for band in "grz"}
    weights["invvar-g"][90:95, 90:95] = 0
    weights["invvar-z"][110:112, 110:112] = 0
    wcs, images = holed(tmp_path, **weights)
    found = middle_stamp(tmp_path, wcs).stamps[0]
    for place, band in enumerate("grz"):
        window = images[band][80:121, 80:121]
        gone = weights[f"invvar-{band}"][80:121, 80:121] == 0
        assert np.isnan(found[place][gone]).all()
        np.testing.assert_array_equal(found[place][~gone], window[~gone])
    weights["invvar-g"][:] = 25.0
    wcs, images = holed(tmp_path, **weights)
    assert (middle_stamp(tmp_path, wcs).stamps[0, 0, 10:15, 10:15] == 0).all()


def test_rice_compressed_images_and_weights_are_decoded_apart(tmp_path: Path) -> None:
    """More windows than are cut at a time: pixels of the later ones are read after the first weights."""
    weights = np.random.default_rng(3).normal(3.0, 2.0, (SIZE, SIZE)).astype(np.float32)
    wcs = write_brick(tmp_path, "1000p000", 100.0, 0.0, noise(8))
    for kind, image in (("image", noise(8)["g"]), ("invvar", weights)):
        hdu = fits.CompImageHDU(image, wcs.to_header(), compression_type="RICE_1", tile_shape=(50, 60))
        hdu.writeto(path_of(tmp_path, kind, "g"), overwrite=True)
    x = np.linspace(21, 178, 40)
    ra, dec = wcs.all_pix2world(x, x[::-1], 0)
    found = BrickReader().stamps(str(tmp_path), "1000p000", ra, dec, 41, ()).stamps[:, 0]
    pixels, known = (fits.getdata(path_of(tmp_path, kind, "g"), 1) for kind in ("image", "invvar"))
    wanted = np.where(known > 0, pixels, np.nan)
    for stamp, column, row in zip(found, np.rint(x).astype(int), np.rint(x[::-1]).astype(int), strict=True):
        np.testing.assert_array_equal(stamp, wanted[row - 20 : row + 21, column - 20 : column + 21])


def test_without_inverse_variance_the_mask_and_zeros_say_what_is_missing(tmp_path: Path) -> None:
    bits = np.zeros((SIZE, SIZE), np.int32)
    bits[110:112, 110:112] = 1 << MASKBITS["ALLMASK_Z"]
    wcs, _ = holed(tmp_path, maskbits=bits)
    missing = np.isnan(middle_stamp(tmp_path, wcs).stamps[0])
    expected = np.zeros((3, 41, 41), bool)
    expected[0, 10:15, 10:15] = True
    expected[2, 30:32, 30:32] = True
    np.testing.assert_array_equal(missing, expected)


def test_a_hole_of_zeros_at_the_source_rejects_the_cutout(tmp_path: Path) -> None:
    images = noise(8)
    images["z"][97:99, 97:99] = 0
    wcs = write_brick(tmp_path, "1000p000", 100.0, 0.0, images)
    ra, dec = (np.array([v, v]) for v in sky(wcs, 100, 100))
    ra[1] += 40 * 0.262 / 3600
    stamps, rows = cutter.cut_brick(str(tmp_path), "1000p000", ra, dec, np.zeros(2, bool), PARAMS)
    assert [row["reason"] for row in rows] == ["pixels within 8 px of the centre are not finite", None]
    assert len(stamps) == 1


def test_seeing_and_depth_come_from_the_coadds_where_the_catalogue_has_none(tmp_path: Path) -> None:
    """psfdepth = invvar / (4 pi (psfsize / 2.35482 / 0.262)^2), of the good pixels at the source."""
    sizes = dict(zip("grz", (1.3, 1.2, 1.1), strict=True))
    weights = {f"invvar-{band}": np.full((SIZE, SIZE), 900.0, np.float32) for band in "grz"}
    weights["invvar-r"][95:99] = 0
    maps = {f"psfsize-{band}": np.full((SIZE, SIZE), size, np.float32) for band, size in sizes.items()}
    wcs, _ = holed(tmp_path, **weights, **maps)
    found = middle_stamp(tmp_path, wcs, lacking=True)
    areas = [4 * np.pi * (size / 2.35482 / 0.262) ** 2 for size in sizes.values()]
    np.testing.assert_allclose(found.psfsize[0], list(sizes.values()), rtol=1e-6)
    np.testing.assert_allclose(found.psfdepth[0], 900.0 / np.array(areas), rtol=1e-4)
    assert np.isnan(middle_stamp(tmp_path, wcs).psfdepth).all()
    ra, dec = (np.array([v]) for v in sky(wcs, 100, 100))
    _, (row,) = cutter.cut_brick(str(tmp_path), "1000p000", ra, dec, np.array([True]), PARAMS)
    assert row["psfsize_z"] == pytest.approx(1.1)
    assert row["psfdepth_r"] == pytest.approx(900.0 / areas[1], rel=1e-4)
    (tmp_path / "coadds/100/1000p000/legacysurvey-1000p000-psfsize-r.fits.fz").unlink()
    _, (row,) = cutter.cut_brick(str(tmp_path), "1000p000", ra, dec, np.array([True]), PARAMS)
    assert "psfsize_r" not in row
    assert "psfdepth_r" not in row


@pytest.mark.usefixtures("whole_stage")
def test_bands_on_different_grids_are_refused_by_name(survey: Any, tmp_path: Path) -> None:
    _, _, images = survey
    for change, message in (
        (
            {"CRPIX1": 102.5},
            r"image-z.fits.fz: the pixel grid must be that of the brick's r image, but is off by up to 2 px",
        ),
        ({"CRVAL2": 0.01}, "but is off by up to 137 px"),
        ({"PC1_1": -0.2615 / 3600}, r"is off by up to 0\.191 px"),
        ({"CTYPE1": "RA---SIN"}, r"image-z.fits.fz: the projection must be RA---TAN"),
        ({"CRPIX2": "middle"}, "image-z.fits.fz: CRPIX2 must be a number, got 'middle'"),
    ):
        wcs = write_brick(tmp_path, "1000p000", 100.0, 0.0, images["1000p000"])
        with fits.open(path_of(tmp_path, "image", "z"), mode="update") as hdus:
            hdus[1].header.update(change)
        with pytest.raises(DataError, match=message):
            middle_stamp(tmp_path, wcs)
    write_brick(tmp_path, "1000p000", 100.0, 0.0, {"z": images["1000p000"]["z"][:150]})
    with pytest.raises(DataError, match=r"image-z.fits.fz: the image must be \(200, 200\), like the brick's r image"):
        middle_stamp(tmp_path, wcs)


def test_what_is_asked_for_says_where_the_catalogue_lacks_conditions() -> None:
    """Negatives and matches, each once; what the pool does not know is lacking."""
    place = {"ra": 1.0, "dec": 2.0, "brickname": "b"}
    values = {"a": [1.0] * 6, "b": [1.0] * 3 + [0.0] + [1.0] * 2, "c": [1.0, None] + [1.0] * 4}
    known = [{"galaxy_id": n, **place, **dict(zip(CONDITIONS, v, strict=True))} for n, v in values.items()]
    pool = pa.Table.from_pylist(known)
    listed = pa.table({"galaxy_id": ["b", None], "match_reason": ["matched", "none"]})
    negatives = pa.Table.from_pylist([{"galaxy_id": name, **place} for name in "abcd"])
    found = cutting.requests(negatives, listed, pool, pool).sort_by("galaxy_id")
    assert found["galaxy_id"].to_pylist() == ["a", "b", "c", "d"]
    assert Sources.of(found).lacking.tolist() == [False, True, True, True]


def test_galaxies_that_cannot_be_hosts_are_named(caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"galaxy_id": name, "status": "ok"} for name in ("x:1", "x:2")]
    index = pa.Table.from_pylist([*rows, {"galaxy_id": "x:3", "status": "rejected"}], schema=cutter.INDEX_SCHEMA)
    cutting.warn_of_unknown_conditions(index, np.array(["x:1", "x:2", "x:3"], dtype=object))
    assert "none of 2 galaxies with a good cut-out can be hosts of injections; the others (first: x:1" in caplog.text
    assert "legacysurvey-<brick>-psfsize-r.fits.fz and -invvar-r" in caplog.text
    caplog.clear()
    cutting.warn_of_unknown_conditions(index, np.array([], dtype=object))
    assert not caplog.text


def test_sections_equal_whole_images(survey: Any) -> None:
    """Few windows are read tile by tile, many from the whole image."""
    folder, wcs, _ = survey
    x = np.linspace(21, 178, 30)
    ra, dec = wcs["1000p000"].all_pix2world(x, x[::-1], 0)
    many = BrickReader().stamps(str(folder), "1000p000", ra, dec, 41, (1,)).stamps
    few = BrickReader().stamps(str(folder), "1000p000", ra[:2], dec[:2], 41, (1,)).stamps
    np.testing.assert_array_equal(few, many[:2])


def test_bricks_that_share_memory_have_the_stamps_of_bricks_that_do_not(survey: Any) -> None:
    """Of the brick before, with more windows, nothing is left."""
    folder, wcs, _ = survey
    x, shared, held = np.linspace(21, 178, 30), BrickReader(), []
    for count in (30, 2, 7):
        ra, dec = wcs["1000p000"].all_pix2world(x[:count], x[::-1][:count], 0)
        found = shared.stamps(str(folder), "1000p000", ra, dec, 41, (1,))
        alone = BrickReader().stamps(str(folder), "1000p000", ra, dec, 41, (1,))
        np.testing.assert_array_equal(found.stamps, alone.stamps)
        np.testing.assert_array_equal(found.masked, alone.masked)
        held.append(found.stamps)
    assert np.shares_memory(held[0], held[-1])


def test_a_source_near_an_edge_is_taken_from_the_brick_that_holds_the_window() -> None:
    step = 90 * 0.262 / 3600
    bricks = Bricks(np.array(["a", "b", "c"]), np.array([0.0, 360 - step, 180.0]), np.array([0.0, 0.0, 0.0]))
    x = tangent_pixels(bricks, np.array([0]), np.array([0.0]), np.array([0.0]), SIZE)
    np.testing.assert_allclose(x, [[99.5, 99.5]])
    ra = np.array([0.0, 360 - 0.95 * step, 0.5 * step, 90.0])
    own = np.array(["a", "a", "b", "a"])
    assert holding_brick(bricks, own, ra, np.zeros(4), 41, SIZE).tolist() == ["a", "b", "a", ""]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"BRICKNAME": ["a"], "RA": [np.nan], "DEC": [0.0]}, "1 of 1 are outside"),
        ({"BRICKNAME": ["a"], "RA": [1.0], "DEC": [95.0]}, "must hold bricks at RA 0 to 360"),
        ({"BRICKNAME": ["a"], "RA": ["1h"], "DEC": [0.0]}, "is not a table of bricks"),
        ({"BRICKNAME": ["a"], "RA": [1.0]}, "is not a table of bricks"),
    ],
)
def test_a_table_of_bricks_that_is_none(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = tmp_path / "survey-bricks.fits"
    Table(columns).write(path)
    with pytest.raises(DataError, match=message):
        Bricks.read(str(path))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"is not a table of bricks .*: the file is truncated: a header has no end"):
        Bricks.read(str(path))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=r"is not a table of bricks .*: it is gzip-compressed: unpack it"):
        Bricks.read(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"is not a table of bricks .*: it is not a file"):
        Bricks.read(str(path))


def made(spark: Any, wanted: Any, folder: Path, work: Path, known: pa.Table | None = None) -> pa.Table:
    """Index of what is wanted, as the stage makes it."""
    sources = Sources.of(wanted).in_bricks(str(folder), PARAMS)
    coadds = Coadds(lambda: spark, str(folder), PARAMS, "x", "code")
    known = packing.PACKED_SCHEMA.empty_table() if known is None else known
    return packing.completed(coadds, sources, work, known).sort_by("galaxy_id")


def packed(index: pa.Table, place: Path) -> pa.Table:
    """The index with its stamps in the shards of ``place``."""
    for name in ("shard", "shard_row"):
        if name not in index.column_names:
            index = index.append_column(name, pa.nulls(index.num_rows, pa.int32()))
    return packing.packed(index, place, place / "none", place / "shards", PARAMS)


def requests(wcs: dict[str, WCS]) -> pa.Table:
    places = [(name, x, y) for name in wcs for x, y in ((60.2, 140.0), (100.3, 99.8), (150, 60))]
    places.append(("1000p000", 5.0, 100.0))
    rows = [(f"x:{name}_{i}", *sky(wcs[name], x, y), name, False) for i, (name, x, y) in enumerate(places)]
    names = ("galaxy_id", "ra", "dec", "brickname", "lacking")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def test_every_request_ends_as_a_stamp_or_as_a_reason(jobs_spark: Any, survey: Any, tmp_path: Path) -> None:
    folder, wcs, images = survey
    wanted = requests(wcs)
    index = made(jobs_spark, wanted, folder, tmp_path)
    reasons = {r["galaxy_id"]: r["reason"] for r in index.to_pylist()}
    assert len(reasons) == 19
    by_brick = {name: [v for k, v in reasons.items() if k.startswith(f"x:{name}")] for name in wcs}
    assert sorted(str(v) for v in by_brick["1000p000"]) == ["None", "None", "None", cutter.NO_BRICK]
    assert by_brick["1001p000"] == [None] * 3
    assert by_brick["1002p000"] == ["legacysurvey-1002p000-image-g.fits.fz is missing"] * 3
    assert by_brick["1003p000"] == ["no data in band z"] * 3
    assert sorted(str(v) for v in by_brick["1004p000"]) == [
        "None", "None", "pixels within 8 px of the centre are not finite",
    ]  # fmt: skip
    assert all("image-z.fits.fz cannot be read" in str(v) for v in by_brick["1005p000"])
    rows = packing.rows(packed(index, tmp_path))
    rules.require(tables.spec("cutouts"), rows)
    good = [r for r in rows.to_pylist() if r["status"] == "ok"]
    stamps = StampStore(tmp_path / "shards").get(rows.filter(pc.equal(rows["status"], "ok")))
    for row, stamp in zip(good, stamps, strict=True):
        assert hashlib.sha256(stamp.tobytes()).hexdigest() == row["sha256"]
        if row["galaxy_id"] == "x:1001p000_3":
            np.testing.assert_array_equal(stamp[1], images["1001p000"]["r"][120:161, 40:81])
    assert len(good) == 8


def test_an_interrupted_extraction_resumes_and_gives_the_same(jobs_spark: Any, survey: Any, tmp_path: Path) -> None:
    folder, wcs, _ = survey
    wanted = requests(wcs)
    first = made(jobs_spark, wanted, folder, tmp_path)
    done = tmp_path / "1001p000.parquet"
    kept, stamp = (tmp_path / "1000p000.parquet").stat().st_mtime_ns, done.stat().st_mtime_ns
    done.unlink()
    (tmp_path / "1001p000.npy").write_bytes(b"half")
    again = made(jobs_spark, wanted[::-1], folder, tmp_path)
    assert again.equals(first)
    assert done.stat().st_mtime_ns != stamp
    assert (tmp_path / "1000p000.parquet").stat().st_mtime_ns == kept
    rows = [packed(first, tmp_path) for _ in range(2)]
    assert rows[0].equals(rows[1])


@pytest.mark.usefixtures("whole_stage")
def test_a_shard_of_another_run_or_half_of_one_is_made_again(survey: Any, tmp_path: Path) -> None:
    """Partial work is resumed by what it holds, not by its shape."""
    folder, wcs, _ = survey
    x = np.linspace(25, 170, 12)
    ra, dec = wcs["1000p000"].all_pix2world(x, x[::-1], 0)
    ids = [f"x:{i}" for i in range(12)]
    cutter.BrickCutter(str(folder), str(tmp_path), PARAMS, "v").brick("1000p000", ids, ra, dec, ra > 360)
    index = pq.read_table(tmp_path / "1000p000.parquet", schema=cutter.INDEX_SCHEMA)
    rows = packing.rows(packed(index, tmp_path))
    one, two, kept = sorted((tmp_path / "shards").glob("*.npy"))
    times = kept.stat().st_mtime_ns
    np.save(one, np.load(one)[::-1])
    two.write_bytes(b"half")
    assert packing.rows(packed(index, tmp_path)).equals(rows)
    good = rows.filter(pc.equal(rows["status"], "ok"))
    assert len(StampStore(tmp_path / "shards").get(good)) == good.num_rows == 12
    assert kept.stat().st_mtime_ns == times


@pytest.mark.usefixtures("whole_stage")
def test_a_brick_is_made_again_when_its_coadds_sources_or_settings_change(survey: Any, tmp_path: Path) -> None:
    _, wcs, images = survey
    write_brick(tmp_path / "sky", "1000p000", 100.0, 0.0, images["1000p000"])
    work = tmp_path / "work"
    work.mkdir()
    ra, dec = (np.array([v]) for v in sky(wcs["1000p000"], 100, 100))

    def stamp_time(settings: Any, shift: float = 0.0) -> int:
        cutter.BrickCutter(str(tmp_path / "sky"), str(work), settings, cutting.version(settings, "x")).brick(
            "1000p000", ["a"], ra + shift, dec, dec > 90
        )
        return (work / "1000p000.parquet").stat().st_mtime_ns

    times = [stamp_time(PARAMS), stamp_time(PARAMS), stamp_time(PARAMS, 1e-4)]
    times.append(stamp_time(params("cutouts", stamp_pixels=43, coadd_pixels=SIZE)))
    before = stamp_time(PARAMS)
    changed = images["1000p000"] | {"r": images["1000p000"]["r"] + 1}
    write_brick(tmp_path / "sky", "1000p000", 100.0, 0.0, changed)
    assert times[0] == times[1] < times[2] < times[3] < before < stamp_time(PARAMS)
    np.testing.assert_array_equal(np.load(work / "1000p000.npy")[0, 1], changed["r"][80:121, 80:121])


def test_the_cutout_version_is_that_of_source_size_and_settings() -> None:
    base = cutting.version(PARAMS, "x")
    assert base == cutting.version(PARAMS.model_copy(update={"buckets": 7}), "x")
    assert len({base, cutting.version(PARAMS, "y"), cutting.version(params("cutouts", stamp_pixels=43), "x")}) == 3


def test_metrics_against_plain_numpy() -> None:
    rng = np.random.default_rng(5)
    stamps = rng.normal(1, 0.3, (3, 3, 101, 101)).astype(np.float32)
    stamps[1, 1, 3, 3] = np.nan
    stamps[2, 0, 50, 50] = 0
    masked = rng.random((3, 101, 101)) < 0.1
    full = params("cutouts")
    found = qa.measure(stamps, masked, qa.Rings.of(full, 101))
    y, x = np.indices((101, 101)) - 50
    radius = np.hypot(x, y)
    for i in range(3):
        r = stamps[i, 1].astype(float)
        assert found["core_mean_r"][i] == pytest.approx(r[radius < 8].mean())
        assert found["annulus_mean_r"][i] == pytest.approx(r[(radius >= 4) & (radius < 16)].mean())
        assert found["outer_mean_r"][i] == pytest.approx(r[(radius >= 16) & (radius < 28)].mean())
        finite = r[np.isfinite(r)]
        assert found["mad_r"][i] == pytest.approx(np.median(np.abs(finite - np.median(finite))))
        assert found["percentile_99_r"][i] == pytest.approx(np.percentile(finite, 99))
        assert found["masked_fraction"][i] == pytest.approx(masked[i].mean())
    np.testing.assert_allclose(found["nan_fraction"], [0, 1 / (3 * 101**2), 0])
    np.testing.assert_allclose(found["zero_fraction"], [0, 0, 1 / (3 * 101**2)])
    assert qa.reasons(stamps, found, full) == [None, None, None]
    stamps[0, 2, 50, 57] = np.inf
    stamps[1, 0, :6] = np.nan
    stamps[1, 1, :6] = np.nan
    stamps[1, 2, :6] = np.nan
    stamps[2, 0], stamps[2, 2] = np.nan, 0
    found = qa.measure(stamps, masked, qa.Rings.of(full, 101))
    assert qa.reasons(stamps, found, full) == [
        "pixels within 8 px of the centre are not finite",
        "more than 5% of the pixels are not finite",
        "no data in band g, z",
    ]


def test_metrics_are_to_the_last_bit_those_of_numpy() -> None:
    rng = np.random.default_rng(6)
    stamps = rng.normal(0, 0.02, (5, 3, 64, 64)).astype(np.float32)
    stamps[1, :, 30:34, 30:34] += 40
    stamps[2, 1, :7], stamps[2, 0, 5, 5], stamps[3, 2, 9] = np.nan, np.inf, 0
    stamps[4] = np.nan
    found = qa.measure(stamps, None, qa.Rings.of(params("cutouts"), 64))
    r = stamps[:4, 1].reshape(4, -1).astype(np.float64)
    finite, pixels = np.isfinite(stamps).sum(axis=(1, 2, 3)), stamps[0].size
    expected = {
        "percentile_1_r": np.nanpercentile(r, 1, axis=1),
        "percentile_99_r": np.nanpercentile(r, 99, axis=1),
        "mad_r": np.nanmedian(np.abs(r - np.nanmedian(r, axis=1, keepdims=True)), axis=1),
        "nan_fraction": 1.0 - finite[:4] / pixels,
        "zero_fraction": 1.0 - np.count_nonzero(stamps[:4], axis=(1, 2, 3)) / pixels,
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name][:4], values, err_msg=name)
    assert np.isnan([found[name][4] for name in ("percentile_1_r", "mad_r", "core_mean_r", "asymmetry_r")]).all()


def test_a_symmetric_galaxy_has_no_asymmetry() -> None:
    y, x = np.indices((101, 101)) - 50.0
    smooth = np.exp(-np.hypot(x, y) / 6)
    lopsided = smooth * (1 + 0.5 * (x > 0))
    stamps = np.stack([np.stack([image] * 3) for image in (smooth, lopsided)]).astype(np.float32)
    found = qa.measure(stamps, None, qa.Rings.of(params("cutouts"), 101))["asymmetry_r"]
    assert found[0] < 0.08
    assert found[1] > 0.2


def test_a_brick_task_reports_what_it_did(survey: Any, tmp_path: Path) -> None:
    folder, wcs, _ = survey
    ra, dec = sky(wcs["1000p000"], 100, 100)
    task = {"brick": ["1000p000"], "galaxy_id": [["a", "b"]], "ra": [[ra, ra]], "dec": [[dec, dec]]}
    task["lacking"] = [[False, True]]
    work = cutter.BrickCutter(str(folder), str(tmp_path), PARAMS, "v")
    done = pa.Table.from_batches(work(iter(pa.table(task).to_batches())))
    assert done.to_pylist() == [{"brick": "1000p000", "rows": 2}]
