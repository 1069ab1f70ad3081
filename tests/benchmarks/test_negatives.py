"""The benchmark of negatives: DuckDB and the stages make the same of a made-up pool."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.negatives import __main__ as benchmark
from benchmarks.negatives import made_up, plain, product
from lake.root import DataRoot
from lake.store import writing
from tests.etl.inprocess import Here

pytestmark = pytest.mark.usefixtures("whole_stage")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataRoot:
    """A lake with a pool of two parts; what Spark would do is done here."""
    monkeypatch.setattr(product, "session", lambda *_: Here())
    monkeypatch.setattr(made_up, "LISTED", 24)
    monkeypatch.setattr(made_up, "MATCHED", 20)
    made = DataRoot.of(tmp_path / "data")
    split = product.split()
    writing.made(made, made_up.POOL)
    place = made.table("tractor_pool")
    made_up.publish_pool(made, [made_up.part_of((number, 2_000), place, split) for number in (0, 1)])
    made_up.publish_candidates(made, split)
    return made


def test_duckdb_and_the_stages_make_the_same(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = product.draw(root)
    plain.run("negatives", str(root.local))
    made_up.cutouts(root)
    plain.run("manifest", str(root.local))
    card = product.choose(root)
    benchmark.require_same(root)
    assert f"{drawn.rows:,} negatives, as many of each stratum" in capsys.readouterr().out
    assert 0.3 < drawn.rows / 4_000 < 0.7
    assert card.rows == pytest.approx(drawn.rows + 20, rel=0.05)
    plain.run("limited", str(root.local))
    plain.run("manifest", str(root.local))
    (root.local / "limited.parquet").replace(root.local / "negatives.parquet")
    benchmark.require_same(root)
