"""Negatives: strata that follow the positives, exact numbers, keyed hash order, shortage that is told."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from etl.catalogues import negatives
from etl.tables.scan import Choice, Scan
from lake import tables
from lake.sky.hashing import key_hash
from lake.tables.negatives import CONFUSERS
from tests.etl.survey_files import params

_SCHEMA = pa.schema([tables.spec("tractor_pool").column(name).arrow for name in negatives.Draw.columns])


def pool(count: int, kind: str = "REX", nobs: str = "3-5", confusers: int = 0, **plain: Any) -> pa.Table:
    values = {"sersic": 1.0, "flux_r": 1.0, "e1": 0.0, "e2": 0.0, "r": 0.5, "gr": 1.0, "mag": 21.0} | plain
    rows = [
        (f"x:{kind}_{nobs}_{i}", 1.0, 2.0, "0001p000", "train", 5, kind, nobs, kind, values["sersic"],
         30.0 if i < confusers else values["flux_r"], 3.0 if i < confusers else values["r"],
         values["e1"], values["e2"], values["gr"], values["mag"])
        for i in range(count)
    ]  # fmt: skip
    return pa.Table.from_pylist([dict(zip(_SCHEMA.names, row, strict=True)) for row in rows], schema=_SCHEMA)


def reading(rows: pa.Table, batch: int = 64) -> Scan:
    """A scan of rows, batch by batch."""

    def scan(choice: Choice) -> pa.Table:
        batches = (rows.slice(first, batch).select(list(choice.columns)) for first in range(0, rows.num_rows, batch))
        return pa.concat_tables(
            [choice.schema.empty_table(), *(choice(batch).cast(choice.schema) for batch in batches)]
        )

    return scan


def positives(strata: list[tuple[str, str]]) -> tuple[pa.Table, pa.Table]:
    """Near table and matched candidates, one per given stratum."""
    ids = [f"p{i}" for i in range(len(strata))]
    kinds, bins = zip(*strata, strict=True)
    near = pa.table({"galaxy_id": ids, "type_bin": kinds, "nobs_z_bin": bins})
    reasons = ["matched"] * len(ids) + ["no source within the radius"]
    return near, pa.table({"galaxy_id": [*ids, None], "match_reason": reasons})


def test_numbers_follow_the_positives_and_shortage_is_told() -> None:
    rows = pa.concat_tables([pool(400, confusers=40), pool(30, "SER", "11+"), pool(7, "REX", "0")])
    near, listed = positives([("REX", "3-5")] * 10 + [("SER", "11+")] * 4 + [("PSF", "3-5"), ("SER", "1-2")])
    drawn_rows, counted = negatives.sample(reading(rows), near, listed, params("negatives", per_positive=10), 3)
    assert Counter(zip(*(drawn_rows[n].to_pylist() for n in ("type_bin", "nobs_z_bin", "pool")), strict=True)) == {
        ("REX", "3-5", "N1"): 85, ("REX", "3-5", "N2"): 15, ("SER", "11+", "N1"): 30,
    }  # fmt: skip
    counts = {(r["source_file"], r["outcome"], r["reason"]): r["rows"] for r in counted.to_pylist()}
    assert counts["tractor_pool SER 11+", "short", "N1"] == 4
    assert counts["tractor_pool SER 11+", "short", "N2"] == 6
    assert counts["tractor_pool REX 3-5", "kept", ""] == 100
    assert counts["tractor_pool REX 3-5", "rejected", "not drawn"] == 300
    random = [r for r in drawn_rows.to_pylist() if (r["type_bin"], r["pool"]) == ("REX", "N1")]
    assert sorted(r["rank"] for r in random) == list(range(85))
    assert len(set(drawn_rows["galaxy_id"].to_pylist())) == drawn_rows.num_rows


@pytest.mark.parametrize("spread", [negatives._SPREAD, -3.0])
def test_the_sample_is_the_lowest_keyed_hashes_whatever_the_order(
    spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first limits leave too few, so that they must be raised."""
    monkeypatch.setattr(negatives, "_SPREAD", spread)
    rows = pool(3000, confusers=900)
    near, listed = positives([("REX", "3-5")] * 7)
    chosen = params("negatives", per_positive=20, confuser_fraction=0.25)
    orders = (rows, rows.take(pa.array(np.random.default_rng(0).permutation(3000))), rows[::-1])
    drawn = [
        negatives.sample(reading(each, batch), near, listed, chosen, 11)[0]
        for each, batch in zip(orders, (64, 999, 5000), strict=True)
    ]
    places = [{(r["pool"], r["rank"]): r["galaxy_id"] for r in each.to_pylist()} for each in drawn]
    assert places[0] == places[1] == places[2]
    ids = np.array(rows["galaxy_id"].to_pylist())
    n1, n2 = (np.argsort(key_hash(11, pa.array([f"{p}/{i}" for i in ids])) >> np.uint64(1)) for p in ("N1", "N2"))
    confused = ids[n2[n2 < 900]][:35]
    random = [name for name in ids[n1] if name not in confused][:105]
    assert places[0] == {("N2", k): n for k, n in enumerate(confused)} | {("N1", k): n for k, n in enumerate(random)}
    other = negatives.sample(reading(rows), near, listed, chosen, 12)[0]["galaxy_id"]
    assert set(other.to_pylist()) != set(places[0].values())


def test_a_larger_sample_holds_the_smaller_one() -> None:
    rows = pool(500, confusers=200)
    near, listed = positives([("REX", "3-5")])
    samples = []
    for per_positive in (40, 120):
        chosen = params("negatives", per_positive=per_positive)
        made = negatives.sample(reading(rows), near, listed, chosen, 1)[0]
        samples.append({r["galaxy_id"] for r in made.to_pylist() if r["pool"] == "N2"})
    small, large = samples
    assert len(small) == 6
    assert small < large


@pytest.mark.parametrize(
    ("kind", "values", "category"),
    [
        ("DEV", {"flux_r": 5.1}, "ring"),
        ("DEV", {"flux_r": 5.0}, None),
        ("SER", {"flux_r": 6.0, "sersic": 4.1}, "ring"),
        ("SER", {"flux_r": 6.0, "sersic": 4.0}, None),
        ("SER", {"e1": 0.3, "e2": 0.41, "r": 0.6}, "edge_on"),
        ("SER", {"e1": 0.5, "e2": 0.0, "r": 0.6}, None),
        ("SER", {"e1": 0.3, "e2": 0.41, "r": 0.59}, None),
        ("REX", {"gr": 0.39, "mag": 20.4}, "blue_clumpy"),
        ("REX", {"gr": 0.39, "mag": 20.5}, None),
        ("REX", {"gr": None, "mag": None, "r": None}, None),
        ("REX", {"r": 2.1, "flux_r": 3.1}, "large"),
        ("REX", {"r": 2.0, "flux_r": 3.1}, None),
    ],
)
def test_confuser_proxies(kind: str, values: dict[str, Any], category: str | None) -> None:
    place = int(negatives.confusers(pool(1, kind, **values), params("negatives").confusers)[0])
    assert (None if place < 0 else CONFUSERS[place]) == category
