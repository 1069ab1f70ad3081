"""Contract of ``ungraded_scores``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="ungraded_scores",
    meaning="A listed object without an accepted grade (ring, merger, artefact, weak candidate): one finder's score; "
    "it is in no manifest, trains nothing, fixes no threshold and hosts no injection",
    slice_by=("checkpoint_id", "generation"),
    columns=(
        columns.CHECKPOINT_ID,
        columns.GENERATION,
        columns.GALAXY_ID,
        Column("cutout_version", "string", "version of the cut-out", role="key"),
        Column("candidate_id", "string", "name and position in the list"),
        Column("name", "string", "name in the list, if any", nullable=True),
        Column("grading", "string", "grade as written in the list", nullable=True),
        Column("kind", "string", "type of the object as written in the list", nullable=True),
        Column("reference", "string", "publication of the entry", nullable=True),
        *columns.POSITION,
        columns.SPLIT,
        Column("score", "double", "raw logit"),
        Column("probability", "double", "logistic of the raw logit; not calibrated", low=0, high=1),
        Column(
            "seen_in_training",
            "boolean",
            "the model or an ancestor trained or selected on it (null: not known)",
            nullable=True,
        ),
        Column(
            "shares_pixels",
            "boolean",
            "its stamp may share a pixel with one of the training or validation split, so it is not measured",
        ),
    ),
)
