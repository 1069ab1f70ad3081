"""Weights of a network trained elsewhere, imported as a checkpoint of this project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etl.config import CutoutsParams
from lake.errors import invalid
from lake.names import free_name
from lake.sky.survey import SURVEY
from modeling.config import generations, resolve_generation
from modeling.scoring.checkpoint import Checkpoint
from modeling.scoring.imported import import_weights
from pipeline.experiment.trainedon import LISTED, csv_text, read_listed
from pipeline.project import params
from pipeline.project.generations import setting
from pipeline.project.project import Project


def import_checkpoint(
    project: Project, file: Path, name: str, like: str, settings: Sequence[str], trained_on: Path | None
) -> Checkpoint:
    """The weights in a file as checkpoint ``name``, with network and preprocessing of the generation ``like``.

    ``settings`` change these; ``trained_on`` lists the objects that it was trained on. Nothing that exists is
    overwritten.
    """
    own = params.own_generations(project.folder)
    folder = project.data.checkpoints(free_name(name, "name"))
    if name in {*generations(), *own, *project.trained, *project.audited} or folder.exists():
        raise invalid("name", "one that no generation or finder has", name)
    told = {
        "description": f"Weights of {file.name}, with the preprocessing of {like}.",
        "init": None,
        "reference": None,
    }
    changes = {**dict(setting(text) for text in settings), **told, "generation": name, "network.pretrained": False}
    parameters = resolve_generation(like, changes, own)
    listed = {LISTED: csv_text(read_listed(trained_on))} if trained_on else {}
    stamp_pixels = project.section(CutoutsParams, "cutouts").stamp_pixels
    return import_weights(file, parameters, SURVEY.bands, stamp_pixels, folder, listed)
