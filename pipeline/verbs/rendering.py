"""Contact sheets of injections of any prior, source model and hosts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from analysis.figures.stamps import contact_sheet, cropped, lines
from analysis.figures.style import Picture
from injection.config import GridParams
from injection.experiment.setting import Drawn, Setting
from lake.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """Which injections a sheet shows."""

    count: int
    fixed: Mapping[str, float]
    """Columns of the prior's ``direct`` that are not drawn"""
    field_arcsec: float
    """Side of the pictures"""


def render_sheet(wanted: Wanted, setting: Setting) -> Picture:
    """Host, arc alone and host with arc of each example, with what the arc is written on it."""
    drawn = examples(wanted, setting)
    failed = [reason for reason in drawn.reasons if reason is not None]
    if len(failed) == wanted.count:
        raise DataError(f"none of {wanted.count} injections could be rendered: {failed[0]}")
    if failed:
        log.warning("%d of %d injections failed, first: %s", len(failed), wanted.count, failed[0])
    planes = {"host": drawn.bare, "arc": drawn.added, "host + arc": drawn.images}
    imaging = setting.hosts.imaging
    how = wanted.field_arcsec, imaging.pixel_scale_arcsec
    planes = {heading: cropped(stamps, *how) for heading, stamps in planes.items()}
    grid = setting.grid
    facts = [
        f"prior {Path(grid.prior).stem}",
        setting.sources.describe(),
        grid.host_model,
        _noise(grid),
        f"seed {setting.seed}",
    ]
    title = f"Injections into {setting.hosts.name}\n{'; '.join(facts)}"
    return contact_sheet(lines(planes, label(drawn, setting), "host"), title.replace("\n", ": "), imaging, title)


def examples(wanted: Wanted, setting: Setting) -> Drawn:
    """The examples; each depends on the seed, not on how many there are."""
    setting = setting.on_cpu()
    rows = pa.table(
        {
            "injection_id": [f"render-{index:04d}" for index in range(wanted.count)],
            "galaxy_id": setting.hosts.choose(wanted.count, setting.seed, "render"),
            **{name: np.full(wanted.count, value) for name, value in wanted.fixed.items()},
        }
    )
    return setting.draw(setting.parameters(rows))


def label(drawn: Drawn, setting: Setting) -> list[str]:
    """Einstein radius and source magnitude; magnification and signal to noise of the arc; or that it failed."""
    imaging = setting.hosts.imaging
    theta, mag = (drawn.rows[name].to_numpy() for name in ("lens_theta_e_arcsec", imaging.source_columns[0]))
    measured = setting.measured(drawn)
    return [
        "failed"
        if reason is not None
        else f'$\\theta_E$ {theta[i]:.2f}"  {imaging.reference_band} {mag[i]:.1f}\n'
        f"$\\mu$ {measured['magnification'][i]:.1f}  SNR {measured['arc_snr'][i]:.0f}"
        for i, reason in enumerate(drawn.reasons)
    ]


def _noise(grid: GridParams) -> str:
    gain, radius = grid.poisson_gain_e_per_nmgy, grid.core_suppression_radius_arcsec
    words = "no arc noise" if gain is None else f"Poisson noise at {gain:g} e-/nMgy"
    return words if radius is None else f'{words}, core suppressed within {radius:g}"'
