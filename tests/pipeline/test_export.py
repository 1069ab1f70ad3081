"""Rows in files: every table of the lake, and every type that a query gives, comes back as it went."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from lake import tables
from lake.errors import ParameterError
from lake.root import DataRoot
from lake.store import delta
from lake.store.query import query
from pipeline.tables.export import _json_parts, deliver
from pipeline.tables.texttable import table_text
from tests.pipeline.checkout import Checkout

OF_OTHERS = (
    *("foreign_objects", "import_disagreements", "imports", "set_injections", "finder_pairs"),
    *("injection_manifest", "stamps", "stamp_manifest"),
)
"""Tables that the chain, which has one finder and no simulated stamps, does not make, or leaves empty."""
NOON = dt.datetime(2026, 1, 2, 12, 0, 0, 6, tzinfo=dt.UTC)


def from_fits(path: Path) -> dict[str, list[Any]]:
    """The columns as plain values: what is masked or NaN is None."""
    found = {}
    held = Table.read(path)
    for name in held.colnames:
        mask = getattr(held[name], "mask", np.zeros(len(held), dtype=bool))
        values = np.asarray(held[name]).tolist()
        plain = [v.decode("ascii") if isinstance(v, bytes) else v for v in values]
        found[name] = [None if m or v != v else v for v, m in zip(plain, mask, strict=True)]
    return found


def in_fits(values: pa.ChunkedArray) -> list[Any]:
    """What a FITS file can hold of an Arrow column: text that is empty comes back as none."""
    plain = values.to_pylist()
    if pa.types.is_timestamp(values.type):
        plain = [None if v is None else v.replace(tzinfo=None).isoformat() for v in plain]
    return [None if v == "" or v != v else v for v in plain]


def specimen(name: str) -> pa.Table:
    """Rows of a table that the chain does not make: all values missing, where they may be, and none."""
    values = {
        "string": "a",
        "int": 1,
        "bigint": 2**40,
        "float": 0.5,
        "double": 0.1,
        "boolean": True,
        "timestamp": NOON,
    }
    columns = tables.spec(name).columns
    full = {column.name: values[column.type] for column in columns}
    bare = {column.name: None if column.nullable else values[column.type] for column in columns}
    return pa.Table.from_pylist(
        [full, bare], schema=pa.schema([pa.field(column.name, column.arrow.type) for column in columns])
    )


@pytest.mark.parametrize("name", tables.names())
def test_every_table_survives_every_format(finished: Checkout, tmp_path: Path, name: str) -> None:
    root = DataRoot.of(finished.folder / "data")
    rows = specimen(name) if name in OF_OTHERS else delta.read(root, name)
    assert rows.num_rows
    for suffix in ("fits", "csv", "parquet"):
        deliver(rows, tmp_path / f"rows.{suffix}")
    back = from_fits(tmp_path / "rows.fits")
    assert list(back) == list(rows.column_names)
    for column in rows.column_names:
        assert back[column] == in_fits(rows[column]), column
    assert pq.read_table(tmp_path / "rows.parquet").equals(rows)
    options = pc.ConvertOptions(
        column_types=rows.schema, strings_can_be_null=True, quoted_strings_can_be_null=False, true_values=["true"]
    )
    assert pc.read_csv(tmp_path / "rows.csv", convert_options=options).equals(rows)


def everything() -> pa.Table:
    """Columns of every type that DuckDB and Spark answer with, each with a null."""
    text = pa.array(["a", None, "caf\u00e9"])
    return pa.table(
        {
            "truth": pa.array([True, None, False]),
            "byte": pa.array([-5, None, 127], pa.int8()),
            "unsigned": pa.array([1, None, 2**64 - 1], pa.uint64()),
            "long": pa.array([2**62 + 1, None, -(2**62)]),
            "sum": pa.array([Decimal(64), None, Decimal(-7)], pa.decimal128(38, 0)),
            "price": pa.array([Decimal("1.25"), None, Decimal("-0.50")], pa.decimal128(9, 2)),
            "text": text,
            "coded": text.dictionary_encode(),
            "nothing": pa.nulls(3),
            "names": pa.array([["x", "y"], None, []], pa.list_(pa.string())),
            "pair": pa.array([{"a": 1}, None, {"a": 2}]),
            "day": pa.array([dt.date(2026, 1, 2), None, None]),
            "instant": pa.array([NOON, None, NOON], pa.timestamp("us", "UTC")),
            "Text": text,
            "bytes": pa.array([b"\x00\xff", None, b""]),
        }
    )


def test_every_type_and_its_null_is_held_by_fits(tmp_path: Path) -> None:
    for rows in (everything(), everything().slice(0, 0)):
        deliver(rows, tmp_path / "rows.fits")
    assert len(Table.read(tmp_path / "rows.fits")) == 0
    deliver(everything(), tmp_path / "rows.fits")
    back = from_fits(tmp_path / "rows.fits")
    assert back["truth"] == [1, None, 0], "what is not known is not false"
    assert back["byte"] == [-5, None, 127]
    assert back["unsigned"] == ["1", None, "18446744073709551615"]
    assert back["long"] == [2**62 + 1, None, -(2**62)]
    assert back["sum"] == [64, None, -7]
    assert back["price"] == [1.25, None, -0.5]
    assert back["text"] == back["coded"] == back["Text_1"] == ["a", None, "caf\\xe9"]
    assert back["nothing"] == [None, None, None]
    assert [None if v is None else json.loads(v) for v in back["names"]] == [["x", "y"], None, []]
    assert [None if v is None else json.loads(v) for v in back["pair"]] == [{"a": 1}, None, {"a": 2}]
    assert back["day"] == ["2026-01-02", None, None]
    assert back["instant"] == ["2026-01-02T12:00:00.000006", None, "2026-01-02T12:00:00.000006"]
    assert back["bytes"] == ["00ff", None, None]


def test_lists_are_json_in_csv(tmp_path: Path) -> None:
    deliver(everything().select(["names", "sum", "truth"]), tmp_path / "rows.csv")
    held = pc.read_csv(tmp_path / "rows.csv").to_pylist()
    assert [json.loads(row["names"]) for row in held if row["names"]] == [["x", "y"], []]


def test_rows_without_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="'out' must be a file for rows that have columns"):
        deliver(pa.table({}), tmp_path / "rows.fits")


@pytest.mark.parametrize("suffix", ["csv", "fits", "parquet"])
def test_a_failed_export_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    out = tmp_path / f"rows.{suffix}"
    out.write_text("precious")

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match=f"No space left on device: '{out}'"):
            deliver(pa.table({"a": [1]}), out)
    assert out.read_text() == "precious"
    (tmp_path / f"link.{suffix}").symlink_to(out)
    deliver(pa.table({"a": [1]}), tmp_path / f"link.{suffix}")
    assert "precious" not in out.read_text(errors="replace")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"link.{suffix}", out.name]


def test_names_that_fits_does_not_allow_are_spelt_so_that_it_does(tmp_path: Path) -> None:
    names = ["é", " ", "a\nb", "x'y", "b" * 200, "b" * 201, "count_star()"]
    deliver(pa.table([[1]] * len(names), names=names), tmp_path / "t.fits")
    assert Table.read(tmp_path / "t.fits").colnames == [
        "_",
        "__1",
        "a_b",
        "x_y",
        "b" * 60,
        "b" * 60 + "_1",
        "count_star__",
    ]


def test_a_table_on_the_screen_has_every_column() -> None:
    rows = everything().append_column("threshold_id", pa.array(["fpr1e-3@val", None, "p0.5"]))
    lines = table_text(rows).splitlines()
    assert lines[0].split() == rows.column_names
    assert lines[-1] == "(3 rows)"
    assert len(lines) == 5
    assert "fpr1e-3@val" in lines[1]
    assert set(lines[2].split()) == {"-"}, "null"
    narrow = table_text(rows, width=80).splitlines()
    assert narrow[0] == "-- row 1"
    assert [line.split()[0] for line in narrow[1 : 1 + rows.num_columns]] == rows.column_names
    assert table_text(rows, width=len(lines[1]) + 50).splitlines() == lines
    assert table_text(pa.table({})) == "(no columns)"


def test_a_long_table_says_how_many_rows_it_has() -> None:
    rows = pa.table({"ra": np.arange(1234) / 7, "x": np.arange(1234) / 3e-5})
    lines = table_text(rows).splitlines()
    assert len(lines) == 42
    assert lines[-1] == "(1,234 rows, 40 shown; --format csv and --out give all)"
    assert lines[2].split() == ["0.14285714285714285", "33333.333333333336"]
    whole = table_text(rows, short=True).splitlines()
    assert len(whole) == 1235
    assert whole[2].split() == ["0.142857", "3.333e+04"]


def test_numbers_of_single_precision_have_no_digits_they_lack() -> None:
    assert table_text(pa.table({"x": pa.array([0.65], pa.float32())})).splitlines()[1] == "0.65"


def test_rows_are_printed_as_csv_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    deliver(everything().append_column("x", pa.array([1.5, float("nan"), None])), None, style="json")
    rows = json.loads(capsys.readouterr().out)
    assert rows[0] | {"nothing": 0} == {
        "truth": True,
        "byte": -5,
        "unsigned": 1,
        "long": 2**62 + 1,
        "sum": 64,
        "price": 1.25,
        "text": "a",
        "coded": "a",
        "nothing": 0,
        "names": ["x", "y"],
        "pair": {"a": 1},
        "day": "2026-01-02",
        "instant": "2026-01-02T12:00:00.000006+00:00",
        "Text": "a",
        "bytes": "00ff",
        "x": 1.5,
    }
    assert set(rows[1].values()) == {None}, "JSON has no NaN"
    deliver(everything().select(["names", "sum"]), None, style="csv")
    assert capsys.readouterr().out.splitlines()[:2] == ['"names","sum"', '"[""x"", ""y""]",64']


@pytest.mark.parametrize(
    "value", ["interval 1 day", "'\\xFF'::blob", "'101'::bit", "uuid()", "map {'a': '\\xFF'::blob}"]
)
@pytest.mark.parametrize("style", ["table", "csv", "json"])
def test_values_that_are_no_text_are_printed_all_the_same(
    capsys: pytest.CaptureFixture[str], value: str, style: str
) -> None:
    deliver(query(DataRoot.of("nowhere"), f"select {value} as v union all select null"), None, style=style)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    assert "v" in lines[0]


def test_nested_values_are_the_same_json_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    rows = query(
        DataRoot.of("nowhere"),
        "select {'who': 'Ångström', 'x': 'nan'::double} as pair, map {'é': 1.5} as held, "
        "interval '14 months 3 days 1.25 seconds' as waited",
    )
    wanted = {"pair": {"who": "Ångström", "x": None}, "held": [["é", 1.5]], "waited": "P14M3DT1.25S"}
    deliver(rows, None, style="json")
    assert json.loads(capsys.readouterr().out) == [wanted]
    deliver(rows, None, style="csv")
    cells = pc.read_csv(pa.py_buffer(capsys.readouterr().out.encode())).to_pylist()[0]
    assert {name: json.loads(cells[name]) for name in ("pair", "held")} | {"waited": cells["waited"]} == wanted
    deliver(rows, None)
    assert "Ångström" in capsys.readouterr().out


def test_decimals_and_durations_are_written_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    price, waited = Decimal("12345678901234567890.123456789"), dt.timedelta(days=1, hours=2, microseconds=7)
    rows = pa.table({"price": [price, None], "held": [[Decimal("0.10")], []], "waited": [waited, -waited]})
    deliver(rows, None, style="json")
    first, second = json.loads(capsys.readouterr().out, parse_float=Decimal)
    assert first == {"price": price, "held": [Decimal("0.10")], "waited": "P1DT7200.000007S"}
    assert second == {"price": None, "held": [], "waited": "P-2DT79199.999993S"}
    deliver(rows.select(["waited"]), None, style="csv")
    assert capsys.readouterr().out.split() == ['"waited"', '"P1DT7200.000007S"', '"P-2DT79199.999993S"']


def test_rows_go_through_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "rows.csv")
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    deliver(pa.table({"n": [1, 2]}), pipe)
    assert os.read(end, 100) == b'"n"\n1\n2\n'
    os.close(end)
    assert pipe.is_fifo()


def test_json_loses_no_column_and_is_written_in_parts() -> None:
    with pytest.raises(
        ParameterError, match=r"'SQL' must be a query whose columns have different names, .*got 'two named a'"
    ):
        deliver(pa.table([[1], [2], [3]], names=["a", "b", "a"]), None, style="json")
    parts = _json_parts(pa.table({"i": np.arange(25_000)}))
    whole = [next(parts), *parts]
    assert len(whole[0]) < len("".join(whole)) / 2
    assert [row["i"] for row in json.loads("".join(whole))] == list(range(25_000))
    assert json.loads("".join(_json_parts(pa.table({"i": pa.array([], pa.int64())})))) == []
    none, some = pa.array([], pa.int64()), pa.array([1, 2])
    parted = pa.table({"i": pa.chunked_array([none, some, none, some])})
    assert [row["i"] for row in json.loads("".join(_json_parts(parted)))] == [1, 2, 1, 2]
