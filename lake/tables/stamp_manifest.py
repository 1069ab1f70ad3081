"""Contract of ``stamp_manifest``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec
from lake.tables.injection_manifest import LABEL, STAMP_ID
from lake.tables.stamps import SET_NAME

SPEC = TableSpec(
    name="stamp_manifest",
    meaning="A training row of a named manifest of simulated stamps",
    engine="spark",
    slice_by=("manifest_id",),
    columns=(
        Column("manifest_id", "string", "name of the manifest", role="key"),
        STAMP_ID,
        Column("galaxy_id", "string", "the host"),
        Column("set_name", "string", SET_NAME.meaning),
        Column("shard", "int", "number of the .npy shard below the set's folder", low=0),
        Column("shard_row", "int", "row in the shard; controls of one galaxy share theirs", low=0),
        Column("xxh3_128", "string", "hash of the stamp's bytes, checked whenever they are read"),
        *columns.POSITION,
        columns.SPLIT,
        Column("healpix_128", "bigint", "HEALPix pixel, nside 128, NESTED", low=0),
        *columns.CONDITIONS,
        LABEL,
        Column("tier", "string", "always null: a simulated lens has no tier", nullable=True, allowed=columns.TIERS),
        Column("hard_negative", "boolean", "control that earlier finders took for a lens", nullable=True),
    ),
)
