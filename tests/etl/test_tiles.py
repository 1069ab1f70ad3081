"""Tiles of Rice-compressed coadds, against astropy's pixels."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from etl.cutouts import qa
from etl.cutouts.tiles import Memory, TiledImage, tiled, tiled_or_not
from lake.errors import DataError
from lake.files import fitslayout

SHAPE = (130, 170)
SIDE = 41
_RNG = np.random.default_rng(5)
NOISE = _RNG.normal(0.1, 0.02, SHAPE).astype(np.float32)
BRIGHT = (NOISE + 50.0 * np.exp(-np.hypot(*(np.indices(SHAPE) - 60)) / 9)).astype(np.float32)
ZEROS = np.where(np.indices(SHAPE)[0] < 70, 0, NOISE).astype(np.float32)
MASK = np.where(_RNG.random(SHAPE) < 0.05, 1 << 11, 0)
WILD = _RNG.integers(-(1 << 30), 1 << 30, SHAPE)
"""Differences that Rice leaves as they are."""


def written(folder: Path, image: np.ndarray, tile: tuple[int, int], **options: Any) -> Path:
    path = folder / "image.fits.fz"
    packed = fits.CompImageHDU(image, compression_type="RICE_1", tile_shape=tile, **options)
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    return path


def image_of(path: Path, file: Any) -> TiledImage:
    found = tiled(file, fitslayout.walk(path)[-1])
    assert found is not None
    return found


def windows(tiles: Any, x0: np.ndarray, y0: np.ndarray) -> np.ndarray:
    out = np.empty((len(x0), SIDE, SIDE), dtype=np.float32)
    tiles.windows(x0, y0, out)
    return out


@pytest.mark.parametrize("tile", [(50, 60), (1, 170), (130, 170)])
@pytest.mark.parametrize(
    ("image", "options"),
    [
        (NOISE, {"quantize_level": 16.0}),
        (BRIGHT, {"quantize_level": -0.001, "quantize_method": 1, "dither_seed": 9990}),
        (ZEROS, {"quantize_level": -0.002, "quantize_method": 2, "dither_seed": 7}),
        (np.where(NOISE > 0.13, np.float32(np.nan), NOISE), {"quantize_level": -0.001}),
        (MASK.astype(np.int16), {}),
        (MASK.astype(np.int32), {}),
        (WILD.astype(np.int32), {}),
        ((WILD >> 16).astype(np.int16), {}),
    ],
    ids=["plain", "dither 1", "dither 2", "blank", "mask 16", "mask 32", "wild 32", "wild 16"],
)
def test_pixels_are_those_of_astropy(
    tmp_path: Path, image: np.ndarray, options: dict[str, Any], tile: tuple[int, int]
) -> None:
    path = written(tmp_path, image, tile, **options)
    true = fits.getdata(path, 1).astype(np.float32)
    assert np.nanstd(true) > 0
    x0, y0 = np.array([0, 129, 31, 60]), np.array([89, 0, 30, 9])
    wanted = np.stack([true[y : y + SIDE, x : x + SIDE] for x, y in zip(x0, y0, strict=True)])
    memory = Memory(np.float32)
    with path.open("rb") as file:
        found = image_of(path, file)
        np.testing.assert_array_equal(windows(found.all(memory), x0, y0), wanted)
        np.testing.assert_array_equal(windows(found.under(x0, y0, SIDE, memory), x0, y0), wanted)


def test_a_real_coadd(real_data: Path) -> None:
    """A brick of the survey, with its subtractive dither."""
    folder = real_data / "cutouts" / "decals_coadd_z_obiwan_history"
    for kind in ("image", "invvar"):
        path = folder / f"legacysurvey-1238p245-{kind}-z.fits.fz"
        with path.open("rb") as file, fits.open(path) as hdus:
            found, true = image_of(path, file), hdus[1].section[3400:3600, 1900:2100]
            x0, y0 = 1900 + np.arange(0, 160, 31), 3400 + np.arange(159, -1, -31)
            held = windows(found.under(x0, y0, SIDE, Memory(np.float32)), x0, y0)
        for x, y, window in zip(x0 - 1900, y0 - 3400, held, strict=True):
            np.testing.assert_array_equal(window, true[y : y + SIDE, x : x + SIDE])


def test_tiles_that_did_not_compress_well_are_read_too(tmp_path: Path) -> None:
    """Flat ones have no noise to be quantised by, and are packed by gzip."""
    path = written(tmp_path, ZEROS, (50, 60), quantize_level=16.0)
    with fits.open(path, disable_image_compression=True) as hdus:
        assert any(len(row) for row in hdus[1].data["GZIP_COMPRESSED_DATA"])
    corner = np.array([0])
    with path.open("rb") as file:
        found = windows(image_of(path, file).all(Memory(np.float32)), corner, corner)
    np.testing.assert_array_equal(found[0], fits.getdata(path, 1)[:SIDE, :SIDE])


def test_a_tile_that_ends_early_or_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, NOISE, (50, 60), quantize_level=16.0)
    content, unit = bytearray(path.read_bytes()), fitslayout.walk(path)[-1]
    size = int.from_bytes(content[unit.data : unit.data + 4], "big")
    wrong = {(0, size // 2): "tile 0 ends before its last pixel", (4, 1 << 30): "a tile lies outside the file's data"}
    for (place, value), message in wrong.items():
        changed, start = content.copy(), unit.data + place
        changed[start : start + 4] = value.to_bytes(4, "big")
        path.write_bytes(changed)
        with path.open("rb") as file:
            found = image_of(path, file)
            with pytest.raises(DataError, match=message):
                found.all(Memory(np.float32))


def test_a_size_below_zero_is_refused_beside_a_tile_that_would_make_up_for_it(tmp_path: Path) -> None:
    path = written(tmp_path, NOISE, (50, 60), quantize_level=16.0)
    with path.open("rb") as file:
        found = image_of(path, file)
        table = found.table.copy()
        size, start = table["COMPRESSED_DATA"][0]
        table["COMPRESSED_DATA"][1] = -1, start + size
        with pytest.raises(DataError, match="a tile lies outside the file's data"):
            replace(found, table=table).all(Memory(np.float32))


def test_tiles_may_lie_in_any_order_with_gaps_and_shared_bytes(tmp_path: Path) -> None:
    """They are read together where they follow each other."""
    path = written(tmp_path, np.tile(NOISE[:50, :60], (3, 3))[:130, :170], (50, 60), quantize_level=16.0)
    corner = np.array([0]), np.array([0])
    with path.open("rb") as file:
        found = image_of(path, file)
        wanted = windows(found.all(Memory(np.float32)), *corner)
        order, table, heap = np.random.default_rng(2).permutation(len(found.table)), found.table.copy(), b"before"
        for tile in order:
            size, start = found.table["COMPRESSED_DATA"][tile]
            file.seek(found.heap + start)
            table["COMPRESSED_DATA"][tile] = size, len(heap)
            heap += file.read(size) + b"gap" * (tile % 2)
        assert table["COMPRESSED_DATA"][0, 0] == table["COMPRESSED_DATA"][1, 0]
        table["COMPRESSED_DATA"][1] = table["COMPRESSED_DATA"][0]
        moved = replace(found, table=table, file=BytesIO(heap), heap=0, heap_bytes=len(heap))
        np.testing.assert_array_equal(windows(moved.all(Memory(np.float32)), *corner), wanted)


def whole(path: Path) -> np.ndarray | None:
    """All pixels by this decoder; None where it refuses the tiles."""
    out = np.empty((1, SHAPE[0], SHAPE[0]), dtype=np.float32)
    try:
        with path.open("rb") as file:
            image_of(path, file).all(Memory(np.float32)).windows(np.array([0]), np.array([0]), out)
    except DataError:
        return None
    return out[0]


@pytest.mark.parametrize("image", [NOISE, MASK.astype(np.int16), MASK.astype(np.int32)], ids=["noise", "16", "32"])
def test_damaged_tiles_are_refused_where_astropy_refuses_them(tmp_path: Path, image: np.ndarray) -> None:
    """Tiles that end early, and tiles that go on after their last pixel; other pixels are astropy's."""
    path, rng, refused = written(tmp_path, image, (50, 60), quantize_level=16.0), np.random.default_rng(3), 0
    content, unit = path.read_bytes(), fitslayout.walk(path)[-1]
    heap = unit.data + unit.header.whole("NAXIS1") * unit.header.whole("NAXIS2")
    for place in rng.integers(heap, heap + unit.header.whole("PCOUNT"), 30):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            true = fits.getdata(path, 1).astype(np.float32)[:, : SHAPE[0]]
        except Exception:  # noqa: BLE001 - of cfitsio, which has no public class
            assert whole(path) is None
            refused += 1
        else:
            np.testing.assert_array_equal(whole(path), true)
    assert refused > 3, refused


def test_other_compressions_are_left_to_astropy(tmp_path: Path) -> None:
    path = tmp_path / "image.fits.fz"
    fits.CompImageHDU(NOISE, compression_type="GZIP_2", quantize_level=0).writeto(path)
    with path.open("rb") as file:
        assert tiled(file, fitslayout.walk(path)[-1]) is None


@pytest.mark.parametrize("kind", [np.int16, np.int32])
def test_whole_numbers_with_a_blank_value_are_left_to_astropy(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "image.fits.fz"
    packed = fits.CompImageHDU(MASK.astype(kind), compression_type="RICE_1", tile_shape=(50, 60))
    packed.header["BLANK"] = 1 << 11
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    with path.open("rb") as file, tiled_or_not(file, fitslayout.walk(path)) as image:
        assert image is not None
        assert not isinstance(image, TiledImage)
        assert np.isnan(image.data).sum() == (MASK != 0).sum()


@pytest.mark.parametrize(
    "values",
    [
        NOISE,
        BRIGHT - np.float32(0.1),
        np.abs(NOISE.astype(np.float64) - 0.1),
        np.zeros(SHAPE, np.float32),
        np.where(MASK, np.inf, -0.0),
        _RNG.integers(-2, 3, SHAPE).astype(np.float32),
        np.exp(_RNG.uniform(-80, 80, SHAPE)).astype(np.float32),
        np.where(_RNG.random(SHAPE) < 0.02, np.float32(1e30), NOISE),
        np.where(MASK, np.float32(1e-45), np.float32(0)),
    ],
    ids=["noise", "both signs", "deviations", "zeros", "infinite", "few", "all sizes", "bright", "tiny"],
)
def test_ranked_values_are_those_of_a_sort(values: np.ndarray) -> None:
    ranks = [0, 1, 2, 84, 85, 100, 168, 169]
    ordered = np.sort(values.astype(np.float64), axis=1)
    found = qa._ranked(values, ranks)
    np.testing.assert_array_equal(found, ordered[:, ranks])
    assert not np.signbit(found[found == 0]).any()
    about = ordered[:, 85]
    if np.isfinite(values).all():
        apart = np.sort(np.abs(values - about[:, None]), axis=1)
        np.testing.assert_array_equal(qa._ranked(values, ranks, about), apart[:, ranks])
