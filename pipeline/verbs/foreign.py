"""Scores imported cut-outs, and injects into galaxies of another survey."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from scipy.special import expit

from analysis.config import CompletenessParams
from analysis.figures.stamps import contact_sheet, lines
from analysis.results.calibrated import PROBABILITIES, probabilities
from analysis.results.discoveries import CALIBRATOR
from etl.config import CutoutsParams
from etl.cutouts.external_stamps import Imported, import_cutouts, load_des_hosts
from injection.config import GridParams
from injection.experiment.grid import one_cell
from injection.experiment.setting import Drawn, Setting
from lake.errors import not_one_of
from lake.names import checked_name
from lake.scorer import check_bands, known
from modeling.scoring.finder import ExternalScorer
from modeling.scoring.scorer import AT, CheckpointScorer, load_scorer, score_together
from pipeline.experiment.choosing import of_stamps
from pipeline.experiment.grids import fill_grid
from pipeline.experiment.scoring import conditions_of
from pipeline.project.context import RunContext, stage_run
from pipeline.project.outputs import BATCHES
from pipeline.project.project import Project
from pipeline.project.sparkrun import SparkRun
from pipeline.reporting.results import calibrations
from pipeline.stages import completeness, ingest

SHOWN = 24
_SCORED = (
    *("source_file", "status", "galaxy_id", "ra", "dec", "tier", "score", "probability", *PROBABILITIES),
    "reason",
)
_DES = "des46"
"""Name of the grid on the 46 DES galaxies."""


@dataclass(frozen=True)
class Scored:
    """What one scorer says of the files of a folder."""

    logits: NDArray[np.float64]
    good: NDArray[np.bool_]
    """Files that it could score."""
    reasons: pa.Array
    """Why the others could not be."""


def score_folder(
    project: Project, folder: Path, generations: Sequence[str], averaged: bool = False, calibrator: str = CALIBRATOR
) -> pa.Table:
    """Scores of the cut-outs of a folder, one row per file; a file that cannot be used has a reason instead of a score.

    Columns: source_file, status, galaxy_id, ra, dec, tier, score, probability, those of `PROBABILITIES`, reason. Of
    several generations, or epochs of them (NAME@EPOCH), the files are read once, and each has a row per generation,
    with its name. Calibrated probabilities are null for a network that was not evaluated as it scores here.
    """
    here = project.data.finders()
    for name in generations:
        if here and name.partition(AT)[0] not in here:
            raise not_one_of("generation", here, name)
    scorers = [load_scorer(project.data.checkpoints("any").with_name(name), averaged=averaged) for name in generations]
    imported = import_cutouts(folder, project.survey.collection, project.section(CutoutsParams, "cutouts"))
    tables = []
    for scorer in scorers:
        check_bands(scorer, imported.imaging)
    for name, scorer, scored in zip(generations, scorers, _scored(scorers, imported), strict=True):
        known = probabilities(scored.logits, calibrations(project.data, name), scorer.checkpoint_id, calibrator)
        rows = _rows(imported, scored, known)
        tables.append(rows if len(scorers) == 1 else rows.add_column(0, "generation", pa.repeat(name, rows.num_rows)))
    return pa.concat_tables(tables)


def _scored(scorers: Sequence[CheckpointScorer | ExternalScorer], imported: Imported) -> Iterator[Scored]:
    """Logits of each scorer, NaN for files that it cannot score; checkpoints score the same files in one pass."""
    read = np.array([status == "ok" for status in imported.rows["status"].to_pylist()], dtype=bool)
    given = [conditions_of(imported.facts, scorer.conditions) for scorer in scorers]
    usable = [read if held is None else read & known(scorer, held) for scorer, held in zip(scorers, given, strict=True)]
    logits = np.full((len(scorers), len(read)), np.nan)
    for good in {mask.tobytes(): mask for mask in usable if mask.any()}.values():
        stamps, same = imported.stamps[good], [p for p, mask in enumerate(usable) if np.array_equal(mask, good)]
        held = {place: None if (more := given[place]) is None else more[good] for place in same}
        ours = {place: scorer for place in same if isinstance(scorer := scorers[place], CheckpointScorer)}
        if ours:
            tensor = torch.from_numpy(np.ascontiguousarray(stamps))
            logits[np.ix_(np.array(list(ours)), good)] = score_together(
                list(ours.values()), tensor, [held[p] for p in ours]
            )
        for place in set(same) - set(ours):
            logits[place, good] = scorers[place].score(stamps, held[place])
    for scorer, good, found in zip(scorers, usable, logits, strict=True):
        lacking = f"lacks at least one of {', '.join(f'meta_{name}' for name in scorer.conditions)}"
        reasons = pc.if_else(pa.array(read & ~good), lacking, imported.rows["reason"].combine_chunks())
        yield Scored(found, good, reasons)


def _rows(imported: Imported, scored: Scored, calibrated: pd.DataFrame) -> pa.Table:
    good = scored.good
    rows = imported.facts.select(["source_file", "galaxy_id", "ra", "dec", "tier"])
    rows = rows.append_column("status", pa.array(np.where(good, "ok", "rejected")))
    rows = rows.append_column("reason", scored.reasons)
    rows = rows.append_column("score", pa.array(scored.logits, mask=~good))
    rows = rows.append_column("probability", pa.array(expit(scored.logits), mask=~good))
    for name in PROBABILITIES:
        rows = rows.append_column(name, pa.array(calibrated[name], mask=~good | calibrated[name].isna().to_numpy()))
    unread = imported.rejected.select(["source_file", "reason"])
    unread = unread.append_column("status", pa.array(["not read"] * unread.num_rows, pa.string()))
    return pa.concat_tables([rows, unread], promote_options="default").sort_by("source_file").select(list(_SCORED))


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
