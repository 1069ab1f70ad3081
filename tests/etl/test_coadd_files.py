"""Coadds as they should not be: sizes that are claims, headers without an end, damaged tiles, pipes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from etl.cutouts.coadds import BrickReader, brick_folder, coadd_name
from lake.errors import DataError
from lake.files import fitslayout
from tests.etl.survey_files import write_brick

SIZE = 60
HERE = (np.array([100.0]), np.array([0.0]))


def brick(folder: Path) -> Path:
    """A brick of three bands; the path of its z image."""
    rng = np.random.default_rng(1)
    write_brick(folder, "1000p000", *(float(v[0]) for v in HERE), {b: noise(rng) for b in "grz"})
    path = Path(brick_folder(str(folder), "1000p000"), coadd_name("1000p000", "image", "z"))
    with fits.open(path, disable_image_compression=True) as hdus:
        hdus.writeto(path, overwrite=True, checksum=True)
    return path


def noise(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0.1, 1, (SIZE, SIZE)).astype(np.float32)


def read(folder: Path) -> np.ndarray:
    return BrickReader().stamps(str(folder), "1000p000", *HERE, 21, ()).stamps


def card(path: Path, key: str, value: str | None) -> None:
    """Write a card of the compressed image as it is given, or take it out; the checksum goes too."""
    content = bytearray(path.read_bytes())
    start = content.index(b"XTENSION")
    for name, text in ((key, value), ("CHECKSUM", None)):
        place = content.index(name.ljust(8).encode() + b"=", start)
        content[place : place + 80] = (f"{name:8s}= {text:>20s}" if text is not None else "COMMENT").ljust(80).encode()
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("NAXIS1", "99999999999", "its header declares"),
        ("NAXIS1", "-8", r"NAXIS1 must be a whole number in \[0, \d+\], got -8"),
        ("NAXIS2", "3.5", "NAXIS2 must be a whole number"),
        ("NAXIS2", "'many'", "NAXIS2 must be a whole number"),
        ("NAXIS", "1000", r"NAXIS must be a whole number in \[0, 999\], got 1000"),
        ("NAXIS1", None, r"NAXIS1 must be a whole number in \[0, \d+\], got None"),
        ("PCOUNT", "9" * 18, "its header declares"),
        ("BITPIX", "7", "BITPIX must be 8, 16, 32, 64, -32 or -64, got 7"),
        ("ZNAXIS1", "100000", "ZNAXIS1 must be at most 16384"),
        ("ZNAXIS1", "16000", "a compressed image of 16020 tiles must have one table row per tile"),
        ("ZTILE1", "100000", "in tiles no larger"),
        ("ZTILE2", "0", "in tiles no larger"),
        ("ZNAXIS", "9", r"ZNAXIS must be a whole number in \[0, 3\]"),
        ("ZBITPIX", "'x'", "cannot be read"),
        ("ZCMPTYPE", "'MAGIC'", "cannot be read"),
        ("CRVAL1", "'here'", "CRVAL1 must be a number, got 'here'"),
        ("CRPIX2", None, "CRPIX2 must be a number, got None"),
        ("CTYPE1", "17", "the projection must be RA---TAN"),
    ],
)
def test_what_a_header_claims_is_not_believed(tmp_path: Path, key: str, value: str | None, message: str) -> None:
    path = brick(tmp_path)
    card(path, key, value)
    with pytest.raises(DataError, match=rf"image-z.fits.fz.*{message}"):
        read(tmp_path)


def test_a_header_without_an_end_is_refused_at_once(tmp_path: Path) -> None:
    """40 MB of cards: neither read to the end nor scanned again for each block."""
    path = brick(tmp_path)
    path.write_bytes(b"SIMPLE  =                    T".ljust(80) + b"COMMENT and so on".ljust(80) * 500_000)
    with pytest.raises(DataError, match=r"image-z\.fits\.fz cannot be read: a header has no end in its first"):
        read(tmp_path)


def test_pipes_links_and_devices_are_not_opened(tmp_path: Path) -> None:
    path = brick(tmp_path)
    for made in (os.mkfifo, Path.mkdir, lambda place: place.symlink_to("/dev/zero")):
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
        made(path)
        with pytest.raises(DataError, match=r"image-z\.fits\.fz cannot be read: it is not a file"):
            read(tmp_path)


def test_a_damaged_tile_is_refused_with_the_files_name(tmp_path: Path) -> None:
    rng, place = np.random.default_rng(1), [float(v[0]) for v in HERE]
    images = {**{band: noise(rng) for band in "grz"}, "maskbits": rng.integers(0, 1 << 12, (SIZE, SIZE), np.int32)}
    write_brick(tmp_path, "1000p000", *place, images)
    path = Path(brick_folder(str(tmp_path), "1000p000"), coadd_name("1000p000", "maskbits", None))
    unit, content = fitslayout.walk(path)[-1], bytearray(path.read_bytes())
    for tile in range(unit.data, unit.data + 8 * SIZE, 8):
        content[tile : tile + 4] = (2).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"-maskbits\.fits\.fz cannot be read: tile \d+ ends before its last pixel"):
        read(tmp_path)


def test_a_tile_larger_than_its_pixels_is_not_unpacked(tmp_path: Path) -> None:
    """Of 60 pixels, 20,000 bytes: what they expand to could be 20 MB, and of a large file as much as one likes."""
    path = brick(tmp_path)
    card(path, "NAXIS2", "60")
    content = bytearray(path.read_bytes())
    with fits.open(path, disable_image_compression=True) as hdus:
        place = hdus[1]._data_offset
        assert hdus[1].header["ZTILE2"] == 1
    content[place : place + 4] = (20_000).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(DataError, match="a tile of 60 pixels takes 20000 bytes"):
        read(tmp_path)


def test_what_follows_the_last_unit_is_not_read(tmp_path: Path) -> None:
    path = brick(tmp_path)
    whole = read(tmp_path)
    path.write_bytes(path.read_bytes() + b"notes" * 2000)
    np.testing.assert_array_equal(read(tmp_path), whole)
    assert len(fitslayout.walk(path)) == 2


def outcome(folder: Path) -> np.ndarray | str:
    """The stamps, or why they are refused."""
    try:
        return read(folder)
    except DataError as error:
        return str(error)


def fuzz(folder: Path, mutants: int) -> int:
    """Mutate a coadd's bytes; each mutant is refused by name or gives the true pixels. How many were refused."""
    path, rng, refused = brick(folder), np.random.default_rng(7), 0
    content, whole = path.read_bytes(), read(folder)
    for _ in range(mutants):
        mutant: Any = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 6)):
            mutant[place] = rng.integers(256)
        path.write_bytes(mutant[: rng.integers(1, len(content))] if rng.random() < 0.1 else mutant)
        found = outcome(folder)
        if isinstance(found, str):
            assert "image-z.fits.fz" in found
            refused += 1
        else:
            np.testing.assert_array_equal(found, whole)
    return refused


def test_mutated_coadds_are_refused_or_true(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 40) > 20


@pytest.mark.slow
def test_many_mutated_coadds_are_refused_or_true(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 1500) > 750
