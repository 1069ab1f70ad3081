"""The description of a set of labelled cut-outs: one small YAML that says what the files hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, PositiveFloat, field_validator, model_validator

from lake.config import LensShares, Name, Section
from lake.errors import DataError, invalid
from lake.sky import imaging
from lake.sky.imaging import BandPsf, Imaging
from lake.sky.photometry import NANOMAGGY_MAG

Axis = Literal["object", "band", "y", "x"]
Value = float | str
PerBand = Value | dict[str, Value]
"""A number, the name of a column, or one of both for each band."""
_FEWEST_EDGES = 2
_OUTSIDE = re.compile(r"^/|(^|/)\.\.(/|$)|\*\*|[{}]")
"""What a path below a folder does not have."""
_BOOLEANS = {"true": "1", "false": "0"}
RESERVED = ("main", "des46")
"""Names of the survey's own grid, and of `dhs inject`."""


class Arrays(Section):
    """Where arrays are: in the image files or in their own, with their name and order of axes."""

    files: str | None = None
    """Path relative to the folder of cut-outs, with ``{id}``, ``{band}`` and, for images, ``*``; null: the images'."""
    array: str | None = None
    """Member of an NPZ, dataset of an HDF5 file, extension of a FITS file, perhaps with ``{band}``; null: ``cutout`` of
    an NPZ, the only array of an HDF5 file, the first image of a FITS file."""
    axes: tuple[Axis, ...] | None = None
    """Order of the axes. Null: (object, band, y, x); of three, (y, x, band) in an NPZ and (band, y, x) elsewhere, or
    (object, y, x) where each band has its own array."""

    @field_validator("files")
    @classmethod
    def _inside(cls, files: str | None) -> str | None:
        """A path below the folder, without other placeholders."""
        if files is None:
            return None
        path = files.removeprefix("./")
        if not path.strip() or _OUTSIDE.search(path.replace("{id}", "-").replace("{band}", "-")):
            raise invalid("files", "a path below the folder of cut-outs, with {id}, {band} and * for any name", files)
        return path


class Images(Arrays):
    """The cut-outs."""

    files: str
    """Path of the files, relative to their folder: ``*.npz``, ``{id}_{band}.fits``, ``stamps.h5``."""
    id: str | None = None
    """Dataset, member or card with the identifier of each object; null: from the file's name, or the place in it."""
    zeros_are_data: bool = False
    """Whether pixels that are exactly zero are values, as in images of whole numbers; otherwise they were not
    observed."""


class PsfImages(Arrays):
    """PSFs as centred images with a sum of one, on an odd number of pixels of the cut-outs' scale."""

    kind: Literal["image"]
    """Name of the kind."""
    includes_pixel: bool
    """Whether the images contain the response of the pixel, as PSFs measured on stars do."""
    normalise: bool = False
    """Whether images are divided by their sum, because they are known to contain all the light."""
    recentre: bool = False
    """Whether images are shifted to put their centroid on the middle pixel, for PSFs drawn at an object's sub-pixel
    position."""

    def of_band(self, band: str) -> BandPsf:
        return imaging.ImagePsf(includes_pixel=self.includes_pixel)


class PsfProfile(Section):
    """PSFs by the true FWHM of a named profile."""

    kind: Literal["fwhm"]
    """Name of the kind."""
    profile: Literal["gaussian", "moffat"]
    """The profile."""
    beta: float | dict[str, float] | None = None
    """Exponent of a Moffat profile, one or one for each band."""
    includes_pixel: bool
    """Whether it is the profile of stars in the images, or that of the light before it meets the pixels."""
    arcsec: PerBand
    """The FWHM (arcsec)."""

    def of_band(self, band: str) -> BandPsf:
        beta = self.beta.get(band) if isinstance(self.beta, dict) else self.beta
        return imaging.ProfilePsf(profile=self.profile, beta=beta, includes_pixel=self.includes_pixel)


class PsfArea(Section):
    """PSFs by the FWHM of the Gaussian of their noise-equivalent area, as ``psfsize`` of the Legacy Surveys."""

    kind: Literal["fwhm_nea"]
    """Name of the kind."""
    arcsec: PerBand
    """The width (arcsec)."""

    def of_band(self, band: str) -> BandPsf:
        return imaging.NeaPsf()


class MeasuredNoise(Section):
    """The noise is measured on each cut-out, in its outer annulus."""

    kind: Literal["measured"]
    """Name of the kind."""


class PixelNoise(Section):
    """The noise is the standard deviation of a pixel, in the units of the images."""

    kind: Literal["pixel_sigma"]
    """Name of the kind."""
    value: PerBand
    """The standard deviation."""


class DepthNoise(Section):
    """The noise is given by the 5-sigma depth of point sources."""

    kind: Literal["depth"]
    """Name of the kind."""
    mag: PerBand
    """The depth (AB mag)."""


class NoiseMaps(Arrays):
    """The noise is given by maps; the median of each is used."""

    kind: Literal["rms", "variance", "inverse_variance"]
    """What a pixel of a map is, in the units of the images."""


class Labels(Section):
    """Which objects are lenses: all, none, or by the values of a column."""

    all: Literal["lens", "negative"] | None = None
    """The label of every object; null where a column has it."""
    column: str = "label"
    """Column of the table, card, member or dataset; ``folder`` is the name of the folder that a file is in."""
    lenses: tuple[str | bool | int, ...] = (1,)
    """Values of lenses."""
    negatives: tuple[str | bool | int, ...] = (0,)
    """Values of objects that are not lenses; objects of any other value are not used, and listed with the reason."""

    @model_validator(mode="after")
    def _apart(self) -> Labels:
        if self.all is None and not (self.lenses or self.negatives):
            raise invalid("labels", "values of lenses or of negatives, or `all`", "none")
        if both := set(map(text_of, self.lenses)) & set(map(text_of, self.negatives)):
            raise invalid("labels", "values of lenses or of negatives, not of both", ", ".join(sorted(both)))
        return self

    def of(self, value: Any) -> int:
        """1 for a value of lenses, 0 for one of negatives; DataError for others."""
        found, kinds = text_of(value), [[text_of(each) for each in kind] for kind in (self.negatives, self.lenses)]
        for label, values in enumerate(kinds):
            if found in values:
                return label
        known = "; ".join(", ".join(values) for values in reversed(kinds))
        raise DataError(f"its '{self.column}' must be one of those of lenses or negatives ({known}), got {found}")


class Description(Section):
    """A set of labelled cut-outs of one survey."""

    name: Name
    """Name of the set, in tables and in the report."""
    bands: tuple[str, ...] = Field(min_length=1)
    """Bands in the order of the images, from blue to red."""
    reference_band: str
    """Band of the source magnitude, the seeing and the depth."""
    band_names: dict[str, str] = Field(default_factory=dict)
    """How ``{band}`` is spelled in files and arrays, for bands where it differs."""
    pixel_scale_arcsec: PositiveFloat
    """Side of a pixel."""
    zero_point_mag: float | dict[str, float]
    """AB magnitude of one unit of the images (22.5: nanomaggies), one or one for each band."""
    images: Images
    """Where the cut-outs are."""
    stamp_pixels: int | None = Field(default=None, ge=8)
    """Side to which larger cut-outs are cropped; null: that of the first, and others are not used."""
    psf: Annotated[PsfImages | PsfProfile | PsfArea, Field(discriminator="kind")]
    """The PSF."""
    noise: Annotated[MeasuredNoise | PixelNoise | DepthNoise | NoiseMaps, Field(discriminator="kind")]
    """The noise."""
    table: str | None = None
    """CSV with a row per object, by its column ``id`` (without it, in the order of the objects of the only file);
    ``ra`` and ``dec`` (degrees) keep neighbours on the sky together. Relative to this file."""
    labels: Labels
    """Which objects are lenses."""
    finder: dict[str, Any] = Field(default_factory=dict)
    """Declarations for a finder that cannot make them itself: output, stamp_pixels, fill, wants_mask, conditions."""
    grid: dict[str, Any] = Field(default_factory=dict)
    """Changes to the section `grid` of params.yaml: prior, per_cell, theta_e_arcsec, ..."""
    unlisted_lenses_per_negative: LensShares | None = None
    """Fewest and most unlisted lenses per negative: the range of figures at false-positive rates. Null: not
    declared."""
    source_mag_edges: tuple[float, ...] | None = None
    """Edges of the bins of source magnitude; null: those of params.yaml."""

    @model_validator(mode="after")
    def _consistent(self) -> Description:
        if self.name in RESERVED:
            raise invalid("name", f"another than {', '.join(RESERVED)}", self.name)
        if strangers := sorted(set(self.band_names) - set(self.bands)):
            raise invalid("band_names", f"names of the bands {', '.join(self.bands)}", ", ".join(strangers))
        spelled = [self.spelled(band) for band in self.bands]
        if len(set(spelled)) < len(set(self.bands)):
            raise invalid("band_names", "different from each other", ", ".join(spelled))
        per_band: dict[str, Any] = {"zero_point_mag": self.zero_point_mag}
        per_band |= {f"psf.{name}": getattr(self.psf, name, None) for name in ("arcsec", "beta")}
        per_band |= {f"noise.{name}": getattr(self.noise, name, None) for name in ("value", "mag")}
        for name, value in per_band.items():
            if isinstance(value, dict) and set(value) != set(self.bands):
                raise invalid(name, f"one value, or one for each of {', '.join(self.bands)}", value)
        for name in ("psf.arcsec", "noise.value"):
            values = per_band[name].values() if isinstance(per_band[name], dict) else [per_band[name]]
            if wrong := [value for value in values if isinstance(value, float) and value <= 0]:
                raise invalid(name, "positive", wrong[0])
        edges = self.source_mag_edges
        if edges is not None and (len(edges) < _FEWEST_EDGES or any(high <= low for low, high in pairwise(edges))):
            raise invalid("source_mag_edges", "two or more, strictly increasing", edges)
        self.imaging((1.0,) * len(self.bands))
        return self

    def imaging(self, picture_weights: tuple[float, ...]) -> Imaging:
        """The imaging of the stamps, once they are in nanomaggies."""
        values = self.model_dump(include={"name", "bands", "reference_band", "pixel_scale_arcsec"})
        return Imaging(
            **values,
            zero_point_mag=NANOMAGGY_MAG,
            psf=tuple(self.psf.of_band(band) for band in self.bands),
            width_ratios=None,
            noise="psfdepth" if self.noise.kind == "depth" else "pixel_sigma",
            picture_weights=picture_weights,
        )

    def spelled(self, band: str) -> str:
        """A band as files spell it."""
        return self.band_names.get(band, band)

    def zero_points(self) -> list[float]:
        """Zero point of each band."""
        held = self.zero_point_mag
        return [held[band] if isinstance(held, dict) else held for band in self.bands]

    def per_band(self, value: PerBand) -> list[Value]:
        """The value of each band."""
        return [value[band] if isinstance(value, dict) else value for band in self.bands]


def text_of(value: Any) -> str:
    """A value of a column as text: 1, 1.0, "1" and true alike, and so both ways to write accents."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    number = isinstance(value, float | np.floating) and float(value).is_integer()
    text = unicodedata.normalize("NFC", str(int(value)) if number else str(value).strip())
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text


def require_position(known: Mapping[str, Any]) -> None:
    """DataError for a right ascension or declination that is no angle in degrees; it may be unknown."""
    for name, low, high in (("ra", -180.0, 360.0), ("dec", -90.0, 90.0)):
        if text := text_of(known.get(name, "")):
            value = pd.to_numeric(text, errors="coerce")
            if text.lower() != "nan" and not low <= value <= high:
                raise DataError(f"its '{name}' must be in degrees, from {low:g} to {high:g}, got {text}")
