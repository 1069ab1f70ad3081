"""Makes one brick on disk. Imported by worker processes, so it stays free of what only placement needs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from demo.brick import Plan, generator, make_scene
from demo.catalogue import catalogue, flawed, with_arcs
from demo.coadds import brick_folder, write_coadds
from demo.config import DemoParams
from demo.listing import listed
from demo.truth import lens_truth, source_truth

PARTS = "parts"
"""Folder of what finished bricks leave for the survey's common files."""


def make_brick(plan: Plan, params: DemoParams, seed: int, folder: Path) -> str:
    """Make one brick below ``folder``; its folder appears, by rename, when all of it is written."""
    final = brick_folder(folder, plan.brick.name)
    if final.exists():
        return plan.brick.name
    scene = make_scene(params, plan, seed)
    rng = generator(seed, plan, 3)
    sources = with_arcs(rng, scene)
    rows = catalogue(rng, plan, scene, sources)
    sweep = flawed(rng, rows, (params.sources.short_fraction, params.sources.duplicate_fraction), plan.nan_rows)
    candidates = [
        listed(rng, source, float(row["RA"]), float(row["DEC"]))
        for source, row in zip(sources, rows, strict=True)
        if source.role.startswith("tier")
    ]
    part = folder / PARTS / plan.brick.name
    shutil.rmtree(part, ignore_errors=True)
    (part / "coadd").mkdir(parents=True)
    np.save(part / "sweep.npy", sweep)
    pq.write_table(source_truth(plan, sources, rows), part / "sources.parquet")
    (part / "lists.json").write_text(json.dumps({"candidates": candidates, "lenses": lens_truth(plan, scene)}))
    write_coadds(part / "coadd", plan, scene.coadd)
    final.parent.mkdir(parents=True, exist_ok=True)
    (part / "coadd").rename(final)
    return plan.brick.name
