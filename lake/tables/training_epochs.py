"""Contract of ``training_epochs``."""

from __future__ import annotations

from lake.contract.spec import Column, TableSpec, lineage_columns

SPEC = TableSpec(
    name="training_epochs",
    meaning="One epoch of one training run, historical ones included",
    engine="delta-rs",
    slice_by=("origin",),
    columns=(
        Column("run_id", "string", "the training run", role="key"),
        Column("epoch", "int", "epoch, as the run counts", role="key", low=0),
        Column("origin", "string", "slice: 'historical', or the generation that ran"),
        Column("generation", "string", "generation"),
        Column("train_loss", "double", "mean training loss", nullable=True),
        Column("val_loss", "double", "mean validation loss", nullable=True),
        Column("val_auc", "double", "validation AUC", nullable=True, low=0, high=1),
        Column("best_val_auc", "double", "best validation AUC so far", nullable=True, low=0, high=1),
        Column("tpr_at_fpr_1e_4", "double", "true-positive rate at FPR 1e-4", nullable=True, low=0, high=1),
        Column("tpr_at_fpr_1e_3", "double", "true-positive rate at FPR 1e-3", nullable=True, low=0, high=1),
        Column("tpr_at_fpr_1e_2", "double", "true-positive rate at FPR 1e-2", nullable=True, low=0, high=1),
        Column(
            "binary_score_frac",
            "double",
            "share of saturated scores (p < 0.01 or > 0.99)",
            nullable=True,
            low=0,
            high=1,
        ),
        Column("learning_rate", "double", "learning rate of the epoch", nullable=True, low=0),
        Column("images", "bigint", "training images passed in the epoch", nullable=True, low=0),
        Column("phase", "string", "phase of the schedule", nullable=True),
        Column("epoch_seconds", "double", "wall-clock time of the epoch", "s", role="lineage", nullable=True),
        *lineage_columns(),
    ),
)
