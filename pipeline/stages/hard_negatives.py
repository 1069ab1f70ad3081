"""A manifest of simulated stamps with hard negatives: controls that an earlier generation takes for lenses."""

from __future__ import annotations

import logging

import numpy as np
import pyarrow.compute as pc
from scipy.special import expit

from etl.simulated import manifests
from etl.stampconfig import HardNegativesParams
from lake import tables
from lake.errors import not_one_of
from lake.store.stamps import SIMULATED_HASH
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.scoring import score_rows
from pipeline.project.context import RunContext
from pipeline.training.manifests import copy_checks, pixels_of

log = logging.getLogger(__name__)


def run(context: RunContext, params: HardNegativesParams) -> None:
    name = context.generation
    if name not in params.manifests:
        raise not_one_of("manifest_id", params.manifests, name)
    spec = params.manifests[name]
    rows = context.read("stamp_manifest", slices=[spec.base])
    scorer = load_scorer(context.root.checkpoints(spec.scorer))
    context.note_input(f"checkpoint:{spec.scorer}", scorer.checkpoint_id)
    controls = rows.filter(pc.and_(pc.equal(rows["label"], 0), pc.equal(rows["split"], "train")))
    _, first, which = np.unique(controls[SIMULATED_HASH].to_numpy(), return_index=True, return_inverse=True)
    probabilities = expit(score_rows(scorer, pixels_of(context.root, spec.base), controls.take(first)))[which]
    hard = manifests.hardened(rows, controls["stamp_id"], probabilities, params.probability_above)
    found = pc.sum(hard["hard_negative"]).as_py()
    log.info("%s: %d hard negatives among %d controls of %s", name, found, controls.num_rows, spec.base)
    columns = [column for column in tables.spec("stamp_manifest").row_schema().names if column != "manifest_id"]
    context.write("stamp_manifest", hard.select(columns), name, {"manifest_id": name})
    copy_checks(context.root, spec.base, name)
