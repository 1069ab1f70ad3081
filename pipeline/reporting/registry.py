"""The line of the experiment registry that a finder's own run leaves."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from lake import tables
from modeling.scoring.card import FINDER, read_card
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.trainedon import LISTED, read_listed
from pipeline.project.context import RunContext


def trained_run(context: RunContext, generation: str) -> pa.Table:
    """One row of ``experiments``: our own training run, or the audit of a user's own finder."""
    folder = context.root.checkpoints(generation)
    row = _external(folder, generation) if (folder / FINDER).exists() else _trained(folder, generation)
    fields = [column.arrow for column in tables.spec("experiments").columns if column.role != "lineage"]
    return pa.Table.from_pylist(
        [{"origin": generation, "status": "valid", "source": "trained", **row}], pa.schema(fields)
    )


def _trained(folder: Path, generation: str) -> dict[str, object]:
    card = read_card(folder)
    return {
        "run_id": card.run_id,
        "kind": "training",
        "generation": generation,
        "config_hash": card.config_sha256[:16],
        "checkpoint_id": card.checkpoint_id,
        "manifest_fingerprint": card.manifest_fingerprint,
        "network": card.config.network.name,
        "best_val_auc": card.best_val_auc,
        "best_epoch": card.best_epoch,
        "epochs_run": card.epochs_run,
        "key_finding": f"best validation AUC {card.best_val_auc:.4f} at epoch {card.best_epoch}",
    }


def _external(folder: Path, generation: str) -> dict[str, object]:
    scorer = load_scorer(folder)
    listed = folder / LISTED
    known = "its training set is not known here"
    if listed.exists():
        known = f"{read_listed(listed).num_rows} training objects are listed"
    return {
        "run_id": f"audit-{scorer.checkpoint_id}",
        "kind": "evaluation",
        "generation": generation,
        "checkpoint_id": scorer.checkpoint_id,
        "network": scorer.name,
        "key_finding": f"audited as a user's own finder; {known}",
    }
