"""Contract of ``tractor_near_candidates``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="tractor_near_candidates",
    meaning="A source near a listed lens candidate, uncut, with the first cut it fails",
    columns=(
        columns.GALAXY_ID,
        *columns.NATIVE_ID,
        *columns.POSITION,
        *columns.photometry(nullable=True),
        Column("type_bin", "string", "type as a stratum", nullable=True, allowed=columns.TYPES),
        *columns.HEALPIX,
        columns.SPLIT,
        Column("candidate_id", "string", "nearest listed position"),
        Column("separation_arcsec", "double", "distance to that candidate", "arcsec", low=0),
        Column("failed_cut", "string", "first of the other pool cuts that the source fails", nullable=True),
        *columns.SOURCE,
    ),
)
