"""Score the cut-outs of the audit manifest with one finder; fix its thresholds, calibrate it, evaluate it on the test
split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.config import EvaluateParams
from analysis.results.calibrated import calibrated
from analysis.results.evaluation import evaluate, with_bins
from analysis.results.untouched import exposure, fixed_thresholds
from analysis.statistics.thresholds import threshold_rows
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.scoring import score_rows, score_table
from pipeline.experiment.trainedon import seen_by, trained_by
from pipeline.project.context import RunContext
from pipeline.realism.ungraded import ungraded_rows, ungraded_scores

_STRATA = ["galaxy_id", "type_bin", "nobs_z_bin", "pool", "confuser_category", "tier"]
_STRATA += ["psfsize_r", "psfdepth_r", "healpix_128"]


def run(context: RunContext, params: EvaluateParams) -> None:
    generation = context.generation
    folder = context.root.checkpoints(generation)
    scorer = load_scorer(folder)
    context.note_input(f"checkpoint:{generation}", scorer.checkpoint_id)
    manifest = context.read("manifest", slices=[context.survey.audit_manifest])
    store = StampStore(context.root.cutouts)
    logits = score_rows(scorer, store, manifest)
    seen = seen_by(folder, manifest)
    trained = trained_by(folder, manifest)
    scores = score_table(scorer, generation, manifest, logits, seen, trained, context.survey.split)
    where = {"checkpoint_id": scorer.checkpoint_id, "generation": generation}
    context.write("scores", scores, generation, where)
    judged = scores.to_pandas()
    points = fixed_thresholds(judged, params)
    apart = ungraded_scores(scorer, generation, folder, store, ungraded_rows(context), manifest)
    context.write("ungraded_scores", apart, generation, where)
    rows = threshold_rows(points, scorer.checkpoint_id, generation)
    context.write("thresholds", rows, generation, where)
    objects = judged.merge(manifest.select(_STRATA).to_pandas(), on="galaxy_id", validate="one_to_one")
    tested = with_bins(objects[objects["split"] == "test"].reset_index(drop=True), SURVEY, params.condition_bins)
    outcome = evaluate(tested, points, params, np.random.default_rng(context.seed))
    maps = calibrated(judged, params, tested)
    context.write("calibrations", [{**row, **where} for row in maps.rows], generation, where)
    measures = (*outcome.measures, *maps.measures, *exposure(judged))
    whole = replace(outcome, measures=measures, points=(*outcome.points, *maps.points))
    context.write_outcome(whole, f"evaluate-{generation}")
