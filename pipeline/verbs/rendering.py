"""Contact sheets of injections of any prior, source model and hosts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.figures.stamps import contact_sheet
from analysis.figures.style import Picture
from injection.config import GridParams
from injection.experiment.conditioning import follow_hosts
from injection.galaxies.realsources import BankSources
from injection.priors.registry import draw, load_prior
from lake.errors import DataError, invalid
from lake.sky.survey import PIXEL_SCALE_ARCSEC
from pipeline.experiment.injecting import Setting
from pipeline.experiment.pixels import Pixels, draw_pixels
from pipeline.experiment.sourcebanks import in_words

log = logging.getLogger(__name__)

_COLUMNS = 8


@dataclass(frozen=True)
class Wanted:
    """Which injections a sheet shows."""

    count: int
    fixed: Mapping[str, float]
    """Columns of ``injection.priors.registry.DIRECT`` that are not drawn"""
    field_arcsec: float
    """Side of the pictures"""


def render_sheet(wanted: Wanted, setting: Setting) -> Picture:
    """Host, arc alone and host with arc of each example, with what the arc is written on it."""
    rows, pixels = examples(wanted, setting)
    failed = [reason for reason in pixels.reasons if reason is not None]
    if len(failed) == wanted.count:
        raise DataError(f"none of {wanted.count} injections could be rendered: {failed[0]}")
    if failed:
        log.warning("%d of %d injections failed, first: %s", len(failed), wanted.count, failed[0])
    labels = label(rows, pixels)
    lines = []
    for start in range(0, wanted.count, _COLUMNS):
        part = slice(start, start + _COLUMNS)
        blank = [""] * len(labels[part])
        lines.append(("host", cropped(pixels.hosts[part], wanted.field_arcsec), labels[part]))
        lines.append(("arc", cropped(pixels.arcs[part], wanted.field_arcsec), blank))
        lines.append(("host + arc", cropped(pixels.seen[part], wanted.field_arcsec), blank))
    grid = setting.grid
    facts = [
        f"prior {Path(grid.prior).stem}",
        in_words(grid, setting.sources),
        grid.host_model,
        _noise(grid),
        f"seed {setting.seed}",
    ]
    title = f"Injections into {setting.hosts.name}\n{'; '.join(facts)}"
    return contact_sheet(lines, title.replace("\n", ": "), title)


def examples(wanted: Wanted, setting: Setting) -> tuple[pa.Table, Pixels]:
    """Drawn parameters and pixels of the examples; each depends on the seed, not on how many there are."""
    prior, seed = load_prior(setting.grid.prior), setting.seed
    ids = pa.array([f"render-{index:04d}" for index in range(wanted.count)])
    rows = draw(prior, ids, seed, fixed=dict(wanted.fixed))
    if setting.grid.real_sources is not None and isinstance(setting.sources, BankSources):
        rows = setting.sources.draw(rows, prior, seed, setting.grid.real_sources.catalogue_colours)
    galaxy_ids = setting.hosts.choose(wanted.count, seed, "render")
    if setting.grid.host_model == "IM2":
        hosts = setting.hosts.hosts
        rows = follow_hosts(rows, prior, hosts.shapes(hosts.rows_of(galaxy_ids)), seed)
    return rows, draw_pixels(rows, galaxy_ids, setting)


def label(rows: pa.Table, pixels: Pixels) -> list[str]:
    """Einstein radius and source magnitude; magnification and signal to noise of the arc; or that it failed."""
    theta, mag = (rows[name].to_numpy() for name in ("lens_theta_e_arcsec", "src_mag_r"))
    return [
        "failed"
        if reason is not None
        else f'$\\theta_E$ {theta[i]:.2f}"  r {mag[i]:.1f}\n'
        f"$\\mu$ {pixels.measured['magnification'][i]:.1f}  SNR {pixels.measured['arc_snr'][i]:.0f}"
        for i, reason in enumerate(pixels.reasons)
    ]


def cropped(stamps: NDArray[np.float32], side_arcsec: float) -> NDArray[np.float32]:
    """The middle of stamps (batch, band, y, x), an odd number of pixels wide, or all of them if they are smaller."""
    if not side_arcsec > 0:
        raise invalid("field_arcsec", "positive", side_arcsec)
    middle = stamps.shape[-1] // 2
    half = min(int(side_arcsec / PIXEL_SCALE_ARCSEC / 2), middle)
    return stamps[..., middle - half : middle + half + 1, middle - half : middle + half + 1]


def _noise(grid: GridParams) -> str:
    gain, radius = grid.poisson_gain_e_per_nmgy, grid.core_suppression_radius_arcsec
    words = "no arc noise" if gain is None else f"Poisson noise at {gain:g} e-/nMgy"
    return words if radius is None else f'{words}, core suppressed within {radius:g}"'
