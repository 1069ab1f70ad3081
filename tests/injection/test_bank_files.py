"""HDF5 source banks from elsewhere: links, claims, sizes that are none, damaged bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits

from injection.config import StampCleaning
from injection.galaxies import banks
from injection.galaxies.banks import SourceBank
from lake.errors import DarkHaloError, DataError
from tests.injection.scenes import gaussian_bank


@pytest.fixture(scope="module")
def bank() -> SourceBank:
    return gaussian_bank()


def _external(file: h5py.File) -> None:
    file["images/new"] = h5py.ExternalLink("/etc/hosts.h5", "images/one")


def _soft(file: h5py.File) -> None:
    file["images/new"] = h5py.SoftLink("/elsewhere")


def _elsewhere(file: h5py.File) -> None:
    file.create_dataset("images/new", (9, 9), "f4", external=[("raw.bin", 0, 324)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((9, 9), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (9, 9))
    file.create_virtual_dataset("images/new", layout)


def _unwritten(file: h5py.File) -> None:
    """4 GB that the file does not hold."""
    file.create_dataset("images/new", (32_000, 32_000), "f4")


def _sparse(file: h5py.File) -> None:
    file.create_dataset("images/new", (4000, 4000), "f4", chunks=(100, 100), fillvalue=1 / 16e6)


def _bomb(file: h5py.File) -> None:
    file.create_dataset("images/new", data=np.zeros((4000, 4000), "f4"), compression="gzip", compression_opts=9)


def _text(file: h5py.File) -> None:
    file.create_dataset("images/new", data=np.full((3, 3), b"x"))


def _group(file: h5py.File) -> None:
    file.create_group("images/new")


def _set(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file["images/one"].attrs[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external, "images/new' must be an image in the file itself, got 'a ExternalLink'"),
        (_soft, "images/new' must be an image in the file itself, got 'a SoftLink'"),
        *((change, "images/new' must be an image") for change in (_elsewhere, _virtual, _text, _group)),
        *((change, "at most 4096 pixels along a side, all of them in") for change in (_unwritten, _sparse, _bomb)),
        (_set("half_light_px", np.nan), "half_light_px' must be positive and within the image, got nan"),
        (_set("half_light_px", -2.0), "half_light_px' must be positive and within the image, got -2.0"),
        (_set("half_light_px", "wide"), "half_light_px' must be 1 numbers"),
        (_set("centre_px", [np.nan, 2.0]), "centre_px' must be on the image"),
        (_set("centre_px", [2.0, 1e9]), "centre_px' must be on the image"),
        (_set("colours", np.zeros(5)), "colours' must be 2 numbers"),
        (lambda file: file["images/one"].attrs.pop("colours"), "images/one has no attribute 'colours'"),
        (lambda file: file.attrs.pop("digest"), r"do not match its digest \(None\); write it again"),
        (lambda file: file.attrs.update(digest="x" * 64), r"do not match its digest \(None\)"),
        (_set("half_light_px", 3.3), "the galaxies in .* do not match its digest"),
    ],
)
def test_claims_links_and_sizes_that_are_none(
    bank: SourceBank, tmp_path: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    banks.write_bank(tmp_path / "bank.h5", bank)
    with h5py.File(tmp_path / "bank.h5", "a") as file:
        change(file)
    with pytest.raises(DarkHaloError, match=message):
        banks.read_bank(tmp_path / "bank.h5")


def test_the_group_is_no_link_and_the_file_no_pipe(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["images"] = h5py.ExternalLink("other.h5", "images")
    with pytest.raises(DarkHaloError, match="it contains no group 'images'"):
        banks.read_bank(tmp_path / "link.h5")
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(DarkHaloError, match=r"pipe\.h5 is not a source bank: it is not a file"):
        banks.read_bank(tmp_path / "pipe.h5")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:7000]), "its header declares .* but the file holds"),
        (lambda path: path.write_bytes(b"SIMPLE  =                    T".ljust(80) * 90_000), "a header has no end"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "it is not a file"),
        (lambda path: _write(path, "NOISE_VARIANCE", -1.0), "NOISE_VARIANCE of .* must be positive, got -1"),
        (lambda path: _write(path, "PIXEL_SCALE", np.nan), "PIXEL_SCALE of .* must be positive, got nan"),
    ],
)
def test_catalogues_that_are_no_catalogues(
    real_data: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    for file in (real_data / "sources" / "cosmos_btk").glob("*.fits"):
        (tmp_path / file.name).symlink_to(file)
    path = tmp_path / "real_galaxy_catalog_26_extension_example.fits"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    spoil(path)
    with pytest.raises(DataError, match=f"is not a RealGalaxyCatalog: .*{message}"):
        banks.read_real_galaxy_catalog(path, StampCleaning(min_snr=10.0, psf_correction=None))


def _write(path: Path, column: str, value: float) -> None:
    with fits.open(path, mode="update") as hdus:
        hdus[1].data[column][3] = value


def outcome(path: Path) -> str:
    """The digest of the bank, or why it is refused."""
    try:
        return banks.read_bank(path).digest
    except DarkHaloError as error:
        return str(error)


def fuzz(bank: SourceBank, folder: Path, mutants: int) -> int:
    """Mutate a bank's bytes; each mutant is refused by name or is the true bank. How many were refused."""
    rng, path, refused = np.random.default_rng(5), folder / "mutant.h5", 0
    banks.write_bank(path, bank)
    content = path.read_bytes()
    structure = np.flatnonzero(np.frombuffer(content, np.uint8)[:4096])
    for _ in range(mutants):
        mutant = bytearray(content)
        for place in rng.choice(structure if rng.random() < 0.5 else len(content), rng.integers(1, 6)):
            mutant[place] = rng.integers(256)
        path.write_bytes(mutant[: rng.integers(1, len(content))] if rng.random() < 0.1 else mutant)
        found = outcome(path)
        assert found == bank.digest or "mutant.h5" in found
        refused += found != bank.digest
    return refused


def test_mutated_banks_are_refused_or_true(bank: SourceBank, tmp_path: Path) -> None:
    assert fuzz(bank, tmp_path, 120) > 60


@pytest.mark.slow
def test_many_mutated_banks_are_refused_or_true(bank: SourceBank, tmp_path: Path) -> None:
    assert fuzz(bank, tmp_path, 4000) > 2000
