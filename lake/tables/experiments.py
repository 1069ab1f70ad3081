"""Contract of ``experiments``."""

from lake.contract.spec import Column, TableSpec

STATUSES = ("planned", "trained", "valid", "superseded", "invalidated")

SPEC = TableSpec(
    name="experiments",
    meaning="The experiment registry: one run with its status and key finding, historical runs included",
    slice_by=("origin",),
    columns=(
        Column("run_id", "string", "identifier of the run", role="key"),
        Column("origin", "string", "slice: 'historical', or the generation that ran"),
        Column("kind", "string", "what ran", allowed=("training", "diagnostic", "evaluation", "injection", "grid")),
        Column("generation", "string", "generation it belongs to", nullable=True),
        Column("status", "string", "status of the result when it was registered", allowed=STATUSES),
        Column("status_reason", "string", "why it is not valid", nullable=True),
        Column("source", "string", "historical or trained here", allowed=("historical", "trained")),
        Column("run_date", "string", "date of a historical run, YYYY-MM-DD", nullable=True),
        Column("config_hash", "string", "hash of the configuration", nullable=True),
        Column("checkpoint_id", "string", "the checkpoint", nullable=True),
        Column("manifest_fingerprint", "string", "fingerprint of the manifest slice", nullable=True),
        Column("network", "string", "network architecture", nullable=True),
        Column("best_val_auc", "double", "best validation AUC", nullable=True, low=0, high=1),
        Column("best_epoch", "int", "epoch of the best validation AUC", nullable=True, low=0),
        Column("epochs_run", "int", "epochs run", nullable=True, low=0),
        Column("key_finding", "string", "the result in a sentence", nullable=True),
    ),
)
