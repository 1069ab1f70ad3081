"""Contract of ``training_epochs``."""

from lake.contract.columns import share
from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="training_epochs",
    meaning="One epoch of one training run, historical ones included",
    slice_by=("origin",),
    columns=(
        Column("run_id", "string", "the training run", role="key"),
        Column("epoch", "int", "epoch, as the run counts", role="key", low=0),
        Column("origin", "string", "slice: 'historical', or the generation that ran"),
        Column("generation", "string", "generation"),
        Column("train_loss", "double", "mean training loss", nullable=True),
        Column("val_loss", "double", "mean validation loss", nullable=True),
        share("val_auc", "validation AUC"),
        share("best_val_auc", "best validation AUC so far"),
        share("tpr_at_fpr_1e_4", "true-positive rate at FPR 1e-4"),
        share("tpr_at_fpr_1e_3", "true-positive rate at FPR 1e-3"),
        share("tpr_at_fpr_1e_2", "true-positive rate at FPR 1e-2"),
        share("binary_score_frac", "share of saturated scores (p < 0.01 or > 0.99)"),
        Column("learning_rate", "double", "learning rate of the epoch", nullable=True, low=0),
        Column("images", "bigint", "training images passed in the epoch", nullable=True, low=0),
        Column("hard_negatives", "bigint", "hard negatives among them", nullable=True, low=0),
        Column("phase", "string", "phase of the schedule", nullable=True),
        Column("epoch_seconds", "double", "wall-clock time of the epoch", "s", role="lineage", nullable=True),
    ),
)
