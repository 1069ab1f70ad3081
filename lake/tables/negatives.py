"""Contract of ``negatives``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

CONFUSERS = ("ring", "edge_on", "blue_clumpy", "large")

SPEC = TableSpec(
    name="negatives",
    meaning="A sampled non-lens with its stratum, pool and confuser category",
    columns=(
        columns.GALAXY_ID,
        *columns.POSITION,
        Column("brickname", "string", "survey brick"),
        Column("type_bin", "string", "Tractor type of the stratum", allowed=columns.TYPES),
        Column("nobs_z_bin", "string", "nobs_z bin of the stratum", allowed=("3-5", "6-10", "11+")),
        Column("pool", "string", "N1 random within the stratum, N2 confusers by catalogue", allowed=("N1", "N2")),
        Column("confuser_category", "string", "first catalogue proxy it meets", nullable=True, allowed=CONFUSERS),
        columns.SPLIT,
        Column("healpix_128", "bigint", "HEALPix pixel, nside 128, NESTED", low=0),
        Column("rank", "bigint", "place in the stratum's keyed-hash order, 0 first", low=0),
    ),
)
