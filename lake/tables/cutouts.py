"""Contract of ``cutouts``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

_MEASURED = {
    "core_mean": "mean r-band flux at r < 8 px",
    "annulus_mean": "mean r-band flux at 4-16 px",
    "outer_mean": "mean r-band flux at 16-28 px",
    "mad": "median absolute deviation in r",
    "asymmetry": "azimuthal asymmetry in r: rms about the azimuthal mean over the mean, at r < 16 px",
    "radial_gradient": "core mean minus outer mean in r",
    "percentile_1": "1st percentile in r",
    "percentile_99": "99th percentile in r",
}

SPEC = TableSpec(
    name="cutouts",
    meaning="An extracted cut-out: where its pixels are, QA metrics, status",
    columns=(
        columns.GALAXY_ID,
        Column("cutout_version", "string", "hash of source, size and extraction settings", role="key"),
        Column("status", "string", "ok, or rejected with a reason", allowed=("ok", "rejected")),
        Column("reason", "string", "why the cut-out is rejected", nullable=True),
        Column("brickname", "string", "brick whose coadds hold the window", nullable=True),
        Column("shard", "int", "bucket number of the .npy shard", nullable=True, low=0),
        Column("shard_row", "int", "row in the shard", nullable=True, low=0),
        Column("sha256", "string", "hash of the stamp's bytes", nullable=True),
        Column("x_offset_px", "float", "source minus stamp centre along x (columns)", "pixel", nullable=True),
        Column("y_offset_px", "float", "source minus stamp centre along y (rows)", "pixel", nullable=True),
        *columns.per_band("psfsize", "float", "psfsize in {} from the coadds", "arcsec"),
        *columns.per_band("psfdepth", "float", "psfdepth in {} from the coadds", "nMgy^-2"),
        columns.share("nan_fraction", "share of pixels without data", "float"),
        columns.share("core_nan_fraction", "share of pixels without data at r < 8 px", "float"),
        columns.share("masked_fraction", "share of pixels under the excluded mask bits", "float"),
        columns.share("zero_fraction", "share of pixels that are exactly zero", "float"),
        *(
            Column(f"{name}_r", "float", meaning, "nMgy" if name != "asymmetry" else "", nullable=True)
            for name, meaning in _MEASURED.items()
        ),
    ),
)
