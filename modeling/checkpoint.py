"""Checkpoints: a folder of safetensors and JSON that says all about a model and executes nothing when loaded.

``checkpoint.json`` (:class:`modeling.card.CheckpointCard`), ``best.safetensors`` (the weights to score with, in their
training state), ``last.safetensors``, ``epoch-NNNN.safetensors``, ``epochs.json``, and ``seen.parquet``: every galaxy
that the model or an ancestor trained or selected on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import Tensor

from lake.cards import write_atomically
from lake.errors import DataError
from lake.provenance import git_commit
from modeling.card import CARD, CheckpointCard, config_sha256, read_card
from modeling.config import TrainParams
from modeling.data import TrainingArrays
from modeling.preprocess import resolved
from modeling.run import BEST, STATE
from modeling.sections import PreprocessingParams
from modeling.state import scoring_weights
from modeling.train import TrainResult

EPOCHS, SEEN = "epochs.json", "seen.parquet"


@dataclass(frozen=True)
class Manifest:
    """The manifest slice a run is trained on."""

    manifest_id: str
    fingerprint: str
    version: int


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder, read."""

    folder: Path
    card: CheckpointCard

    @staticmethod
    def load(folder: Path) -> Checkpoint:
        """Read and verify a checkpoint: its configuration, preprocessing and weights must be those it was made with."""
        card = read_card(folder)
        checkpoint = Checkpoint(folder, card)
        actual = checkpoint_id(checkpoint.weights(), card.config, card.preprocessing)
        if actual != card.checkpoint_id:
            raise DataError(
                f"weights and preprocessing in {folder} give checkpoint {actual}, but {CARD} says "
                f"{card.checkpoint_id}: a checkpoint is only valid with the preprocessing it was trained with"
            )
        return checkpoint

    def weights(self) -> dict[str, Tensor]:
        """The weights to score with or to start from."""
        return scoring_weights(self.folder / BEST)

    def seen(self) -> pa.Table:
        """Galaxies trained or selected on: ``galaxy_id``, ``purpose`` (train, select), ``generation``."""
        return pq.read_table(self.folder / SEEN)

    def has_seen(self, galaxy_ids: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
        """Per galaxy, whether the model or an ancestor trained or selected on it."""
        return pc.is_in(galaxy_ids, value_set=self.seen()["galaxy_id"].unique()).to_numpy(zero_copy_only=False)


def run_id(params: TrainParams, manifest_fingerprint: str, ancestor: Checkpoint | None = None) -> str:
    """Identity of a run: its parameters, its data and what it starts from; never a clock."""
    start = ancestor.card.checkpoint_id if ancestor else ""
    digest = hashlib.sha256(f"{params.science_digest()} {manifest_fingerprint} {start}".encode()).hexdigest()
    return f"{params.generation}-{digest[:12]}"


def checkpoint_id(weights: dict[str, Tensor], params: TrainParams, preprocessing: PreprocessingParams) -> str:
    """Hash of the tensors, the network's definition and the preprocessing."""
    digest = hashlib.sha256(f"{params.network.digest()} {preprocessing.digest()}".encode())
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def publish(
    result: TrainResult,
    folder: Path,
    manifest: Manifest,
    training: TrainingArrays,
    validation: TrainingArrays,
    ancestor: Checkpoint | None = None,
) -> Checkpoint:
    """Assemble the checkpoint of a finished run and put it at ``folder`` by rename."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    shutil.copyfile(result.work / BEST, draft / BEST)
    shutil.copyfile(result.work / STATE, draft / "last.safetensors")
    for kept in sorted(result.work.glob("epoch-*.safetensors")):
        shutil.copyfile(kept, draft / kept.name)
    rows = [{k: v for k, v in asdict(row).items() if k != "epoch_seconds"} for row in result.rows]
    write_atomically(draft / EPOCHS, json.dumps(rows, indent=1) + "\n")
    pq.write_table(_seen(result.params.generation, training, validation, ancestor), draft / SEEN)
    card = _card(result, draft, manifest, training.stamp_pixels, ancestor)
    write_atomically(draft / CARD, card.model_dump_json(indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)
    return Checkpoint(folder, card)


def _card(
    result: TrainResult, draft: Path, manifest: Manifest, stamp_pixels: int, ancestor: Checkpoint | None
) -> CheckpointCard:
    params = result.params
    preprocessing = resolved(params.preprocessing, stamp_pixels)
    best = result.rows[result.best_epoch - 1]
    return CheckpointCard(
        checkpoint_id=checkpoint_id(scoring_weights(draft / BEST), params, preprocessing),
        run_id=run_id(params, manifest.fingerprint, ancestor),
        config=params,
        config_sha256=config_sha256(params),
        preprocessing=preprocessing,
        stamp_pixels=stamp_pixels,
        dtype=result.dtype,
        best_epoch=result.best_epoch,
        best_metric=result.best_metric,
        best_val_auc=best.val_auc,
        epochs_run=len(result.rows),
        manifest_id=manifest.manifest_id,
        manifest_fingerprint=manifest.fingerprint,
        manifest_version=manifest.version,
        ancestors=(ancestor.card.checkpoint_id, *ancestor.card.ancestors) if ancestor else (),
        seen_sha256=hashlib.sha256((draft / SEEN).read_bytes()).hexdigest(),
        git_commit=git_commit(),
    )


def _seen(
    generation: str, training: TrainingArrays, validation: TrainingArrays, ancestor: Checkpoint | None
) -> pa.Table:
    parts = [
        pa.table({"galaxy_id": ids, "purpose": [purpose] * len(ids), "generation": [generation] * len(ids)})
        for ids, purpose in ((training.galaxy_ids, "train"), (validation.galaxy_ids, "select"))
    ]
    if ancestor:
        parts.append(ancestor.seen())
    return pa.concat_tables(parts)
