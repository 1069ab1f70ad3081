"""Columns that several tables share, described once."""

from __future__ import annotations

from lake.contract.spec import Column
from lake.sky.survey import BANDS

TYPES = ("SER", "DEV", "REX", "EXP", "PSF", "DUP")
SPLITS = ("train", "val", "test")
TIERS = ("A", "B")
NEGATIVE_USES = ("threshold", "host", "test")


def galaxy_id() -> Column:
    return Column(
        "galaxy_id",
        "string",
        "collection and native identifier, ls-dr10:<release>_<brickname>_<objid>; without <release> if unknown",
        role="key",
    )


def native_id() -> tuple[Column, ...]:
    return (
        Column("release", "bigint", "survey release of the row, 10000 for DR10 south", nullable=True, low=0),
        Column("brickname", "string", "survey brick"),
        Column("objid", "bigint", "Tractor object number within the brick and release", low=0),
    )


def position() -> tuple[Column, ...]:
    return (
        Column("ra", "double", "right ascension (J2000)", "deg", low=0, high=360),
        Column("dec", "double", "declination (J2000)", "deg", low=-90, high=90),
    )


def healpix() -> tuple[Column, ...]:
    return (
        Column("healpix_64", "bigint", "HEALPix pixel, nside 64, NESTED", low=0),
        Column("healpix_128", "bigint", "HEALPix pixel, nside 128, NESTED: the unit of the spatial split", low=0),
    )


def split() -> Column:
    return Column("split", "string", "spatial split of the pixel", allowed=SPLITS)


def conditions() -> tuple[Column, ...]:
    """Seeing and depth at the source, from the catalogue or, where it has none, from the coadds."""
    return (
        *(
            Column(
                f"psfsize_{b}",
                "float",
                f"FWHM of the Gaussian with the PSF's noise-equivalent area, in {b}",
                "arcsec",
                nullable=True,
                low=0,
            )
            for b in BANDS
        ),
        *(
            Column(f"psfdepth_{b}", "float", f"point-source inverse variance in {b}", "nMgy^-2", nullable=True, low=0)
            for b in BANDS
        ),
    )


def photometry(nullable: bool) -> tuple[Column, ...]:
    """Tractor measurements as observed (no extinction correction)."""
    return (
        *(Column(f"nobs_{b}", "int", f"exposures in {b}", nullable=nullable, low=0) for b in BANDS),
        Column("nobs_z_bin", "string", "bin of nobs_z", nullable=nullable, allowed=("0", "1-2", "3-5", "6-10", "11+")),
        Column("type", "string", "Tractor morphological type", nullable=nullable, allowed=TYPES),
        *(Column(f"flux_{b}", "float", f"flux in {b}, as observed", "nMgy", nullable=nullable) for b in (*BANDS, "w1")),
        *(Column(f"mag_{b}", "float", f"AB magnitude in {b}, as observed", "mag", nullable=True) for b in BANDS),
        Column("g_minus_r", "float", "colour, as observed", "mag", nullable=True),
        Column("r_minus_z", "float", "colour, as observed", "mag", nullable=True),
        Column("z_minus_w1", "float", "colour, as observed", "mag", nullable=True),
        *conditions(),
        *(
            Column(f"galdepth_{b}", "float", f"galaxy inverse variance in {b}", "nMgy^-2", nullable=True, low=0)
            for b in BANDS
        ),
        Column("ebv", "float", "Galactic reddening E(B-V)", "mag", nullable=True),
        *(Column(f"mw_transmission_{b}", "float", f"Galactic transmission in {b}", nullable=True) for b in BANDS),
        Column("maskbits", "bigint", "survey mask bits at the source", nullable=True, low=0),
        Column("fitbits", "bigint", "Tractor fit bits", nullable=True, low=0),
        Column("shape_r", "float", "half-light radius, major axis", "arcsec", nullable=True, low=0),
        Column("shape_e1", "float", "ellipticity component 1", nullable=True, low=-1, high=1),
        Column("shape_e2", "float", "ellipticity component 2", nullable=True, low=-1, high=1),
        Column("sersic", "float", "Sersic index", nullable=True, low=0),
    )


def source() -> tuple[Column, ...]:
    return (
        Column("sweep_file", "string", "name of the sweep file"),
        Column("row_index", "bigint", "row in the sweep file", low=0),
    )


def checkpoint_id() -> Column:
    return Column(
        "checkpoint_id", "string", "the scorer: hash of weights and preprocessing, or of a user's finder", role="key"
    )


def grid_id() -> Column:
    return Column("grid_id", "string", "the injection grid: hash of its cells, prior, hosts and seed", role="key")


def generation() -> Column:
    return Column("generation", "string", "name of the model: the generation trained here, or the finder audited")


def grid_name() -> Column:
    return Column(
        "grid_name", "string", "name of the injection grid: 'main' for this survey, or that of another host set"
    )
