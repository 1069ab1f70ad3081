"""The log of a run: one line of JSON per epoch, appended, never overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lake.files import atomic, refused


@dataclass(frozen=True)
class EpochRow:
    """Results of one epoch."""

    epoch: int
    """From 1."""
    train_loss: float
    val_loss: float
    val_auc: float
    best_val_auc: float
    tpr_at_fpr_1e_4: float | None
    tpr_at_fpr_1e_3: float | None
    tpr_at_fpr_1e_2: float | None
    """None if there are too few validation negatives to measure it."""
    binary_score_frac: float
    metric: float
    """The metric that decides which epoch is kept."""
    learning_rate: float
    """Rate of the epoch's last step."""
    images: int
    """Number of training stamps."""
    phase: str
    epoch_seconds: float
    hard_negatives: int = 0
    """Hard negatives among those stamps."""

    def summary(self) -> str:
        """One line for logs."""
        return (
            f"loss {self.train_loss:.4f} (validation {self.val_loss:.4f}), validation AUC {self.val_auc:.4f}, "
            f"best {self.best_val_auc:.4f}, {self.images} stamps in {self.epoch_seconds:.1f} s"
        )


def append_row(path: Path, row: EpochRow) -> None:
    """Add an epoch to the log."""
    append_line(path, asdict(row))


def read_log(path: Path) -> list[EpochRow]:
    """Rows of a log."""
    return [EpochRow(**json.loads(line)) for line in whole_lines(path)]


def append_line(path: Path, values: Mapping[str, object]) -> None:
    """Add one line of JSON to a file."""
    with refused.named(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def whole_lines(path: Path) -> list[str]:
    """Lines of a file; an incomplete last one is removed from it, so the next can be appended."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        atomic.write_text(path, whole)
    return whole.splitlines()
