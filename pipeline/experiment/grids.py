"""Grids of injections: filling one with a finder's scores, and the setting that a filled one was drawn in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from injection.config import GridParams
from injection.experiment.grid import Plan, cells, plan
from injection.experiment.setting import Setting
from injection.experiment.stream import batches, run_batch, side_by_side
from lake.ahead import in_order
from lake.errors import DataError
from lake.files import atomic
from lake.files.publishing import published_folder
from lake.progress import track
from lake.scorer import Scorer
from lake.sky.hashing import key_hash
from lake.sky.survey import identity
from pipeline.experiment.gridparams import as_filled, grid_params, sources_hash
from pipeline.experiment.surveyhosts import Trained, survey_hosts
from pipeline.project.context import RunContext
from pipeline.project.outputs import write_grid_facts

log = logging.getLogger(__name__)


def survey_setting(context: RunContext, grid: GridParams, seed: int, trained_by: Trained | None = None) -> Setting:
    """The setting of injections into the survey's own hosts, without those that a finder was trained on."""
    return Setting.of(grid, survey_hosts(context.project, context.read, grid.host_model, trained_by), seed)


def scored_setting(context: RunContext, generation: str, rows: pa.Table) -> Setting:
    """The setting that stored rows of a finder's grid were drawn and scored in; DataError if it is not to be had."""
    grid, seed = grid_params(context.root, generation), rows["seed"][0].as_py()
    return as_filled(context.root, generation, survey_setting(context, grid, seed))


def sample(rows: pa.Table, count: int, seed: int) -> pa.Table:
    """Up to ``count`` scored injections, by keyed hash of their identifier."""
    scored = rows.filter(pc.equal(rows["status"], "scored"))
    if not scored.num_rows:
        raise DataError("no injection was scored; see the column 'reason' of injections")
    order = np.argsort(key_hash(seed, scored["injection_id"]), kind="stable")
    return scored.take(pa.array(order[:count]))


def fill_grid(
    context: RunContext,
    setting: Setting,
    scorer: Scorer,
    grid_name: str,
    generation: str,
    picture: Callable[[Path], bytes | None] = lambda folder: None,
    pixels: str | None = None,
) -> None:
    """Score a setting's grid with a finder and publish the batches; ``picture`` is drawn from them, and goes along.

    Partial work is resumed for the same grid, finder and ``pixels`` of the hosts (a hash), where these may change.
    """
    context.note_input(f"checkpoint:{generation}", scorer.checkpoint_id)
    planned = plan(setting)
    work = context.work(planned.grid_id, scorer.checkpoint_id, *([pixels] if pixels else []))
    fill(planned, scorer, work)
    facts = {
        "grid_id": planned.grid_id,
        "grid_name": grid_name,
        "checkpoint_id": scorer.checkpoint_id,
        "generation": generation,
        "prior": setting.prior.name,
        "prior_content": setting.prior.model_dump(mode="json"),
        "parameters": setting.grid.model_dump(mode="json"),
        "cells": cells(setting.grid),
        "short": planned.empty.to_pylist(),
    }
    if identity(setting.hosts.imaging) is not None:
        facts["imaging"] = setting.hosts.imaging.model_dump(mode="json")
    if (sources := sources_hash(setting)) is not None:
        facts["sources"] = sources
    with published_folder(context.root.grid(context.generation), work) as folder:
        write_grid_facts(folder, facts)
        context.write_lineage(folder)
        content = picture(folder)
        if content is not None:
            (folder / "contact-sheet.png").write_bytes(content)


def fill(planned: Plan, scorer: Scorer, folder: Path) -> None:
    """Write one file per batch, skipping those that an earlier run finished."""
    todo = batches(planned)
    done = 0
    while (folder / _name(done)).exists():
        done += 1
    if done:
        log.info("grid %s: resuming after %d of %d batches", planned.grid_id, done, len(todo))
    planned, scorer, at_once = side_by_side(planned, scorer)
    # the first batch runs alone: kernels are compiled and recorded in it
    parts = (todo[done : done + 1], todo[done + 1 :])
    made = chain.from_iterable(in_order(lambda rows: run_batch(planned, rows, scorer), part, at_once) for part in parts)
    for number, table in track(enumerate(made, done), "inject and score", total=len(todo) - done):
        with atomic.replacing(folder / _name(number)) as draft:
            pq.write_table(table, draft, compression="zstd")


def _name(number: int) -> str:
    return f"batch-{number:05d}.parquet"
