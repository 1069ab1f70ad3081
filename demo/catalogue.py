"""What the catalogue says about a brick's sources: rows with the columns and types of a DR10 sweep."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo.brick import Plan, Scene
from demo.lensing import CENTRE, ellipticity
from demo.mixtures import Floats, Mixture, convolved, sersic
from demo.sources import Source, point
from demo.truth import RELEASE
from lake.sky.photometry import magnitude_from_flux
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC

Rows = NDArray[np.void]

GALAXY_DEPTH_RADIUS_ARCSEC = 0.45
"""The survey's galdepth is that of a round exponential of this half-light radius."""
EXTINCTION = {"G": 3.214, "R": 2.165, "I": 1.592, "Z": 1.211, "W1": 0.184, "W2": 0.113, "W3": 0.0241, "W4": 0.00910}
"""A / E(B-V) of the survey (DECam and WISE)."""


@lru_cache(maxsize=1)
def columns() -> tuple[tuple[str, str, str], ...]:
    """Name, NumPy type and unit of each sweep column, in order."""
    text = (Path(__file__).parent / "sweep_columns.csv").read_text().splitlines()
    return tuple((row["name"], row["dtype"], row["unit"]) for row in csv.DictReader(text))


def sweep_dtype() -> np.dtype[Any]:
    """Big-endian record type of a sweep row."""
    return np.dtype([(name, dtype) for name, dtype, _ in columns()])


def with_arcs(rng: np.random.Generator, scene: Scene) -> list[Source]:
    """All catalogued sources; some well separated arcs have their own row.

    The catalogue has the brightest image of such an arc as a point source with part of the arc's flux.
    """
    arcs = []
    for lensed in scene.lensed.values():
        peak = np.array(np.unravel_index(np.argmax(lensed.pixels[1]), lensed.pixels.shape[1:])[::-1])
        apart = np.hypot(*(peak - CENTRE)) * PIXEL_SCALE_ARCSEC
        if rng.uniform() < 0.4 and apart > 1.6 and lensed.truth["arc_snr_r"] > 20:
            position = np.array(lensed.corner, dtype=np.float64) + peak
            arcs.append(point("arc", position, 0.3 * lensed.pixels.sum(axis=(1, 2)), 0.3))
    return [*scene.sources, *arcs]


def catalogue(rng: np.random.Generator, plan: Plan, scene: Scene, sources: list[Source]) -> Rows:
    """Sweep rows of ``sources``, in their order; OBJID is the row number."""
    rows = np.zeros(len(sources), dtype=sweep_dtype())
    position = np.array([source.position for source in sources])
    pixel = np.clip(np.round(position).astype(int), 0, scene.maskbits.shape[0] - 1)
    _identify(rows, plan, position, scene.maskbits.shape[0])
    rows["TYPE"] = [source.type for source in sources]
    rows["MASKBITS"] = scene.maskbits[pixel[:, 1], pixel[:, 0]]
    _shapes(rng, rows, sources)
    profiles = [_profile(source) for source in sources]
    for band in range(len(BANDS)):
        flux = np.array([source.flux_nmgy[band] for source in sources])
        _band(rng, rows, plan, band, (pixel, flux, profiles))
    _infrared(rng, rows, np.array([source.flux_w1_nmgy for source in sources]))
    return rows


def _identify(rows: Rows, plan: Plan, position: Floats, pixels: int) -> None:
    brick = plan.brick
    rows["RELEASE"], rows["BRICKID"], rows["BRICKNAME"] = RELEASE, brick.brickid, brick.name
    rows["OBJID"] = np.arange(rows.size)
    rows["RA"], rows["DEC"] = brick.sky(position, pixels)
    rows["RA_IVAR"] = rows["DEC_IVAR"] = 1e12
    rows["EBV"] = plan.conditions.ebv
    for band, coefficient in EXTINCTION.items():
        rows[f"MW_TRANSMISSION_{band}"] = 10 ** (-0.4 * coefficient * plan.conditions.ebv)


def _profile(source: Source) -> Mixture:
    """Circularised profile in pixels."""
    shape = source.ellipse
    if source.type == "PSF":
        return Mixture(np.ones(1), np.zeros(1))
    return sersic(shape.index).scaled(shape.radius_arcsec * np.sqrt(shape.axis_ratio) / PIXEL_SCALE_ARCSEC)


def _shapes(rng: np.random.Generator, rows: Rows, sources: list[Source]) -> None:
    for row, source, noise in zip(rows, sources, rng.normal(0, 1, (len(sources), 4)), strict=True):
        if source.type == "PSF":
            continue
        shape = source.ellipse
        row["SHAPE_R"], row["SHAPE_R_IVAR"] = shape.radius_arcsec * np.exp(0.03 * noise[0]), 1e3
        row["SERSIC"] = shape.index
        if source.type == "SER":
            row["SERSIC"], row["SERSIC_IVAR"] = np.clip(shape.index + 0.1 * noise[1], 0.5, 6.0), 1e2
        if source.type != "REX":
            # Tractor's position angle runs from north (+y) through east (-x)
            true = ellipticity(shape.axis_ratio, shape.angle - np.pi / 2)
            row["SHAPE_E1"], row["SHAPE_E2"] = np.array(true) + 0.01 * noise[2:]
            row["SHAPE_E1_IVAR"] = row["SHAPE_E2_IVAR"] = 1e4


def _band(
    rng: np.random.Generator,
    rows: Rows,
    plan: Plan,
    band: int,
    seen: tuple[NDArray[np.int64], Floats, list[Mixture]],
) -> None:
    """Fluxes and depths of one band; ``seen`` is pixels (n, 2), true fluxes (n), profiles (n)."""
    pixel, flux, profiles = seen
    conditions, name = plan.conditions, BANDS[band].upper()
    psf = conditions.psfs[band]
    exposures = conditions.exposures(int(pixel.max()) + 1)[band][pixel[:, 0]]
    invvar = exposures / conditions.nobs[band] / conditions.pixel_sigma_nmgy[band] ** 2
    galaxy = convolved(psf, sersic(1.0).scaled(GALAXY_DEPTH_RADIUS_ARCSEC / PIXEL_SCALE_ARCSEC))
    information = invvar * np.array([convolved(psf, profile).squared_integral for profile in profiles])
    sigma = np.divide(1.0, np.sqrt(information), out=np.zeros_like(information), where=information > 0)
    observed = (information > 0) * (flux + sigma * rng.standard_normal(flux.size))
    rows[f"NOBS_{name}"] = exposures
    rows[f"FLUX_{name}"], rows[f"FLUX_IVAR_{name}"] = observed, information
    rows[f"PSFSIZE_{name}"] = (exposures > 0) * conditions.psfsize_arcsec[band]
    rows[f"PSFDEPTH_{name}"] = invvar * psf.squared_integral
    rows[f"GALDEPTH_{name}"] = invvar * galaxy.squared_integral
    rows[f"RCHISQ_{name}"], rows[f"FRACIN_{name}"] = 1.0, 1.0
    fiber = np.array([convolved(psf, profile).within(0.75 / PIXEL_SCALE_ARCSEC) for profile in profiles])
    rows[f"FIBERFLUX_{name}"] = rows[f"FIBERTOTFLUX_{name}"] = observed * fiber


def _infrared(rng: np.random.Generator, rows: Rows, flux_w1: Floats) -> None:
    sigma = 0.4
    rows["FLUX_W1"] = flux_w1 + sigma * rng.standard_normal(flux_w1.size)
    rows["FLUX_W2"] = 0.7 * flux_w1 + 2 * sigma * rng.standard_normal(flux_w1.size)
    rows["FLUX_IVAR_W1"], rows["FLUX_IVAR_W2"] = sigma**-2, (2 * sigma) ** -2
    rows["NOBS_W1"] = rows["NOBS_W2"] = 100
    rows["PSFDEPTH_W1"], rows["PSFDEPTH_W2"] = sigma**-2, (2 * sigma) ** -2
    stars = (rows["TYPE"] == b"PSF") & (rows["FLUX_R"] > 10)
    rows["REF_CAT"][stars] = b"GE"
    rows["GAIA_PHOT_G_MEAN_MAG"][stars] = magnitude_from_flux(rows["FLUX_R"][stars])


def flawed(rng: np.random.Generator, rows: Rows, fractions: tuple[float, float], nan_rows: int) -> Rows:
    """Add the flaws of real sweeps: sources with too few exposures, rows written twice, NaN coordinates.

    ``fractions`` are those of sources with fewer than three exposures in a band, and of duplicated rows.
    """
    short, duplicated = fractions
    rows = rows.copy()
    for index in np.flatnonzero(rng.uniform(size=rows.size) < short):
        band, count = str(rng.choice(BANDS)).upper(), int(rng.integers(0, 3))
        rows[f"NOBS_{band}"][index] = count
        if count == 0:
            for name in ("FLUX", "FLUX_IVAR", "PSFSIZE", "PSFDEPTH", "GALDEPTH"):
                rows[f"{name}_{band}"][index] = 0.0
    twice = rows[rng.uniform(size=rows.size) < duplicated]
    lost = rows[rng.integers(0, rows.size, nan_rows)]
    lost["RA"] = lost["DEC"] = np.nan
    lost["OBJID"] = rows.size + np.arange(nan_rows)
    return np.concatenate([rows, twice, lost])
