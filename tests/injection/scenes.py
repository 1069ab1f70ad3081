"""Scenes that the injection tests share, and an integrator that owes the engine nothing but the public formulas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from injection.config import IM1, GridParams, HostModel, Quadrature, StampCleaning
from injection.engine import render, tracing
from injection.experiment import grid as grids
from injection.experiment.hostset import HostSet, LoadStamps
from injection.experiment.setting import Setting
from injection.experiment.stream import batches, run_batch
from injection.galaxies.banks import SourceBank, Stamp, make_bank
from injection.optics.psf import Psf
from injection.priors.registry import draw, load_prior
from injection.scene.lens import Lens, source_position
from injection.scene.sources import Components
from lake.sky.photometry import flux_from_magnitude
from lake.sky.survey import PIXEL_SCALE_ARCSEC, SURVEY

DATA = Path(__file__).parents[1] / "data" / "injection"
REFERENCE: dict[str, Any] = json.loads((DATA / "reference_values.json").read_text())
IMAGES = np.load(DATA / "reference_images.npz")
FINE = Quadrature(
    levels=10,
    one_ray_below=0.1,
    four_rays_below=0.3,
    image_one_ray_below_px=0.3,
    image_four_rays_below_px=0.6,
    negligible_flux=1e-7,
    tail_fraction=1e-6,
)
COSMOS = Path("sources") / "cosmos_btk" / "real_galaxy_catalog_26_extension_example.fits"
"""Where the real data hold a RealGalaxyCatalog."""


def light(table: pa.Table, quadrature: Quadrature = render.STANDARD, pixels: int = 101) -> NDArray[np.float32]:
    images, _ = tracing.trace(table, pixels, quadrature, PIXEL_SCALE_ARCSEC)
    return images[:, :-1].reshape(-1, pixels, pixels)


def reference_psf(count: int) -> Psf:
    kernel = np.broadcast_to(IMAGES["psf_fwhm1p2"], (count, 3, 51, 51))
    return Psf.from_image(kernel, includes_pixel=False, imaging=SURVEY)


def ids(count: int) -> pa.Array:
    return pa.array([f"i{k:05d}" for k in range(count)])


def drawn(prior: str, count: int, seed: int = 7) -> pa.Table:
    return draw(load_prior(prior), ids(count), seed, SURVEY)


def reference_lens(params: dict[str, float]) -> Lens:
    return Lens.of(*(params[name] for name in ("thE", "q", "phi", "lx", "ly", "g1", "g2")))


_BASE: dict[str, Any] = {
    "injection_id": "one",
    "lens_theta_e_arcsec": 1.2,
    "lens_q": 0.8,
    "lens_pa_rad": 0.3,
    "lens_x_arcsec": 0.0,
    "lens_y_arcsec": 0.0,
    "lens_gamma1": 0.0,
    "lens_gamma2": 0.0,
    "src_mag_r": 22.5,
    "src_g_minus_r": 0.0,
    "src_r_minus_z": 0.0,
    "src_beta_frac": 0.5,
    "src_re_arcsec": 0.2,
    "src_n": 1.0,
    "src_q": 1.0,
    "src_pa_rad": 0.0,
    "src_x_arcsec": 0.2,
    "src_y_arcsec": 0.1,
    "src_clumps": 0,
    "src_clump_fraction": 0.0,
    "src_model": "sersic",
    "src_stamp_id": None,
    "log_prior": 0.0,
    **{f"src_clump{k}_{part}_arcsec": None for k in (1, 2, 3) for part in ("x", "y", "re")},
}


def rows(*changes: dict[str, Any]) -> pa.Table:
    """Rows of one mild lens and round source (1 nMgy in each band), each with its changes."""
    wide = drawn("v1", 1).schema
    return pa.Table.from_pylist([{**_BASE, **change} for change in changes], schema=wide)


def gaussian_stamp(
    q: float = 0.5, angle: float = 0.4, sigma_px: float = 5.0, noise: float = 0.001
) -> NDArray[np.float32]:
    y, x = np.mgrid[-40:41, -40:41]
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    image = np.exp(-0.5 * (q * u**2 + v**2 / q) / sigma_px**2)
    return (image + np.random.default_rng(0).normal(0, noise, image.shape)).astype(np.float32)


def gaussian_bank(sigma_px: float = 3.0, colour: float = 1.1) -> SourceBank:
    """Two galaxies: ``one``, flat and of known colour, and ``two``, rounder and smaller."""
    stamps = {"one": Stamp(gaussian_stamp(), 0.001), "two": Stamp(gaussian_stamp(q=0.9, sigma_px=sigma_px), 0.001)}
    bank, refused = make_bank(stamps, {"one": (colour, 0.6)}, StampCleaning(min_snr=10.0, psf_correction=None))
    assert not refused
    return bank


def reference_rows(entry: dict[str, Any]) -> pa.Table:
    """The row of an extended source of the reference values."""
    p, s = entry["lens_params"], entry["source"]
    lens = dict(zip(("thE", "q", "phi", "lx", "ly", "g1", "g2"), (
        "lens_theta_e_arcsec", "lens_q", "lens_pa_rad", "lens_x_arcsec", "lens_y_arcsec", "lens_gamma1", "lens_gamma2",
    ), strict=True))  # fmt: skip
    source = dict(zip(("sx", "sy", "Re", "n", "qs", "phis"), (
        "src_x_arcsec", "src_y_arcsec", "src_re_arcsec", "src_n", "src_q", "src_pa_rad",
    ), strict=True))  # fmt: skip
    return rows({**{lens[k]: p[k] for k in lens}, **{source[k]: s[k] for k in source}})


def converged(
    lens: Lens,
    parts: Components,
    row: int,
    pixels: int = 101,
    tolerance: float = 2e-6,
    scale: float = PIXEL_SCALE_ARCSEC,
) -> NDArray[np.float64]:
    """Pixel integrals of lensed light of unit source flux, (y, x): plain float64, public formulas, fixed refinement.

    A cell is split in four until the 2 x 2 and 3 x 3 Gauss-Legendre estimates agree; cells that see a component closer
    than their own source-plane diagonal are always split.
    """
    half = (pixels - 1) / 2
    y, x = (g.ravel() * scale for g in np.mgrid[-half : half + 1, -half : half + 1])
    where, width, image = np.arange(pixels**2), scale, np.zeros(pixels**2)
    for _ in range(14):
        done = ~_near(x, y, width, lens, parts, row)
        coarse, fine = (_in_blocks(x[done], y[done], width, order, lens, parts, row) for order in (2, 3))
        settled = np.abs(fine - coarse) < tolerance * 4.0 ** -np.log2(scale / width)
        done[done] = settled
        np.add.at(image, where[done], fine[settled])
        x, y, where = _children(x[~done], width), _children(y[~done], width, down=True), np.repeat(where[~done], 4)
        if not len(x):
            break
        width /= 2
    else:
        np.add.at(image, where, _in_blocks(x, y, width, 2, lens, parts, row))
    return image.reshape(pixels, pixels)


def _in_blocks(x: Any, y: Any, *others: Any, cells: int = 16384) -> NDArray[np.float64]:
    """:func:`_gauss` of cells whose intermediate values fit a cache, which takes a third less time."""
    starts = range(0, len(x), cells)
    return np.concatenate([np.zeros(0), *(_gauss(x[k : k + cells], y[k : k + cells], *others) for k in starts)])


def _gauss(x: Any, y: Any, width: float, order: int, lens: Lens, parts: Components, row: int) -> NDArray[np.float64]:
    nodes, weights = np.polynomial.legendre.leggauss(order)
    total = np.zeros(len(x))
    for a, wa in zip(nodes, weights, strict=True):
        for b, wb in zip(nodes, weights, strict=True):
            bx, by = source_position(x + a * width / 2, y + b * width / 2, lens)
            total += wa * wb * parts.brightness(bx, by, row)
    return total * width**2 / 4


def _near(x: Any, y: Any, width: float, lens: Lens, parts: Components, row: int) -> NDArray[np.bool_]:
    """Cells that may hide a component's peak or the lens's centre."""
    bx, by = source_position(x, y, lens)
    radius = np.hypot(x - lens.x_arcsec, y - lens.y_arcsec)
    stretch = 1.5 + 2.5 * float(lens.theta_e_arcsec) / np.maximum(radius, width / 2)
    near = radius < min(1.5 * width, 0.02)
    for k in np.flatnonzero(parts.fraction[row] > 0):
        distance = np.hypot(bx - parts.x_arcsec[row, k], by - parts.y_arcsec[row, k])
        size = parts.re_arcsec[row, k]
        near |= (distance < width * stretch) & (width * stretch > 0.05 * size)
    return near


def _children(values: Any, width: float, down: bool = False) -> NDArray[np.float64]:
    steps = np.array([-1, -1, 1, 1] if down else [-1, 1, -1, 1]) * width / 4
    return (values[:, None] + steps).ravel()


PIXELS = 61
"""Side of the stamps of test hosts."""


def params(**changes: Any) -> GridParams:
    values: dict[str, Any] = {
        "theta_e_arcsec": [1.0, 2.0],
        "psf_fwhm_nea_edges_arcsec": [0.9, 1.2, 1.5, 1.8],
        "depth_edges_mag": [23.0, 24.0, 25.0],
        "per_cell": 6,
        "prior": "v1",
        "drawing": "independent",
        "real_sources": None,
        "source_model": None,
        "host_selection": "all",
        "lens_shape": "independent",
        "max_uses_per_host": 2,
        "host_retries": 5,
        "max_host_bad_fraction": 0.05,
        "psf_model": "moffat",
        "psf_moffat_beta": [2.96, 2.84, 2.69],
        "psf_includes_pixel": True,
        "poisson_gain_e_per_nmgy": None,
        "sky_noise": "none",
        "core_suppression_radius_arcsec": None,
        "sky_annulus_px": [20.0, 29.0],
        "batch_size": 10,
        "threads": 1,
        "quadrature": render.STANDARD.model_dump(),
        "detectability": {"sky_sigmas": 5.0, "host_ratio": 1.5, "magnification": 5.0},
    }
    return GridParams.load({**values, **changes}, "grid")


def hosts_table(count: int = 60, seed: int = 0) -> pa.Table:
    """Hosts of good seeing or of medium seeing; none of bad seeing."""
    rng = np.random.default_rng(seed)
    depth_mag = rng.uniform(23.0, 25.0, count)
    return pa.table(
        {
            "galaxy_id": [f"test:host_{index:03d}" for index in range(count)],
            "psfsize_r": rng.uniform(0.9, 1.5, count),
            "psfdepth_r": (5.0 / flux_from_magnitude(depth_mag)) ** 2,
            "type_bin": ["DEV" if index % 3 else "REX" for index in range(count)],
            "shape_e1": rng.uniform(-0.3, 0.3, count),
            "shape_e2": rng.uniform(-0.3, 0.3, count),
        }
    )


def load_hosts(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
    stamps = []
    for galaxy_id in galaxy_ids:
        rng = np.random.default_rng(int(galaxy_id[-3:]))
        stamps.append(rng.normal(0, 0.02, (3, PIXELS, PIXELS)))
    return np.array(stamps, dtype=np.float32)


class Brightness:
    """A scorer: the logit is the r-band flux of the stamp."""

    name, checkpoint_id, stamp_pixels, bands, conditions = "brightness", "brightness", PIXELS, None, ()

    def score(self, stamps: NDArray[np.float32], conditions: object = None) -> NDArray[np.float32]:
        return np.nansum(stamps[:, 1], axis=(1, 2))


def host_set(table: pa.Table | None = None, load: LoadStamps = load_hosts, host_model: HostModel = IM1) -> HostSet:
    return HostSet("test hosts", hosts_table() if table is None else table, load, PIXELS, host_model, SURVEY)


def planned(table: pa.Table | None = None, load: LoadStamps = load_hosts, seed: int = 42, **changes: Any) -> grids.Plan:
    """A small grid over test hosts; ``changes`` are of its parameters."""
    grid = params(**changes)
    return grids.plan(Setting.of(grid, host_set(table, load, grid.host_model), seed))


def run(plan: grids.Plan, scorer: Any = None) -> pa.Table:
    """All batches of a plan, injected and scored."""
    scorer = scorer or Brightness()
    return pa.concat_tables([run_batch(plan, rows, scorer) for rows in batches(plan)]).combine_chunks()
