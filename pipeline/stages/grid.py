"""Fill the selection-function grid: inject, preprocess and score as one stream; parameters and scores are kept."""

from __future__ import annotations

import logging
from itertools import islice, pairwise, product
from pathlib import Path

import pyarrow.parquet as pq

from injection.config import GridParams
from injection.experiment.grid import Plan, cell_name, plan
from injection.experiment.stream import Scorer, Sized, batches, run_batch
from lake.files import atomic
from lake.progress import track
from lake.store.stamps import StampStore
from lake.store.views import MAIN
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.hosts import LoadHosts, host_table, stamp_loader
from pipeline.project.context import RunContext
from pipeline.project.publishing import published_folder
from pipeline.project.seal import write_grid_facts

log = logging.getLogger(__name__)


def run(context: RunContext, params: GridParams) -> None:
    generation = context.generation
    scorer = load_scorer(context.root.checkpoints(generation))
    context.note_input(f"checkpoint:{generation}", scorer.checkpoint_id)
    hosts = host_table(context)
    planned = plan(params, hosts, context.seed)
    load = stamp_loader(hosts, StampStore(context.root.cutouts))
    work = context.work(planned.grid_id, scorer.checkpoint_id)
    stamp_pixels = load(hosts["galaxy_id"][:1].to_pylist())[0].shape[-1]
    fill(planned, load, Sized(scorer, stamp_pixels), work)
    with published_folder(context.root.grid(generation), work) as folder:
        write_facts(folder, planned, MAIN, scorer.checkpoint_id, generation)
        context.write_lineage(folder)


def fill(planned: Plan, load: LoadHosts, scorer: Scorer, folder: Path) -> None:
    """Write one file per batch, skipping those that an earlier run finished."""
    todo = batches(planned)
    done = 0
    while (folder / _name(done)).exists():
        done += 1
    if done:
        log.info("grid %s: resuming after %d of %d batches", planned.grid_id, done, len(todo))
    rest = track(islice(enumerate(todo), done, None), "inject and score", total=len(todo) - done)
    for number, rows in rest:
        with atomic.replacing(folder / _name(number)) as draft:
            pq.write_table(run_batch(planned, rows, load, scorer), draft, compression="zstd")


def write_facts(folder: Path, planned: Plan, grid_name: str, checkpoint_id: str, generation: str) -> None:
    """Write ``grid.json``: identity, scorer, parameters, planned cells, cells short of injections, checksums."""
    facts = {
        "grid_id": planned.grid_id,
        "grid_name": grid_name,
        "checkpoint_id": checkpoint_id,
        "generation": generation,
        "prior": planned.prior.name,
        "parameters": planned.grid.model_dump(mode="json"),
        "cells": cells(planned.grid),
        "short": planned.empty.to_pylist(),
    }
    write_grid_facts(folder, facts)


def cells(grid: GridParams) -> list[dict[str, object]]:
    """Every planned cell with its name, indices and edges, whether or not it has hosts."""
    psf, depth = (list(pairwise(edges)) for edges in (grid.psf_fwhm_nea_edges_arcsec, grid.depth_edges_mag))
    return [
        {
            "cell": cell_name(t, p, d),
            "theta_e_index": t,
            "psf_index": p,
            "depth_index": d,
            "theta_e_arcsec": theta_e,
            "psf_fwhm_nea_arcsec_low": psf[p][0],
            "psf_fwhm_nea_arcsec_high": psf[p][1],
            "depth_mag_low": depth[d][0],
            "depth_mag_high": depth[d][1],
        }
        for (t, theta_e), p, d in product(enumerate(grid.theta_e_arcsec), range(len(psf)), range(len(depth)))
    ]


def _name(number: int) -> str:
    return f"batch-{number:05d}.parquet"
