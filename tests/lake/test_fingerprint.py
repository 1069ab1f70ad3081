import numpy as np
import pyarrow as pa
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from lake.contract.fingerprint import fingerprint
from lake.contract.spec import Column, TableSpec
from lake.sky.hashing import as_longs, chain, hash_long, hash_strings, key_hash

SPEC = TableSpec(
    "t",
    "a table",
    (
        Column("k", "string", "key", role="key"),
        Column("a", "double", "number", nullable=True),
        Column("b", "double", "number", nullable=True),
        Column("when", "timestamp", "lineage", role="lineage", nullable=True),
    ),
    engine="spark",
)
rows = st.lists(
    st.tuples(st.text(max_size=8), st.none() | st.floats(width=64), st.none() | st.floats(width=64)), max_size=12
)


def _table(values: list[tuple[str, float | None, float | None]]) -> pa.Table:
    k, a, b = zip(*values, strict=True) if values else ((), (), ())
    return pa.table({"k": pa.array(k, pa.string()), "a": pa.array(a, pa.float64()), "b": pa.array(b, pa.float64())})


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.integers(0, 2**64 - 1))
def test_hash_long_is_xxh64_of_eight_bytes(values: list[int], seed: int) -> None:
    expected = [xxhash.xxh64_intdigest(v.to_bytes(8, "little", signed=True), seed) for v in values]
    assert hash_long(np.array(values, np.int64), np.uint64(seed)).tolist() == expected


@given(st.lists(st.none() | st.text()))
def test_hash_strings_is_xxh64_of_utf8(values: list[str | None]) -> None:
    expected = [42 if v is None else xxhash.xxh64_intdigest(v.encode(), 42) for v in values]
    assert hash_strings(pa.array(values, pa.string())).tolist() == expected


def test_many_strings_of_any_length_are_hashed_alike() -> None:
    """Whole arrays at a time where many are of one length, slices of arrays and letters beyond ASCII too."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ls-dr10:_0123é\u4e16"), rng.integers(0, 40))) for _ in range(8000)]
    expected = [xxhash.xxh64_intdigest(text.encode(), 42) for text in texts]
    assert hash_strings(pa.array(texts)).tolist() == expected
    assert hash_strings(pa.array(texts)[100:]).tolist() == expected[100:]
    assert hash_strings(pa.chunked_array([texts[:10], texts[10:], [None]])).tolist() == [*expected, 42]
    assert hash_strings(pa.array(texts, pa.large_string()), 7)[0] == xxhash.xxh64_intdigest(texts[0].encode(), 7)


@given(rows, st.randoms(use_true_random=False))
def test_fingerprint_ignores_row_order(values: list[tuple[str, float | None, float | None]], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fingerprint(_table(values), SPEC) == fingerprint(_table(shuffled), SPEC)


def test_fingerprint_sees_duplicates_values_and_moved_nulls() -> None:
    row = ("x", 1.0, None)
    prints = {
        fingerprint(_table(values), SPEC)
        for values in ([row], [row, row], [row] * 3, [("x", None, 1.0)], [("x", 1.0, 1.0)], [("y", 1.0, None)], [])
    }
    assert len(prints) == 7


def test_fingerprint_canonicalises_zero_and_nan() -> None:
    other_nan = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)[0]
    assert fingerprint(_table([("x", 0.0, np.nan)]), SPEC) == fingerprint(_table([("x", -0.0, other_nan)]), SPEC)


def test_chain_skips_nulls_as_spark_does() -> None:
    first, second = pa.array([1, 1], pa.int64()), pa.array([None, 2], pa.int64())
    chained = chain([as_longs(first), as_longs(second)])
    assert chained[0] == chain([as_longs(first)])[0]
    assert chained[1] != chained[0]


def test_key_hash_depends_on_the_key_alone() -> None:
    keys = pa.array(["a", "b", "c", "a"])
    hashes = key_hash(7, keys)
    assert hashes[0] == hashes[3] == key_hash(7, pa.array(["a"]))[0]
    assert key_hash(8, keys)[0] != hashes[0]
    places = (key_hash(7, pa.array([str(i) for i in range(4000)])) >> np.uint64(11)).astype(np.float64) / 2.0**53
    assert 0 <= places.min() < 0.01
    assert abs(places.mean() - 0.5) < 0.02
