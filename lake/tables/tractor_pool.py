"""Contract of ``tractor_pool``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="tractor_pool",
    meaning="A source that passed the pool's cuts",
    engine="spark",
    columns=(
        columns.GALAXY_ID,
        *columns.NATIVE_ID,
        *columns.POSITION,
        *columns.photometry(nullable=False),
        Column("type_bin", "string", "type as a stratum", allowed=columns.TYPES),
        *columns.HEALPIX,
        columns.SPLIT,
        *columns.SOURCE,
    ),
)
