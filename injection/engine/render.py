"""Rendering: lensed source light in the bands of a survey, convolved with the PSF.

Pixels are integrals of surface brightness (adaptive quadrature, see ``_rays``), not samples. A source has the same
morphology in all bands, which differ in flux and PSF. Light outside the stamp is not convolved back into it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.fft import fft, ifft, irfft, rfft

from injection.config import Quadrature
from injection.engine.tracing import PARAMETRIC, Images, SourceModel, traced
from injection.optics.filtering import Filter, padded_sizes
from injection.optics.psf import Psf
from injection.scene.ranges import faults
from injection.scene.sources import band_fluxes
from lake.errors import invalid

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Places = tuple[Rows, Rows, Array]
"""Rows of a chunk; sizes of the transforms and fluxes of the whole batch."""

STANDARD = Quadrature(
    levels=8,
    one_ray_below=0.35,
    four_rays_below=0.9,
    image_one_ray_below_px=0.75,
    image_four_rays_below_px=1.5,
    negligible_flux=3e-5,
    tail_fraction=1e-5,
)
"""Quadrature with lensed flux within 0.1 % of the converged one for the widest prior; for images of real galaxies, at
the 95th percentile."""
_CHUNK, _CHUNK_ALONE = 64, 128
"""Rows traced at once by one of several threads, and by one alone: it calls Python less often in longer pieces, which
leaves Python's lock to the threads that make other batches."""
_TRANSFORMED = 8
"""Stamps transformed together: few enough for the processor's cache."""


@dataclass(frozen=True)
class Arcs:
    """Lensed light of a batch of injections; rows that failed are zero and carry a reason."""

    images: Images
    """(batch, band, y, x) nMgy, after the PSF"""
    flux_on_stamp: Array
    """(batch,) lensed flux in the stamp before the PSF, per unlensed flux"""
    magnification: Array
    """(batch,) lensed flux, stamp and surroundings (three stamps wide), per unlensed flux"""
    rays: NDArray[np.int64]
    """(batch,) rays traced"""
    reasons: list[str | None]
    """Why a row failed; None if it did not"""


def convolve(images: Images, psf: Psf, fluxes: Array) -> Images:
    """Images (batch, y, x) of unit flux, convolved with the PSF of each band and scaled: (batch, band, y, x)."""
    every, pixels = np.arange(len(images)), images.shape[-1]
    out = np.empty((*fluxes.shape, pixels, pixels), np.float32)
    _convolve(images, Filter.of(psf, fluxes, int(padded_sizes(psf, pixels).max()), pixels), (every, every), out)
    return out


def _convolve(images: Images, seen: Filter, places: tuple[Rows, Rows], out: Images) -> None:
    """Convolve some rows of ``images``, which are the filter's batch, into some rows of ``out``."""
    own, theirs = places
    pixels, size = images.shape[-1], seen.size
    for start in range(0, len(own), _TRANSFORMED):
        rows = slice(start, start + _TRANSFORMED)
        spectrum = fft(rfft(images[own[rows]], n=size, axis=-1), n=size, axis=-2)
        lines = ifft(seen.applied(spectrum, rows), axis=-2, overwrite_x=True)[..., :pixels, :]
        out[theirs[rows]] = irfft(lines, n=size, axis=-1)[..., :pixels]


def render_arcs(
    rows: pa.Table,
    psf: Psf,
    stamp_pixels: int,
    quadrature: Quadrature = STANDARD,
    threads: int = 1,
    sources: SourceModel = PARAMETRIC,
) -> Arcs:
    """Lensed light of drawn rows on stamps with the bands and the pixel scale of the PSF's imaging.

    A row does not depend on the rest of the batch; one with impossible parameters or PSFs fails alone.
    """
    if stamp_pixels < 3:
        raise invalid("stamp_pixels", "at least 3", stamp_pixels)
    count, scale = rows.num_rows, psf.imaging.pixel_scale_arcsec
    reasons = _reasons(rows, psf, sources)
    images = np.zeros((count, len(psf.imaging.bands), stamp_pixels, stamp_pixels), np.float32)
    arcs = Arcs(images, np.zeros(count), np.zeros(count), np.zeros(count, np.int64), reasons)
    sizes, fluxes = padded_sizes(psf, stamp_pixels), band_fluxes(rows, psf.imaging)

    def work(index: NDArray[np.int64]) -> None:
        part = rows if len(index) == count else rows.take(pa.array(index))
        flat, arcs.rays[index], failed = traced(sources, part, stamp_pixels, quadrature, scale)
        for place, reason in failed.items():
            reasons[index[place]] = reason
        _convolve_chunk(flat, psf, (index, sizes, fluxes), arcs)

    good = np.flatnonzero([reason is None for reason in reasons])
    pieces = np.array_split(good, max(1, -(-len(good) // (_CHUNK if threads > 1 else _CHUNK_ALONE))))
    if len(pieces) == 1 or threads == 1:
        for piece in pieces:
            if len(piece):
                work(piece)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, pieces))
    return arcs


def _reasons(rows: pa.Table, psf: Psf, sources: SourceModel) -> list[str | None]:
    """Why rows cannot be rendered."""
    reasons = [own or other for own, other in zip(faults(rows), sources.faults(rows), strict=True)]
    widths = psf.fwhm_arcsec[:, psf.named]
    bad_psf = ~(np.isfinite(widths) & (widths > 0)).all(axis=1)
    for index in np.flatnonzero(bad_psf):
        reasons[index] = reasons[index] or str(
            invalid("psf fwhm_arcsec", "positive and finite in every band", widths[index].tolist())
        )
    return reasons


def _convolve_chunk(flat: Images, psf: Psf, where: Places, arcs: Arcs) -> None:
    """Convolve traced rows into ``arcs``; the size of a row's transform does not depend on the batch."""
    index, sizes, fluxes = where
    pixels = arcs.images.shape[-1]
    arcs.magnification[index] = flat.sum(axis=1, dtype=np.float64)
    arcs.flux_on_stamp[index] = arcs.magnification[index] - flat[:, -1]
    images = flat[:, :-1].reshape(-1, pixels, pixels)
    for size in np.unique(sizes[index]):
        own = np.flatnonzero(sizes[index] == size)
        theirs = index[own]
        seen = Filter.of(psf.take(theirs), fluxes[theirs], int(size), pixels)
        _convolve(images, seen, (own, theirs), arcs.images)
