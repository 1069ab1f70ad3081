"""Arrow's arrays and NumPy's of each other: those of pyarrow's own conversions, without pandas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from lake import arrays
from lake.root import DataRoot
from tests.lake.gates import gate, write

MASK = np.array([False, True, False])


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int32, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("mask", [None, MASK], ids=["known", "some-null"])
def test_numbers_are_those_of_pyarrow(kind: type, mask: NDArray[np.bool_] | None) -> None:
    numbers = np.array([3, 0, 1]).astype(kind)
    made = arrays.numbers(numbers, mask)
    made.validate(full=True)
    assert made.equals(pa.array(numbers, mask=mask))
    assert arrays.numbers(numbers[::2]).equals(pa.array(numbers[::2])), "of every second value"
    for held in (pa.chunked_array([made, made.slice(1)]), pa.chunked_array([made[:0]]), made.slice(1), made[:0]):
        known = held.to_numpy(zero_copy_only=False)
        np.testing.assert_array_equal(arrays.values(held), known)
        assert arrays.values(held).dtype == known.dtype


def test_nan_stays_a_number_in_a_column_and_becomes_null_in_rows() -> None:
    assert arrays.numbers(np.array([np.nan])).null_count == 0
    assert arrays.of_rows([{"x": np.nan}, {"x": 1.0}])["x"].to_pylist() == [None, 1.0]


def test_numbers_of_any_bytes_and_size_are_those_of_pyarrow() -> None:
    large = [2**60 + 1, None]
    for kind in (pa.int64(), pa.uint64()):
        assert arrays.values(pa.array(large, kind)).tolist()[0] == float(2**60 + 1)
    for kind in (">i4", ">f8", "<f4"):
        assert arrays.numbers(np.arange(3, dtype=kind)).to_pylist() == [0, 1, 2], "as of a FITS table"
    fixed = np.frombuffer(np.arange(3.0).tobytes())
    assert arrays.numbers(fixed).to_pylist() == [0, 1, 2], "read-only memory"
    assert arrays.values(pa.array([1, None, 3, 4])[2:]).tolist() == [3, 4]
    assert arrays.values(pa.array([True, None, False, True])[2:]).tolist() == [False, True]


def test_texts_come_back_with_none_where_they_are_null() -> None:
    held = arrays.texts(["REX", None, "d\u00e9", "REX"])
    assert held.equals(pa.array(["REX", None, "d\u00e9", "REX"]))
    assert arrays.values(pa.chunked_array([held, held[:1]])).tolist() == ["REX", None, "d\u00e9", "REX", "REX"]
    assert arrays.values(held[1:3]).tolist() == [None, "d\u00e9"]
    assert arrays.values(held[:0]).tolist() == []
    assert arrays.values(held.dictionary_encode()).tolist() == ["REX", None, "d\u00e9", "REX"]
    assert arrays.text("REX") == pa.scalar("REX")
    assert arrays.of_rows([{"x": "REX"}, {"x": np.nan}])["x"].to_pylist() == ["REX", None]


def test_rows_become_a_table_as_with_pyarrow() -> None:
    rows = [
        {"name": "a", "n": 3, "share": 0.5, "marked": True, "kind": None, "low": None},
        {
            "name": None,
            "n": np.int64(4),
            "share": np.float64(0.25),
            "marked": np.bool_(False),
            "kind": "x",
            "low": None,
        },
    ]
    made, known = arrays.of_rows(rows), pa.Table.from_pylist([{**row, "low": 0.0} for row in rows])
    assert made.schema.equals(known.schema)
    assert made.drop_columns("low").equals(known.drop_columns("low"))
    assert made["low"].null_count == 2
    assert arrays.of_rows([]).num_columns == 0


_ASKED = """
import sys
from pathlib import Path
from lake.root import DataRoot
from lake.store import delta
root = DataRoot.of(sys.argv[1])
assert delta.read(root, "gates", slices=["s-a"]).num_rows == 2
print(sorted({"duckdb", "pandas", "scipy", "yaml"} & set(sys.modules)))
from lake.store.query import query
from pipeline.tables.export import deliver
rows = query(root, "select * from gates order by name")
for style in ("table", "csv"):
    deliver(rows, None, style=style)
deliver(rows.select(["name", "value"]), None, style="json")
deliver(rows, Path(sys.argv[1], "out.parquet"))
print("imported", sorted({"pandas", "scipy", "pyarrow.dataset"} & set(sys.modules)))
"""


@pytest.mark.usefixtures("whole_stage")
def test_a_table_is_read_asked_and_shown_without_pandas(root: DataRoot) -> None:
    """pandas takes a third of a query's time, and pyarrow imports it by itself."""
    write(root, "a", gate("a", "x"), gate("a", "y"))
    done = subprocess.run([sys.executable, "-c", _ASKED, root.local], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("[]", "imported []")
