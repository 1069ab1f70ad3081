"""Labelled cut-outs of any team are read as their description says; what cannot be used has a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from etl.config import CutoutsParams
from etl.cutouts.cutoutset import CutoutSet, Reader
from etl.cutouts.description import Description
from injection.optics.psf import BandPsf
from lake.errors import DataError, ParameterError
from tests.cutoutsets import SCALE, SIDE, UNIT, described, psf, stamps, write_fits, write_set
from tests.pipeline.checkout import project_in

NO_TABLE: dict[str, Any] = {"table": None, "labels": {"all": "negative"}, "psf": {"kind": "fwhm_nea", "arcsec": 0.8}}


def judge(image: NDArray[np.float64], band: str) -> None:
    BandPsf.of_image(image[None], True, SCALE)


def read(folder: Path, pixels: Path, **changes: Any) -> CutoutSet:
    known = Description.load(described(**changes), "set.yaml")
    params = project_in(pixels).section(CutoutsParams, "cutouts")
    table = pd.read_csv(folder / known.table, dtype=str) if known.table else None
    return Reader(folder, known, params, judge, table, ["seeing"]).read(pixels / "pixels")


def npz(folder: Path, pixels: NDArray[np.float32]) -> dict[str, Any]:
    for index, stamp in enumerate(pixels):
        np.savez(folder / f"{index}.npz", cutout=stamp.transpose(1, 2, 0), meta_pixel_scale=SCALE)
    return {"images": {"files": "*.npz"}}


def cubes(folder: Path, pixels: NDArray[np.float32]) -> dict[str, Any]:
    for index, stamp in enumerate(pixels):
        write_fits(folder / "deep" / f"{index}.fits", stamp, SCALE)
    return {"images": {"files": "deep/*.fits"}}


def file_per_band(folder: Path, pixels: NDArray[np.float32]) -> dict[str, Any]:
    for index, stamp in enumerate(pixels):
        for band, plane in zip(("HSC-G", "HSC-I"), stamp, strict=True):
            write_fits(folder / f"cutout_{index}_{band}.fits", plane)
    return {"images": {"files": "cutout_{id}_{band}.fits"}, "band_names": {"g": "HSC-G", "i": "HSC-I"}}


def folders(folder: Path, pixels: NDArray[np.float32]) -> dict[str, Any]:
    """A folder for each object; identifier and band are named twice."""
    for index, stamp in enumerate(pixels):
        for band, plane in zip("gi", stamp, strict=True):
            write_fits(folder / f"{index}" / band / f"{index}_{band}.fits", plane)
    (folder / "1" / "g" / "2_g.fits").write_bytes((folder / "2" / "g" / "2_g.fits").read_bytes())
    (folder / "1" / "g" / "2_g.fits").rename(folder / "1" / "g" / "2_g.txt")
    return {"images": {"files": "./{id}/{band}/{id}_{band}.fits"}}


def band_of_all(folder: Path, pixels: NDArray[np.float32]) -> dict[str, Any]:
    for place, band in enumerate("gi"):
        write_fits(folder / f"{band}.fits", pixels[:, place])
    return {"images": {"files": "{band}.fits"}}


def extensions(folder: Path, pixels: NDArray[np.float32]) -> dict[str, Any]:
    for index, stamp in enumerate(pixels):
        images = [fits.ImageHDU(plane, name=f"{band}_SCI") for band, plane in zip("GI", stamp, strict=True)]
        fits.HDUList([fits.PrimaryHDU(), *images]).writeto(folder / f"{index}.fits")
    return {"images": {"files": "{id}.fits", "array": "{band}_sci"}}


def hdf5_channels_last(folder: Path, pixels: NDArray[np.float32]) -> dict[str, Any]:
    with h5py.File(folder / "all.h5", "w") as file:
        file["x"] = pixels.transpose(0, 2, 3, 1)
    return {"images": {"files": "all.h5", "axes": ["object", "y", "x", "band"]}}


def one_npz(folder: Path, pixels: NDArray[np.float32]) -> dict[str, Any]:
    objects, when = np.array([{}, None]), np.array(["2026-01-01"], dtype="datetime64[D]")
    cutout = pixels.transpose(0, 2, 3, 1).astype(">f8")
    np.savez(folder / "all.npz", cutout=cutout, name=np.arange(len(pixels)), notes=objects, when=when)
    return {"images": {"files": "all.npz", "axes": ["object", "y", "x", "band"], "id": "name"}}


def hdf5_groups(folder: Path, pixels: NDArray[np.float32]) -> dict[str, Any]:
    with h5py.File(folder / "all.h5", "w") as file:
        file["data/images"], file["data/name"] = pixels, np.arange(len(pixels))
        file["gone"] = h5py.SoftLink("/nothing")
    return {"images": {"files": "all.h5", "array": "data/images", "id": "data/name"}}


def compressed_cubes(folder: Path, pixels: NDArray[np.float32]) -> dict[str, Any]:
    for index, stamp in enumerate(pixels):
        write_fits(folder / f"{index}.fits.gz", stamp, SCALE)
    return {"images": {"files": "{id}.fits.gz"}}


@pytest.mark.parametrize(
    "write",
    [
        npz, one_npz, cubes, compressed_cubes, file_per_band, folders, band_of_all, extensions, hdf5_channels_last,
        hdf5_groups,
    ],
)  # fmt: skip
def test_every_layout_gives_the_same_stamps_in_nanomaggies(
    tmp_path: Path, write: Callable[[Path, NDArray[np.float32]], dict[str, Any]]
) -> None:
    pixels = stamps(3, 0)
    pixels[1, 0, :2] = 0.0
    folder = tmp_path / "set"
    folder.mkdir()
    found = read(folder, tmp_path, **{**NO_TABLE, **write(folder, pixels)})
    expected = np.where(pixels == 0, np.nan, pixels.astype(np.float64) * UNIT)
    np.testing.assert_allclose(found.stamps, expected, rtol=1e-6)
    assert found.objects["galaxy_id"].to_list() == ["own:0", "own:1", "own:2"]
    assert found.rejected == []


def test_what_cannot_be_used_is_named_with_its_reason(tmp_path: Path) -> None:
    pixels = stamps(8, 0)
    folder = tmp_path / "set"
    for index, stamp in enumerate(pixels):
        write_fits(folder / f"{index}.fits", stamp, SCALE)
    (folder / "broken.fits").write_bytes((folder / "0.fits").read_bytes()[:5000])
    write_fits(folder / "copy.fits", pixels[0], SCALE)
    write_fits(folder / "coarse.fits", pixels[1] + 1, 0.25)
    write_fits(folder / "flat.fits", pixels[2, 0], SCALE)
    write_fits(folder / "small.fits", pixels[3, :, 1:-1, 1:-1], SCALE)
    hole, gone = pixels[4] + 1, pixels[5] + 1
    hole[0, SIDE // 2, SIDE // 2] = np.nan
    gone[1] = 0.0
    write_fits(folder / "hole.fits", hole, SCALE)
    write_fits(folder / "gone.fits", gone, SCALE)
    (folder / "notes.txt").write_text("not counted")
    (folder / "other.npz").write_bytes(b"")
    found = read(folder, tmp_path, **{**NO_TABLE, "images": {"files": "*.fits"}})
    reasons = {row["source_file"]: row["reason"] for row in found.rejected}
    assert len(found.objects) == 8
    assert {
        name.split(".")[0]: reason.removeprefix(f"{name.split('.')[0]}: ").removeprefix(f"{name}: ")
        for name, reason in reasons.items()
    } == {
        "broken": "broken.fits cannot be read: its header declares 13448 bytes of data, but the file holds 2120",
        "copy": "it has the same pixels as 0",
        "coarse": "its pixels are 0.25 arcsec wide, and 0.2 is declared",
        "flat": "images must have the 2 bands g, i, got 1 of (41, 41) pixels; "
        "declare the order of the axes with 'axes'",
        "small": "it is 39 pixels wide, and the others 41: declare a stamp_pixels to which all can be cropped",
        "hole": "pixels within 8 px of the centre are not finite",
        "gone": "no data in band i",
        "other": "it matches no declared path",
    }


def test_a_crop_that_would_shift_the_middle_is_refused(tmp_path: Path) -> None:
    write_fits(tmp_path / "set" / "0.fits", stamps(1, 0)[0], SCALE)
    with pytest.raises(
        DataError, match=r"0: it is 41 pixels wide: stamp_pixels must be odd to keep its centre, got 38"
    ):
        read(tmp_path / "set", tmp_path, **{**NO_TABLE, "images": {"files": "*.fits"}, "stamp_pixels": 38})


def test_labels_and_psfs_that_are_not_as_declared_cost_one_object_each(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder, 6, 2)
    with h5py.File(folder / "stamps.h5", "a") as file:
        file["psf"][2, 1] *= 0.9
        file["psf"][3, 0] = np.roll(psf(0.7), 2, axis=0)
    table = pd.read_csv(folder / "objects.csv").astype({"kind": object})
    table.loc[4, "kind"] = "perhaps"
    pd.concat([table[table["id"] != "o005"], pd.DataFrame({"id": ["o099"], "kind": ["lens"]})]).to_csv(
        folder / "objects.csv", index=False
    )
    found = read(folder, tmp_path)
    assert found.objects["galaxy_id"].to_list() == ["own:o000", "own:o001"]
    assert found.objects["label"].to_list() == [1, 1]
    assert found.numbers("seeing")[1] == pytest.approx(0.7 + 0.2 / 6)
    said = (
        (2, "o002: 'psf image' must be of a sum within 1 % of one, got 0.89"),
        (3, "o003: 'psf image' must be centred on its middle pixel within 0.5 pixel, got "),
        (4, "o004: its 'kind' must be one of those of lenses or negatives (lens; random), got perhaps"),
        (5, "o005: it is not in objects.csv"),
        (5, "object o099 of the table has no cut-out"),
    )
    for row, (place, reason) in zip(found.rejected, said, strict=True):
        assert row["row_index"] == place
        assert row["reason"].startswith(reason)
    whole = read(folder, tmp_path, psf={"kind": "image", "array": "psf", "includes_pixel": True, "normalise": True})
    assert "own:o002" in set(whole.objects["galaxy_id"])


def test_rows_of_a_table_without_ids_belong_to_the_objects_of_the_only_file(tmp_path: Path) -> None:
    pixels = stamps(6, 0)
    folder = tmp_path / "set"
    folder.mkdir()
    pd.DataFrame({"kind": ["lens", "random", "random", "lens"]}).to_csv(folder / "objects.csv", index=False)
    width: dict[str, Any] = {"psf": NO_TABLE["psf"], "images": {"files": "*.h5"}}
    for name, some in (("a", pixels[:4]), ("b", pixels[4:])):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["x"] = some
        if name == "a":
            assert read(folder, tmp_path, **width).objects["label"].to_list() == [1, 0, 0, 1]
    with pytest.raises(DataError, match=r"objects\.csv must have a column 'id' with the ids of objects, got kind"):
        read(folder, tmp_path, **width)
    pd.DataFrame({"id": range(4), "kind": "random"}).to_csv(folder / "objects.csv", index=False)
    found = read(folder, tmp_path, **width)
    assert found.objects["galaxy_id"].to_list() == ["own:a/0", "own:a/1", "own:a/2", "own:a/3"]
    assert [row["reason"] for row in found.rejected] == [
        f"b/{place}: an earlier object takes its row of objects.csv" for place in (0, 1)
    ]


@pytest.mark.parametrize("count", [5, 7])
@pytest.mark.parametrize(("place", "what"), [("psf", "PSFs"), ("noise", "noise maps")])
def test_arrays_of_other_numbers_of_objects_are_refused(tmp_path: Path, place: str, what: str, count: int) -> None:
    folder = tmp_path / "set"
    write_set(folder, 6, 2)
    kind = {"kind": "image", "includes_pixel": True} if place == "psf" else {"kind": "rms"}
    with h5py.File(folder / "stamps.h5", "a") as file:
        file["other"] = np.ones((count, 2, 15, 15))
    with pytest.raises(DataError, match=f"stamps.h5: {what} must be as many as images, 6, got {count}"):
        read(folder, tmp_path, **{place: {**kind, "array": "other"}})


def test_true_is_a_label_however_it_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder, 4, 0)
    with h5py.File(folder / "stamps.h5", "a") as file:
        file["y"] = np.array([True, False, False, True])
    for labels in ({"column": "y"}, {"column": "y", "lenses": [True], "negatives": [False]}):
        found = read(folder, tmp_path, labels=labels)
        assert found.objects["label"].to_list() == [1, 0, 0, 1]
    for words in (["True", "False", "False", "True"], ["true", "0", "FALSE", "1.0"]):
        table = pd.read_csv(folder / "objects.csv").assign(y=words)
        table.to_csv(folder / "objects.csv", index=False)
        assert read(folder, tmp_path, labels={"column": "y"}).objects["label"].to_list() == [1, 0, 0, 1]


def test_numbers_that_name_files_are_found_in_a_table_of_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for index, stamp in enumerate(stamps(3, 0)):
        write_fits(folder / f"{index}.0.fits", stamp, SCALE)
    pd.DataFrame({"id": [0.0, 1.0, 2.0], "kind": "lens"}).to_csv(folder / "objects.csv", index=False)
    found = read(folder, tmp_path, psf=NO_TABLE["psf"], images={"files": "{id}.fits"})
    assert len(found.objects) == 3
    assert found.rejected == []
    (folder / "2.0.fits").write_text("no FITS")
    (lost,) = read(folder, tmp_path, psf=NO_TABLE["psf"], images={"files": "{id}.fits"}).rejected
    assert lost["source_file"] == "2.0.fits"


def test_an_object_without_an_identifier_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder, 3, 0)
    with h5py.File(folder / "stamps.h5", "a") as file:
        del file["name"]
        file["name"] = np.array([b"", b"", b""])
    with pytest.raises(DataError, match=r"stamps\.h5 has no 'name' with the id of each object, as a list of numbers"):
        read(folder, tmp_path)


def test_the_two_ways_to_write_an_accent_are_one_identifier(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder, 2, 0)
    pd.DataFrame({"id": ["\u00e9", "o001"], "kind": "random"}).to_csv(folder / "objects.csv", index=False)
    with h5py.File(folder / "stamps.h5", "a") as file:
        file["name"][0] = "e\u0301".encode()
    assert len(read(folder, tmp_path).objects) == 2


def test_bands_of_another_pixel_scale_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for index, stamp in enumerate(stamps(2, 0)):
        for band, plane in zip("gi", stamp, strict=True):
            write_fits(folder / f"{index}_{band}.fits", plane, 2 * SCALE if (index, band) == (1, "i") else SCALE)
    found = read(folder, tmp_path, **NO_TABLE, images={"files": "{id}_{band}.fits"})
    assert [row["reason"] for row in found.rejected] == [
        "1_g.fits: its pixels are 0.4 arcsec wide, and 0.2 is declared"
    ]


def test_a_position_that_is_none_costs_its_object_and_a_blank_one_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder, 4, 0)
    ra, dec = ["10", "", "12:00:00", "370"], ["-5", "", "3", "3"]
    names = [f"o00{place}" for place in range(4)]
    pd.DataFrame({"id": names, "kind": "random", "ra": ra, "dec": dec}).to_csv(folder / "objects.csv", index=False)
    found = read(folder, tmp_path)
    assert found.objects["galaxy_id"].to_list() == ["own:o000", "own:o001"]
    assert [row["reason"] for row in found.rejected] == [
        "o002: its 'ra' must be in degrees, from -180 to 360, got 12:00:00",
        "o003: its 'ra' must be in degrees, from -180 to 360, got 370",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"psf": {"array": "flat"}}, r"o000: stamps\.h5: PSFs must have the 2 bands g, i, got 3 of \(15, 15\) pixels"),
        ({"images": {"array": "none"}}, r"stamps\.h5 holds images of no object"),
        ({"stamp_pixels": 43}, "it is 41 pixels wide, fewer than the declared stamp_pixels, 43"),
    ],
)
def test_what_no_object_has_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    folder = tmp_path / "set"
    write_set(folder, 3, 0)
    with h5py.File(folder / "stamps.h5", "a") as file:
        file["flat"], file["none"] = file["psf"][:, 0], file["images"][:0]
    values = described()
    merged = {key: {**values[key], **value} if isinstance(value, dict) else value for key, value in changes.items()}
    with pytest.raises(DataError, match=said):
        read(folder, tmp_path, **merged)


def test_a_row_without_an_identifier_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder, 3, 0)
    (folder / "objects.csv").write_text("id,kind\no000,random\n,random\no002,random\n")
    with pytest.raises(DataError, match=r"row 2 of objects\.csv must have an id"):
        read(folder, tmp_path)


def test_zeros_of_whole_numbers_are_values_if_that_is_declared(tmp_path: Path) -> None:
    pixels = np.round(stamps(2, 0) / 0.3).astype(np.int16)
    assert (pixels == 0).mean() > 0.05
    folder = tmp_path / "set"
    folder.mkdir()
    np.savez(folder / "0.npz", cutout=pixels[0].transpose(1, 2, 0))
    cure = "zeros count as not finite: if they are values, declare images.zeros_are_data: true"
    with pytest.raises(DataError, match=cure):
        read(folder, tmp_path, **NO_TABLE, images={"files": "*.npz"})
    found = read(folder, tmp_path, **NO_TABLE, images={"files": "*.npz", "zeros_are_data": True})
    np.testing.assert_allclose(found.stamps[0], pixels[0] * UNIT, rtol=1e-6)


def test_a_damaged_compressed_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    images = compressed_cubes(folder, stamps(2, 0))
    whole = (folder / "0.fits.gz").read_bytes()
    (folder / "2.fits.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "3.fits.gz").write_text("no gzip")
    (folder / "4.tar.gz").write_bytes(whole)
    reasons = [row["reason"] for row in read(folder, tmp_path, **NO_TABLE, **images).rejected]
    assert reasons == [
        "2.fits.gz cannot be read: Compressed file ended before the end-of-stream marker was reached",
        "3.fits.gz cannot be read: Not a gzipped file (b'no')",
        "4.tar.gz: it matches no declared path",
    ]


def test_an_even_psf_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder, 3, 0)
    with h5py.File(folder / "stamps.h5", "a") as file:
        even = np.stack([np.stack([psf(0.7, 16)] * 2)] * 3)
        del file["psf"]
        file["psf"] = even
    with pytest.raises(
        DataError, match=r"none of the cut-outs of .* can be used: o000: .*odd n in each band, got \(1, 16"
    ):
        read(folder, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reference_band": "r"}, r"'reference_band' must be one of g, i, got 'r'"),
        ({"zero_point_mag": {"g": 27.0}}, "'zero_point_mag' must be one value, or one for each of g, i"),
        ({"zero_point_mag": {"g": 27.0, "i": True}}, "'zero_point_mag' must be a number, got .*True"),
        ({"psf": {"kind": "fwhm", "arcsec": 1.0}}, r"'set.yaml.psf.fwhm.profile' is missing"),
        ({"psf": {"kind": "fwhm_nea", "arcsec": {"g": 0.7, "i": 0.0}}}, r"'psf.arcsec' must be positive, got 0.0"),
        ({"noise": {"kind": "pixel_sigma", "value": -1}}, r"'noise.value' must be positive, got -1.0"),
        ({"source_mag_edges": [24.0, 22.0]}, "'source_mag_edges' must be two or more, strictly increasing"),
        ({"source_mag_edges": [24.0]}, "'source_mag_edges' must be two or more, strictly increasing"),
        ({"labels": {"lenses": ["A", 1], "negatives": [True]}}, "must be values of lenses or of negatives, not of"),
        ({"name": "main"}, "'name' must be another than main, des46"),
        ({"bands": "gi"}, "'set.yaml.bands' must be .*, got 'gi'"),
        (
            {"images": {"files": "../stamps.h5"}},
            "'files' must be a path below the folder of cut-outs, with {id}, .* got",
        ),
        ({"images": {"files": "/stamps.h5"}}, "'files' must be a path below the folder of cut-outs"),
        ({"images": {"files": "{ident}.h5"}}, "'files' must be a path below the folder of cut-outs"),
        ({"images": {"files": " "}}, "'files' must be a path below the folder of cut-outs"),
        ({"band_names": {"i": "g"}}, "'band_names' must be different from each other, got 'g, g'"),
        ({"band_names": {"I": "HSC-I"}}, "'band_names' must be names of the bands g, i, got 'I'"),
        ({"labels": {"lenses": [], "negatives": []}}, "'labels' must be values of lenses or of negatives, or `all`"),
        ({"zero_point_mag": {"g": 27, "i": "x"}}, r"^'set\.yaml\.zero_point_mag\.i' must be a valid number, got 'x'$"),
        (
            {"zero_point_mag": "x"},
            r"^'set\.yaml\.zero_point_mag' must be a valid number or a valid dictionary, got 'x'$",
        ),
        ({"psf": 3}, r"^'set\.yaml\.psf' must be a valid dictionary, got 3$"),
        ({"bandz": ["g"]}, "'set.yaml.bandz' must be one of the known parameters .* did you mean 'bands'"),
    ],
)
def test_a_description_with_a_fault_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Description.load(described(**changes), "set.yaml")


def test_a_psf_drawn_between_pixels_is_recentred_if_that_is_declared(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder, 3, 0)
    with h5py.File(folder / "stamps.h5", "a") as file:
        y, x = np.mgrid[:15, :15] - 7.0
        moved = np.exp(-4 * np.log(2) * (x**2 + (y - 0.6) ** 2) * (SCALE / 0.7) ** 2)
        file["psf"][1, 0] = moved / moved.sum()
    assert len(read(folder, tmp_path).rejected) == 1
    kept = read(folder, tmp_path, psf={"kind": "image", "array": "psf", "includes_pixel": True, "recentre": True})
    assert kept.psf is not None
    np.testing.assert_allclose(kept.psf[1, 0], psf(0.7), atol=2e-4)


def real(folder: Path, pixels: Path, **changes: Any) -> CutoutSet:
    values = Description.load(described(table=None, labels={"all": "negative"}, **changes), "set.yaml")
    params = project_in(pixels).section(CutoutsParams, "cutouts")

    def judged(image: NDArray[np.float64], band: str) -> None:
        BandPsf.of_image(image[None], True, values.pixel_scale_arcsec)

    return Reader(folder, values, params, judged, None, ["tier"]).read(pixels / "pixels")


def test_real_hsc_cutouts_with_their_own_psf_and_variance(real_data: Path, tmp_path: Path) -> None:
    psfs = {"kind": "image", "files": "data/{id}_{band}_psf.fits", "includes_pixel": True}
    hsc: dict[str, Any] = {
        "bands": ["g", "r", "i", "z", "y"], "pixel_scale_arcsec": 0.168, "stamp_pixels": 101,
        "images": {"files": "data/{id}_{band}_sci.fits"},
    }  # fmt: skip
    folder = real_data / "cutouts" / "hsc_lens_pyplz"
    found = real(folder, tmp_path, **hsc, psf=psfs)
    reasons = {row["source_file"]: row["reason"] for row in found.rejected}
    assert reasons["220506+014703_mask.fits"].endswith("it matches no declared path")
    assert "within 0.5 pixel, got 0.526" in reasons["data/220506+014703_g_sci.fits"]
    both = real(folder, tmp_path, **hsc, psf={**psfs, "recentre": True})
    assert both.objects["galaxy_id"].to_list() == ["own:220506+014703", "own:42305780052942573"]
    assert both.stamps.shape == (2, 5, 101, 101)
    assert both.psf is not None
    assert both.psf.shape[-1] == 43
    np.testing.assert_allclose(both.psf.sum((2, 3)), 1.0, atol=1e-5)
    lens = fits.getdata(folder / "data" / "220506+014703_i_sci.fits")
    np.testing.assert_allclose(both.stamps[0, 2], lens * 10 ** (0.4 * (22.5 - 27.0)), rtol=1e-5)


def test_real_euclid_cutouts_with_a_zero_point_for_each_band(real_data: Path, tmp_path: Path) -> None:
    euclid: dict[str, Any] = {
        "bands": ["g", "r", "VIS"], "reference_band": "VIS", "pixel_scale_arcsec": 0.1,
        "band_names": {"g": "DES_G", "r": "DES_R"}, "zero_point_mag": {"g": 30.0, "r": 30.0, "VIS": 24.6},
        "images": {"files": "10{id}.fits", "array": "{band}_BGSUB"},
    }  # fmt: skip
    folder, psfs = real_data / "cutouts" / "euclid_q1_lenses_with_DES", {"kind": "image", "array": "{band}_PSF"}
    with pytest.raises(
        DataError, match=r"none of the cut-outs .*NEG\d+: 'psf image' must be of a sum within 1 % of one, got 0\.95"
    ):
        real(folder, tmp_path, **euclid, psf={**psfs, "includes_pixel": True})
    found = real(folder, tmp_path, **euclid, psf={**psfs, "includes_pixel": True, "normalise": True})
    assert found.stamps.shape == (2, 3, 100, 100)
    vis = fits.getdata(folder / "102019126_NEG589666030505609975.fits", extname="VIS_BGSUB")
    np.testing.assert_allclose(found.stamps[1, 2], vis * 10 ** (0.4 * (22.5 - 24.6)), rtol=1e-5)


def test_real_decals_and_dr10_files_that_cannot_be_used_are_named(real_data: Path, tmp_path: Path) -> None:
    grz: dict[str, Any] = {
        "bands": ["g", "r", "z"], "reference_band": "r", "pixel_scale_arcsec": 0.262, "zero_point_mag": 22.5,
        "psf": {"kind": "fwhm_nea", "arcsec": 1.2},
    }  # fmt: skip
    found = real(real_data / "cutouts/decals_viewer", tmp_path, **grz, images={"files": "*.fits"}, stamp_pixels=101)
    assert found.objects["galaxy_id"].to_list() == ["own:temp_small"]
    reasons = {row["source_file"]: row["reason"] for row in found.rejected}
    assert len(reasons) == 6
    assert "its header declares 2157312 bytes of data, but the file holds 1386164" in reasons["example_incomplete.fits"]
    assert reasons["example_bad_pix.fits"].endswith("its pixels are 0.1302 arcsec wide, and 0.262 is declared")
    assert reasons["gordon_joint_catalog_no_cuts.fits"].endswith("it has no image; its images: none")
    images = {"files": "*.npz", "id": "galaxy_id"}
    candidates = real(real_data / "cutouts/dr10_lens_candidates", tmp_path, **grz, images=images)
    assert candidates.objects["galaxy_id"].to_list() == ["own:0001m060_2396", "own:0003m005_293", "own:0006p270_2574"]
    assert candidates.rejected == []
