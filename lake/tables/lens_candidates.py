"""Contract of ``lens_candidates``."""

from __future__ import annotations

from lake.contract import columns
from lake.contract.spec import Column, TableSpec, lineage_columns

SPEC = TableSpec(
    name="lens_candidates",
    meaning="A listed position, with its Tractor match or why it has none; sources near it are never negatives",
    columns=(
        Column("candidate_id", "string", "name and position in the list, <name>@<ra><dec>", role="key"),
        Column("name", "string", "name in the list, if any; may be repeated", nullable=True),
        *columns.position(),
        Column("grading", "string", "grade as written in the list", nullable=True),
        Column(
            "tier",
            "string",
            "A confident (spectroscopy or HST), B visual grade only; null where the grade is not accepted",
            nullable=True,
            allowed=columns.TIERS,
        ),
        Column(
            "z_lens", "double", "redshift of the lens galaxy, if the list gives a single number", nullable=True, low=0
        ),
        Column("z_lens_text", "string", "that redshift as written in the list", nullable=True),
        Column("reference", "string", "publication of the candidate", nullable=True),
        Column("galaxy_id", "string", "matched Tractor source", nullable=True),
        Column("separation_arcsec", "double", "distance to the match", "arcsec", nullable=True, low=0),
        Column(
            "match_reason",
            "string",
            "'matched', or why there is no match",
            allowed=(
                "matched",
                "no source within the radius",
                "source matched by a better-graded or nearer candidate",
                "repeats a position with an equal or better grade",
                "no accepted grade",
                "the row does not fit the header line",
            ),
        ),
        *columns.healpix(),
        columns.split(),
        *lineage_columns(),
    ),
)
