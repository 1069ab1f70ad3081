"""Configuration of rendering and of the selection-function grid."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lake.config import Section
from lake.errors import invalid

INDICES = ("theta_e_index", "psf_index", "depth_index")
"""Columns of injections that tell the cell of a grid."""


class Quadrature(Section):
    """How finely lensed light is integrated over pixels."""

    levels: int = Field(ge=0, le=12)
    """Largest number of times that a pixel is halved."""
    one_ray_below: PositiveFloat
    """A cell gets one ray if its source-plane extent, over the scale of the profile there, is below this."""
    four_rays_below: PositiveFloat
    """A cell gets four Gauss-Legendre rays below this extent, and is split above it."""
    image_one_ray_below_px: PositiveFloat
    """A cell gets one ray if its extent on a real galaxy's image is below this number of the image's pixels."""
    image_four_rays_below_px: PositiveFloat
    """A cell gets four rays below this extent, and is split above it."""
    negligible_flux: float = Field(ge=0, lt=1)
    """A cell is not refined if its estimated error, as a share of the source's unlensed flux, is below this."""
    tail_fraction: float = Field(gt=0, lt=0.01)
    """Share of a profile's flux that is cut off in its wings."""


class Detectability(Section):
    """Cuts for a lens to count as detectable: a declared denominator, never the default one."""

    sky_sigmas: PositiveFloat
    """Least ratio of the brightest arc pixel to the sky noise."""
    host_ratio: PositiveFloat
    """Least ratio of the arc to the host's flux in some pixel above that noise."""
    magnification: PositiveFloat
    """Least total magnification."""


class PsfCorrection(Section):
    """Replacement of a stamp's own PSF by a narrower one."""

    fwhm_arcsec: PositiveFloat
    """FWHM of the stamp's new, Gaussian PSF."""
    max_amplification: float = Field(ge=1)
    """Largest factor by which any spatial frequency, and so its noise, is amplified."""


class StampCleaning(Section):
    """Cleaning of the stamps of a catalogue, before they are sources."""

    min_snr: PositiveFloat
    """Galaxies with a lower signal to noise within their footprint are left out."""
    psf_correction: PsfCorrection | None
    """Replacement of the catalogue's PSF; null leaves it in the stamp."""


class RealSources(Section):
    """Real galaxies as the sources of injections."""

    path: str
    """A RealGalaxyCatalog (.fits, with its images in the same folder) or an HDF5 bank (.h5)."""
    catalogue_colours: bool
    """Whether galaxies have their catalogue's colours, if known, instead of the prior's."""
    max_pixel_arcsec: PositiveFloat | None
    """Largest source-plane size of a stamp's pixels, enlarged to the drawn size; null for no limit."""
    cleaning: StampCleaning | None
    """Cleaning of a catalogue's stamps; null for a bank, whose stamps are already clean."""

    @model_validator(mode="after")
    def _cleaned_once(self) -> RealSources:
        kind = self.path.rsplit(".", 1)[-1].lower()
        if kind not in ("fits", "h5", "hdf5"):
            raise invalid("path", "a catalogue (.fits) or a bank (.h5)", self.path)
        if (kind == "fits") != (self.cleaning is not None):
            raise invalid("cleaning", "given for a catalogue and null for a bank", self.cleaning)
        return self


class StampRendering(Section):
    """How the lenses of simulated training stamps are drawn and rendered."""

    prior: str
    """What the grid of a plan leaves open is drawn from: a prior of the registry, or the path of your own."""
    src_n: float = Field(ge=0.3, le=8.0)
    """Sersic index of the sources."""
    psf_moffat_beta: tuple[Annotated[float, Field(gt=1.0, le=50.0)], ...] = Field(min_length=1)
    """Exponents of the Moffat profile, one per band or one for all."""
    psf_includes_pixel: bool
    """Whether the profile is the effective PSF, with the pixel response, or the optical PSF."""
    poisson_gain_e_per_nmgy: PositiveFloat | None
    """Gain of the arc's Poisson noise in electrons per nanomaggy; null for none."""
    bank: RealSources
    """Real galaxies, for sets whose sources they are."""
    quadrature: Quadrature
    """Accuracy of the rendering."""


class StampSet(Section):
    """One set of simulated stamps: a plan, rendered in one way."""

    plan: str
    """The plan; sets of one plan have the same lenses."""
    psf_model: Literal["gaussian", "moffat"]
    """Profile of the PSF of each band, with the noise-equivalent area of the host's psfsize."""
    sources: Literal["sersic", "bank"]
    """Sources: Sersic profiles, or real galaxies of the bank."""


HostSelection = Literal["all", "early"]
LensShape = Literal["independent", "conditioned"]


class HostModel(NamedTuple):
    """Which hosts are used, and whether lenses are shaped like them."""

    selection: HostSelection
    lens_shape: LensShape


IM1 = HostModel("all", "independent")
"""Injection model 1 of the reference."""
IM2 = HostModel("early", "conditioned")
"""Injection model 2 of the reference."""


class GridParams(Section):
    """The selection-function grid: cells in theta_E, PSF and depth, injections per cell, and how they are made."""

    theta_e_arcsec: tuple[PositiveFloat, ...] = Field(min_length=1)
    """Einstein radii of the grid (arcsec)."""
    psf_fwhm_nea_edges_arcsec: tuple[PositiveFloat, ...] = Field(min_length=2)
    """Edges of the cells in the host's psfsize in the reference band (arcsec): the FWHM of the Gaussian with the PSF's
    noise-equivalent area."""
    depth_edges_mag: tuple[float, ...] = Field(min_length=2)
    """Edges of the cells in the host's 5-sigma point-source depth in the reference band (mag)."""
    per_cell: Annotated[int, Field(ge=1, le=1_000_000)]
    """Injections per cell."""
    prior: str
    """Name of a prior of the registry, or the path of your own prior file."""
    drawing: Literal["independent", "sobol"]
    """How parameters are drawn: by a hash per injection, or along one Sobol sequence, which covers the prior evenly."""
    real_sources: RealSources | None
    """Real galaxies as sources; null for the prior's profiles."""
    source_model: Annotated[str, Field(pattern="^[^:]+:[^:]+$")] | None
    """Your own source model, as ``package:object``; null for profiles or the galaxies of ``real_sources``."""
    host_selection: HostSelection
    """Which hosts are used: all of the host set, or early types only (DEV, SER)."""
    lens_shape: LensShape
    """The lens's shape: drawn from the prior, independent of the host's, or conditioned on the host's catalogue
    shape."""
    max_uses_per_host: PositiveInt
    """Largest number of injections of one cell into the same host."""
    host_retries: int = Field(ge=0, le=20)
    """Number of other hosts tried after a failed load or injection, before the injection counts as failed."""
    max_host_bad_fraction: float = Field(ge=0, lt=1)
    """Largest fraction of masked or non-finite pixels of a host."""
    psf_model: Literal["gaussian", "moffat"]
    """Profile of the PSF; its width gives the noise-equivalent area of the host's psfsize."""
    psf_moffat_beta: tuple[Annotated[float, Field(gt=1.0, le=50.0)], ...] = Field(min_length=1)
    """Exponents of the Moffat profile, one per band of the hosts or one for all. The default was measured on the
    PSFs of one DR9 coadd. DECam's coadds have 2.7 to 3.0; 3.5 makes the peaks of arcs 5 to 9 % too faint."""
    psf_includes_pixel: bool
    """Whether the profile is the effective PSF, with the pixel response, or the optical PSF, on which the pixel acts.
    In both cases psfsize is that of the effective PSF."""
    poisson_gain_e_per_nmgy: PositiveFloat | None
    """Gain of the arc's Poisson noise in electrons per nanomaggy; null for none."""
    sky_noise: Literal["none", "psfdepth", "annulus"]
    """Sky noise added to hosts without any: from the survey's depth, or as measured in the host's outer annulus."""
    core_suppression_radius_arcsec: PositiveFloat | None
    """Radius around the lens's centre within which the arc's light is removed; null for none."""
    sky_annulus_px: tuple[PositiveFloat, PositiveFloat]
    """Inner and outer radius (pixels) of the host's annulus whose MAD gives its sky noise."""
    batch_size: PositiveInt
    """Number of injections rendered and scored together."""
    threads: PositiveInt
    """Number of threads that render one batch, or of batches made in parallel if the finder runs on a GPU."""
    quadrature: Quadrature
    """Accuracy of the rendering."""
    detectability: Detectability
    """Declared detectability cuts."""

    @property
    def host_model(self) -> HostModel:
        """Selection of hosts and shape of lenses together."""
        return HostModel(self.host_selection, self.lens_shape)

    @model_validator(mode="after")
    def _consistent(self) -> GridParams:
        for name in ("theta_e_arcsec", "psf_fwhm_nea_edges_arcsec", "depth_edges_mag", "sky_annulus_px"):
            values = getattr(self, name)
            if any(b <= a for a, b in pairwise(values)):
                raise invalid(name, "strictly increasing", values)
        if self.source_model is not None and self.real_sources is not None:
            raise invalid("source_model", "null where real_sources is given", self.source_model)
        return self
