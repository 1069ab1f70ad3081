"""Contract of ``trials``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

BASELINE = "baseline"
"""Name of the variant that the others of an experiment are compared with."""

SPEC = TableSpec(
    name="trials",
    meaning="An injection of an experiment in one of its variants, and one model's score of it; a trial has the same "
    "host, lens, source and noise in all variants, and in the trials of all models",
    slice_by=("checkpoint_id", "generation"),
    columns=(
        columns.CHECKPOINT_ID,
        columns.GENERATION,
        Column("experiment", "string", "what the trials are made for: bright_arcs, ...", role="key"),
        Column("variant", "string", "what differs from the experiment's baseline: baseline, poisson, ...", role="key"),
        Column("trial_id", "string", "the trial: its variants are pairs; with the seed it is drawn again", role="key"),
        Column("seed", "bigint", "seed of the random numbers"),
        Column("galaxy_id", "string", "the host"),
        Column("bin", "string", "group within the experiment, such as a bin of source magnitude: 18-19"),
        Column("theta_e_arcsec", "double", "Einstein radius, intermediate axis", "arcsec", low=0, high=60),
        Column("beta_frac", "double", "source offset from the lens centre over theta_E", low=0, high=100),
        Column("src_mag", "double", "unlensed magnitude in the reference band, as observed", "mag", low=5, high=40),
        Column(
            "arc_snr",
            "double",
            "matched-filter SNR of the arc in the reference band over unmasked pixels (null: failed)",
            nullable=True,
            low=0,
        ),
        Column("score", "double", "raw logit of host plus arc (null: failed)", nullable=True),
        columns.share("probability", "logistic of the score; not calibrated (null: failed)"),
        columns.share("host_probability", "logistic of the bare host's score (null: failed)"),
        Column("status", "string", "scored, or failed and in no denominator", allowed=("scored", "failed")),
        Column("reason", "string", "why it failed", nullable=True),
    ),
)
