"""Score every cut-out of the audit manifest with one finder, fix its thresholds, and evaluate it on the test split."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.config import EvaluateParams
from analysis.results.evaluation import evaluate, with_bins
from analysis.statistics.thresholds import fix_thresholds, threshold_rows
from lake.sky.split import TEST, THRESHOLD
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.scoring import score_rows, score_table
from pipeline.experiment.trainedon import seen_by
from pipeline.project.context import RunContext

_STRATA = ["galaxy_id", "type_bin", "nobs_z_bin", "pool", "confuser_category", "tier", "psfsize_r", "psfdepth_r"]


def run(context: RunContext, params: EvaluateParams) -> None:
    generation = context.generation
    folder = context.root.checkpoints(generation)
    scorer = load_scorer(folder)
    context.note_input(f"checkpoint:{generation}", scorer.checkpoint_id)
    manifest = context.read("manifest", slices=[context.survey.audit_manifest])
    logits = score_rows(scorer, StampStore(context.root.cutouts), manifest)
    seen = seen_by(folder, manifest)
    scores = score_table(scorer, generation, manifest, logits, seen, context.survey.split)
    where = {"checkpoint_id": scorer.checkpoint_id, "generation": generation}
    context.write("scores", scores, generation, where)
    points = fix_thresholds(_negatives(scores, THRESHOLD), _negatives(scores, TEST), params)
    rows = threshold_rows(points, scorer.checkpoint_id, generation)
    context.write("thresholds", rows, generation, where)
    objects = scores.to_pandas().merge(manifest.select(_STRATA).to_pandas(), on="galaxy_id", validate="one_to_one")
    tested = with_bins(objects[objects["split"] == "test"].reset_index(drop=True), SURVEY, params.condition_bins)
    outcome = evaluate(tested, points, params, np.random.default_rng(context.seed))
    context.write_outcome(outcome, f"evaluate-{generation}")


def _negatives(scores: pa.Table, use: str) -> np.ndarray:
    return np.sort(scores.filter(pc.equal(scores["negative_use"], use))["probability"].to_numpy())
