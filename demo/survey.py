"""Write the simulated survey: bricks in parallel, each resumable, then sweeps, truth, candidate list, brick table."""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits

from demo.brick import Plan, generator, make_scene
from demo.catalogue import catalogue, columns, flawed, with_arcs
from demo.coadds import brick_folder, write_coadds
from demo.conditions import draw_conditions
from demo.config import DemoParams, LensParams
from demo.grid import place_bricks, sweep_name
from demo.listing import (
    GRADING,
    bare_hosts,
    brick_table,
    brick_truth,
    lens_truth,
    listed,
    numbered,
    outside,
    source_truth,
    to_csv,
    with_radius,
)
from demo.truth import BARE_HOSTS
from lake.config import SplitParams, SurveyParams
from lake.errors import DataError
from lake.files import atomic, refused
from lake.processes import end_with_parent
from lake.progress import track

log = logging.getLogger(__name__)

BRICKS, PARTS = "survey-bricks.fits", "parts"
"""The brick table, and the folder of what finished bricks leave for the survey's common files."""
ROLES = ("tier_a", "tier_b", "tier_b_false", "unlisted", "unlisted_faint", "contaminant")


def plan_survey(params: DemoParams, split: SplitParams, seed: int) -> list[Plan]:
    """Decide everything about the bricks before any pixel is made."""
    bricks = place_bricks(params.sky, params.brick_pixels, split, seed)
    conditions = draw_conditions(params.conditions, bricks, seed)
    rng = np.random.default_rng([seed, 3])
    roles = _deal(rng, params.lenses, len(bricks))
    nan_rows = np.bincount(rng.integers(0, len(bricks), params.sources.nan_rows), minlength=len(bricks))
    return [
        Plan(brick, state, tuple(parts), int(count))
        for brick, state, parts, count in zip(bricks, conditions, roles, nan_rows, strict=True)
    ]


def _deal(rng: np.random.Generator, params: LensParams, bricks: int) -> list[list[str]]:
    """Deal the lens sample to the bricks in turn: each gets about the same number."""
    hands: list[list[str]] = [[] for _ in range(bricks)]
    order = rng.permutation(bricks)
    deck = [role for role in ROLES for _ in range(getattr(params, role))]
    for turn, role in enumerate(deck):
        hands[order[turn % bricks]].append(role)
    return hands


def write_survey(params: DemoParams, survey_params: SurveyParams, folder: Path, truth_folder: Path) -> None:
    """Write the survey below ``folder`` and its truth below ``truth_folder``.

    The same parameters give the same bytes with any number of workers; a stopped run continues where it stopped.
    """
    made_from = params.model_copy(update={"workers": 1})
    identity = f"{made_from.digest()}-{survey_params.split.digest()}-{survey_params.seed}"
    note = folder / "made-from.txt"
    if note.exists() and note.read_text() != identity:
        raise DataError(f"{folder} contains a demo survey with other parameters: remove it or choose another folder")
    atomic.write_text(note, identity)
    if (folder / BRICKS).exists():
        shutil.rmtree(folder / PARTS, ignore_errors=True)
        log.info("demo survey: already complete")
        return
    plans = plan_survey(params, survey_params.split, survey_params.seed)
    job = partial(make_brick, params=params, seed=survey_params.seed, folder=folder)
    for _ in track(_each_brick(job, plans, params.workers), "demo survey", len(plans)):
        pass
    with refused.named(folder):
        _assemble(params, survey_params.seed, plans, folder, truth_folder)
    log.info("demo survey: %d bricks", len(plans))


def _each_brick(job: Callable[[Plan], str], plans: list[Plan], workers: int) -> Iterator[str]:
    if workers == 1:
        yield from map(job, plans)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        pending = [pool.submit(job, plan) for plan in plans]
        for done in as_completed(pending):
            yield done.result()


def make_brick(plan: Plan, params: DemoParams, seed: int, folder: Path) -> str:
    """Make one brick below ``folder``; its folder appears, by rename, when everything in it is written."""
    final = brick_folder(folder, plan.brick.name)
    if final.exists():
        return plan.brick.name
    scene = make_scene(params, plan, seed)
    rng = generator(seed, plan, 3)
    sources = with_arcs(rng, scene)
    rows = catalogue(rng, plan, scene, sources)
    sweep = flawed(rng, rows, (params.sources.short_fraction, params.sources.duplicate_fraction), plan.nan_rows)
    candidates = {
        index: listed(rng, source, float(row["RA"]), float(row["DEC"]))
        for index, (source, row) in enumerate(zip(sources, rows, strict=True))
        if source.role in GRADING
    }
    radii = generator(seed, plan, 4)
    for index in sorted(candidates.keys() & scene.lensed.keys()):
        with_radius(radii, candidates[index], sources[index].role, scene.lensed[index].truth["theta_e_arcsec"])
    part = folder / PARTS / plan.brick.name
    shutil.rmtree(part, ignore_errors=True)
    (part / "coadd").mkdir(parents=True)
    lists = {"candidates": list(candidates.values()), "lenses": lens_truth(plan, scene)}
    with refused.named(part):
        np.save(part / "sweep.npy", sweep)
        np.save(part / "bare.npy", bare_hosts(plan, scene))
        pq.write_table(source_truth(plan, sources, rows), part / "sources.parquet")
        (part / "lists.json").write_text(json.dumps(lists))
        write_coadds(part / "coadd", plan, scene)
    final.parent.mkdir(parents=True, exist_ok=True)
    (part / "coadd").rename(final)
    return plan.brick.name


def _assemble(params: DemoParams, seed: int, plans: list[Plan], folder: Path, truth_folder: Path) -> None:
    """Gather the bricks' parts into the survey's files; the brick table, written last, marks a complete survey."""
    parts = [folder / PARTS / plan.brick.name for plan in plans]
    lists = [json.loads((part / "lists.json").read_text()) for part in parts]
    _write_sweeps(plans, parts, folder / "sweeps")
    truth_folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(brick_truth(plans), truth_folder / "bricks.parquet")
    sources = pa.concat_tables([pq.read_table(part / "sources.parquet") for part in parts])
    pq.write_table(sources, truth_folder / "sources.parquet")
    lenses = numbered([record for each in lists for record in each["lenses"]], plans)
    pq.write_table(lenses, truth_folder / "lenses.parquet")
    np.save(truth_folder / BARE_HOSTS, np.concatenate([np.load(part / "bare.npy") for part in parts]))
    rng = np.random.default_rng([seed, 4])
    far = outside(rng, params.lenses.outside_footprint, params.sky.ra_range_deg, params.sky.dec_range_deg[1])
    rows = [*(row for each in lists for row in each["candidates"]), *far]
    atomic.write_text(folder / "candidates.csv", to_csv(rows))
    with atomic.replacing(folder / BRICKS) as draft:
        brick_table([plan.brick for plan in plans]).writeto(draft)
    shutil.rmtree(folder / PARTS)


def _write_sweeps(plans: list[Plan], parts: list[Path], folder: Path) -> None:
    """One file per 10 x 5 degree cell."""
    folder.mkdir(exist_ok=True)
    cells: dict[str, list[Any]] = {}
    for plan, part in zip(plans, parts, strict=True):
        cells.setdefault(sweep_name(plan.brick.ra_deg, plan.brick.dec_deg), []).append(np.load(part / "sweep.npy"))
    units = {name: unit for name, _, unit in columns() if unit}
    for name, rows in cells.items():
        table = fits.BinTableHDU(np.concatenate(rows))
        for index, column in enumerate(table.columns.names, start=1):
            if column in units:
                table.header[f"TUNIT{index}"] = units[column]
        table.writeto(folder / name, overwrite=True)
