"""Trains a generation on a folder of labelled cut-outs, without sweeps, coadds, DVC or Spark.

The checkpoint and its tables are published at the end; the same command resumes partial work.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from etl.config import CutoutsParams
from etl.cutouts.description import Description
from injection.config import GridParams
from lake import tables
from lake.errors import invalid
from lake.names import checked_name
from lake.store import cards, quarantine
from modeling.config import TrainParams, changed
from modeling.scoring.card import CARD, read_card
from modeling.scoring.checkpoint import Checkpoint, Manifest, publish, run_id
from modeling.training import attempts
from modeling.training.data import load_arrays
from modeling.training.rows import splits
from modeling.training.train import train
from pipeline.experiment import cutouthosts
from pipeline.experiment.cutouthosts import Labelled
from pipeline.finders.cutouttables import lost_of, write_counts
from pipeline.project.context import RunContext, stage_run
from pipeline.project.generations import Wanted, parameters_of
from pipeline.project.project import Project
from pipeline.training.labelled import LabelledStamps, fingerprint, rows_of

_STAGE = "train"


@dataclass(frozen=True)
class Request:
    """What is trained on what."""

    wanted: Wanted
    folder: Path
    description: Path


@dataclass(frozen=True)
class Made:
    """What a training made."""

    name: str
    checkpoint: Checkpoint
    rejected: int
    """Files and objects that could not be used."""

    def summary(self) -> str:
        """Where to find it, as text."""
        lost = f"dhs query \"select source_file, reason from quarantine where stage = '{_STAGE}.{self.name}'\""
        card = self.checkpoint.card
        return "\n".join(
            [
                f"{self.name}: checkpoint {card.checkpoint_id}, {card.finding()}, in {self.checkpoint.folder}",
                f"{self.rejected} files or objects not used: {lost}",
                f"`dhs audit {self.name} --cutouts FOLDER --describe SET.yaml` measures it on what it has not seen",
            ]
        )


def train_on_cutouts(project: Project, request: Request) -> Made:
    """Train a generation on a set, as ``GENERATION-SET``. What exists under that name from other data or parameters is
    not overwritten."""
    described = cutouthosts.described(request.description)
    params = _parameters(project, request.wanted, described)
    name, root = params.generation, project.data
    if name in {*project.trained, *project.audited}:
        raise invalid("name", "one that params.yaml does not use", name)
    with stage_run(_STAGE, name, project, RunContext) as context:
        context.inputs.pop(cards.SURVEY)  # a set belongs to no survey
        context.note_input(f"description:{request.description.name}", described.digest())
        ancestor = _ancestor(context, params, described)
        pixels = context.work(described.digest(), str(request.folder.resolve())) / "stamps.f32"
        found = _read(project, request, params, pixels)
        rows = rows_of(found, params.network.metadata_columns, project.survey.split)
        manifest = Manifest(described.name, fingerprint(rows))
        run = run_id(params, manifest.fingerprint, ancestor)
        folder = root.checkpoints(name)
        if (folder / CARD).exists() and read_card(folder).run_id != run:
            raise invalid("name", f"one without a checkpoint of other data or parameters (`dhs forget {name}`)", name)
        context.note_input("cut-outs", f"{rows.num_rows} objects of {request.folder.name}, {manifest.fingerprint}")
        stamps, work = LabelledStamps(found), context.work(run)
        training, validation = (load_arrays(part, stamps, params, found.imaging, work) for part in splits(rows, params))
        attempts.begin(work, params.execution)
        result = train(params, training, validation, work, ancestor.weights() if ancestor else None)
        checkpoint = publish(result, folder, manifest, training, validation, ancestor)
        own = {"run_id": run, "generation": name, "origin": name}
        context.write("training_epochs", [{**own, **asdict(row)} for row in result.rows], name, {"origin": name})
        record = tables.spec("training_runs").table(
            [{**own, **checkpoint.card.record(), **attempts.columns(work, result.steps.mode)}]
        )
        quarantine.publish(context.target("training_runs", name, {"origin": name}), record, lost_of(found))
        write_counts(context, found)
    return Made(name, checkpoint, len(found.rejected))


def _parameters(project: Project, wanted: Wanted, described: Description) -> TrainParams:
    base = parameters_of(project, wanted)
    told = {
        "generation": checked_name(f"{wanted.name}-{described.name}", "name"),
        "description": f"{wanted.name} on the cut-outs of {described.name}.",
        "manifest": described.name,
        "reference": None,
    }
    return TrainParams.load(changed(base.model_dump(mode="json"), told), f"train.{wanted.name}")


def _ancestor(context: RunContext, params: TrainParams, described: Description) -> Checkpoint | None:
    if params.init is None:
        return None
    found = Checkpoint.load(context.root.checkpoints(params.init))
    if found.card.bands != described.bands:
        raise invalid(
            f"bands of {params.init}", f"those of the cut-outs ({', '.join(described.bands)})", found.card.bands
        )
    context.note_input(f"checkpoint:{params.init}", found.card.checkpoint_id)
    return found


def _read(project: Project, request: Request, params: TrainParams, pixels: Path) -> Labelled:
    """The objects that the network can use; others are rejected with a reason."""
    grid, cutouts = project.section(GridParams, "grid"), project.section(CutoutsParams, "cutouts")
    columns = params.network.metadata_columns
    found = cutouthosts.read(request.folder, request.description, grid, cutouts, columns, pixels)
    if not columns:
        return found
    values = found.conditions(columns)
    return found.where(
        np.asarray((values > 0).all(axis=1)), f"it lacks {' or '.join(columns)}, which the network needs"
    )
