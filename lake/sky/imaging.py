"""The imaging of a set of stamps: bands, pixels, units, PSF and noise.

Injection, measurement and scoring take all of it from here. The survey of the lake (:mod:`lake.sky.survey`) is one
declaration among others.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, field_validator, model_validator

from lake.config import Section
from lake.errors import invalid
from lake.sky.photometry import NANOMAGGY_MAG


class ImagePsf(Section):
    """The PSF of a band is an image of each host, (y, x) of an odd side, as one list."""

    kind: Literal["image"] = "image"
    """Name of the kind."""
    includes_pixel: bool
    """Whether the images contain the response of the pixel."""

    def column(self, band: str) -> str:
        """Column of a host table that has it."""
        return f"psf_image_{band}"


class NeaPsf(Section):
    """The PSF of a band is known by the FWHM (arcsec) of the Gaussian of its noise-equivalent area.

    Its profile is not known: a grid assumes one of that area.
    """

    kind: Literal["fwhm_nea"] = "fwhm_nea"
    """Name of the kind."""

    def column(self, band: str) -> str:
        """Column of a host table that has it."""
        return f"psfsize_{band}"


class ProfilePsf(Section):
    """The PSF of a band is a named profile of each host's true FWHM (arcsec)."""

    kind: Literal["fwhm"] = "fwhm"
    """Name of the kind."""
    profile: Literal["gaussian", "moffat"]
    """The profile."""
    beta: Annotated[float, Field(gt=1.0, le=50.0)] | None
    """Exponent of a Moffat profile; null for a Gaussian."""
    includes_pixel: bool
    """Whether the profile is that of the effective PSF, pixel response included, or of the optical one."""

    @model_validator(mode="after")
    def _consistent(self) -> ProfilePsf:
        if (self.profile == "moffat") != (self.beta is not None):
            raise invalid("beta", "given for a moffat and null for a gaussian", self.beta)
        return self

    def column(self, band: str) -> str:
        """Column of a host table that has it."""
        return f"psf_fwhm_{band}_arcsec"


BandPsf = Annotated[ImagePsf | NeaPsf | ProfilePsf, Field(discriminator="kind")]


class Imaging(Section):
    """How a set of stamps (band, y, x) was imaged."""

    name: str
    """Name, for captions and errors."""
    bands: tuple[Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9]*$")], ...] = Field(min_length=1)
    """Bands in the order of the stamps' first axis, from blue to red."""
    reference_band: str
    """Band of the seeing, the depth and the source magnitude by which injections are planned and counted, and in which
    arcs are measured."""
    pixel_scale_arcsec: PositiveFloat
    """Side of a pixel (arcsec)."""
    zero_point_mag: float
    """AB magnitude of one unit of the pixels as they are stored; stamps are in nanomaggies once they are loaded."""
    psf: tuple[BandPsf, ...]
    """The known properties of the PSF, per band."""
    width_ratios: tuple[PositiveFloat, ...] | None
    """Typical ``fwhm_nea`` of each band over that of the reference band, for hosts of which only that is known; null
    where each band's must be."""
    noise: Literal["psfdepth", "pixel_sigma"]
    """The measure of the noise: point-source inverse variance (``psfdepth_<band>``, nMgy^-2), or the standard
    deviation of a pixel (``sky_sigma_<band>_nmgy``)."""
    picture_weights: tuple[PositiveFloat, ...]
    """Weights of the bands in colour pictures."""

    @field_validator("bands")
    @classmethod
    def _different(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(bands)) < len(bands):
            raise ValueError("must be different from each other")
        return bands

    @model_validator(mode="after")
    def _per_band(self) -> Imaging:
        if self.reference_band not in self.bands:
            raise invalid("reference_band", f"one of {', '.join(self.bands)}", self.reference_band)
        for name in ("psf", "width_ratios", "picture_weights"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.bands):
                raise invalid(name, f"one per band ({', '.join(self.bands)})", values)
        if self.width_ratios is not None and any(psf.kind != "fwhm_nea" for psf in self.psf):
            raise invalid("width_ratios", "null unless every PSF is of the kind fwhm_nea", self.width_ratios)
        return self

    @property
    def reference(self) -> int:
        """Place of the reference band."""
        return self.bands.index(self.reference_band)

    @property
    def psf_columns(self) -> tuple[str, ...]:
        """Columns of a host table that have the PSF of each band."""
        return tuple(psf.column(band) for psf, band in zip(self.psf, self.bands, strict=True))

    @property
    def noise_columns(self) -> tuple[str, ...]:
        """Columns of a host table that have the noise of each band."""
        template = "psfdepth_{}" if self.noise == "psfdepth" else "sky_sigma_{}_nmgy"
        return tuple(template.format(band) for band in self.bands)

    @property
    def colours(self) -> tuple[str, ...]:
        """Names of the colours of neighbouring bands: ``g_minus_r``, ``r_minus_z``."""
        return tuple(f"{blue}_minus_{red}" for blue, red in pairwise(self.bands))

    @property
    def arc_colour(self) -> tuple[int, int]:
        """Places of the bands, bluer and redder, in which arcs' colours are measured: the reference band and its bluer
        neighbour, or the redder one if it has none; the same band twice (no colour) if it is the only one."""
        redder = max(self.reference, min(1, len(self.bands) - 1))
        return max(redder - 1, 0), redder

    @property
    def arc_colour_name(self) -> str:
        """Name of that colour: ``g_minus_r``."""
        return "_minus_".join(self.bands[band] for band in self.arc_colour)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Columns of a source's unlensed light: its magnitude in the reference band, its colours."""
        return (f"src_mag_{self.reference_band}", *(f"src_{colour}" for colour in self.colours))

    @property
    def nanomaggies_per_unit(self) -> float:
        """Nanomaggies of one unit of the stored pixels."""
        return float(10.0 ** (0.4 * (NANOMAGGY_MAG - self.zero_point_mag)))
