"""Negatives and manifest as the stages make them: ``python -m benchmarks.negatives.product <stage> <data root>``."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from etl.catalogues import negatives
from etl.config import ManifestParams, NegativesParams
from etl.cutouts import manifest
from etl.spark.session import session
from etl.tables.scan import Named, scan
from lake import tables
from lake.config import SplitParams
from lake.root import DataRoot
from lake.store import delta, quarantine
from lake.store.cards import Card
from lake.store.writing import Provenance, Target

MANIFEST = "audit_70_15_15"
_BASE = Path(__file__).resolve().parents[2] / "params" / "base.yaml"


def values() -> dict[str, Any]:
    """The parameters that all sets share."""
    found: dict[str, Any] = yaml.safe_load(_BASE.read_text())
    return found


def split() -> SplitParams:
    """The survey's split."""
    return SplitParams.load(values()["survey"]["split"], "survey.split")


def draw(root: DataRoot) -> Card:
    """The stage ``negatives``."""
    params = NegativesParams.load(values()["negatives"], "negatives")
    near, candidates = delta.read(root, "tractor_near_candidates"), delta.read(root, "lens_candidates")
    pool = partial(scan, session(root, "negatives"), root, "tractor_pool")
    rows, counts = negatives.sample(pool, near, candidates, params, 42)
    who = Provenance("negatives")
    counted = Target(root, tables.spec("ingest_counts"), "negatives", {"stage": "negatives"}, who)
    quarantine.publish(counted, counts)
    return quarantine.publish(Target(root, tables.spec("negatives"), None, {}, who), rows)


def choose(root: DataRoot) -> Card:
    """The stage ``manifest``."""
    params = ManifestParams.load(values()["manifest"], "manifest")
    drawn, candidates = delta.read(root, "negatives", ordered=False), delta.read(root, "lens_candidates")
    near, cutouts = delta.read(root, "tractor_near_candidates"), delta.read(root, "cutouts", ordered=False)
    named = Named.of(drawn["galaxy_id"], manifest.FACTS)
    pool = scan(session(root, "manifest"), root, "tractor_pool", named)
    rows = manifest.guarded(manifest.rows(drawn, candidates, near, pool, cutouts, params, MANIFEST))
    manifest.check(rows, manifest.requested(drawn, candidates), params, MANIFEST, split())
    where = {"manifest_id": MANIFEST}
    return quarantine.publish(Target(root, tables.spec("manifest"), MANIFEST, where, Provenance("manifest")), rows)


STAGES = {"negatives": draw, "manifest": choose}

if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    STAGES[sys.argv[1]](DataRoot.of(sys.argv[2]))
