"""Scores imported cut-outs, and injects into galaxies of another survey."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.special import expit

from analysis.config import CompletenessParams
from analysis.figures.stamps import contact_sheet, lines
from etl.config import CutoutsParams
from etl.cutouts.external_stamps import import_cutouts, load_des_hosts
from injection.config import GridParams
from injection.experiment.grid import one_cell
from injection.experiment.setting import Drawn, Setting
from lake.names import checked_name
from lake.scorer import check_bands, known
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.choosing import of_stamps
from pipeline.experiment.grids import fill_grid
from pipeline.experiment.scoring import conditions_of
from pipeline.project.context import RunContext, stage_run
from pipeline.project.outputs import BATCHES
from pipeline.project.project import Project
from pipeline.project.sparkrun import SparkRun
from pipeline.stages import completeness, ingest

SHOWN = 24
_SCORED = ("source_file", "status", "galaxy_id", "ra", "dec", "tier", "score", "probability", "reason")
_DES = "des46"
"""Name of the grid on the 46 DES galaxies."""


def score_folder(project: Project, folder: Path, generation: str) -> pa.Table:
    """Scores of the cut-outs of a folder, one row per file; a file that cannot be used has a reason instead of a score.

    Columns: source_file, status, galaxy_id, ra, dec, tier, score, probability, reason.
    """
    scorer = load_scorer(project.data.checkpoints(generation))
    imported = import_cutouts(folder, project.survey.collection, project.section(CutoutsParams, "cutouts"))
    check_bands(scorer, imported.imaging)
    good = np.array([status == "ok" for status in imported.rows["status"].to_pylist()], dtype=bool)
    conditions = conditions_of(imported.facts, scorer.conditions)
    reasons = imported.rows["reason"]
    if conditions is not None:
        usable = known(scorer, conditions)
        lacking = f"lacks at least one of {', '.join(f'meta_{name}' for name in scorer.conditions)}"
        reasons = pc.if_else(pa.array(good & ~usable), lacking, reasons.combine_chunks())
        good &= usable
    logits = np.full(len(good), np.nan)
    if good.any():
        logits[good] = scorer.score(imported.stamps[good], None if conditions is None else conditions[good])
    read = imported.facts.select(["source_file", "galaxy_id", "ra", "dec", "tier"])
    read = read.append_column("status", pa.array(np.where(good, "ok", "rejected"))).append_column("reason", reasons)
    read = read.append_column("score", pa.array(logits, mask=~good))
    read = read.append_column("probability", pa.array(expit(logits), mask=~good))
    unread = imported.rejected.select(["source_file", "reason"])
    unread = unread.append_column("status", pa.array(["not read"] * unread.num_rows, pa.string()))
    whole = pa.concat_tables([read, unread], promote_options="default").sort_by("source_file")
    return whole.select(list(_SCORED))


def question(generation: str) -> str:
    """The query that shows what was found of the injections into the 46 DES galaxies."""
    return (
        f"select * from completeness where generation = '{generation}' and grid_name = '{_DES}' and cell = 'marginal'"
    )


def inject_into_des(project: Project, folder: Path, generation: str, per_radius: int) -> str:
    """Inject into the 46 DES galaxies, score, and summarise; the name of the new slices."""
    name = f"{checked_name(generation, 'generation')}-{_DES}"
    imported = load_des_hosts(folder, project.section(CutoutsParams, "cutouts"))
    grid = project.section(GridParams, "grid")
    hosts = of_stamps("real DES galaxies", imported, imported.facts, grid.host_model)
    with stage_run("grid", name, project, RunContext) as context:
        context.note_input("files", f"{len(hosts.ids)} DES galaxies")
        setting = Setting.of(one_cell(grid, hosts, per_radius), hosts, context.seed)
        scorer = load_scorer(context.root.checkpoints(generation))
        fill_grid(context, setting, scorer, _DES, generation, partial(_picture, setting))
    with stage_run("ingest", name, project, SparkRun) as context:
        ingest.run(context, None)
    with stage_run("completeness", name, project, SparkRun) as context:
        completeness.run(context, project.section(CompletenessParams, "completeness"))
    return name


def scored_examples(folder: Path, setting: Setting) -> tuple[pa.Table, Drawn]:
    """Some of the scored injections of a filled grid, and the pixels that were scored.

    They are drawn again from the stored rows: hosts after retries, shapes, noise and suppression included.
    """
    rows = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob(BATCHES))])
    scored = rows.filter(pc.equal(rows["status"], "scored")).combine_chunks()
    step = max(scored.num_rows // SHOWN, 1)
    chosen = scored.take(pa.array(range(0, scored.num_rows, step)[:SHOWN], pa.int64()))
    return chosen, setting.again(chosen)


def _picture(setting: Setting, folder: Path) -> bytes | None:
    """Hosts and the same hosts with arcs of a filled grid; None where no injection was scored."""
    rows, drawn = scored_examples(folder, setting)
    imaging = setting.hosts.imaging
    if not rows.num_rows:
        return None
    labels = [
        f'{t:.2f}" m{m:.1f}'
        for t, m in zip(*(rows[n].to_pylist() for n in ("lens_theta_e_arcsec", imaging.source_columns[0])), strict=True)
    ]
    sheet = lines({"hosts": drawn.bare, "with arcs": drawn.images}, labels, "with arcs")
    caption = f"Real DES galaxies with injected arcs, prior {rows['prior'][0].as_py()}"
    return contact_sheet(sheet, caption, imaging).content
