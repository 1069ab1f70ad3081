"""One named manifest of simulated stamps: the rows that networks train on, with its checks."""

from __future__ import annotations

from etl.simulated import manifests
from etl.stampconfig import StampManifestParams
from etl.tables.table import arrow
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: StampManifestParams) -> None:
    name = context.generation
    spec = manifests.named(params, name)
    rows = arrow(manifests.rows(context.read_spark("stamps", [spec.set_name]), spec))
    checks = manifests.check(rows, spec, name)
    context.publish(rows, "stamp_manifest", name, {"manifest_id": name})
    context.write_checks("stamp_manifest", checks)
