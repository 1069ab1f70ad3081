"""``python -m benchmarks.pool --rows 2000000``: processor time of the pool over that of a plain script, in one run.

Both make the pool of the same made-up sweeps, which are kept between runs. Processor time is that of all processes: the
driver with its imports, Spark's Java and Python, started for the run or (warm) before it. The kept rows must be the
same. ``--scaling`` instead prints how the time grows with the rows (``--most 27000000``: up to the survey's size).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
from astropy.coordinates import SkyCoord
from deltalake import DeltaTable

from benchmarks.pool import made_up, product
from benchmarks.spent import HEAD, Spent, spent
from etl.spark import server
from etl.spark.session import session
from lake import tables
from lake.contract.fingerprint import fingerprint
from lake.contract.rules import conform
from lake.errors import LakeError
from lake.root import DataRoot, private_folder
from lake.store import cards

_SPEC = tables.spec("tractor_pool")
_RADIUS_ARCSEC = 11.0
_SIZES = (270_000, 2_000_000, 27_000_000)


def made(rows: int) -> Path:
    """The folder with sweeps of as many rows, kept in the user's private folder."""
    return made_up.sweeps(private_folder() / "benchmarks" / f"sweeps-{rows}", rows)


def plain(folder: Path, target: Path) -> Spent:
    """The plain script."""
    return spent("benchmarks.pool.plain", folder, target)


def pool(folder: Path, root: DataRoot, warm: bool) -> Spent:
    """The pool on a Spark server that is started for it, or (warm) before."""
    if warm:
        session(root, "warm").range(1).count()
    taken = spent("benchmarks.pool.product", folder, root.local, root=root)
    server.stop(root.spark)
    return taken


def same_rows(rows: pa.Table, root: DataRoot) -> str:
    """The fingerprint of both; LakeError if the script's rows far from all positions are not those of the pool."""
    places = SkyCoord(*(product.listed()[name].to_numpy() for name in ("ra", "dec")), unit="deg")
    sources = SkyCoord(*(rows[name].to_numpy() for name in ("ra", "dec")), unit="deg")
    _, separation, _ = sources.match_to_catalog_sky(places)
    far = conform(_SPEC, rows.filter(np.asarray(separation > _RADIUS_ARCSEC * u.arcsec)))
    expected, found = fingerprint(far, _SPEC), cards.read_slice(root, "tractor_pool").card.fingerprint
    if expected != found:
        raise LakeError(f"the script's rows have the fingerprint {expected}, the pool's {found}")
    return found


def compare(rows: int) -> None:
    """Both on the same sweeps; prints a table, and the ratio last."""
    folder = made(rows)
    with tempfile.TemporaryDirectory() as place:
        cold, warm = (DataRoot.of(Path(place) / name) for name in ("cold", "warm"))
        runs = {
            "plain script": plain(folder, Path(place) / "plain"),
            "pool, Spark started for it": pool(folder, cold, warm=False),
            "pool, Spark running": pool(folder, warm, warm=True),
        }
        found = same_rows(DeltaTable(f"{place}/plain").to_pyarrow_table(), cold)
    print(HEAD)
    for name, taken in runs.items():
        print(taken.row(name))
    script = runs["plain script"].processor_s
    print(f"{rows:,} rows; the kept rows are the same: {found}")
    print(f"with Spark's start {runs['pool, Spark started for it'].processor_s / script:.2f}")
    print(f"ratio {runs['pool, Spark running'].processor_s / script:.2f}")


def scaling(most: int) -> None:
    """Processor time for more and more rows, and the exponent of its growth."""
    taken = {}
    for rows in (size for size in _SIZES if size <= most):
        with tempfile.TemporaryDirectory() as place:
            taken[rows] = pool(made(rows), DataRoot.of(place), warm=True)
        print(
            f"{rows:,} rows: {taken[rows].processor_s:.1f} s, largest worker {taken[rows].worker_mib:.0f} MiB",
            flush=True,
        )
    exponent = np.polyfit(np.log(list(taken)), np.log([each.processor_s for each in taken.values()]), 1)[0]
    print(f"exponent {exponent:.2f}")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.pool", description=__doc__)
    options.add_argument("--rows", type=int, default=2_000_000)
    options.add_argument("--scaling", action="store_true")
    options.add_argument("--most", type=int, default=2_000_000)
    given = options.parse_args()
    scaling(given.most) if given.scaling else compare(given.rows)


if __name__ == "__main__":
    main()
