"""Lens systems: an early-type host and a lensed source rendered by lenstronomy, which the product uses nowhere else.

Rays are shot through a grid of four per pixel side; where they land near the source the grid is refined threefold. The
result is convolved with the effective PSF (pixel response included) and sampled, not binned, at pixel centres.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from lenstronomy.LensModel.Profiles.shear import Shear
from lenstronomy.LensModel.Profiles.sie import SIE
from lenstronomy.LightModel.Profiles.sersic import SersicElliptic
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import fft

from demo.conditions import Conditions
from demo.config import LensParams
from demo.mixtures import Floats, Mixture
from demo.sources import Source
from lake.sky.photometry import flux_from_magnitude, magnitude_from_flux
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC

STAMP = 48
"""Pixels of a lensed image."""
CENTRE = 24
"""Pixel of the stamp that lies on the host's pixel."""
RAYS, REFINEMENT = 4, 3
"""Rays per pixel side, and the further refinement near the source."""
SOURCE_REACH = 3.0
"""Source half-light radii within which rays are refined."""


@dataclass(frozen=True)
class System:
    """True parameters of one lens system; angles from +x counter-clockwise, positions relative to the host."""

    theta_e_arcsec: float
    lens_q: float
    lens_angle_rad: float
    lens_x_arcsec: float
    lens_y_arcsec: float
    shear: float
    shear_angle_rad: float
    src_x_arcsec: float
    src_y_arcsec: float
    src_radius_arcsec: float
    src_index: float
    src_q: float
    src_angle_rad: float
    src_g_minus_r: float
    src_r_minus_z: float

    def ray_shooting(self, x_arcsec: Floats, y_arcsec: Floats) -> tuple[Floats, Floats]:
        """Source-plane positions of image-plane positions, by lenstronomy's SIE and shear."""
        e1, e2 = ellipticity(self.lens_q, self.lens_angle_rad)
        shear = self.shear * np.exp(2j * self.shear_angle_rad)
        mass = SIE().derivatives(
            x_arcsec, y_arcsec, self.theta_e_arcsec, e1, e2, self.lens_x_arcsec, self.lens_y_arcsec
        )
        outer = Shear().derivatives(x_arcsec, y_arcsec, float(shear.real), float(shear.imag))
        return x_arcsec - mass[0] - outer[0], y_arcsec - mass[1] - outer[1]

    def source_brightness(self, x_arcsec: Floats, y_arcsec: Floats) -> Floats:
        """Surface brightness (arcsec^-2) at source-plane positions, of unit total flux, by lenstronomy's Sersic."""
        e1, e2 = ellipticity(self.src_q, self.src_angle_rad)
        profile = SersicElliptic()
        total = profile.total_flux(1.0, self.src_radius_arcsec, self.src_index, e1, e2)
        shape = (self.src_radius_arcsec, self.src_index, e1, e2, self.src_x_arcsec, self.src_y_arcsec)
        return np.asarray(profile.function(x_arcsec, y_arcsec, 1.0, *shape)) / total


def ellipticity(axis_ratio: float, angle: float) -> tuple[float, float]:
    """Components e1, e2 of the ellipticity (1 - q) / (1 + q) of an axis at ``angle`` (radians)."""
    size = (1 - axis_ratio) / (1 + axis_ratio)
    return size * float(np.cos(2 * angle)), size * float(np.sin(2 * angle))


def draw_system(rng: Generator, params: LensParams, host: Source, theta_e_min_arcsec: float) -> System:
    """A lens aligned with its host, and a star-forming source close enough to the caustics to form arcs."""
    low = max(params.theta_e_range_arcsec[0], theta_e_min_arcsec)
    high = params.theta_e_range_arcsec[1]
    theta_e = low + (high - low) * rng.beta(1.4, 2.2)
    offset = theta_e * np.sqrt(rng.uniform(0.08**2, 0.55**2))
    bearing = rng.uniform(0, 2 * np.pi)
    return System(
        theta_e_arcsec=float(theta_e),
        lens_q=float(np.clip(host.ellipse.axis_ratio + rng.normal(0, 0.05), 0.5, 0.99)),
        lens_angle_rad=float(host.ellipse.angle + rng.normal(0, 0.1)),
        lens_x_arcsec=float(rng.normal(0, 0.03)),
        lens_y_arcsec=float(rng.normal(0, 0.03)),
        shear=float(min(0.1, abs(rng.normal(0, 0.04)))),
        shear_angle_rad=float(rng.uniform(0, np.pi)),
        src_x_arcsec=float(offset * np.cos(bearing)),
        src_y_arcsec=float(offset * np.sin(bearing)),
        src_radius_arcsec=float(rng.uniform(0.1, 0.35)),
        src_index=float(rng.uniform(0.7, 2.2)),
        src_q=float(rng.uniform(0.4, 1.0)),
        src_angle_rad=float(rng.uniform(0, np.pi)),
        src_g_minus_r=float(rng.normal(0.2, 0.2)),
        src_r_minus_z=float(rng.normal(0.15, 0.2)),
    )


def lensed_light(system: System, sub_pixel: Floats) -> tuple[Floats, float]:
    """Unconvolved lensed flux per fine cell (y, x) of a source of unit flux, and its magnification.

    ``sub_pixel`` (2) is the host's position relative to the centre of its pixel, in pixels.
    """
    cells, side = STAMP * RAYS, PIXEL_SCALE_ARCSEC / RAYS
    line = ((np.arange(cells) + 0.5) / RAYS - 0.5 - CENTRE) * PIXEL_SCALE_ARCSEC
    x, y = (axis.ravel() for axis in np.meshgrid(*(line - shift * PIXEL_SCALE_ARCSEC for shift in sub_pixel)))
    source_x, source_y = system.ray_shooting(x, y)
    value = system.source_brightness(source_x, source_y)
    distance = np.hypot(source_x - system.src_x_arcsec, source_y - system.src_y_arcsec)
    near = np.flatnonzero(distance < SOURCE_REACH * system.src_radius_arcsec + 2 * side)
    step = ((np.arange(REFINEMENT) + 0.5) / REFINEMENT - 0.5) * side
    step_y, step_x = (axis.ravel() for axis in np.meshgrid(step, step, indexing="ij"))
    rays = system.ray_shooting((x[near, None] + step_x).ravel(), (y[near, None] + step_y).ravel())
    value[near] = system.source_brightness(*rays).reshape(near.size, -1).mean(axis=1)
    light = value.reshape(cells, cells) * side**2
    return light, float(light.sum())


def transfers(psfs: tuple[Mixture, ...]) -> NDArray[np.complex128]:
    """Fourier transform of each band's PSF on the fine grid, with the shift to pixel centres: (band, ky, kx)."""
    cells = STAMP * RAYS
    along_y = fft.fftfreq(cells, 1 / RAYS)[:, None]
    along_x = fft.rfftfreq(cells, 1 / RAYS)[None, :]
    falloff = -2 * np.pi**2 * (along_y**2 + along_x**2)
    to_centre = np.exp(2j * np.pi * (along_y + along_x) * (0.5 / RAYS))
    bands = [sum(w * np.exp(v * falloff) for w, v in zip(p.weight, p.variance, strict=True)) for p in psfs]
    return np.stack(bands) * to_centre


def observed(light: Floats, transfer: NDArray[np.complex128]) -> Floats:
    """Convolve fine-cell light with each band's effective PSF and sample at pixel centres: (band, y, x)."""
    images = fft.irfft2(fft.rfft2(light) * transfer, s=light.shape)
    first = RAYS // 2 - 1
    return np.asarray(images[:, first::RAYS, first::RAYS]) * RAYS**2


@dataclass(frozen=True)
class LensedImage:
    """What lensing adds to the images: ``pixels`` (band, y, x) in nMgy, its lower left pixel at ``corner`` (x, y)."""

    pixels: Floats
    corner: tuple[int, int]
    truth: dict[str, float]


def lens_host(
    rng: Generator, params: LensParams, host: Source, conditions: Conditions, transfer: NDArray[np.complex128]
) -> LensedImage:
    """A lensed source behind ``host`` whose flux gives the arc the signal-to-noise ratio of the host's role.

    ``transfer`` is that of the brick's PSFs (:func:`transfers`).
    """
    seen = host.role != "unlisted_faint"
    smallest = params.theta_e_over_psfsize_min * float(conditions.psfsize_arcsec[1]) if seen else 0.0
    system = draw_system(rng, params, host, smallest)
    pixel = np.round(host.position).astype(int)
    light, magnification = lensed_light(system, host.position - pixel)
    colour = np.array([system.src_g_minus_r, 0.0, -system.src_r_minus_z])
    image = observed(light, transfer) * flux_from_magnitude(22.5 + colour)[:, None, None]
    snr = np.sqrt(np.sum(image**2, axis=(1, 2))) / conditions.pixel_sigma_nmgy
    ranges = {"tier_a": params.arc_snr_tier_a, "unlisted_faint": params.arc_snr_faint}
    limits = ranges.get(host.role, params.arc_snr_tier_b)
    flux_r = float(np.exp(rng.uniform(*np.log(limits)))) / float(snr[0])
    truth = {
        **asdict(system),
        "src_mag_r": float(magnitude_from_flux(flux_r)),
        "magnification": magnification,
        **{f"arc_snr_{band}": float(value * flux_r) for band, value in zip(BANDS, snr, strict=True)},
        **{f"arc_flux_{band}_nmgy": float(v * flux_r) for band, v in zip(BANDS, image.sum(axis=(1, 2)), strict=True)},
    }
    return LensedImage(image * flux_r, (int(pixel[0]) - CENTRE, int(pixel[1]) - CENTRE), truth)


def add_stamp(images: Floats, lensed: LensedImage) -> None:
    """Add a lensed image to ``images`` (band, y, x); parts beyond the edge are lost."""
    x, y = lensed.corner
    height, width = images.shape[1:]
    rows, columns = slice(max(0, y), min(height, y + STAMP)), slice(max(0, x), min(width, x + STAMP))
    part = lensed.pixels[:, rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    images[:, rows, columns] += part
