"""Contract of ``lens_candidates``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

MATCHED = "matched"
NO_SOURCE = "no source within the radius"
TAKEN = "source matched by a better-graded or nearer candidate"
AGAIN = "repeats a position with an equal or better grade"
NO_GRADE = "no accepted grade"
NOT_TAKEN = "of another type or reference than survey.candidate_list takes"
UNGRADED = "matched, without an accepted grade"
RAGGED = "the row does not fit the header line"

SPEC = TableSpec(
    name="lens_candidates",
    meaning="A listed position, with its Tractor match or why it has none; sources near it are never negatives",
    columns=(
        Column("candidate_id", "string", "name and position in the list, <name>@<ra><dec>", role="key"),
        Column("name", "string", "name in the list, if any; may be repeated", nullable=True),
        *columns.POSITION,
        Column("grading", "string", "grade as written in the list", nullable=True),
        Column("kind", "string", "type of the object as written in the list: galaxy, ring, merger", nullable=True),
        Column("tier", "string", "A spectroscopy or HST, B visual grade only", nullable=True, allowed=columns.TIERS),
        Column("z_lens", "double", "redshift of the lens galaxy, if it is a single number", nullable=True, low=0),
        Column("z_lens_text", "string", "that redshift as written in the list", nullable=True),
        Column(
            "theta_e_arcsec",
            "double",
            "Einstein radius, if the list gives one",
            "arcsec",
            nullable=True,
            low=0,
            high=60,
        ),
        Column("reference", "string", "publication of the candidate", nullable=True),
        Column("galaxy_id", "string", "matched Tractor source", nullable=True),
        Column("separation_arcsec", "double", "distance to the match", "arcsec", nullable=True, low=0),
        Column(
            "match_reason",
            "string",
            "'matched', 'matched, without an accepted grade' (not a lens; `ungraded_scores`), or why there is no match",
            allowed=(MATCHED, UNGRADED, NO_SOURCE, TAKEN, AGAIN, NO_GRADE, NOT_TAKEN, RAGGED),
        ),
        *columns.HEALPIX,
        columns.SPLIT,
    ),
)
