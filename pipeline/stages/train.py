"""Train one generation; the checkpoint remembers every galaxy that it or an ancestor trained or selected on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from lake import tables
from lake.files import storage
from lake.sky.survey import SURVEY
from lake.store import cards
from modeling.config import TrainParams
from modeling.scoring.checkpoint import Checkpoint, Manifest, publish, run_id
from modeling.tracking import runs
from modeling.training import attempts
from modeling.training.copies import Copies
from modeling.training.data import load_arrays
from modeling.training.rows import columns, splits
from modeling.training.train import train
from pipeline.project.codecards import Code
from pipeline.project.context import RunContext
from pipeline.training.manifests import pixels_of, require_passed, table_of


def run(context: RunContext, params: TrainParams) -> None:
    require_passed(context.root, params)
    table = table_of(context.root, params.manifest)
    wanted = columns(tables.spec(table).row_schema().names, params)
    rows, stamps = context.read(table, wanted, slices=[params.manifest]), pixels_of(context.root, params.manifest)
    ancestor = Checkpoint.load(context.root.checkpoints(params.init)) if params.init else None
    if ancestor:
        context.note_input(f"checkpoint:{params.init}", ancestor.card.checkpoint_id)
    entry = cards.read_slice(context.root, table, params.manifest)
    manifest = Manifest(params.manifest, entry.card.fingerprint)
    name = run_id(params, manifest.fingerprint, ancestor)
    origin = runs.Origin(entry.card.fingerprint, entry.pin.version, context.code, table)
    work = context.work(name)
    training, validation = (load_arrays(part, stamps, params, SURVEY, work) for part in splits(rows, params))
    copies = _copies(params, work, name)
    attempts.begin(work, params.execution)
    with runs.training_run(context.root, name, params, origin) as tracker:
        weights = ancestor.weights() if ancestor else None
        result = train(params, training, validation, work, weights, tracker.epoch, copies)
        folder = context.root.checkpoints(context.generation)
        checkpoint = publish(result, folder, manifest, training, validation, ancestor)
        tracker.finish(result.rows, checkpoint.card)
    origin_of = {"origin": context.generation}
    own = {"run_id": name, "generation": context.generation, **origin_of}
    context.write("training_epochs", [{**own, **asdict(row)} for row in result.rows], context.generation, origin_of)
    record = {**own, **checkpoint.card.record(), **attempts.columns(work, result.steps.mode)}
    context.write("training_runs", [record], context.generation, origin_of)


def _copies(params: TrainParams, work: Path, name: str) -> Copies | None:
    """Where this run is copied to, and goes on from on a machine that lacks it: only by the code that began it."""
    if params.execution.copies_uri is None:
        return None
    code = Code().hash("modeling/training/train.py")[:16]
    copies = Copies(work, storage.below(params.execution.copies_uri, f"{name}-{code}"))
    copies.fetch()
    return copies
