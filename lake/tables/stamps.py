"""Contract of ``stamps``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec, Type
from lake.tables.injection_manifest import CONFIGURATION, LABEL, STAMP_ID

SET_NAME = Column("set_name", "string", "name of the set: a plan, rendered in one way", role="key")
PLACE = (
    Column("shard", "int", "number of the .npy shard below the set's folder", nullable=True, low=0),
    Column("shard_row", "int", "row in the shard; controls of one galaxy share theirs", nullable=True, low=0),
    Column("xxh3_128", "string", "hash of the stamp's bytes, checked whenever they are read", nullable=True),
)


def _of_lens(name: str, meaning: str, unit: str = "", low: float | None = None, kind: Type = "double") -> Column:
    return Column(name, kind, f"{meaning} (null: control, or rejected)", unit, nullable=True, low=low)


_DRAWN = (
    _of_lens("lens_q", "lens axis ratio", low=0),
    _of_lens("lens_pa_rad", "PA of the mass major axis from +x counter-clockwise", "rad"),
    *(_of_lens(f"lens_{x}_arcsec", f"lens centre from the stamp's centre, along {x}", "arcsec") for x in "xy"),
    *(_of_lens(f"lens_gamma{k}", f"external shear, component {k}") for k in (1, 2)),
    _of_lens("src_model", "model of the source's light: sersic, or real", kind="string"),
    _of_lens("src_mag_r", "unlensed r magnitude, as observed", "mag"),
    _of_lens("src_g_minus_r", "colour, as observed", "mag"),
    _of_lens("src_r_minus_z", "colour, as observed", "mag"),
    *(_of_lens(f"src_{x}_arcsec", f"source position in the source plane, along {x}", "arcsec") for x in "xy"),
    _of_lens("src_pa_rad", "PA of the source's major axis", "rad"),
    _of_lens("src_stamp_id", "galaxy of the bank, where the source is one", kind="string"),
)
"""Parameters that the grid leaves open: they depend on the stamp's identifier and the seed alone."""

_MEASURED = (
    _of_lens("arc_snr", "matched-filter SNR of the arc in r over unmasked pixels", low=0),
    _of_lens("magnification", "lensed over unlensed flux, before the PSF", low=0),
    _of_lens("arc_off_stamp_fraction", "share of the arc's flux outside the stamp", low=0),
    _of_lens("arc_masked_fraction", "share of the arc's r flux in masked pixels", low=0),
)

SPEC = TableSpec(
    name="stamps",
    meaning="A rendered simulated training stamp: where its pixels are, what was drawn and measured, status",
    engine="spark",
    slice_by=("set_name",),
    columns=(
        SET_NAME,
        STAMP_ID,
        Column("galaxy_id", "string", "the host"),
        LABEL,
        *CONFIGURATION,
        *columns.POSITION,
        columns.SPLIT,
        Column("healpix_128", "bigint", "HEALPix pixel, nside 128, NESTED", low=0),
        *columns.CONDITIONS,
        Column("status", "string", "ok, or rejected with a reason", allowed=("ok", "rejected")),
        Column("reason", "string", "why there are no pixels", nullable=True),
        *PLACE,
        *(
            Column(f"{x}_offset_px", "float", f"host minus central pixel (side // 2) along {x}", "pixel", nullable=True)
            for x in "xy"
        ),
        columns.share("masked_fraction", "share of masked or non-finite pixels", "float"),
        columns.share("ring_masked_fraction", "their share of the ring at theta_E, as wide as the r psfsize", "float"),
        Column("ring_masked", "boolean", "the ring is masked: that share is above the set's limit", nullable=True),
        Column("theta_e_over_fwhm_nea", "double", "theta_E over the host's r psfsize", nullable=True, low=0),
        *_DRAWN,
        *_MEASURED,
    ),
)
