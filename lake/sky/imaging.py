"""What a set of stamps declares about itself: bands, pixels, units, PSF and noise.

Injection, measurement and scoring take all of it from here. The survey of the lake (:mod:`lake.sky.survey`) is one
declaration among others.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, field_validator, model_validator

from lake.config import Section
from lake.errors import invalid
from lake.sky.photometry import NANOMAGGY_MAG


class ImagePsf(Section):
    """The PSF of a band is an image of each host: column ``psf_image_<band>``, (y, x) in one list, an odd side."""

    kind: Literal["image"] = "image"
    """Name of the kind."""
    includes_pixel: bool
    """Whether the images contain the response of the pixel."""


class NeaPsf(Section):
    """The PSF of a band is known by the FWHM of the Gaussian of its noise-equivalent area: column ``psfsize_<band>``.

    Its profile is not known: a grid assumes one of that area.
    """

    kind: Literal["fwhm_nea"] = "fwhm_nea"
    """Name of the kind."""


class ProfilePsf(Section):
    """The PSF of a band is a named profile of each host's true FWHM: column ``psf_fwhm_<band>_arcsec``."""

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
    """What is known of the PSF, per band."""
    width_ratios: tuple[PositiveFloat, ...] | None
    """Typical PSF width of each band over that of the reference band, for hosts of which only that is known; null where
    each band's must be."""
    noise: Literal["psfdepth", "pixel_sigma"]
    """What is known of the noise: point-source inverse variance (``psfdepth_<band>``, nMgy^-2), or the standard
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
        return self

    @property
    def reference(self) -> int:
        """Place of the reference band."""
        return self.bands.index(self.reference_band)

    @property
    def nanomaggies_per_unit(self) -> float:
        """Nanomaggies of one unit of the stored pixels."""
        return float(10.0 ** (0.4 * (NANOMAGGY_MAG - self.zero_point_mag)))
