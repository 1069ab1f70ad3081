"""Contract of ``injections``."""

from __future__ import annotations

from lake.contract import columns
from lake.contract.spec import Column, TableSpec
from lake.sky.survey import BANDS


def _angle(name: str, meaning: str) -> Column:
    return Column(name, "double", meaning, "rad", low=-3.15, high=3.15)


def _place(name: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name, "double", meaning, "arcsec", nullable=nullable, low=-60, high=60)


_WHERE = (
    columns.GRID_ID,
    columns.GRID_NAME,
    Column("injection_id", "string", "injection within its grid", role="key"),
    Column("seed", "bigint", "run seed: with injection_id it draws the row again alone"),
    Column("prior", "string", "name of the prior"),
    Column("host_selection", "string", "hosts used: all, or early types (DEV, SER)", allowed=("all", "early")),
    Column(
        "lens_shape",
        "string",
        "independent: drawn from the prior; conditioned: like the host's catalogue shape",
        allowed=("independent", "conditioned"),
    ),
    *(
        Column(f"{axis}_index", "int", f"grid index of {meaning}", low=0)
        for axis, meaning in (("theta_e", "theta_E"), ("psf", "the host's r psfsize"), ("depth", "the host's r depth"))
    ),
    Column("galaxy_id", "string", "the host"),
    Column("host_attempt", "int", "0 for the first host, then the number of retries", low=0, high=99),
    *(
        Column(f"host_psf_fwhm_nea_{b}_arcsec", "double", f"psfsize of the host in {b}", "arcsec", low=0, high=10)
        for b in BANDS
    ),
    Column("host_depth_r_mag", "double", "the host's 5-sigma point-source depth in r", "mag", low=10, high=35),
)

_UNKNOWN = "(null: hosts without a catalogue)"
HOST = (
    Column("host_type", "string", f"Tractor type of the host {_UNKNOWN}", nullable=True, allowed=columns.TYPES),
    *(
        Column(f"host_mag_{b}", "float", f"magnitude of the host in {b}, as observed {_UNKNOWN}", "mag", nullable=True)
        for b in ("r", "z")
    ),
    Column("host_shape_r", "float", f"half-light radius of the host {_UNKNOWN}", "arcsec", nullable=True, low=0),
    Column("host_sersic", "float", f"concentration: Sersic index of the host {_UNKNOWN}", nullable=True, low=0),
    Column(
        "host_nobs_z_bin",
        "string",
        f"bin of the host's exposures in z {_UNKNOWN}",
        nullable=True,
        allowed=columns.NOBS_BINS,
    ),
    Column("host_brickname", "string", f"survey brick of the host {_UNKNOWN}", nullable=True),
)
"""What the catalogue says about the host."""
HOST_FACTS = {column.name: column.name.removeprefix("host_") for column in HOST}
"""Columns of `HOST`, and those of the catalogue that they are."""

_LENS = (
    Column("lens_theta_e_arcsec", "double", "Einstein radius, intermediate axis", "arcsec", low=0, high=60),
    Column("lens_q", "double", "lens axis ratio", low=0, high=1),
    _angle("lens_pa_rad", "PA of the mass major axis from +x counter-clockwise"),
    _place("lens_x_arcsec", "lens centre from the stamp's centre, along x"),
    _place("lens_y_arcsec", "lens centre from the stamp's centre, along y"),
    Column("lens_gamma1", "double", "external shear, component 1", low=-0.9, high=0.9),
    Column("lens_gamma2", "double", "external shear, component 2", low=-0.9, high=0.9),
)

_SOURCE = (
    Column("src_model", "string", "model of the source's light: sersic, sersic_clumps, real, or one of your own"),
    Column("src_mag_r", "double", "unlensed r magnitude, as observed", "mag", low=5, high=40),
    Column("src_g_minus_r", "double", "colour, as observed", "mag", low=-10, high=10),
    Column("src_r_minus_z", "double", "colour, as observed", "mag", low=-10, high=10),
    Column("src_re_arcsec", "double", "half-light radius, intermediate axis", "arcsec", low=0, high=30),
    Column("src_n", "double", "Sersic index (null: real galaxy)", nullable=True, low=0.3, high=8),
    Column("src_q", "double", "source axis ratio (null: real galaxy)", nullable=True, low=0, high=1),
    _angle("src_pa_rad", "PA of the source's major axis"),
    _place("src_x_arcsec", "source position in the source plane, along x"),
    _place("src_y_arcsec", "source position in the source plane, along y"),
    Column("src_beta_frac", "double", "source offset from the lens centre over theta_E", low=0, high=100),
    Column("src_clumps", "int", "number of clumps", low=0, high=3),
    Column("src_clump_fraction", "double", "share of the source's flux in its clumps", low=0, high=1),
    *(
        column
        for i in (1, 2, 3)
        for column in (
            *(_place(f"src_clump{i}_{x}_arcsec", f"clump {i}: offset from the source, along {x}", True) for x in "xy"),
            Column(
                f"src_clump{i}_re_arcsec", "double", f"clump {i}: half-light radius", "arcsec", nullable=True, low=0
            ),
        )
    ),
    Column("src_stamp_id", "string", "entry of the real-galaxy catalogue", nullable=True),
    Column("log_prior", "double", "log prior density of the draw, theta_E excluded where the grid fixes it"),
)


def _measured(name: str, meaning: str, unit: str = "", low: float | None = 0, high: float | None = None) -> Column:
    return Column(name, "double", meaning + " (null: failed)", unit, nullable=True, low=low, high=high)


_MEASURED = (
    Column(
        "poisson_gain_e_per_nmgy",
        "double",
        "gain of the arc's Poisson noise (null: none)",
        "e-/nMgy",
        nullable=True,
        low=0,
    ),
    _measured("arc_snr", "matched-filter SNR of the arc in r over unmasked pixels"),
    _measured("arc_snr_annulus", "aperture SNR in the annulus round theta_E in r", low=None),
    _measured("magnification", "lensed over unlensed flux, before the PSF"),
    *(_measured(f"arc_flux_{b}_nmgy", f"flux of the arc inside the stamp in {b}", "nMgy") for b in BANDS),
    *(_measured(f"arc_peak_{b}_nmgy_arcsec2", f"peak surface brightness in {b}", "nMgy/arcsec^2") for b in BANDS),
    Column("arc_images", "int", "images of the source's centre (null: failed)", nullable=True, low=0, high=9),
    _measured("arc_off_stamp_fraction", "share of the arc's flux outside the stamp", high=1),
    _measured("arc_masked_fraction", "share of the arc's r flux in masked pixels", high=1),
    Column("theta_e_over_fwhm_nea", "double", "theta_E over the host's r psfsize", low=0),
    Column("sky_sigma_psfdepth_nmgy", "double", "r pixel noise from psfdepth", "nMgy", nullable=True, low=0),
    Column("sky_sigma_mad_nmgy", "double", "r pixel noise from the host's outer annulus", "nMgy", nullable=True, low=0),
    _measured("arc_sky_ratio", "brightest unmasked r arc pixel over the sky noise"),
    _measured("arc_host_ratio", "largest arc over host flux among r pixels above 5 sigma"),
    Column("detectable", "boolean", "the declared detectability cuts are met (null: failed)", nullable=True),
    _measured("host_masked_fraction", "share of masked or non-finite host pixels", high=1),
    Column("status", "string", "scored, or failed and in no denominator", allowed=("scored", "failed")),
    Column("reason", "string", "why it failed", nullable=True),
)

SPEC = TableSpec(
    name="injections",
    meaning="An injection: every lens, source, host and PSF parameter, prior density, seed, measurements, status",
    engine="spark",
    slice_by=("grid_id",),
    columns=(*_WHERE, *HOST, *_LENS, *_SOURCE, *_MEASURED),
)
