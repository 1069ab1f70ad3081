"""Writes the simulated survey: bricks in parallel, each resumable, then sweeps, candidate list, brick table, truth."""

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

from demo.brick import Plan
from demo.catalogue import columns
from demo.conditions import draw_conditions
from demo.config import DemoParams, LensParams
from demo.grid import sweep_name
from demo.listing import brick_table, outside, to_csv
from demo.making import PARTS, make_brick
from demo.sky import place_bricks
from demo.truth import brick_truth
from lake.config import SplitParams, SurveyParams
from lake.errors import DataError
from lake.files import atomic
from lake.processes import end_with_parent
from lake.progress import track

log = logging.getLogger(__name__)

ROLES = ("tier_a", "tier_b", "tier_b_false", "unlisted", "unlisted_faint")


def plan_survey(params: DemoParams, split: SplitParams, seed: int) -> list[Plan]:
    """All that is decided before any pixel is made."""
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
    """Deal the lens sample to the bricks in turn, so that each holds about as many."""
    hands: list[list[str]] = [[] for _ in range(bricks)]
    turn = 0
    order = rng.permutation(bricks)
    for role in ROLES:
        for _ in range(getattr(params, role)):
            hands[order[turn % bricks]].append(role)
            turn += 1
    return hands


def write_survey(params: DemoParams, survey_params: SurveyParams, folder: Path, truth_folder: Path) -> None:
    """Write the survey below ``folder`` and its truth below ``truth_folder``.

    The same parameters give the same bytes, whatever the number of workers; a stopped run goes on where it stopped.
    """
    _claim(folder, _identity(params, survey_params))
    if (folder / "survey-bricks.fits").exists() and not (folder / PARTS).exists():
        log.info("demo survey: already complete")
        return
    plans = plan_survey(params, survey_params.split, survey_params.seed)
    job = partial(make_brick, params=params, seed=survey_params.seed, folder=folder)
    for _ in track(_each_brick(job, plans, params.workers), "demo survey", len(plans)):
        pass
    _assemble(params, survey_params.seed, plans, folder, truth_folder)
    log.info("demo survey: %d bricks", len(plans))


def _identity(params: DemoParams, survey_params: SurveyParams) -> str:
    one_worker = params.model_copy(update={"workers": 1})
    return f"{one_worker.digest()}-{survey_params.split.digest()}-{survey_params.seed}"


def _claim(folder: Path, identity: str) -> None:
    """Refuse a folder that holds a survey of other parameters."""
    note = folder / "made-from.txt"
    if note.exists() and note.read_text() != identity:
        raise DataError(f"{folder} contains a demo survey with other parameters: remove it or choose another folder")
    atomic.write_text(note, identity)


def _each_brick(job: Callable[[Plan], str], plans: list[Plan], workers: int) -> Iterator[str]:
    if workers == 1:
        yield from map(job, plans)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        pending = [pool.submit(job, plan) for plan in plans]
        for done in as_completed(pending):
            yield done.result()


def _write_fits(path: Path, table: fits.BinTableHDU) -> None:
    with atomic.replacing(path) as draft:
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(draft)


def _write_parquet(path: Path, table: pa.Table) -> None:
    with atomic.replacing(path) as draft:
        pq.write_table(table, draft)


def _assemble(params: DemoParams, seed: int, plans: list[Plan], folder: Path, truth_folder: Path) -> None:
    """Gather the bricks' parts into the survey's files; the brick table, last, says that all is there."""
    parts = [folder / PARTS / plan.brick.name for plan in plans]
    lists = [json.loads((part / "lists.json").read_text()) for part in parts]
    _write_sweeps(plans, parts, folder / "sweeps")
    truth_folder.mkdir(parents=True, exist_ok=True)
    _write_parquet(truth_folder / "bricks.parquet", brick_truth(plans))
    sources = pa.concat_tables([pq.read_table(part / "sources.parquet") for part in parts])
    _write_parquet(truth_folder / "sources.parquet", sources)
    lenses = pa.Table.from_pylist([record for each in lists for record in each["lenses"]])
    _write_parquet(truth_folder / "lenses.parquet", lenses)
    rng = np.random.default_rng([seed, 4])
    far = outside(rng, params.lenses.outside_footprint, params.sky.ra_range_deg, params.sky.dec_range_deg[1])
    rows = [*(row for each in lists for row in each["candidates"]), *far]
    atomic.write_text(folder / "candidates.csv", to_csv(rows))
    _write_fits(folder / "survey-bricks.fits", brick_table([plan.brick for plan in plans]))
    shutil.rmtree(folder / PARTS)


def _write_sweeps(plans: list[Plan], parts: list[Path], folder: Path) -> None:
    """One file per 10 x 5 degree cell."""
    folder.mkdir(exist_ok=True)
    cells: dict[str, list[Any]] = {}
    for plan, part in zip(plans, parts, strict=True):
        cells.setdefault(sweep_name(plan.brick.ra_deg, plan.brick.dec_deg), []).append(np.load(part / "sweep.npy"))
    units = {name: unit for name, _, unit in columns() if unit}
    for name, rows in sorted(cells.items()):
        table = fits.BinTableHDU(np.concatenate(rows))
        for index, column in enumerate(table.columns.names, start=1):
            if column in units:
                table.header[f"TUNIT{index}"] = units[column]
        _write_fits(folder / name, table)
