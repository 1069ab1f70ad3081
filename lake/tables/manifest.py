"""Contract of ``manifest``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="manifest",
    meaning="A training row of a named manifest",
    slice_by=("manifest_id",),
    columns=(
        Column("manifest_id", "string", "name of the manifest", role="key"),
        columns.GALAXY_ID,
        Column("cutout_path", "string", "shard and row of the stamp, bucket-0007.npy#12"),
        Column("cutout_version", "string", "version of the cut-out"),
        Column("shard", "int", "bucket number of the shard", low=0),
        Column("shard_row", "int", "row in the shard", low=0),
        Column("sha256", "string", "hash of the stamp's bytes, checked whenever they are read"),
        *columns.POSITION,
        Column("type_bin", "string", "Tractor type", allowed=columns.TYPES),
        Column("nobs_z_bin", "string", "bin of nobs_z", allowed=("0", "1-2", "3-5", "6-10", "11+")),
        columns.SPLIT,
        Column("pool", "string", "N1, N2 for negatives, P for positives", allowed=("N1", "N2", "P")),
        Column("confuser_category", "string", "catalogue proxy of an N2 negative", nullable=True),
        *columns.CONDITIONS,
        Column("ebv", "float", "Galactic reddening", "mag", nullable=True),
        Column("healpix_128", "bigint", "HEALPix pixel, nside 128, NESTED", low=0),
        Column("label", "int", "1 lens candidate, 0 negative", low=0, high=1),
        Column("tier", "string", "tier of a positive", nullable=True, allowed=columns.TIERS),
        Column("hard_negative", "boolean", "negative that earlier finders took for a lens", nullable=True),
    ),
)
