"""One brick: its sources, pixels and masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.conditions import ELECTRONS_PER_NMGY_AND_EXPOSURE, Conditions
from demo.config import DemoParams
from demo.grid import Brick
from demo.lensing import LensedImage, add_stamp, lens_host, transfers
from demo.mixtures import Floats
from demo.painting import paint
from demo.population import background, populate
from demo.sources import NO_LENS, Source
from lake.sky.photometry import magnitude_from_flux
from lake.sky.survey import BANDS, MASKBITS, PIXEL_SCALE_ARCSEC

SATURATION_NMGY = 60.0
"""Pixel value at which the detector saturates."""
SATURATION_BITS = {"g": 1 << 2, "r": 1 << 3, "z": 1 << 4}
MAGNITUDE_BRIGHT = 13.5
"""Stars brighter than this (r) set BRIGHT as well as MEDIUM."""


@dataclass(frozen=True)
class Plan:
    """Decisions about a brick before it is made."""

    brick: Brick
    conditions: Conditions
    roles: tuple[str, ...]
    """Roles in the lens sample of the lenses and look-alikes in this brick."""
    nan_rows: int
    """Sweep rows with NaN coordinates."""


@dataclass(frozen=True)
class Scene:
    """A finished brick."""

    sources: list[Source]
    lensed: dict[int, LensedImage]
    """Lensed images by the index of their host in ``sources``."""
    image: NDArray[np.float32]
    """Coadds (band, y, x) in nMgy."""
    invvar: NDArray[np.float32]
    """Their inverse variances (band, y, x) in nMgy^-2."""
    maskbits: NDArray[np.int32]
    """Mask bits (y, x)."""
    bare: NDArray[np.float32]
    """The coadds (band, y, x) in nMgy as they would be without the lensed images, with the same noise."""


def generator(seed: int, plan: Plan, purpose: int) -> np.random.Generator:
    """The brick's own stream of random numbers for one purpose."""
    return np.random.default_rng([seed, plan.brick.brickid, purpose])


def make_scene(params: DemoParams, plan: Plan, seed: int) -> Scene:
    """Draw, paint and observe a brick."""
    rng = generator(seed, plan, 1)
    conditions = plan.conditions
    sources = populate(rng, params, list(plan.roles), conditions.bright_star)
    transfer = transfers(conditions.psfs)
    lensed = {
        index: lens_host(rng, params.lenses, source, conditions, transfer)
        for index, source in enumerate(sources)
        if source.role not in NO_LENS
    }
    model = np.zeros((len(BANDS), params.brick_pixels, params.brick_pixels))
    for source in [*sources, *background(rng, params)]:
        paint(model, source.light, conditions.psfs)
    bare, _ = _observe(generator(seed, plan, 2), model, conditions)
    for stamp in lensed.values():
        add_stamp(model, stamp)
    image, invvar = _observe(generator(seed, plan, 2), model, conditions)
    return Scene(sources, lensed, image, invvar, _maskbits(model, sources), bare)


def _observe(
    rng: np.random.Generator, model: Floats, conditions: Conditions
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Image and inverse variance (band, y, x): sky and photon noise, saturation, bad pixels."""
    pixels = model.shape[-1]
    exposures = conditions.exposures(pixels)
    share = exposures / np.maximum(conditions.nobs, 1)[:, None]
    invvar = np.broadcast_to((share / conditions.pixel_sigma_nmgy[:, None] ** 2)[:, None, :], model.shape).copy()
    photons = ELECTRONS_PER_NMGY_AND_EXPOSURE * np.maximum(exposures, 1)[:, None, :]
    variance = np.divide(1.0, invvar, out=np.zeros_like(invvar), where=invvar > 0) + np.maximum(model, 0) / photons
    noise = rng.standard_normal(model.shape, dtype=np.float32)
    image = (model + noise * np.sqrt(variance)).astype(np.float32)
    saturated = model > SATURATION_NMGY
    image[saturated] = SATURATION_NMGY
    invvar[saturated] = 0.0
    if conditions.bad_pixels:
        _spoil(rng, image, invvar)
    return image, invvar.astype(np.float32)


def _maskbits(model: Floats, sources: list[Source]) -> NDArray[np.int32]:
    bits = np.zeros(model.shape[1:], dtype=np.int32)
    for band, value in zip(BANDS, model, strict=True):
        bits[value > SATURATION_NMGY] |= SATURATION_BITS[band] | (1 << MASKBITS[f"ALLMASK_{band.upper()}"])
    rows, columns = np.indices(bits.shape)
    for source in sources:
        if source.kind != "bright_star":
            continue
        mag_r = float(magnitude_from_flux(source.flux_nmgy[1]))
        radius_px = (5.0 + 4.0 * (15.0 - mag_r)) / PIXEL_SCALE_ARCSEC
        distance = np.hypot(columns - source.position[0], rows - source.position[1])
        bits[distance < radius_px] |= 1 << MASKBITS["MEDIUM"]
        if mag_r < MAGNITUDE_BRIGHT:
            bits[distance < 0.5 * radius_px] |= 1 << MASKBITS["BRIGHT"]
    return bits


def _spoil(rng: np.random.Generator, image: NDArray[np.float32], invvar: Floats) -> None:
    """A bad column of one band and a dead patch of all bands: no data, which the survey writes as zeros."""
    pixels = image.shape[-1]
    column, band = int(rng.integers(pixels)), int(rng.integers(len(BANDS)))
    x, y = (int(v) for v in rng.integers(pixels // 6, pixels - pixels // 6, 2))
    for part in (np.s_[band, :, column : column + 2], np.s_[:, y : y + pixels // 15, x : x + pixels // 15]):
        image[part], invvar[part] = 0.0, 0.0
