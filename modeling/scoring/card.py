"""The description of a checkpoint in its folder, read without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, NoReturn

from lake.config import Section
from lake.errors import DataError, ParameterError, one_line
from lake.sky.survey import SURVEY
from modeling.config import TrainParams
from modeling.sections import PreprocessingParams

CARD = "checkpoint.json"
FINDER = "scorer.json"
"""A folder with this file instead of a card is a user's own finder."""
LARGEST_CARD = 16 * 2**20
"""Bytes; real cards have a few thousand."""


class CheckpointCard(Section):
    """Content of ``checkpoint.json``: the model and its inputs, without time, machine or commit."""

    checkpoint_id: str
    """Hash of weights, network, preprocessing, stamp side and arithmetic: the identity of the model."""
    run_id: str
    """The training run."""
    config: TrainParams
    """Parameters of the run."""
    config_sha256: str
    """SHA-256 of those parameters."""
    preprocessing: PreprocessingParams
    """Preprocessing with its radii in pixels; scoring uses it."""
    stamp_pixels: int
    """Side of the stamps it was trained on."""
    bands: tuple[str, ...] = SURVEY.bands
    """Bands of those stamps, in order; checkpoints without this field were all trained on the survey's bands."""
    dtype: Literal["float32", "bfloat16"]
    """Arithmetic of training and scoring."""
    best_epoch: int
    """Epoch (from 1) whose weights are kept."""
    best_metric: float
    """Validation metric of that epoch."""
    best_val_auc: float | None
    """Validation AUC of that epoch; null if it was imported without one."""
    epochs_run: int
    """Epochs completed."""
    manifest_id: str
    """Manifest it was trained on."""
    manifest_fingerprint: str
    """Fingerprint of that manifest."""
    ancestors: tuple[str, ...]
    """checkpoint_id of every ancestor, nearest first."""
    files: dict[str, str]
    """SHA-256 of every other file of the folder."""
    imported_from: str | None = None
    """File of weights that it was made from; null if it was trained here."""
    seen_known: bool = True
    """Whether ``seen.parquet`` lists every galaxy that it or an ancestor trained or selected on."""
    card_sha256: str
    """SHA-256 of all fields above."""

    def own_sha256(self) -> str:
        """The hash that ``card_sha256`` must hold."""
        unsaid = {"bands"} - self.model_fields_set  # in the cards of the first checkpoints, as the next two are
        unsaid |= {"imported_from"} if self.imported_from is None else set()
        unsaid |= {"seen_known"} if self.seen_known else set()
        return _sha256(self.model_dump(mode="json", exclude={"card_sha256"} | unsaid))

    def finding(self) -> str:
        """The result of the training in a sentence."""
        if self.best_val_auc is None:
            return f"imported from {self.imported_from}"
        return f"best validation AUC {self.best_val_auc:.4f} at epoch {self.best_epoch}"

    def record(self) -> dict[str, object]:
        """Columns of ``training_runs`` about the model."""
        same = ("checkpoint_id", "config_sha256", "manifest_id", "epochs_run", "best_epoch")
        return {
            **{name: getattr(self, name) for name in same},
            "ancestor_checkpoint_id": self.ancestors[0] if self.ancestors else None,
            "preprocessing_digest": self.preprocessing.digest(),
            "data_fingerprint": self.manifest_fingerprint,
            "arithmetic": self.dtype,
        }

    def sealed(self) -> CheckpointCard:
        """The same card with its ``card_sha256``."""
        return self.model_copy(update={"card_sha256": self.own_sha256()})


def read_card(folder: Path) -> CheckpointCard:
    """Read the card of a checkpoint and verify that no field has changed since it was made."""
    path = folder / CARD
    try:
        card = CheckpointCard.load(_mapping(path), str(path))
    except ParameterError as error:
        raise ParameterError(f"{error}; {_cure(path)}") from error
    if config_sha256(card.config) != card.config_sha256:
        raise altered(path, "its configuration is not the one the checkpoint was made with")
    if card.own_sha256() != card.card_sha256:
        raise altered(path, "its fields are not those the checkpoint was made with")
    return card


def altered(path: Path, what: str) -> DataError:
    """The error for a file that differs from its checkpoint, with what to do."""
    return DataError(f"{path} was altered: {what} (SHA-256 differs); {_cure(path)}")


def _cure(path: Path) -> str:
    return f"fetch the folder again, or remove it and run `dhs train {path.parent.name}`"


def config_sha256(params: TrainParams) -> str:
    """SHA-256 of the complete parameters."""
    return _sha256(params.model_dump(mode="json"))


def _sha256(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _mapping(path: Path) -> dict[str, Any]:
    """The JSON object in a file that is not trusted."""
    try:
        if not path.is_file():
            raise ValueError("no such file" if not path.exists() else "it is not a regular file")
        if path.stat().st_size > LARGEST_CARD:
            raise ValueError(f"it has more than {LARGEST_CARD} bytes")
        text = path.read_text(encoding="utf-8")
        values = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if not isinstance(values, dict):
            raise TypeError(f"it contains a {type(values).__name__} instead of an object")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else one_line(error)
        raise DataError(f"{path} cannot be read as a checkpoint: {reason}; {_cure(path)}") from error
    return values


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"a key is repeated among {', '.join(sorted(values))}")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
