"""One named manifest: the rows networks train and are tested on, with the checks of its splits."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from etl.config import ManifestParams
from etl.cutouts import manifest
from etl.tables.scan import Named
from lake.files import atomic
from pipeline.project.sparkrun import SparkRun

log = logging.getLogger(__name__)


def run(context: SparkRun, params: ManifestParams) -> None:
    name = context.generation
    negatives, candidates = context.read("negatives", ordered=False), context.read("lens_candidates")
    pool = context.scan("tractor_pool")(Named.of(negatives["galaxy_id"], manifest.FACTS))
    near, cutouts = context.read("tractor_near_candidates"), context.read("cutouts", ordered=False)
    rows = manifest.guarded(manifest.rows(negatives, candidates, near, pool, cutouts, params, name))
    requested = manifest.requested(negatives, candidates)
    checks = manifest.check(rows, requested, params, name, context.survey.split)
    for check in checks:
        log.info("%s %s: %s (%s)", name, check.name, "passed" if check.passed else "FAILED", check.detail)
    context.publish(rows, "manifest", name, {"manifest_id": name})
    text = json.dumps([asdict(check) for check in checks], indent=1)
    atomic.write_text(context.root.cards / "checks" / f"manifest.{name}.json", text + "\n")
