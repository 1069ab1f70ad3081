"""Train one generation; the checkpoint remembers every galaxy that it or an ancestor trained or selected on."""

from __future__ import annotations

from dataclasses import asdict

import pyarrow.compute as pc

from lake.sky.survey import SURVEY
from lake.store import cards
from lake.store.stamps import StampStore
from modeling.config import TrainParams
from modeling.scoring.checkpoint import Checkpoint, Manifest, publish, run_id
from modeling.tracking import runs
from modeling.training.data import load_arrays
from modeling.training.train import train
from pipeline.project.context import RunContext


def run(context: RunContext, params: TrainParams) -> None:
    rows = context.read("manifest", slices=[params.manifest])
    ancestor = Checkpoint.load(context.root.checkpoints(params.init)) if params.init else None
    if ancestor:
        context.note_input(f"checkpoint:{params.init}", ancestor.card.checkpoint_id)
    entry = cards.read_slice(context.root, "manifest", params.manifest)
    manifest = Manifest(params.manifest, entry.card.fingerprint)
    name = run_id(params, manifest.fingerprint, ancestor)
    stamps = StampStore(context.root.cutouts)
    training, validation = (
        load_arrays(rows.filter(pc.equal(rows["split"], s)), stamps, params, SURVEY) for s in ("train", "val")
    )
    origin = runs.Origin(entry.card.fingerprint, entry.pin.version, context.code)
    with runs.training_run(context.root, name, params, origin) as tracker:
        weights = ancestor.weights() if ancestor else None
        result = train(params, training, validation, context.work(name), weights, tracker.epoch)
        folder = context.root.checkpoints(context.generation)
        checkpoint = publish(result, folder, manifest, training, validation, ancestor)
        tracker.finish(result.rows, checkpoint.card)
    origin_of = {"origin": context.generation}
    epochs = [{"run_id": name, "generation": context.generation, **origin_of, **asdict(row)} for row in result.rows]
    context.write("training_epochs", epochs, context.generation, origin_of)
