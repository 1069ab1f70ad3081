"""Contract of ``lens_candidates``."""

from __future__ import annotations

from lake import columns
from lake.spec import Column, TableSpec, lineage_columns

SPEC = TableSpec(
    name="lens_candidates",
    meaning="A published lens candidate, with its Tractor match or the reason there is none",
    engine="spark",
    columns=(
        Column("name", "string", "name in the candidate list", role="key"),
        *columns.position(),
        Column("grading", "string", "grade in the list", allowed=("confident", "probable")),
        Column("tier", "string", "A confident (spectroscopy or HST), B visual grade only", allowed=columns.TIERS),
        Column("z_lens", "double", "redshift of the lens galaxy, where known", nullable=True, low=0),
        Column("reference", "string", "publication of the candidate", nullable=True),
        Column("galaxy_id", "string", "matched Tractor source", nullable=True),
        Column("separation_arcsec", "double", "distance to the match", "arcsec", nullable=True, low=0),
        Column(
            "match_reason",
            "string",
            "'matched', or why there is no match",
            allowed=("matched", "no source within the radius", "source matched by a nearer candidate"),
        ),
        *columns.healpix(),
        columns.split(),
        *lineage_columns(),
    ),
)
