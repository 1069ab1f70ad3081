"""A large table read in Spark's Python workers: the rows that are chosen, at the pinned version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import write_deltalake

from etl.tables.scan import Named, scan, shared_out
from lake import tables
from lake.contract import rules
from lake.contract.fingerprint import fingerprint
from lake.errors import DamagedError, LakeError
from lake.root import DataRoot
from lake.store import cards, delta, writing
from lake.store.writing import Provenance, Target
from tests.lake.gates import gate, write

SPEC = tables.spec("negatives")
SCHEMA = pa.schema([SPEC.column(name).arrow for name in ("brickname", "galaxy_id", "ra", "confuser_category")])


def rows(first: int, end: int) -> pa.Table:
    plain = {
        "ra": 1.0, "dec": 2.0, "brickname": "0001p000", "type_bin": "SER", "nobs_z_bin": "3-5", "pool": "N1",
        "confuser_category": None, "split": "train", "healpix_128": 3, "rank": 0,
    }  # fmt: skip
    made = [{"galaxy_id": f"x:{number}", **plain, "ra": number / 100} for number in range(first, end)]
    return rules.conform(SPEC, SPEC.table(made))


@pytest.fixture
def held(root: DataRoot) -> pa.Table:
    """Rows of a table of two files, which lost some of them after it was pinned."""
    target = Target(root, SPEC, None, {}, Provenance("negatives"))
    first, second = rows(0, 3000), rows(3000, 5000)
    table = writing.replace(root, SPEC, first, {}, target.who)
    write_deltalake(table, second, mode="append")
    table = writing.opened(root, SPEC)
    whole = pa.concat_tables([first, second])
    writing.pin(target, table, fingerprint(whole, SPEC))
    writing.replace(root, SPEC, rows(0, 10), {}, target.who)
    return whole


def test_named_rows_are_found_in_all_files_of_the_pinned_version(spark: Any, root: DataRoot, held: pa.Table) -> None:
    wanted = pa.chunked_array([[f"x:{number}" for number in range(3, 5000, 7)], ["x:absent", "x:3"]])
    found = scan(spark, root, SPEC.name, Named.of(wanted, SCHEMA))
    assert found.schema == SCHEMA
    expected = held.filter(pc.is_in(held["galaxy_id"], wanted.combine_chunks())).select(SCHEMA.names)
    assert found.sort_by("galaxy_id").equals(expected.cast(SCHEMA).sort_by("galaxy_id"))
    nothing = scan(spark, root, SPEC.name, Named.of(pa.chunked_array([], pa.string()), SCHEMA))
    assert nothing.equals(SCHEMA.empty_table())


def test_rows_whose_hashes_end_alike_are_told_apart() -> None:
    """Most rows are excluded by some bits of their hash; there are far more of them than bits."""
    some = pa.table({"galaxy_id": [f"x:{number}" for number in range(200_000)]})
    chosen = Named.of(some["galaxy_id"][::40], some.schema)
    other = pa.table({"galaxy_id": [f"y:{number}" for number in range(200_000)]})
    assert chosen(some)["galaxy_id"].equals(some["galaxy_id"].take(pa.array(range(0, 200_000, 40))))
    assert chosen(other).num_rows == 0


def test_a_table_of_slices_or_with_a_lost_file_is_refused(spark: Any, root: DataRoot, held: pa.Table) -> None:
    write(root, "a", gate("a", "x"))
    with pytest.raises(LakeError, match="'gates' has slices"):
        scan(spark, root, "gates", Named.of(held["galaxy_id"], SCHEMA))
    table = delta.open_pinned(root, cards.read_slice(root, SPEC.name))
    Path(delta.files(table, {})[0]).unlink()
    with pytest.raises(DamagedError, match="is missing"):
        scan(spark, root, SPEC.name, Named.of(held["galaxy_id"], SCHEMA))


def test_shares_are_of_about_equal_size_and_hold_every_task() -> None:
    sizes = [5, 1, 4, 2, 3, 3]
    shares = shared_out(range(6), sizes, 6)
    assert sorted(task for share in shares for task in share) == list(range(6))
    assert [sum(sizes[task] for task in share) for share in shares] == [8, 6, 4]
    assert len(shared_out(range(6), sizes, 1000)) == 2
    assert shared_out([], [], 6) == [[]]
