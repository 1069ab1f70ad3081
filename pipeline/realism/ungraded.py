"""Listed objects without an accepted grade: rings, mergers, artefacts, weak candidates. A finder scores them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.spatial import cKDTree
from scipy.special import expit

from lake.contract import columns
from lake.scorer import Scorer
from lake.sky.sphere import chord, unit_vectors
from lake.sky.survey import STAMPS_OVERLAP_ARCSEC
from lake.store.stamps import PLACE, StampStore
from lake.tables.lens_candidates import UNGRADED
from pipeline.experiment.scoring import score_rows
from pipeline.experiment.trainedon import seen_by
from pipeline.project.context import RunContext

_LISTED = ["galaxy_id", "candidate_id", "name", "grading", "kind", "reference"]
_CONDITIONS = [column.name for column in columns.CONDITIONS]
_SOURCE = ["galaxy_id", "ra", "dec", "split", "healpix_128", "ebv", *_CONDITIONS]


def ungraded_rows(context: RunContext) -> pa.Table:
    """The listed objects without an accepted grade that have a good cut-out, with what a finder may ask of them."""
    listed = context.read("lens_candidates", [*_LISTED, "match_reason"])
    listed = listed.filter(pc.equal(listed["match_reason"], UNGRADED)).select(_LISTED)
    sources = context.read("tractor_near_candidates", _SOURCE, ordered=False)
    stamps = context.read("cutouts", ["galaxy_id", "status", "cutout_version", *PLACE, *_CONDITIONS], ordered=False)
    stamps = stamps.filter(pc.equal(stamps["status"], "ok")).drop_columns("status")
    found = listed.join(sources, "galaxy_id", join_type="inner")
    found = found.join(stamps, "galaxy_id", join_type="inner", right_suffix="_coadd").sort_by("galaxy_id")
    for name in _CONDITIONS:
        given = pc.fill_null(pc.greater(found[name], 0.0), False)
        known = pc.if_else(given, found[name], found[f"{name}_coadd"])
        found = found.set_column(found.column_names.index(name), name, known).drop_columns(f"{name}_coadd")
    return found.combine_chunks()


def ungraded_scores(
    scorer: Scorer, generation: str, folder: Path, store: StampStore, rows: pa.Table, manifest: pa.Table
) -> pa.Table:
    """Rows of `ungraded_scores`, without lineage.

    `folder`: the checkpoint's, which knows what was trained on. `rows`: of :func:`ungraded_rows`. `manifest`: the
    finder's, whose training and validation stamps these may overlap.
    """
    logits = score_rows(scorer, store, rows) if rows.num_rows else np.zeros(0)
    held = [*_LISTED, "cutout_version", "ra", "dec", "split"]
    made = {
        **{name: rows[name] for name in held},
        "checkpoint_id": pa.repeat(scorer.checkpoint_id, rows.num_rows),
        "generation": pa.repeat(generation, rows.num_rows),
        "score": logits,
        "probability": expit(logits),
        "seen_in_training": seen_by(folder, rows),
        "shares_pixels": overlapping(rows, manifest.filter(pc.not_equal(manifest["split"], "test"))),
    }
    return pa.table(made)


def overlapping(rows: pa.Table, others: pa.Table) -> pa.Array:
    """Which rows (`ra`, `dec`) have a stamp that may share a pixel with one of the others."""
    places, taken = (unit_vectors(*(one[name].to_numpy() for name in ("ra", "dec"))) for one in (rows, others))
    if not len(places) or not len(taken):
        return pa.array(np.zeros(len(places), dtype=bool))
    return pa.array(np.isfinite(cKDTree(taken).query(places, distance_upper_bound=chord(STAMPS_OVERLAP_ARCSEC))[0]))
