"""The view ``lineage``: a scored stamp, back to the bytes it comes from and on to the network that saw it."""

from __future__ import annotations

from dataclasses import replace

from lake.contract import columns
from lake.contract.spec import Column
from lake.store.axisviews import ViewSpec

NEEDS = ("scores", "cutouts", "tractor_pool", "tractor_near_candidates", "ingest_counts", "experiments")
SQL = """SELECT r.sweep_file, f.sha256 AS sweep_sha256, r.row_index, s.galaxy_id, c.cutout_version, c.brickname,
c.shard, c.shard_row, c.sha256 AS stamp_sha256, s.manifest_id, s.split, s.label, s.generation, s.checkpoint_id,
e.manifest_fingerprint, e.config_hash, s.trained_on, s.seen_in_training, s.negative_use, s.score, s.probability
FROM scores s
JOIN cutouts c ON c.galaxy_id = s.galaxy_id AND c.cutout_version = s.cutout_version
LEFT JOIN (SELECT galaxy_id, sweep_file, row_index FROM tractor_pool
UNION SELECT galaxy_id, sweep_file, row_index FROM tractor_near_candidates) r ON r.galaxy_id = s.galaxy_id
LEFT JOIN (SELECT DISTINCT source_file, sha256 FROM ingest_counts WHERE stage = 'pool' AND sha256 IS NOT NULL) f
ON f.source_file = r.sweep_file
LEFT JOIN (SELECT generation, checkpoint_id, max(manifest_fingerprint) AS manifest_fingerprint,
max(config_hash) AS config_hash FROM experiments WHERE source = 'trained' GROUP BY generation, checkpoint_id) e
ON e.generation = s.generation AND e.checkpoint_id = s.checkpoint_id"""
"""Every table is joined by its key, so a score has one row."""
SPEC = ViewSpec(
    name="lineage",
    meaning="A scored stamp with the sweep file (and its hash) and row it comes from, its place in a shard, and the "
    "checkpoint: what was trained on it",
    columns=(
        Column("sweep_file", "string", "name of the sweep file (null: of no sweep)", nullable=True),
        Column("sweep_sha256", "string", "hash of the sweep file, as it was read", nullable=True),
        Column("row_index", "bigint", "row in the sweep file", nullable=True, low=0),
        columns.GALAXY_ID,
        Column("cutout_version", "string", "version of the cut-out"),
        Column("brickname", "string", "brick whose coadds hold the window", nullable=True),
        Column("shard", "int", "bucket number of the .npy shard", nullable=True, low=0),
        Column("shard_row", "int", "row in the shard", nullable=True, low=0),
        Column("stamp_sha256", "string", "hash of the stamp's bytes", nullable=True),
        Column("manifest_id", "string", "manifest that gives the split"),
        columns.SPLIT,
        Column("label", "int", "1 lens candidate, 0 negative", low=0, high=1),
        replace(columns.GENERATION, role="key"),
        columns.CHECKPOINT_ID,
        Column("manifest_fingerprint", "string", "fingerprint of the manifest it was trained on", nullable=True),
        Column("config_hash", "string", "hash of the configuration it was trained with", nullable=True),
        Column("trained_on", "boolean", "the model or an ancestor trained on it (null: not known)", nullable=True),
        Column("seen_in_training", "boolean", "the same, or selected on it (null: not known)", nullable=True),
        Column("negative_use", "string", "use of a negative: threshold, host of injections, or test", nullable=True),
        Column("score", "double", "raw logit"),
        Column("probability", "double", "logistic of the raw logit; not calibrated", low=0, high=1),
    ),
)
