"""Measurements of injections: fluxes, signal to noise, magnification, number of images, detectability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from injection.config import Detectability
from injection.engine import _pack, _rays
from injection.engine.render import Arcs
from injection.engine.tracing import Images
from injection.optics.psf import Psf
from injection.scene.lens import Lens, rotated
from injection.scene.sources import components
from lake.sky.imaging import Imaging

Array = NDArray[np.float64]
Usable = NDArray[np.bool_]

MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a Gaussian over its median absolute deviation."""
_DIRECTIONS = 720
_LEAST_SHARE = 0.1
"""Least share of usable pixels in an annulus."""
_NEAR_AXIS = np.geomspace(1e-4, 4e-3, 16)
"""Additional angles from the major axis at which images of flat lenses are searched for."""


@dataclass(frozen=True)
class Sky:
    """Noise per pixel (nMgy) in the reference band, from the depth and from the host's pixels; NaN if unknown."""

    from_psfdepth: Array
    from_mad: Array

    @property
    def sigma(self) -> Array:
        """The noise from the depth, or from the host's pixels if the depth is unknown."""
        return np.where(np.isfinite(self.from_psfdepth), self.from_psfdepth, self.from_mad)


@dataclass(frozen=True)
class Hosts:
    """Host pixels (host, band, y, x), which of them are usable (host, y, x): finite and unmasked; and the place of each
    injection's host, None where every injection has its own.
    """

    pixels: Images
    usable: Usable
    of: NDArray[np.int64] | None = None


def sigma_from_annulus(images: Images, usable: Usable, inner_px: float, outer_px: float) -> Array:
    """Noise per pixel (batch,) from the MAD of images (batch, y, x) in an annulus; NaN with too few usable pixels."""
    half = (images.shape[-1] - 1) / 2
    y, x = np.mgrid[: images.shape[-1], : images.shape[-1]] - half
    ring = (np.hypot(x, y) >= inner_px) & (np.hypot(x, y) < outer_px)
    deviation = np.full(len(images), np.nan)
    _deviations(images, usable, np.argwhere(ring), deviation)
    return MAD_TO_SIGMA * deviation


def measure(
    rows: pa.Table, arcs: Arcs, hosts: Images, usable: Usable, psf: Psf, sky: Sky, cuts: Detectability
) -> dict[str, Any]:
    """Measurement columns of rendered rows.

    ``usable`` (batch, y, x) marks host pixels that are finite and unmasked; SNRs and ratios use only these.
    """
    lens, imaging, sigma = Lens.from_rows(rows), psf.imaging, sky.sigma
    scale, width = imaging.pixel_scale_arcsec, psf.fwhm_nea_arcsec[:, imaging.reference]
    places = np.stack([lens.theta_e_arcsec, width, lens.x_arcsec, lens.y_arcsec], axis=1) / scale
    value = _summed(imaging, arcs.images, Hosts(hosts, usable), sigma, places, cuts.sky_sigmas)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns: dict[str, Any] = {
            **_of_arcs(arcs, value, sigma, imaging.reference_band),
            "arc_snr_annulus": value["ring"] / (sigma * np.sqrt(value["ring_pixels"])),
        }
        columns |= {f"arc_flux_{b}_nmgy": value[f"flux_{b}"] for b in imaging.bands}
        columns |= {f"arc_peak_{b}_nmgy_arcsec2": value[f"peak_{b}"] / scale**2 for b in imaging.bands}
        columns["arc_images"] = image_counts(rows)
        columns["theta_e_over_fwhm_nea"] = lens.theta_e_arcsec / width
        columns["sky_sigma_psfdepth_nmgy"] = sky.from_psfdepth
        columns["sky_sigma_mad_nmgy"] = sky.from_mad
        columns["arc_sky_ratio"] = value["brightest"] / sigma
    bright = columns["arc_sky_ratio"] > cuts.sky_sigmas
    columns["arc_host_ratio"] = np.where(bright, value["ratio_bright"], value["ratio_brightest"])
    magnified = arcs.magnification >= cuts.magnification
    columns["detectable"] = bright & (columns["arc_host_ratio"] > cuts.host_ratio) & magnified
    columns["host_masked_fraction"] = 1.0 - value["usable"]
    return columns


def measure_arcs(rows: pa.Table, arcs: Arcs, hosts: Hosts, psf: Psf, sigma: Array) -> dict[str, Array]:
    """The columns of :func:`measure` that need no search of the pixels: SNR, magnification, light off the stamp and
    masked; ``sigma`` (batch,) is the noise per pixel in the reference band.
    """
    lens, imaging = Lens.from_rows(rows), psf.imaging
    width = psf.fwhm_nea_arcsec[:, imaging.reference]
    places = np.stack([lens.theta_e_arcsec, width, lens.x_arcsec, lens.y_arcsec], axis=1) / imaging.pixel_scale_arcsec
    value = _summed(imaging, arcs.images, hosts, sigma, places, np.inf)
    return _of_arcs(arcs, value, sigma, imaging.reference_band)


def _of_arcs(arcs: Arcs, value: Mapping[str, Array], sigma: Array, band: str) -> dict[str, Array]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "arc_snr": np.sqrt(value["square"]) / sigma,
            "magnification": arcs.magnification,
            "arc_off_stamp_fraction": np.clip(1.0 - arcs.flux_on_stamp / arcs.magnification, 0.0, 1.0),
            "arc_masked_fraction": np.clip(value["masked"] / value[f"flux_{band}"], 0.0, 1.0),
        }


def _summed(
    imaging: Imaging, arcs: Images, hosts: Hosts, sigma: Array, places: Array, sky_sigmas: float
) -> dict[str, Array]:
    """Sums over the pixels of each injection, and the share of usable pixels."""
    of = np.arange(len(arcs)) if hosts.of is None else hosts.of
    sums, share = np.zeros((len(arcs), len(_SUMS) + 2 * len(imaging.bands))), hosts.usable.mean(axis=(1, 2))[of]
    known = np.column_stack([sigma, sky_sigmas * sigma, places])
    _sums(imaging.reference, arcs, hosts.pixels, hosts.usable, of, known, sums)
    names = (*_SUMS, *(f"{what}_{band}" for what in ("flux", "peak") for band in imaging.bands))
    return {**dict(zip(names, sums.T, strict=True)), "usable": share}


@njit(cache=True, nogil=True, error_model="numpy")
def _deviations(images: Any, usable: Any, ring: Any, out: Any) -> None:
    """Median absolute deviations of the usable pixels at the places ``ring`` (pixel, 2), unless there are too few."""
    values = np.empty(len(ring))
    for row in range(len(images)):
        count = finite = 0
        for k in range(len(ring)):
            y, x = ring[k]
            value = np.float64(images[row, y, x])
            if usable[row, y, x] and not np.isnan(value):
                values[count] = value
                count += 1
                finite += np.isfinite(value)
        if finite > _LEAST_SHARE * len(ring):
            some = values[:count]
            some[:] = np.abs(some - np.median(some))
            out[row] = np.median(some)


def image_counts(rows: pa.Table) -> NDArray[np.int32]:
    """Number of images of the centre of each source, without the central image of the singular lens."""
    lens = Lens.from_rows(rows)
    scene = _pack.scene(lens, components(rows), 1.0, 0, np.zeros(3), 1e-3)
    dx = rows.column("src_x_arcsec").to_numpy() - lens.x_arcsec
    dy = rows.column("src_y_arcsec").to_numpy() - lens.y_arcsec
    sources = np.stack(rotated(dx, dy, lens.pa_rad), axis=1).astype(np.float32)
    even, half_turn = 2.0 * np.pi * (np.arange(_DIRECTIONS) + 0.5) / _DIRECTIONS, np.array([[0.0], [np.pi]])
    near = half_turn + np.concatenate([_NEAR_AXIS, -_NEAR_AXIS])
    angle = np.sort(np.mod(np.concatenate([even, near.ravel()]), 2.0 * np.pi))
    directions = np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    counts = np.zeros(rows.num_rows, dtype=np.int32)
    _rays.count_images(scene, sources, directions, counts)
    return counts


_SUMS = ("square", "ring", "ring_pixels", "masked", "brightest", "ratio_brightest", "ratio_bright")
"""Sums over the reference band; they are followed by the flux and the peak of each band."""
_FIRST_FLUX = len(_SUMS)


@njit(cache=True, nogil=True, error_model="numpy")
def _sums(reference: Any, arcs: Any, hosts: Any, usable: Any, of: Any, known: Any, out: Any) -> None:
    """One pass over each injection's pixels.

    ``of`` is the place of its host; ``known`` has sigma and detection threshold, then theta_E, PSF width and lens
    centre in pixels.
    """
    bands = arcs.shape[1]
    for row in range(arcs.shape[0]):
        for band in range(bands):
            flux, peak = 0.0, 0.0
            for line in arcs[row, band]:
                for value in line:
                    flux += value
                    peak = max(peak, value)
            out[row, _FIRST_FLUX + band], out[row, _FIRST_FLUX + bands + band] = flux, peak
        _arc_sums(
            arcs[row, reference], hosts[of[row], reference], usable[of[row]], known[row, 0], known[row, 1],
            known[row, 2:], out[row],
        )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _arc_sums(arc: Any, host: Any, usable: Any, sigma: Any, threshold: Any, place: Any, total: Any) -> None:
    """The sums of one injection's reference band."""
    half = (arc.shape[0] - 1) / 2
    inner2, outer2 = max(place[0] - place[1], 0.0) ** 2, (place[0] + place[1]) ** 2
    for y in range(arc.shape[0]):
        dy = y - half - place[3]
        for x in range(arc.shape[1]):
            light = np.float64(arc[y, x])
            if not usable[y, x]:
                total[3] += light
                continue
            total[0] += light * light
            dx = x - half - place[2]
            if inner2 <= dx * dx + dy * dy <= outer2:
                total[1] += light
                total[2] += 1.0
            ratio = light / max(np.float64(host[y, x]), sigma)
            if light > total[4]:
                total[4], total[5] = light, ratio
            if light > threshold:
                total[6] = max(total[6], ratio)
