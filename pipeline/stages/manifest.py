"""Named manifests: the rows networks train and are tested on, with the checks of their splits."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from etl.config import ManifestParams
from etl.cutouts import manifest
from lake.files import atomic
from pipeline.project.sparkrun import SparkRun

log = logging.getLogger(__name__)

_SOURCES = ("negatives", "lens_candidates", "tractor_near_candidates", "tractor_pool", "cutouts")


def run(context: SparkRun, params: ManifestParams) -> None:
    negatives, candidates, near, pool, cutouts = (context.read_spark(name) for name in _SOURCES)
    report = {}
    requested = manifest.requested(negatives, candidates)
    for wanted in params.manifests:
        name = wanted.manifest_id
        rows = manifest.rows(negatives, candidates, near, pool, cutouts, params, name).persist()
        checks = manifest.check(rows.toArrow(), requested, params, name, context.survey.split)
        for check in checks:
            log.info("%s %s: %s (%s)", name, check.name, "passed" if check.passed else "FAILED", check.detail)
        context.publish(rows, "manifest", name, {"manifest_id": name})
        rows.unpersist()
        report[name] = [asdict(check) for check in checks]
    text = json.dumps(report, indent=1, sort_keys=True)
    atomic.write_text(context.root.cards / "checks" / "manifest.json", text + "\n")
