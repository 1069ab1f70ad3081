"""Columns of a grid batch; their meaning is in the contract of the ``injections`` table."""

from __future__ import annotations

import pyarrow as pa

from lake.sky.survey import BANDS

_DOUBLE = pa.float64()

_IDENTITY: tuple[tuple[str, pa.DataType], ...] = (
    ("grid_id", pa.string()),
    ("injection_id", pa.string()),
    ("seed", pa.int64()),
    ("prior", pa.string()),
    ("host_model", pa.string()),
    ("theta_e_index", pa.int32()),
    ("psf_index", pa.int32()),
    ("depth_index", pa.int32()),
    ("cell", pa.string()),
    ("galaxy_id", pa.string()),
    ("host_attempt", pa.int32()),
    *((f"host_psf_fwhm_nea_{band}_arcsec", _DOUBLE) for band in BANDS),
    ("host_depth_r_mag", _DOUBLE),
)
_DRAWN: tuple[tuple[str, pa.DataType], ...] = (
    *((f"lens_{name}", _DOUBLE) for name in ("theta_e_arcsec", "q", "pa_rad", "x_arcsec", "y_arcsec")),
    *((f"lens_gamma{k}", _DOUBLE) for k in (1, 2)),
    ("src_model", pa.string()),
    *((f"src_{name}", _DOUBLE) for name in ("mag_r", "g_minus_r", "r_minus_z", "re_arcsec", "n", "q", "pa_rad")),
    *((f"src_{name}", _DOUBLE) for name in ("x_arcsec", "y_arcsec", "beta_frac")),
    ("src_clumps", pa.int32()),
    ("src_clump_fraction", _DOUBLE),
    *((f"src_clump{k}_{part}_arcsec", _DOUBLE) for k in (1, 2, 3) for part in ("x", "y", "re")),
    ("src_stamp_id", pa.string()),
    ("log_prior", _DOUBLE),
    ("poisson_gain_e_per_nmgy", _DOUBLE),
    ("theta_e_over_fwhm_nea", _DOUBLE),
)
_MEASURED: tuple[tuple[str, pa.DataType], ...] = (
    *((name, _DOUBLE) for name in ("arc_snr", "arc_snr_annulus", "magnification")),
    *((f"arc_flux_{band}_nmgy", _DOUBLE) for band in BANDS),
    *((f"arc_peak_{band}_nmgy_arcsec2", _DOUBLE) for band in BANDS),
    ("arc_images", pa.int32()),
    *((name, _DOUBLE) for name in ("arc_off_stamp_fraction", "arc_masked_fraction")),
    *((f"sky_sigma_{origin}_nmgy", _DOUBLE) for origin in ("psfdepth", "mad")),
    *((name, _DOUBLE) for name in ("arc_sky_ratio", "arc_host_ratio")),
    ("detectable", pa.bool_()),
    ("host_masked_fraction", _DOUBLE),
    ("score", _DOUBLE),
    ("host_score", _DOUBLE),
)

MEASURED = tuple(name for name, _ in _MEASURED)
"""Columns that are null in a failed row."""

BATCH_SCHEMA = pa.schema([*_IDENTITY, *_DRAWN, *_MEASURED, ("status", pa.string()), ("reason", pa.string())])
