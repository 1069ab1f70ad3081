"""``python -m benchmarks.negatives --rows 26700000``: pool to negatives to manifest, as the stages do it and in DuckDB.

The made-up pool is kept between runs; making it takes minutes. Spark runs before. Both make the manifest of the same
negatives, and its rows must be the same.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.negatives import made_up, product
from benchmarks.spent import HEAD, Spent, spent
from etl.cutouts import manifest
from etl.spark import server
from etl.spark.session import session
from lake import tables
from lake.contract.fingerprint import fingerprint
from lake.contract.rules import conform
from lake.errors import LakeError
from lake.root import DataRoot, private_folder
from lake.store import cards, delta

_PLAIN, _PRODUCT = "benchmarks.negatives.plain", "benchmarks.negatives.product"
_OURS = ("negatives", "manifest")
_GIVEN = ("tractor_pool", "tractor_near_candidates", "lens_candidates")


def lake_of(rows: int, place: Path) -> DataRoot:
    """A new lake in ``place`` whose pool and candidates are those that are kept."""
    kept = made_up.lake(DataRoot.of(private_folder() / "benchmarks" / f"pool-{rows}"), rows, product.split())
    shutil.copytree(kept.cards, place / "cards")
    (place / "lake").mkdir()
    for name in _GIVEN:
        (place / "lake" / name).symlink_to(kept.table(name))
    return DataRoot.of(place)


def require_same(root: DataRoot) -> None:
    """LakeError unless DuckDB draws as many of each stratum and pool, and makes the same manifest."""
    strata = ("type_bin", "nobs_z_bin", "pool")
    ours, theirs = delta.read(root, "negatives"), pq.read_table(root.local / "negatives.parquet")
    counts = [Counter(zip(*(rows[name].to_pylist() for name in strata), strict=True)) for rows in (ours, theirs)]
    if counts[0] != counts[1]:
        raise LakeError(f"the stage drew {counts[0]}, DuckDB {counts[1]}")
    spec = tables.spec("manifest")
    rows = pq.read_table(root.local / "manifest.parquet")
    rows = manifest.guarded(rows.append_column("hard_negative", pc.equal(rows["label"], -1)))
    expected = fingerprint(conform(spec, rows), spec)
    found = cards.read_slice(root, spec.name, product.MANIFEST).card.fingerprint
    if expected != found:
        raise LakeError(f"DuckDB's manifest has the fingerprint {expected}, the stage's {found}")
    print(f"{ours.num_rows:,} negatives, as many of each stratum; the manifests are the same: {found}")


def measured(root: DataRoot) -> dict[str, Spent]:
    """All steps on one lake."""
    session(root, "warm").range(1).count()
    runs = {
        "DuckDB, negatives": spent(_PLAIN, "negatives", root.local),
        "DuckDB, negatives below a limit": spent(_PLAIN, "limited", root.local),
        "negatives": spent(_PRODUCT, "negatives", root.local, root=root),
    }
    made_up.cutouts(root)
    runs["DuckDB, manifest"] = spent(_PLAIN, "manifest", root.local)
    runs["manifest"] = spent(_PRODUCT, "manifest", root.local, root=root)
    server.stop(root.spark)
    return runs


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.negatives", description=__doc__)
    options.add_argument("--rows", type=int, default=2_000_000)
    rows = options.parse_args().rows
    with tempfile.TemporaryDirectory(dir=private_folder()) as place:
        root = lake_of(rows, Path(place))
        runs = measured(root)
        require_same(root)
    print(HEAD)
    for name, taken in runs.items():
        print(taken.row(name))
    wall_s, processor_s = (sum(getattr(runs[name], kind) for name in _OURS) for kind in ("wall_s", "processor_s"))
    print(f"{rows:,} rows: {wall_s:.0f} s, at most {max(runs[name].all_mib for name in _OURS):.0f} MiB")
    for drawn in ("DuckDB, negatives below a limit", "DuckDB, negatives"):
        theirs = runs[drawn].processor_s + runs["DuckDB, manifest"].processor_s
        print(f"processor time over that of '{drawn}' and its manifest: {processor_s / theirs:.2f}")
    print(f"ratio {processor_s / theirs:.2f}")


if __name__ == "__main__":
    main()
