"""Checkpoints: a folder of safetensors and JSON that describes a model completely and executes nothing when loaded.

``checkpoint.json`` (:class:`modeling.scoring.card.CheckpointCard`), ``best.safetensors`` (the weights to score with, in
their training state), ``last.safetensors``, ``epoch-NNNN.safetensors``, ``epochs.json``, and ``seen.parquet``: every
galaxy that the model or an ancestor trained or selected on.
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

from lake.errors import DarkHaloError, DataError, invalid, one_line
from lake.files.publishing import replacing_folder
from modeling.config import TrainParams
from modeling.networks.preprocess import resolved
from modeling.scoring.card import CARD, FINDER, CheckpointCard, altered, config_sha256, read_card
from modeling.sections import PreprocessingParams
from modeling.training.data import TrainingArrays
from modeling.training.run import BEST, Run
from modeling.training.state import STATE, scoring_weights

EPOCHS, SEEN = "epochs.json", "seen.parquet"
USED = (CARD, BEST, EPOCHS, SEEN)
"""Files that a checkpoint is loaded from."""
_SEEN_SCHEMA = pa.schema([("galaxy_id", pa.string()), ("purpose", pa.string()), ("generation", pa.string())])


@dataclass(frozen=True)
class Manifest:
    """The manifest slice a run is trained on."""

    manifest_id: str
    fingerprint: str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, read from its folder."""

    folder: Path
    card: CheckpointCard

    @staticmethod
    def load(folder: Path) -> Checkpoint:
        """Read a checkpoint and verify the parts that are used: card, weights, log, list of galaxies."""
        checkpoint = Checkpoint(folder, read_card(folder))
        for name in USED[1:]:
            checkpoint.verify(name)
        actual = checkpoint.identity(checkpoint.weights(), checkpoint.card.preprocessing)
        if actual != checkpoint.card.checkpoint_id:
            what = f"the folder's weights, network and preprocessing are those of checkpoint {actual}, and it is only"
            raise altered(folder / CARD, f"{what} valid with the preprocessing it was trained with")
        return checkpoint

    def verify(self, name: str) -> None:
        """Refuse a file that is not the one the checkpoint was made with."""
        path = self.folder / name
        if name not in self.card.files:
            raise altered(self.folder / CARD, f"its card does not list {name}")
        if not path.is_file():
            raise altered(path, "it is missing, or not a regular file")
        try:
            actual = file_sha256(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {one_line(error)}") from error
        if actual != self.card.files[name]:
            raise altered(path, "its bytes are not those the checkpoint was made with")

    def identity(self, weights: dict[str, Tensor], preprocessing: PreprocessingParams) -> str:
        """Identity of these weights in this checkpoint's network and arithmetic, fed through ``preprocessing``."""
        return checkpoint_id(weights, self.card.config, preprocessing, self.card.stamp_pixels, self.card.dtype)

    def weights(self) -> dict[str, Tensor]:
        """The weights to score with or to start from."""
        return scoring_weights(self.folder / BEST)

    def weights_of(self, epoch: int) -> dict[str, Tensor]:
        """The weights to score with as they were after an epoch (from 1) whose state was kept."""
        name = f"epoch-{epoch:04d}.safetensors"
        if name not in self.card.files:
            kept = [str(int(each[6:10])) for each in sorted(self.card.files) if each.startswith("epoch-")]
            raise invalid("epoch", f"one that {self.card.config.generation} kept ({', '.join(kept) or 'none'})", epoch)
        self.verify(name)
        return scoring_weights(self.folder / name)

    def seen(self) -> pa.Table:
        """Galaxies trained or selected on: ``galaxy_id``, ``purpose`` (train, select), ``generation``."""
        path = self.folder / SEEN
        try:
            if pq.read_metadata(path).num_rows > path.stat().st_size:
                raise DataError(f"{path} declares more galaxies than it has bytes; fetch the folder again")
            return pq.read_table(path, schema=_SEEN_SCHEMA)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{path} is not a list of galaxies: {one_line(error)}; fetch the folder again") from error

    def has_seen(self, galaxy_ids: pa.Array | pa.ChunkedArray, purpose: str | None = None) -> NDArray[np.bool_]:
        """Per galaxy, whether the model or an ancestor trained or selected on it; or only for one ``purpose``."""
        seen = self.seen()
        chosen = seen if purpose is None else seen.filter(pc.equal(seen["purpose"], purpose))
        return pc.is_in(galaxy_ids, value_set=chosen["galaxy_id"].unique()).to_numpy(zero_copy_only=False)


def problems(folder: Path) -> list[str]:
    """Problems of a checkpoint folder, one sentence per faulty file that says what to do; every file is read.

    The folder of a user's own finder has none, as it contains no files to compare.
    """
    if (folder / FINDER).exists():
        return []
    found: list[str] = []
    try:
        checkpoint = Checkpoint(folder, read_card(folder))
        for name in sorted(checkpoint.card.files):
            try:
                checkpoint.verify(name)
            except DarkHaloError as error:
                found.append(str(error))
        if not found:
            Checkpoint.load(folder)
    except DarkHaloError as error:
        found.append(str(error))
    return found


def run_id(params: TrainParams, manifest_fingerprint: str, ancestor: Checkpoint | None = None) -> str:
    """Identity of a run: its parameters, its data and its initial weights, but not the time."""
    start = ancestor.card.checkpoint_id if ancestor else ""
    digest = hashlib.sha256(f"{params.science_digest()} {manifest_fingerprint} {start}".encode()).hexdigest()
    return f"{params.generation}-{digest[:12]}"


def checkpoint_id(
    weights: dict[str, Tensor], params: TrainParams, preprocessing: PreprocessingParams, stamp_pixels: int, dtype: str
) -> str:
    """Hash of everything a score depends on: tensors, network, preprocessing, stamp side, arithmetic."""
    facts = f"{params.network.digest()} {preprocessing.digest()} {stamp_pixels} {dtype}"
    digest = hashlib.sha256(facts.encode())
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def publish(
    run: Run,
    folder: Path,
    manifest: Manifest,
    training: TrainingArrays,
    validation: TrainingArrays,
    ancestor: Checkpoint | None = None,
) -> Checkpoint:
    """Assemble the checkpoint of a finished run and move it to ``folder`` by rename."""
    with replacing_folder(folder) as draft:
        shutil.copyfile(run.work / BEST, draft / BEST)
        shutil.copyfile(run.work / STATE, draft / "last.safetensors")
        for kept in sorted(run.work.glob("epoch-*.safetensors")):
            shutil.copyfile(kept, draft / kept.name)
        rows = [{k: v for k, v in asdict(row).items() if k != "epoch_seconds"} for row in run.rows]
        (draft / EPOCHS).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        pq.write_table(_seen(run.params.generation, training, validation, ancestor), draft / SEEN)
        card = _card(run, draft, manifest, training, ancestor)
        (draft / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return Checkpoint(folder, card)


def _card(
    run: Run, draft: Path, manifest: Manifest, training: TrainingArrays, ancestor: Checkpoint | None
) -> CheckpointCard:
    params, stamp_pixels = run.params, training.stamp_pixels
    preprocessing, best = resolved(params.preprocessing, stamp_pixels), run.state.best_epoch
    dtype = str(run.arithmetic.dtype).removeprefix("torch.")
    return CheckpointCard(
        checkpoint_id=checkpoint_id(scoring_weights(draft / BEST), params, preprocessing, stamp_pixels, dtype),
        run_id=run_id(params, manifest.fingerprint, ancestor),
        config=params,
        config_sha256=config_sha256(params),
        preprocessing=preprocessing,
        stamp_pixels=stamp_pixels,
        bands=training.bands,
        dtype=dtype,
        best_epoch=best,
        best_metric=float(run.state.best_metric or 0.0),
        best_val_auc=run.rows[best - 1].val_auc,
        epochs_run=len(run.rows),
        manifest_id=manifest.manifest_id,
        manifest_fingerprint=manifest.fingerprint,
        ancestors=(ancestor.card.checkpoint_id, *ancestor.card.ancestors) if ancestor else (),
        seen_known=ancestor.card.seen_known if ancestor else True,
        files={path.name: file_sha256(path) for path in sorted(draft.iterdir())},
        card_sha256="",
    ).sealed()


def nothing_seen(path: Path) -> None:
    """Write a list without galaxies."""
    pq.write_table(_SEEN_SCHEMA.empty_table(), path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
