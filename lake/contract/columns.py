"""Columns that several tables share, described once."""

from __future__ import annotations

from lake.contract.spec import Column, Type
from lake.sky.split import SPLITS
from lake.sky.survey import BANDS

TYPES = ("SER", "DEV", "REX", "EXP", "PSF", "DUP")
TIERS = ("A", "B")
NOBS_UNKNOWN = "unknown"
"""The bin of a catalogue that does not say how many exposures there are."""
NOBS_BINS = ("0", "1-2", "3-5", "6-10", "11+", NOBS_UNKNOWN)


def share(name: str, meaning: str, kind: Type = "double") -> Column:
    """A share or probability, in [0, 1] or null."""
    return Column(name, kind, meaning, nullable=True, low=0, high=1)


def interval(name: str, meaning: str, note: str = "") -> tuple[Column, Column]:
    """Both ends of an interval of a share."""
    low, high = (share(f"{name}_{end}", f"{meaning}, {end} end{note}") for end in ("low", "high"))
    return low, high


def per_band(
    name: str, kind: Type, meaning: str, unit: str = "", low: float | None = 0, nullable: bool = True
) -> tuple[Column, ...]:
    """A column for each band, ``<name>_<band>``; ``{}`` in the meaning is the band."""
    return tuple(Column(f"{name}_{b}", kind, meaning.format(b), unit, nullable=nullable, low=low) for b in BANDS)


GALAXY_ID = Column(
    "galaxy_id",
    "string",
    "collection and native identifier, ls-dr10:<release>_<brickname>_<objid>; without <release> if unknown",
    role="key",
)
NATIVE_ID = (
    Column("release", "bigint", "survey release of the row, 10000 for DR10 south", nullable=True, low=0),
    Column("brickname", "string", "survey brick"),
    Column("objid", "bigint", "Tractor object number within the brick and release", low=0),
)
POSITION = (
    Column("ra", "double", "right ascension (J2000)", "deg", low=0, high=360),
    Column("dec", "double", "declination (J2000)", "deg", low=-90, high=90),
)
HEALPIX = (
    Column("healpix_64", "bigint", "HEALPix pixel, nside 64, NESTED", low=0),
    Column("healpix_128", "bigint", "HEALPix pixel, nside 128, NESTED: the unit of the spatial split", low=0),
)
SPLIT = Column("split", "string", "spatial split of the pixel", allowed=SPLITS)
CONDITIONS = (
    *per_band("psfsize", "float", "FWHM of the Gaussian with the PSF's noise-equivalent area, in {}", "arcsec"),
    *per_band("psfdepth", "float", "point-source inverse variance in {}", "nMgy^-2"),
)
"""Seeing and depth at the source, from the catalogue or, where it has none, from the coadds."""
SOURCE = (
    Column("sweep_file", "string", "name of the sweep file"),
    Column("row_index", "bigint", "row in the sweep file", low=0),
)
CHECKPOINT_ID = Column(
    "checkpoint_id", "string", "the scorer: hash of weights and preprocessing, or of a user's finder", role="key"
)
GRID_ID = Column("grid_id", "string", "the injection grid: hash of its cells, prior, hosts and seed", role="key")
GENERATION = Column("generation", "string", "name of the model: the generation trained here, or the finder audited")
GRID_NAME = Column(
    "grid_name", "string", "name of the injection grid: 'main' for this survey, or that of another host set"
)
IMPORT_NAME = Column("import_name", "string", "name given to the import; its slice in `completeness`", role="key")


def photometry(nullable: bool) -> tuple[Column, ...]:
    """Tractor measurements as observed (no extinction correction); null where a catalogue is declared to lack them."""
    return (
        *per_band("nobs", "int", "exposures in {}"),
        Column("nobs_z_bin", "string", "bin of nobs_z", nullable=nullable, allowed=NOBS_BINS),
        Column("type", "string", "Tractor morphological type", nullable=nullable, allowed=TYPES),
        *(Column(f"flux_{b}", "float", f"flux in {b}, as observed", "nMgy", nullable=nullable) for b in BANDS),
        Column("flux_w1", "float", "flux in w1, as observed", "nMgy", nullable=True),
        *per_band("mag", "float", "AB magnitude in {}, as observed", "mag", low=None),
        Column("g_minus_r", "float", "colour, as observed", "mag", nullable=True),
        Column("r_minus_z", "float", "colour, as observed", "mag", nullable=True),
        Column("z_minus_w1", "float", "colour, as observed", "mag", nullable=True),
        *CONDITIONS,
        *per_band("galdepth", "float", "galaxy inverse variance in {}", "nMgy^-2"),
        Column("ebv", "float", "Galactic reddening E(B-V)", "mag", nullable=True),
        *per_band("mw_transmission", "float", "Galactic transmission in {}", low=None),
        Column("maskbits", "bigint", "survey mask bits at the source", nullable=True, low=0),
        Column("fitbits", "bigint", "Tractor fit bits", nullable=True, low=0),
        Column("shape_r", "float", "half-light radius, major axis", "arcsec", nullable=True, low=0),
        Column("shape_e1", "float", "ellipticity component 1", nullable=True, low=-1, high=1),
        Column("shape_e2", "float", "ellipticity component 2", nullable=True, low=-1, high=1),
        Column("sersic", "float", "Sersic index", nullable=True, low=0),
    )
