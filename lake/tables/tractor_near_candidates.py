"""Contract of ``tractor_near_candidates``."""

from __future__ import annotations

from lake.contract import columns
from lake.contract.spec import Column, TableSpec, lineage_columns

SPEC = TableSpec(
    name="tractor_near_candidates",
    meaning="A source near a listed lens candidate, uncut, with the first cut it fails",
    columns=(
        columns.galaxy_id(),
        *columns.native_id(),
        *columns.position(),
        *columns.photometry(nullable=True),
        Column("type_bin", "string", "type as a stratum", nullable=True, allowed=columns.TYPES),
        *columns.healpix(),
        columns.split(),
        Column("candidate_id", "string", "nearest listed position"),
        Column("separation_arcsec", "double", "distance to that candidate", "arcsec", low=0),
        Column(
            "failed_cut", "string", "first pool cut the source fails, besides lying near a candidate", nullable=True
        ),
        *columns.source(),
        *lineage_columns(),
    ),
)
