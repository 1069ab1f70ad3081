"""Columns of a grid batch; their meaning is in the contract of the ``injections`` table.

Columns of widths, fluxes and colours are those of the bands of the host set's imaging, so only grids into the survey's
own bands fit the tables of the lake; others keep their rows in their batches.
"""

from __future__ import annotations

import pyarrow as pa

from lake.sky.imaging import Imaging

_DOUBLE = pa.float64()
Columns = tuple[tuple[str, pa.DataType], ...]


_IDENTITY: Columns = (
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
)
_LENS: Columns = (
    *((f"lens_{name}", _DOUBLE) for name in ("theta_e_arcsec", "q", "pa_rad", "x_arcsec", "y_arcsec")),
    *((f"lens_gamma{k}", _DOUBLE) for k in (1, 2)),
    ("src_model", pa.string()),
)
_SOURCE: Columns = (
    *((f"src_{name}", _DOUBLE) for name in ("re_arcsec", "n", "q", "pa_rad", "x_arcsec", "y_arcsec", "beta_frac")),
    ("src_clumps", pa.int32()),
    ("src_clump_fraction", _DOUBLE),
    *((f"src_clump{k}_{part}_arcsec", _DOUBLE) for k in (1, 2, 3) for part in ("x", "y", "re")),
    ("src_stamp_id", pa.string()),
    ("log_prior", _DOUBLE),
    ("poisson_gain_e_per_nmgy", _DOUBLE),
    ("theta_e_over_fwhm_nea", _DOUBLE),
)
_TOTAL: Columns = tuple((name, _DOUBLE) for name in ("arc_snr", "arc_snr_annulus", "magnification"))
_MEASURED: Columns = (
    ("arc_images", pa.int32()),
    *((name, _DOUBLE) for name in ("arc_off_stamp_fraction", "arc_masked_fraction")),
    *((f"sky_sigma_{origin}_nmgy", _DOUBLE) for origin in ("psfdepth", "mad")),
    *((name, _DOUBLE) for name in ("arc_sky_ratio", "arc_host_ratio")),
    ("detectable", pa.bool_()),
    ("host_masked_fraction", _DOUBLE),
    ("score", _DOUBLE),
    ("host_score", _DOUBLE),
)


def measured(imaging: Imaging) -> Columns:
    """Columns that are null in a failed row."""
    light = ("arc_flux_{}_nmgy", "arc_peak_{}_nmgy_arcsec2")
    return (*_TOTAL, *((name.format(band), _DOUBLE) for name in light for band in imaging.bands), *_MEASURED)


def batch_schema(imaging: Imaging) -> pa.Schema:
    """Columns of the batches of a grid into stamps of this imaging."""
    hosts = (
        *(f"host_psf_fwhm_nea_{band}_arcsec" for band in imaging.bands),
        f"host_depth_{imaging.reference_band}_mag",
    )
    own = [tuple((name, _DOUBLE) for name in names) for names in (hosts, imaging.source_columns)]
    columns = (*_IDENTITY, *own[0], *_LENS, *own[1], *_SOURCE, *measured(imaging))
    return pa.schema([*columns, ("status", pa.string()), ("reason", pa.string())])
