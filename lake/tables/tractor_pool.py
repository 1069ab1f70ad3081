"""Contract of ``tractor_pool``."""

from __future__ import annotations

from lake.contract import columns
from lake.contract.spec import Column, TableSpec, lineage_columns

SPEC = TableSpec(
    name="tractor_pool",
    meaning="A source that passed the pool's cuts",
    engine="spark",
    columns=(
        columns.galaxy_id(),
        *columns.native_id(),
        *columns.position(),
        *columns.photometry(nullable=False),
        Column("type_bin", "string", "type as a stratum", allowed=columns.TYPES),
        *columns.healpix(),
        columns.split(),
        *columns.source(),
        *lineage_columns(),
    ),
)
