"""Stamps from elsewhere: scoring imported cut-outs, injecting into another survey's galaxies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit

from analysis.config import CompletenessParams
from analysis.figures.stamps import contact_sheet
from etl.config import CutoutsParams
from etl.imports import Imported, import_npz, load_des_hosts
from injection.config import GridParams
from injection.grid import Plan, plan
from injection.hosts import Hosts
from injection.render import render
from injection.stream import Sized
from lake.errors import DataError
from modeling.scorer import load_scorer
from pipeline import params
from pipeline.context import RunContext, stage_run
from pipeline.hostsets import one_cell
from pipeline.publishing import published_folder
from pipeline.sparkrun import SparkRun
from pipeline.stages import completeness, grid, scores

SHOWN = 24
_DES = "des46"
"""Name of the grid on the 46 DES galaxies."""


def score_folder(folder: Path, generation: str) -> pa.Table:
    """Scores of the NPZ cut-outs of a folder; a cut-out that cannot be used has its reason instead of a score."""
    imported = import_npz(folder, params.survey().collection, params.typed(CutoutsParams, "cutouts"))
    scorer = load_scorer(params.root().checkpoints(generation))
    good = np.array([status == "ok" for status in imported.rows["status"].to_pylist()], dtype=bool)
    logits = np.full(len(good), np.nan)
    if good.any():
        logits[good] = scorer.score(imported.stamps[good])
    facts = imported.facts.select(["galaxy_id", "ra", "dec", "tier"])
    shown = facts.append_column("score", pa.array(logits, mask=~good))
    shown = shown.append_column("probability", pa.array(expit(logits), mask=~good))
    return shown.append_column("reason", imported.rows["reason"])


def inject_into_des(folder: Path, generation: str, per_radius: int) -> str:
    """Inject into the 46 DES galaxies, score, and summarise; the name of the new slices."""
    name = f"{generation}-{_DES}"
    survey = params.survey()
    hosts = load_des_hosts(folder, params.typed(CutoutsParams, "cutouts"))
    grid_params = params.typed(GridParams, "grid")
    chosen = one_cell(grid_params, Hosts(hosts.facts, grid_params.host_model), per_radius)
    with stage_run("grid", name, survey, RunContext) as context:
        _fill(context, generation, hosts, chosen)
    with stage_run("scores", name, survey, SparkRun) as context:
        scores.run(context, None)
    with stage_run("completeness", name, survey, SparkRun) as context:
        completeness.run(context, params.typed(CompletenessParams, "completeness"))
    return name


def _fill(context: RunContext, generation: str, hosts: Imported, chosen: GridParams) -> None:
    scorer = load_scorer(context.root.checkpoints(generation))
    context.note_input(f"checkpoint:{generation}", scorer.scorer_id)
    context.note_input("files", f"{hosts.facts.num_rows} DES galaxies")
    planned = plan(chosen, hosts.facts, context.seed)
    work = context.work(planned.grid_id, scorer.scorer_id)
    place = {galaxy_id: i for i, galaxy_id in enumerate(hosts.facts["galaxy_id"].to_pylist())}
    good = {g for g, status in zip(place, hosts.rows["status"].to_pylist(), strict=True) if status == "ok"}

    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        bad = [galaxy_id for galaxy_id in galaxy_ids if galaxy_id not in good]
        if bad:
            raise DataError(f"host {bad[0]} failed its quality check")
        return hosts.stamps[[place[galaxy_id] for galaxy_id in galaxy_ids]]

    grid.fill(planned, load, Sized(scorer, hosts.stamps.shape[-1]), work)
    with published_folder(context.root.grid(context.generation), work) as folder:
        grid.write_facts(folder, planned, _DES, scorer.scorer_id, generation)
        context.write_lineage(folder)
        (folder / "contact-sheet.png").write_bytes(_picture(planned, hosts, place))


def _picture(planned: Plan, hosts: Imported, place: dict[str, int]) -> bytes:
    """Hosts and the same hosts with arcs, of some of the injections."""
    step = max(planned.rows.num_rows // SHOWN, 1)
    rows = planned.rows.take(pa.array(range(0, planned.rows.num_rows, step)[:SHOWN]))
    drawn = planned.drawn(rows)
    ids = [choices[0] for choices in rows["host_ids"].to_pylist()]
    bare = hosts.stamps[[place[galaxy_id] for galaxy_id in ids]]
    known = Hosts(hosts.facts, planned.grid.host_model)
    psf = known.psf(known.rows_of(ids), planned.grid)
    injected = render(drawn, bare, psf, planned.grid.quadrature, sources=planned.sources).images
    labels = [
        f'{t:.2f}" m{m:.1f}'
        for t, m in zip(rows["lens_theta_e_arcsec"].to_pylist(), drawn["src_mag_r"].to_pylist(), strict=True)
    ]
    sheet = []
    for start in range(0, len(ids), 8):
        part = slice(start, start + 8)
        sheet.append(("hosts", bare[part], [""] * len(ids[part])))
        sheet.append(("with arcs", injected[part], labels[part]))
    return contact_sheet(sheet, f"Real DES galaxies with injected arcs, prior {planned.prior.name}").content
