"""Parent catalogues other than sweeps: the same rows in any format and under any names have the same fates."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from etl.config import CatalogueParams
from etl.files import sweepfiles, sweeps
from etl.files.sweepfiles import Sweep
from lake.errors import ParameterError
from lake.sky.bricklayout import brick_names
from lake.store import delta
from tests.etl.pooled import Survey
from tests.etl.survey_files import sources, write_sweep

ROWS = 300
PACKED = gzip.compress(b"ra,dec\n" + b"".join(b"%d,%d\n" % (i * i % 359, i % 89) for i in range(200)))


def columns() -> dict[str, np.ndarray]:
    """Columns of a sweep, some of whose rows fail a cut each, in its own names."""
    found = sources(ROWS)
    found.pop("DCHISQ")
    found["TYPE"] = np.where(np.arange(ROWS) % 11 == 0, "PSF", found["TYPE"].astype(str)).astype("S3")
    found["NOBS_G"][::13] = 1
    found["MASKBITS"][::7] = 2
    found["FLUX_Z"][::17] = 0.1
    found["BRICK_PRIMARY"] = np.arange(ROWS) % 5 != 0
    return found


def arrow(found: dict[str, np.ndarray]) -> pa.Table:
    return pa.table(
        {name: values.astype(str) if values.dtype.kind == "S" else values for name, values in found.items()}
    )


def write(folder: Path, kind: str, found: dict[str, np.ndarray], name: str = "parent") -> None:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.{kind}"
    if kind == "fits":
        write_sweep(path, found)
    elif kind == "csv":
        pacsv.write_csv(arrow(found), path)
    elif kind == "csv.gz":
        with gzip.open(path, "wb") as packed:
            pacsv.write_csv(arrow(found), packed)
    else:
        pq.write_table(arrow(found), path)


def outcome(place: Path, kind: str, found: dict[str, np.ndarray], **catalogue: Any) -> tuple[pa.Table, dict[Any, int]]:
    """Rows of the pool, without where they come from, and counts of fates."""
    place.mkdir()
    survey = Survey(place)
    write(survey.folder, kind, found)
    declared = {"columns": {}, "absent": [], **catalogue}
    survey.published(catalogue=declared)
    made = survey.made(catalogue=declared)
    counts = {(row["outcome"], row["reason"]): row["rows"] for row in made.counts.to_pylist()}
    rows = delta.read(survey.root, "tractor_pool").drop_columns(["sweep_file", "extracted_at"])
    return rows, counts


@pytest.mark.usefixtures("whole_stage")
def test_one_catalogue_in_any_format_gives_the_same_pool(tmp_path: Path) -> None:
    fits, expected = outcome(tmp_path / "fits", "fits", columns())
    assert expected["kept", ""] == fits.num_rows > 100
    assert expected["rejected", "brick_primary"] == 60
    for kind in ("csv", "csv.gz", "parquet"):
        rows, counts = outcome(tmp_path / kind, kind, columns())
        assert counts == expected
        assert rows.equals(fits)


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("kind", ["fits", "csv", "parquet"])
def test_columns_by_other_names(tmp_path: Path, kind: str) -> None:
    expected, counts = outcome(tmp_path / "sweep", "fits", columns())
    found = {f"my {name}": values for name, values in columns().items()}
    names = {name.lower(): f"my {name}" for name in columns()}
    rows, renamed = outcome(tmp_path / "mine", kind, found, columns=names)
    assert renamed == counts
    assert rows.equals(expected)


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("kind", ["fits", "csv", "parquet"])
def test_a_catalogue_without_mask_exposures_and_identity(tmp_path: Path, kind: str) -> None:
    """Cuts on what it lacks are not applied; each source still has a name of its own, the same in any order of rows."""
    found = columns()
    kept = [name for name in found if name not in ("MASKBITS", "OBJID", "BRICKNAME", "FLUX_W1")]
    kept = [name for name in kept if not name.startswith("NOBS")]
    absent = ["mask", "exposures", "w1", "objid", "brickname"]
    rows, counts = outcome(tmp_path / "a", kind, {name: found[name] for name in kept}, absent=absent)
    assert not {"nobs_g", "maskbits"} & {reason for outcome, reason in counts if outcome == "rejected"}
    assert counts["column_missing", "maskbits"] == counts["column_missing", "nobs_z"] == 0
    expected = (found["TYPE"] != b"PSF") & (found["FLUX_Z"] > 10) & found["BRICK_PRIMARY"]
    assert rows.num_rows == counts["kept", ""] == expected.sum()
    assert set(rows["nobs_z_bin"].to_pylist()) == {"unknown"}
    for name in ("nobs_g", "maskbits", "flux_w1", "z_minus_w1"):
        assert rows[name].null_count == rows.num_rows
    assert rows["brickname"].to_pylist() == brick_names(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    assert len(set(rows["galaxy_id"].to_pylist())) == rows.num_rows
    order = np.random.default_rng(0).permutation(ROWS)
    again, _ = outcome(tmp_path / "b", kind, {name: found[name][order] for name in kept}, absent=absent)
    assert again["galaxy_id"].equals(rows["galaxy_id"])


@pytest.mark.parametrize(
    ("change", "catalogue", "message"),
    [
        ({"MASKBITS": None}, {}, "the required columns maskbits are missing"),
        ({}, {"absent": ["mask"]}, "the columns maskbits are there, but pool.catalogue declares them absent"),
        ({}, {"columns": {"ra": "RAJ2000"}}, "the columns raj2000, which pool.catalogue names, are missing"),
        ({"BRICKNAME": np.full(ROWS, "x" * 65)}, {}, "column brickname: a text has 65 bytes, more than 64"),
        ({"COMMENT": np.full(ROWS, "x" * 200)}, {}, None),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_declared_must_be_so(
    tmp_path: Path, kind: str, change: dict[str, Any], catalogue: dict[str, Any], message: str | None
) -> None:
    """A column that is not of use may hold anything."""
    found = {name: values for name, values in (columns() | change).items() if values is not None}
    write(tmp_path, kind, found)
    sweep = Sweep(f"parent.{kind}", str(tmp_path / f"parent.{kind}"))
    facts = sweeps.inspect(sweep, None, CatalogueParams(columns={}, absent=()).model_copy(update=catalogue))
    assert facts.problem == message


def test_a_declaration_of_a_column_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    survey = Survey(tmp_path)
    write(survey.folder, "csv", columns())
    with pytest.raises(
        ParameterError, match=r"'pool.catalogue.columns' must name some of .* psfsize_g, .*, got psf_g$"
    ):
        survey.made(catalogue={"columns": {"psf_g": "PSFSIZE_G"}, "absent": []})


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3)]
)
def test_texts_of_any_type_are_texts(tmp_path: Path, kind: pa.DataType) -> None:
    found = arrow(columns())
    cast = found["TYPE"].cast(pa.binary()).cast(kind) if "binary" in str(kind) else found["TYPE"].cast(kind)
    path = tmp_path / "parent.parquet"
    pq.write_table(found.set_column(found.column_names.index("TYPE"), "TYPE", cast), path)
    with sweeps.reading(Sweep(path.name, str(path))) as file:
        ((_, raw),) = file.rows()
        read = sweeps.decoded(file, raw.view(file.dtype)[:, 0], path.name, np.arange(len(raw)))
    assert read["type"].to_pylist() == columns()["TYPE"].astype(str).tolist()


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("csv", b"", "the file is empty"),
        ("parquet", b"", "the file is empty"),
        ("csv", b"ra,dec\n1,2\n1,2,3\n", "the file cannot be read: CSV parse error: Row #3: Expected 2 columns, got 3"),
        ("csv", b"ra,ra\n1,2\n", "column ra: 2 columns have this name"),
        ("parquet", b"PAR1" + bytes(100), "the file cannot be read: "),
        ("csv", b"\xff\xfe\x00", "the file cannot be read: "),
        ("csv.gz", b"", "the file is empty"),
        ("csv.gz", PACKED[:-9], "the file cannot be read: Compressed file ended before the end-of-stream marker"),
        ("csv.gz", PACKED[:50] + b"\x00\x00" + PACKED[52:], "the file cannot be read: "),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, kind: str, content: bytes, message: str) -> None:
    path = tmp_path / f"parent.{kind}"
    path.write_bytes(content)
    facts = sweeps.inspect(Sweep(path.name, str(path)))
    assert str(facts.problem).startswith(message)


def test_a_packed_table_that_unpacks_to_too_much_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweepfiles, "_FREE_BYTES", 1 << 20)
    path = tmp_path / "parent.csv.gz"
    path.write_bytes(gzip.compress(b"ra\n" + b"1\n" * (2 << 20)))
    assert sweeps.inspect(Sweep(path.name, str(path))).problem == "the file unpacks to more than 1048576 bytes"


def test_odd_values_of_a_parquet_table(tmp_path: Path) -> None:
    """Nulls, dictionaries, whole numbers as floats and as text, logicals; a list of values is no column."""
    found = arrow(columns())
    for name, values in {
        "TYPE": found["TYPE"].dictionary_encode(),
        "OBJID": pa.array([str(i) for i in range(ROWS)]),
        "NOBS_R": pa.array([float(i % 5 + 3) if i % 50 else None for i in range(ROWS)]),
        "FLUX_R": pa.array([1.0 if i % 60 else None for i in range(ROWS)]),
        "RELEASE": pa.array([10000] * ROWS, pa.uint64()),
        "SERSIC": pa.array([[1.0, 2.0]] * ROWS),
    }.items():
        found = found.set_column(found.column_names.index(name), name, values)
    path = tmp_path / "parent.parquet"
    pq.write_table(found, path)
    sweep = Sweep(path.name, str(path))
    assert (
        sweeps.inspect(sweep).problem
        == "column sersic: it must hold single values, but the file has list<element: double>"
    )
    pq.write_table(found.drop_columns(["SERSIC"]), path)
    with sweeps.reading(sweep) as file:
        (read,) = [
            sweeps.decoded(file, raw.view(file.dtype)[:, 0], path.name, np.arange(start, start + len(raw)))
            for start, raw in file.rows()
        ]
        assert file.facts.sha256
    assert read["fault"].null_count == ROWS
    assert read["objid"].to_pylist() == list(range(ROWS))
    assert read["nobs_r"].null_count == 6
    assert read["flux_r"].null_count == 5
    assert set(read["release"].to_pylist()) == {10000}
    assert read["brick_primary"].to_pylist() == columns()["BRICK_PRIMARY"].tolist()
    assert read["type"].to_pylist() == columns()["TYPE"].astype(str).tolist()


@pytest.mark.usefixtures("whole_stage")
def test_a_real_parent_catalogue_without_mask_exposures_and_numbers(tmp_path: Path, real_data: Path) -> None:
    """The reference's LRGs of DR10: three lists that overlap, of 9,239 galaxies in all."""
    survey = Survey(tmp_path)
    survey.folder.mkdir()
    for path in (real_data / "sweeps" / "dr10_lrg_parent").glob("*.csv"):
        (survey.folder / path.name).symlink_to(path)
    catalogue = {"columns": {}, "absent": ["mask", "exposures", "objid"]}
    cuts = {"types": ["SER", "DEV", "REX", "EXP"], "mag_z_max": 25.0, "dec_min_deg": -90.0, "dec_max_deg": 90.0}
    survey.published(catalogue=catalogue, **cuts)
    made = survey.made(catalogue=catalogue, **cuts)
    total = sum(row["rows"] for row in made.counts.to_pylist() if not row["outcome"].startswith("column"))
    rows = delta.read(survey.root, "tractor_pool")
    assert total == 6747 + 1509 + 6826
    assert rows.num_rows == 9239 - 507
    again = {row["reason"]: row["rows"] for row in made.counts.to_pylist() if row["outcome"] == "quarantined"}
    assert sum(again.values()) > 5000
    names = brick_names(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    assert names == [name.zfill(8) for name in rows["brickname"].to_pylist()]


def test_bricks_of_positions(real_data: Path) -> None:
    """Centres and corners of 105 bricks of the survey's own table; the poles and the seam."""
    folder = real_data / "survey"
    for path in folder.glob("*_bricks_psf_depth_ebv.csv"):
        table = pacsv.read_csv(path)
        for x, y, inward in (("ra", "dec", 0.0), ("ra1", "dec1", 1e-7), ("ra2", "dec2", -1e-7)):
            found = brick_names(table[x].to_numpy() + inward, table[y].to_numpy() + inward)
            assert found == table["brickname"].to_pylist()
    assert brick_names([0.0, 360.0, 359.99, 12.0, np.nan, 400.0], [0.0, 0.0, 0.0, 90.0, 0.0, 0.0]) == [
        "0001p000", "0001p000", "3598p000", "1800p900", None, None,
    ]  # fmt: skip
