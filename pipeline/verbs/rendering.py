"""Contact sheets of injections of any prior, source model and hosts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from analysis.figures.stamps import contact_sheet, cropped, lines
from analysis.figures.style import Picture
from injection.config import GridParams
from injection.experiment.setting import Drawn, Setting
from lake.errors import DataError

log = logging.getLogger(__name__)


def render_sheet(setting: Setting, count: int, fixed: Mapping[str, float], field_arcsec: float) -> Picture:
    """Host, arc alone and host with arc of each example, labelled; ``field_arcsec`` is the side of the pictures."""
    drawn = examples(setting, count, fixed)
    failed = [reason for reason in drawn.reasons if reason is not None]
    if len(failed) == count:
        raise DataError(f"none of {count} injections could be rendered: {failed[0]}")
    if failed:
        log.warning("%d of %d injections failed, first: %s", len(failed), count, failed[0])
    imaging, grid = setting.hosts.imaging, setting.grid
    planes = {
        heading: cropped(stamps, field_arcsec, imaging.pixel_scale_arcsec)
        for heading, stamps in (("host", drawn.bare), ("arc", drawn.added), ("host + arc", drawn.images))
    }
    host_model = f"{grid.host_selection} hosts, {grid.lens_shape} lens shapes"
    facts = f"prior {Path(grid.prior).stem}; {setting.sources.describe()}; {host_model}; {_noise(grid)}"
    title = f"Injections into {setting.hosts.name}\n{facts}; seed {setting.seed}"
    return contact_sheet(lines(planes, label(drawn, setting), "host"), title.replace("\n", ": "), imaging, title)


def examples(setting: Setting, count: int, fixed: Mapping[str, float]) -> Drawn:
    """Injections, each of which depends on the seed and not on how many there are.

    ``fixed`` are columns of the prior's ``direct`` that are not drawn.
    """
    rows = pa.table(
        {
            "injection_id": [f"render-{index:04d}" for index in range(count)],
            "galaxy_id": setting.hosts.choose(count, setting.seed, "render"),
            **{name: np.full(count, value) for name, value in fixed.items()},
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
