"""Columns of a grid batch; the contract of the table ``injections`` says what they mean.

There are columns of widths, fluxes and colours for the bands of the host set. Only grids in the survey's own bands fit
the tables of the lake; the rows of others stay in their batches.
"""

from __future__ import annotations

import pyarrow as pa

from lake.sky.imaging import Imaging
from lake.tables import injections

_IDENTITY = (
    "grid_id", "injection_id", "seed", "prior", "host_selection", "lens_shape", "theta_e_index", "psf_index",
    "depth_index", "cell", "galaxy_id", "host_attempt",
)  # fmt: skip
_LENS = (
    *(f"lens_{name}" for name in ("theta_e_arcsec", "q", "pa_rad", "x_arcsec", "y_arcsec", "gamma1", "gamma2")),
    "src_model",
)
_SOURCE = (
    *(f"src_{name}" for name in ("re_arcsec", "n", "q", "pa_rad", "x_arcsec", "y_arcsec", "beta_frac", "clumps")),
    "src_clump_fraction",
    *(f"src_clump{k}_{part}_arcsec" for k in (1, 2, 3) for part in ("x", "y", "re")),
    *("src_stamp_id", "log_prior", "poisson_gain_e_per_nmgy", "theta_e_over_fwhm_nea"),
)
_MEASURED = (
    "arc_images", "arc_off_stamp_fraction", "arc_masked_fraction", "sky_sigma_psfdepth_nmgy", "sky_sigma_mad_nmgy",
    "arc_sky_ratio", "arc_host_ratio", "detectable", "host_masked_fraction", "score", "host_score",
)  # fmt: skip
_TEXT = (
    "grid_id",
    "injection_id",
    "prior",
    "host_selection",
    "lens_shape",
    "cell",
    "galaxy_id",
    "src_model",
    "src_stamp_id",
)
_COUNTS = ("theta_e_index", "psf_index", "depth_index", "host_attempt", "src_clumps", "arc_images")
_TYPES = {
    **dict.fromkeys((*_TEXT, "status", "reason"), pa.string()),
    **dict.fromkeys(_COUNTS, pa.int32()),
    **{column.name: column.arrow.type for column in injections.HOST},
    "seed": pa.int64(),
    "detectable": pa.bool_(),
}
"""Types of the columns that are not doubles."""


def measured(imaging: Imaging) -> pa.Schema:
    """Columns that are null in a failed row."""
    light = ("arc_flux_{}_nmgy", "arc_peak_{}_nmgy_arcsec2")
    of_bands = [name.format(band) for name in light for band in imaging.bands]
    return _schema("arc_snr", "arc_snr_annulus", "magnification", *of_bands, *_MEASURED)


def batch_schema(imaging: Imaging) -> pa.Schema:
    """Columns of the batches of a grid into stamps of this imaging."""
    hosts = [f"host_psf_fwhm_nea_{band}_arcsec" for band in imaging.bands]
    hosts.append(f"host_depth_{imaging.reference_band}_mag")
    hosts += list(injections.HOST_FACTS)
    own = (*_IDENTITY, *hosts, *_LENS, *imaging.source_columns, *_SOURCE)
    return _schema(*own, *measured(imaging).names, "status", "reason")


def _schema(*names: str) -> pa.Schema:
    return pa.schema([(name, _TYPES.get(name, pa.float64())) for name in names])
