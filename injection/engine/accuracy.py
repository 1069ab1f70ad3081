"""Accuracy of rendered light, against the converged integral and against lenstronomy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from injection.config import Quadrature
from injection.engine.tracing import Images, SourceModel, trace
from injection.scene import conventions
from injection.scene.lens import Lens
from injection.scene.sources import components

Array = NDArray[np.float64]

CONVERGED = Quadrature(
    levels=11,
    one_ray_below=0.04,
    four_rays_below=0.2,
    image_one_ray_below_px=0.2,
    image_four_rays_below_px=0.4,
    negligible_flux=1e-9,
    tail_fraction=1e-6,
)
"""Quadrature with lensed flux converged to 1e-4, for profiles and for images of real galaxies."""
SUPERSAMPLING = 8
"""Rays per pixel side of lenstronomy; its own flux is then exact to about 1 % for the smallest sources."""


def flux_errors(
    rows: pa.Table, stamp_pixels: int, quadrature: Quadrature, pixel_scale_arcsec: float, sources: SourceModel
) -> Array:
    """Relative errors of the lensed flux on the stamp before the PSF, against the converged quadrature."""
    ours, truth = (
        _fluxes(sources.trace(rows, stamp_pixels, how, pixel_scale_arcsec)[0]) for how in (quadrature, CONVERGED)
    )
    return ours / truth - 1.0


def lenstronomy_differences(
    rows: pa.Table, stamp_pixels: int, quadrature: Quadrature, pixel_scale_arcsec: float
) -> Array:
    """Relative differences of the lensed flux on the stamp from lenstronomy's, for Sersic profiles only."""
    from lenstronomy.Data.pixel_grid import PixelGrid
    from lenstronomy.Data.psf import PSF
    from lenstronomy.ImSim.image_model import ImageModel
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel

    corner = -(stamp_pixels - 1) / 2 * pixel_scale_arcsec
    grid = PixelGrid(stamp_pixels, stamp_pixels, np.eye(2) * pixel_scale_arcsec, corner, corner)
    numerics = {"supersampling_factor": SUPERSAMPLING, "supersampling_convolution": False}
    lens, parts = Lens.from_rows(rows), components(rows)
    theirs = np.empty(rows.num_rows)
    for row in range(rows.num_rows):
        light = conventions.lenstronomy_source(parts, row)
        models = LensModel(["SIE", "SHEAR"]), LightModel(["SERSIC_ELLIPSE"] * len(light))
        model = ImageModel(grid, PSF(psf_type="NONE"), *models, kwargs_numerics=numerics)
        theirs[row] = model.image(conventions.lenstronomy_lens(lens.row(row)), light).sum()
    return _fluxes(trace(rows, stamp_pixels, quadrature, pixel_scale_arcsec)[0]) / theirs - 1.0


def _fluxes(images: Images) -> Array:
    return np.asarray(images[:, :-1].sum(axis=1, dtype=np.float64))
