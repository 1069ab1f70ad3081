"""Parameters of the simulated survey."""

from __future__ import annotations

from pydantic import Field

from lake.config import Section


class SkyParams(Section):
    """Where the bricks lie and how many fall in each split."""

    ra_range_deg: tuple[float, float]
    """Right ascension limits of the region the bricks are drawn from."""
    dec_range_deg: tuple[float, float]
    """Declination limits of that region."""
    train_bricks: int = Field(ge=1)
    """Bricks whose HEALPix pixel hashes to the training split."""
    val_bricks: int = Field(ge=1)
    """Bricks whose HEALPix pixel hashes to the validation split."""
    test_bricks: int = Field(ge=1)
    """Bricks whose HEALPix pixel hashes to the test split."""


class ConditionsParams(Section):
    """Seeing, depth and exposure counts, spread evenly over their ranges within each split."""

    psfsize_r_range_arcsec: tuple[float, float]
    """Range of the r-band seeing as in the catalogue: the FWHM of the Gaussian with the PSF's noise-equivalent area."""
    depth_r_range_mag: tuple[float, float]
    """Range of the r-band 5-sigma point-source depth (AB)."""
    short_strip_fraction: float = Field(ge=0, le=1)
    """Fraction of bricks crossed by a strip with fewer exposures."""
    bad_pixel_fraction: float = Field(ge=0, le=1)
    """Fraction of bricks with a patch and a column of NaN pixels."""
    bright_star_fraction: float = Field(ge=0, le=1)
    """Fraction of bricks with a bright masked star."""
    lost_band_bricks: int = Field(ge=0)
    """Training bricks that lack the image of one band although their catalogue has it."""
    unobserved_band_bricks: int = Field(ge=0)
    """Training bricks that were never observed in one band: no file, nobs and flux 0."""


class LensParams(Section):
    """Lens systems and the candidate list."""

    tier_a: int = Field(ge=0)
    """Listed lenses graded confident."""
    tier_b: int = Field(ge=0)
    """Listed lenses graded probable."""
    tier_b_false: int = Field(ge=0)
    """Listed objects graded probable that are not lenses."""
    unlisted: int = Field(ge=0)
    """Lenses that no list knows and that can be seen."""
    unlisted_faint: int = Field(ge=0)
    """Lenses that no list knows and that are too faint to see."""
    contaminant: int = Field(ge=0)
    """Ring galaxies and mergers that are listed as such."""
    outside_footprint: int = Field(ge=0)
    """Listed positions that lie outside the survey."""
    theta_e_range_arcsec: tuple[float, float]
    """Range of Einstein radii."""
    theta_e_over_psfsize_min: float = Field(ge=0)
    """Least Einstein radius in units of the r-band psfsize (visible lenses only)."""
    arc_snr_tier_a: tuple[float, float]
    """Range of the g-band arc signal-to-noise ratio of Tier A, drawn evenly in its logarithm."""
    arc_snr_tier_b: tuple[float, float]
    """Range of the g-band arc signal-to-noise ratio of Tier B and of visible unlisted lenses."""
    arc_snr_faint: tuple[float, float]
    """Range of the g-band arc signal-to-noise ratio of lenses too faint to see."""


class SourceParams(Section):
    """Unlensed sources of one brick."""

    negatives_per_lens: float = Field(ge=1)
    """Pool galaxies made for each listed object of the brick, of the same catalogue type."""
    exponential: int = Field(ge=0)
    """EXP galaxies (the pool excludes the type)."""
    stars: int = Field(ge=0)
    """Point sources."""
    faint: int = Field(ge=0)
    """Catalogued galaxies fainter than the pool's magnitude limit."""
    background: int = Field(ge=0)
    """Galaxies too faint for the catalogue."""
    separation_arcsec: float = Field(gt=0)
    """Least separation of pool galaxies."""
    short_fraction: float = Field(ge=0, le=1)
    """Fraction of sources with fewer than three exposures in one band."""
    duplicate_fraction: float = Field(ge=0, le=1)
    """Fraction of sweep rows written twice."""
    nan_rows: int = Field(ge=0)
    """Sweep rows of the whole survey whose coordinates are NaN."""


class DemoParams(Section):
    """The simulated survey: a small sky in the real file formats."""

    brick_pixels: int = Field(ge=200)
    """Width and height of a brick's coadd."""
    workers: int = Field(ge=1)
    """Processes that make bricks; it does not change the files."""
    sky: SkyParams
    """Bricks and splits."""
    conditions: ConditionsParams
    """Seeing, depth, flaws."""
    lenses: LensParams
    """Lens systems and the candidate list."""
    sources: SourceParams
    """Unlensed sources."""
