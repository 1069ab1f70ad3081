"""Constants of the DESI Legacy Imaging Surveys DR10 south (DECam g, r, z)."""

from __future__ import annotations

from lake.sky.imaging import Imaging, NeaPsf
from lake.sky.photometry import NANOMAGGY_MAG

BANDS: tuple[str, str, str] = ("g", "r", "z")
PIXEL_SCALE_ARCSEC = 0.262
STAMP_PIXELS = 101
STAMPS_OVERLAP_ARCSEC = (STAMP_PIXELS + 1) * PIXEL_SCALE_ARCSEC * 2.0**0.5
"""Centres of two stamps that share a pixel are nearer: the diagonal of a stamp, and of a pixel for its offset."""
PIXEL_SCALE_TOLERANCE = 0.01
"""Stamps within this relative distance of the survey's pixel scale are accepted (DES: 0.263")."""

PSFSIZE_RELATIVE_TO_R: dict[str, float] = {"g": 1.05, "r": 1.0, "z": 0.94}
"""Typical ``psfsize`` (see :mod:`lake.sky.photometry`) of each band over that in r."""

SURVEY = Imaging(
    name="DESI Legacy Imaging Surveys DR10 south",
    bands=BANDS,
    reference_band="r",
    pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
    zero_point_mag=NANOMAGGY_MAG,
    psf=(NeaPsf(),) * len(BANDS),
    width_ratios=tuple(PSFSIZE_RELATIVE_TO_R[band] for band in BANDS),
    noise="psfdepth",
    picture_weights=(6.0, 3.4, 2.2),
)
"""The stamps of the lake; the weights are those of the survey's own viewer (legacypipe, `sdss_rgb`)."""

MASKBITS = {"BRIGHT": 1, "ALLMASK_G": 5, "ALLMASK_R": 6, "ALLMASK_Z": 7, "MEDIUM": 11, "GALAXY": 12, "CLUSTER": 13}


def identity(imaging: Imaging) -> str | None:
    """Hash that distinguishes an imaging in identifiers; None for the lake's own."""
    return None if imaging == SURVEY else imaging.digest()
