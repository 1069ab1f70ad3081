"""Rendering: lensed source light, PSF-convolved, added to hosts in their bands.

Pixels are integrals of surface brightness (adaptive quadrature, see ``_rays``), never samples; the bands share the
source's morphology and differ in flux and PSF. Light off the stamp is not convolved back into it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.fft import fft, ifft, irfft, rfft

from injection.config import Quadrature
from injection.device import Pixels, accelerator, like
from injection.engine.tracing import NOT_FINITE, PARAMETRIC, Images, SourceModel, traced
from injection.optics.filtering import filtered, padded_sizes
from injection.optics.noise import Poisson, add_poisson, updated_inverse_variance
from injection.optics.psf import Psf
from injection.scene.ranges import faults
from injection.scene.sources import band_fluxes
from lake.errors import invalid

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]
Places = tuple[NDArray[np.int64], NDArray[np.int64], Array]
"""Rows of a chunk in their batch, and of the whole batch the transforms' sizes and the fluxes."""

STANDARD = Quadrature(
    levels=8,
    one_ray_below=0.35,
    four_rays_below=0.9,
    image_one_ray_below_px=0.75,
    image_four_rays_below_px=1.5,
    negligible_flux=3e-5,
    tail_fraction=1e-5,
)
"""Quadrature whose lensed flux is within 0.1 % of the converged one over the widest prior, for real galaxies' images at
the 95th percentile."""
_CHUNK = 64
_TRANSFORMED = 4
"""Stamps transformed at once: few enough for the processor's cache."""


@dataclass(frozen=True)
class Arcs:
    """Lensed light of a batch of injections; rows that failed are zero and carry a reason."""

    images: Pixels
    """(batch, band, y, x) nMgy, after the PSF"""
    flux_on_stamp: Array
    """(batch,) lensed flux in the stamp before the PSF, per unlensed flux"""
    magnification: Array
    """(batch,) lensed flux, stamp and surroundings (three stamps wide), per unlensed flux"""
    rays: NDArray[np.int64]
    """(batch,) rays traced"""
    reasons: list[str | None]
    """Why a row failed; None where it did not"""


@dataclass(frozen=True)
class Rendered:
    """Hosts with arcs (batch, band, y, x) nMgy; NaN where the injection failed, with the reason in ``arcs``."""

    images: Pixels
    arcs: Arcs
    inverse_variance: Pixels | None = None
    """(batch, band, y, x) nMgy^-2 of the images, where that of the hosts was given"""


def convolve(images: Images, psf: Psf, fluxes: Array) -> Images:
    """Images (batch, y, x) of unit flux, convolved with each band's PSF and scaled: (batch, band, y, x)."""
    pixels = images.shape[-1]
    size = int(padded_sizes(psf, pixels).max())
    spectrum = fft(rfft(images, n=size, axis=-1), n=size, axis=-2)
    seen = filtered(spectrum, psf, fluxes, pixels)
    lines = ifft(seen, axis=-2, overwrite_x=True)[..., :pixels, :]
    return irfft(lines, n=size, axis=-1)[..., :pixels]


def render_arcs(
    rows: pa.Table,
    psf: Psf,
    stamp_pixels: int,
    quadrature: Quadrature = STANDARD,
    threads: int = 1,
    sources: SourceModel = PARAMETRIC,
    device: str = "cpu",
) -> Arcs:
    """Lensed light of drawn rows on stamps of the PSF's imaging: its bands, its pixel scale.

    Rows with impossible parameters or PSFs fail alone; nothing here depends on the batch a row is in. On a GPU
    (``device`` "cuda") the images stay there, as a torch tensor.
    """
    _check_size(stamp_pixels)
    gpu = accelerator(device)
    reasons = _reasons(rows, psf, sources)
    if gpu is not None:
        return _arcs_on(gpu, rows, psf, stamp_pixels, quadrature, sources, reasons)
    good = np.flatnonzero([reason is None for reason in reasons])
    arcs = Arcs(
        np.zeros((rows.num_rows, len(psf.imaging.bands), stamp_pixels, stamp_pixels), np.float32),
        np.zeros(rows.num_rows), np.zeros(rows.num_rows), np.zeros(rows.num_rows, np.int64), reasons,
    )  # fmt: skip
    sizes = padded_sizes(psf, stamp_pixels)
    fluxes = band_fluxes(rows, psf.imaging)

    def work(index: NDArray[np.int64]) -> None:
        part = rows if len(index) == rows.num_rows else rows.take(pa.array(index))
        flat, arcs.rays[index], failed = traced(sources, part, stamp_pixels, quadrature, psf.imaging.pixel_scale_arcsec)
        for place, reason in failed.items():
            reasons[index[place]] = reason
        _convolve_chunk(flat, psf, (index, sizes, fluxes), arcs)

    pieces = [piece for piece in np.array_split(good, max(1, -(-len(good) // _CHUNK))) if len(piece)]
    if threads == 1:
        for piece in pieces:
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


def _arcs_on(
    gpu: torch.device,
    rows: pa.Table,
    psf: Psf,
    stamp_pixels: int,
    quadrature: Quadrature,
    sources: SourceModel,
    reasons: list[str | None],
) -> Arcs:
    """As :func:`render_arcs`, on a torch device; sources that are not profiles are traced on the CPU."""
    from injection.engine import _torch_render as torched

    count, good = rows.num_rows, np.flatnonzero([reason is None for reason in reasons])
    images = torched.zeros((count, len(psf.imaging.bands), stamp_pixels, stamp_pixels), gpu)
    arcs = Arcs(images, np.zeros(count), np.zeros(count), np.zeros(count, np.int64), reasons)
    scale = psf.imaging.pixel_scale_arcsec
    if len(good):
        part = rows.take(pa.array(good))
        scene = sources.scene(part, quadrature, scale)
        if scene is not None:
            flat, arcs.rays[good], bad = torched.traced(scene, stamp_pixels, gpu)
            failed = dict.fromkeys(np.flatnonzero(bad).tolist(), NOT_FINITE)
        else:
            pixels, arcs.rays[good], failed = traced(sources, part, stamp_pixels, quadrature, scale)
            flat = torched.placed(pixels, gpu)
        for place, reason in failed.items():
            reasons[good[place]] = reason
        sizes = padded_sizes(psf, stamp_pixels)[good]
        arcs.flux_on_stamp[good], arcs.magnification[good] = torched.stamps(
            flat, psf.take(good), sizes, band_fluxes(part, psf.imaging), (images, good)
        )
    return arcs


def _convolve_chunk(flat: Images, psf: Psf, where: Places, arcs: Arcs) -> None:
    """Convolve traced rows into ``arcs``; each row's transform has its own size, whatever else is in the batch."""
    index, sizes, fluxes = where
    pixels = arcs.images.shape[-1]
    sums = flat.sum(axis=1, dtype=np.float64)
    arcs.magnification[index] = sums
    arcs.flux_on_stamp[index] = sums - flat[:, -1]
    images = flat[:, :-1].reshape(-1, pixels, pixels)
    for size in np.unique(sizes[index]):
        own = np.flatnonzero(sizes[index] == size)
        for start in range(0, len(own), _TRANSFORMED):
            some = own[start : start + _TRANSFORMED]
            arcs.images[index[some]] = convolve(images[some], psf.take(index[some]), fluxes[index[some]])


def render(
    rows: pa.Table,
    hosts: Images,
    psf: Psf,
    quadrature: Quadrature = STANDARD,
    threads: int = 1,
    sources: SourceModel = PARAMETRIC,
    device: str = "cpu",
) -> Rendered:
    """Hosts (batch, band, y, x) nMgy with the lensed light of drawn rows added.

    Masked host pixels (NaN) stay masked; a host without any pixel in a band fails its row.
    """
    bands = psf.imaging.bands
    if hosts.ndim != 4 or hosts.shape[:2] != (rows.num_rows, len(bands)) or hosts.shape[2] != hosts.shape[3]:
        raise invalid("hosts", f"({rows.num_rows}, {len(bands)}, n, n)", hosts.shape)
    arcs = render_arcs(rows, psf, hosts.shape[-1], quadrature, threads, sources, device)
    for row, band in np.argwhere(~np.isfinite(hosts).any(axis=(2, 3))):
        arcs.reasons[row] = arcs.reasons[row] or f"the host has no {bands[band]} band"
    images = like(hosts.astype(np.float32), arcs.images) + arcs.images
    images[np.flatnonzero([reason is not None for reason in arcs.reasons])] = np.nan
    return Rendered(images, arcs)


def with_poisson(rendered: Rendered, rows: pa.Table, poisson: Poisson) -> Rendered:
    """Rendered hosts with the noise of their arcs' own electrons, and the inverse variance if the hosts' is given."""
    arcs, before = rendered.arcs.images, poisson.inverse_variance
    noisy = add_poisson(arcs, poisson.gain_e_per_nmgy, poisson.seed, rows.column("injection_id").combine_chunks())
    if before is None:
        return Rendered(rendered.images + (noisy - arcs), rendered.arcs)
    if before.shape != tuple(arcs.shape) or not (np.isfinite(before) & (before >= 0)).all():
        raise invalid("inverse_variance", f"{tuple(arcs.shape)}, finite and not negative", before.shape)
    after = updated_inverse_variance(before, arcs, poisson.gain_e_per_nmgy)
    return Rendered(rendered.images + (noisy - arcs), rendered.arcs, after)


def _check_size(stamp_pixels: int) -> None:
    if stamp_pixels < 3:
        raise invalid("stamp_pixels", "at least 3", stamp_pixels)
