"""One named manifest: the rows networks train and are tested on, with the checks of its splits."""

from __future__ import annotations

from etl.config import ManifestParams
from etl.cutouts import judged, manifest
from etl.tables.scan import Named
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: ManifestParams) -> None:
    name = context.generation
    negatives, candidates = context.read("negatives", ordered=False), context.read("lens_candidates")
    pool = context.scan("tractor_pool")(Named.of(negatives["galaxy_id"], manifest.FACTS))
    near, cutouts = context.read("tractor_near_candidates"), context.read("cutouts", ordered=False)
    rows = manifest.guarded(manifest.rows(negatives, candidates, near, pool, cutouts, params, name))
    spec = params.manifests[name]
    requested, held = manifest.requested(negatives, candidates), rows.num_rows
    if spec.leave_out:
        rows = judged.without(rows, context.root.judged / f"{spec.leave_out}.csv")
        requested[0] -= held - rows.num_rows
    if spec.hard_negatives:
        rows = judged.marked(rows, context.root.judged / f"{spec.hard_negatives}.csv")
    checks = manifest.check(rows, requested, params, name, context.survey.split)
    context.publish(rows, "manifest", name, {"manifest_id": name})
    context.write_checks("manifest", checks)
