"""From the hash of a file to completeness, in SQL."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from lake import tables
from lake.contract.spec import Column
from lake.root import DataRoot
from lake.store import writing
from lake.store.query import query
from lake.store.writing import Provenance, Target

PAGE = Path(__file__).resolve().parents[2] / "docs" / "querying.md"
SHOWN = [re.sub(r"\s+", " ", one) for one in re.findall(r'dhs query "(select [^"]+lineage[^"]+)"', PAGE.read_text())]


def plain(column: Column) -> object:
    """A value that the contract allows."""
    if column.nullable:
        return None
    if column.allowed:
        return column.allowed[0]
    if column.type == "string":
        return "x"
    return None if column.role == "lineage" else False if column.type == "boolean" else 1


def put(root: DataRoot, table: str, *rows: dict[str, object], slice_name: str | None = None, **where: str) -> None:
    spec = tables.spec(table)
    whole = [{c.name: plain(c) for c in spec.columns if c.role != "lineage"} | where | row for row in rows]
    fields = [pa.field(c.name, c.arrow.type) for c in spec.columns if c.role != "lineage"]
    target = Target(root, spec, slice_name, where, Provenance("test"))
    writing.write_slice(target, pa.Table.from_pylist(whole, pa.schema(fields)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A host from the pool, a lens from the sources near candidates, a network and its completeness."""
    made = DataRoot.of(tmp_path_factory.mktemp("lineage") / "data")
    put(made, "tractor_pool", {"galaxy_id": "host", "sweep_file": "a.fits", "row_index": 7})
    put(made, "tractor_near_candidates", {"galaxy_id": "lens", "sweep_file": "b.fits", "row_index": 8})
    counts = [
        {"source_file": name, "sha256": f"hash of {name}", "outcome": o}
        for name in ("a.fits", "b.fits")
        for o in ("kept", "rejected")
    ]
    put(made, "ingest_counts", *counts, slice_name="pool", stage="pool")
    put(made, "ingest_counts", {"source_file": "a.fits"}, slice_name="negatives", stage="negatives")
    cut = {"cutout_version": "v", "status": "ok", "shard": 3}
    put(made, "cutouts", *({**cut, "galaxy_id": name, "shard_row": n} for n, name in enumerate(("host", "lens"))))
    of = {"checkpoint_id": "c", "generation": "demo1"}
    use = {"host": {"negative_use": "host", "trained_on": False}, "lens": {"label": 1, "trained_on": True}}
    scored = [
        {"galaxy_id": name, "cutout_version": "v", "score": 0.0, "probability": 0.5, "label": 0, **more}
        for name, more in use.items()
    ]
    put(made, "scores", *scored, slice_name="demo1", **of)
    run = {"run_id": "demo1-1", "kind": "training", "status": "valid", "source": "trained", **of}
    put(
        made,
        "experiments",
        {**run, "manifest_fingerprint": "m", "config_hash": "k"},
        slice_name="demo1",
        origin="demo1",
    )
    injection = {
        "injection_id": "i",
        "galaxy_id": "host",
        "theta_e_index": 4,
        "psf_index": 2,
        "depth_index": 1,
        "status": "scored",
        "prior": "demo",
        "grid_name": "main",
        "lens_gamma1": 0.0,
        "lens_gamma2": 0.0,
        "src_mag_r": 22.0,
        "host_depth_r_mag": 23.0,
    }
    put(made, "injections", injection, slice_name="demo1", grid_id="g")
    arc = {"injection_id": "i", "grid_name": "main", "probability": 0.75, "status": "scored"}
    put(made, "injection_scores", arc, slice_name="demo1", grid_id="g", **of)
    cell = {
        "grid_name": "main",
        "origin": "own",
        "prior": "demo",
        "weighting_id": "demo",
        "threshold_id": "p0.5",
        "source_mag_bin": "all",
        "threshold": 0.5,
        "n": 1,
        "detected": 1,
        "failed": 0,
        "completeness": 1.0,
    }
    cells = ({**cell, "cell": name} for name in ("t04p2d1", "marginal"))
    put(made, "completeness", *cells, slice_name="demo1", grid_id="g", **of)
    return made


def test_a_score_has_one_row_with_the_file_behind_it(root: DataRoot) -> None:
    found = query(root, "select * from lineage order by galaxy_id").to_pylist()
    wanted = [
        ("host", "a.fits", "hash of a.fits", 7, 3, 0, "c", "m", "k", False, "host"),
        ("lens", "b.fits", "hash of b.fits", 8, 3, 1, "c", "m", "k", True, None),
    ]
    names = (
        "galaxy_id",
        "sweep_file",
        "sweep_sha256",
        "row_index",
        "shard",
        "shard_row",
        "checkpoint_id",
        "manifest_fingerprint",
        "config_hash",
        "trained_on",
        "negative_use",
    )
    assert [tuple(row[name] for name in names) for row in found] == wanted


def test_the_published_queries_lead_from_the_hash_to_completeness(root: DataRoot) -> None:
    files, cell = (query(root, text).to_pylist() for text in SHOWN)
    assert [(row["sweep_sha256"], row["trained_on"], row["stamps"], row["completeness"]) for row in files] == [
        ("hash of a.fits", False, 1, 1.0),
        ("hash of b.fits", True, 1, 1.0),
    ]
    (row,) = cell
    assert (row["cell"], row["detected"], row["sweep_sha256"]) == ("t04p2d1", True, "hash of a.fits")
    assert (row["row_index"], row["shard"], row["shard_row"], row["checkpoint_id"]) == (7, 3, 0, "c")
