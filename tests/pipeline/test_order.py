"""The order in which files hold a table's rows decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lake.root import DataRoot
from lake.store import delta
from pipeline.project import params
from pipeline.stage import run_stage
from tests.lake.gates import gate, write
from tests.pipeline.checkout import Checkout


def shuffle(lake: Path) -> int:
    """Rewrite every data file of a lake with its rows in another order; the rows that moved."""
    rng, moved = np.random.default_rng(1), 0
    for path in sorted(lake.glob("*/**/*.parquet")):
        if path.parent.name != "_delta_log":
            rows = pq.ParquetFile(path).read()
            order = rng.permutation(rows.num_rows)
            pq.write_table(rows.take(pa.array(order)), path)
            moved += int((order != np.arange(len(order))).sum())
    return moved


def test_rows_are_read_in_the_order_of_their_key(root: DataRoot) -> None:
    names = [f"g{number:02d}" for number in range(50)]
    for run in ("b", "a"):
        write(root, run, *(gate(run, name, float(len(name))) for name in names))
    shuffle(root.local / "lake")
    rows = delta.read(root, "gates", ["name"])
    assert rows.column_names == ["name"]
    assert rows["name"].to_pylist() == names + names
    assert delta.read(root, "gates", ["run_id"])["run_id"].to_pylist() == ["a"] * 50 + ["b"] * 50
    unordered = delta.read(root, "gates", ["name"], slices=["s-a"], ordered=False)["name"].to_pylist()
    assert sorted(unordered) == names
    assert unordered != names


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in a stage's own process of the finished chain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_shuffled_tables_give_the_same_results(
    finished: Checkout, twin: Callable[[], Checkout], monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    copy = twin()
    assert shuffle(copy.folder / "data" / "lake") > 1000
    monkeypatch.chdir(copy.folder)
    for stage in ("evaluate", "diagnose"):
        run_stage(params.load(copy.folder), stage, "demo1")
    assert copy.cards() == finished.cards()
    assert copy.digest("metrics/*.json") == finished.digest("metrics/*.json")
