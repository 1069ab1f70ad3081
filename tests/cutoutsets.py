"""A small labelled set of cut-outs, as teams keep them: g and i bands, 0.2 arcsec, zero point 27, its own PSF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from astropy.io import fits
from numpy.typing import NDArray

from lake import yamltext

SIDE, SCALE, ZERO_POINT = 41, 0.2, 27.0
BANDS = ("g", "i")
UNIT = 10 ** (0.4 * (22.5 - ZERO_POINT))
"""Nanomaggies of one unit of the files."""
SIGMA = (0.004, 0.008)
"""Noise of a pixel (nMgy)."""
PRIOR = """base: v1
meaning: faint blue sources
src_mag_i: {kind: uniform, low: 22.0, high: 24.0}
src_g_minus_i: {kind: normal, mean: 0.2, sigma: 0.1}
src_re_arcsec: {kind: uniform, low: 0.1, high: 0.3}
"""


def stamps(count: int, lenses: int, seed: int = 0) -> NDArray[np.float32]:
    """Red galaxies (object, band, y, x) in the files' units; the first of them have a blue ring."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE // 2) * SCALE
    radius = np.hypot(x, y)
    light = rng.uniform(0.5, 1.5, (count, 1, 1)) * np.exp(-radius / 0.5)
    ring = np.where(np.arange(count) < lenses, 0.06, 0.0)[:, None, None] * np.exp(-(((radius - 1.4) / 0.25) ** 2))
    bands = [0.03 * light + ring, 0.15 * light + 0.7 * ring]
    noisy = [band + rng.normal(0.0, sigma, band.shape) for band, sigma in zip(bands, SIGMA, strict=True)]
    return (np.stack(noisy, axis=1) / UNIT).astype(np.float32)


def psf(fwhm: float, side: int = 15) -> NDArray[np.float64]:
    y, x = np.mgrid[:side, :side] - side // 2
    image = np.exp(-4 * np.log(2) * (x**2 + y**2) * (SCALE / fwhm) ** 2)
    return np.asarray(image / image.sum())


def described(**changes: Any) -> dict[str, Any]:
    return {
        "name": "own",
        "bands": list(BANDS),
        "reference_band": "i",
        "pixel_scale_arcsec": SCALE,
        "zero_point_mag": ZERO_POINT,
        "images": {"files": "stamps.h5", "array": "images", "id": "name"},
        "psf": {"kind": "image", "array": "psf", "includes_pixel": True},
        "noise": {"kind": "measured"},
        "table": "objects.csv",
        "labels": {"column": "kind", "lenses": ["lens"], "negatives": ["random"]},
        "grid": {"prior": "prior.yaml", "per_cell": 24, "theta_e_arcsec": [0.8, 1.4]},
        "source_mag_edges": [22.0, 23.0, 24.0],
        **changes,
    }


def write_set(folder: Path, count: int, lenses: int, **changes: Any) -> Path:
    """An HDF5 file with all objects, a table with their labels and seeing, and the description; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"o{index:03d}" for index in range(count)]
    seeing = 0.7 + 0.2 * np.arange(count) / count
    with h5py.File(folder / "stamps.h5", "w") as file:
        file["images"] = stamps(count, lenses)
        file["psf"] = np.stack([np.stack([psf(width), psf(0.9 * width)]) for width in seeing])
        file["name"] = np.array(names, dtype="S8")
    kinds = np.where(np.arange(count) < lenses, "lens", "random")
    pd.DataFrame({"id": names, "kind": kinds, "seeing": seeing, "ebv": -0.1}).to_csv(
        folder / "objects.csv", index=False
    )
    (folder / "prior.yaml").write_text(PRIOR)
    path = folder / "set.yaml"
    path.write_text(yamltext.text(described(**changes)))
    return path


def write_fits(path: Path, data: NDArray[Any], scale: float | None = None, **cards: Any) -> None:
    header = fits.Header()
    if scale is not None:
        header.update(
            CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CD1_1=-scale / 3600, CD1_2=0.0, CD2_1=0.0, CD2_2=scale / 3600
        )
    header.update(cards)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(data, header).writeto(path)
