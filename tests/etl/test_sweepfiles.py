"""What lies in a folder of sweeps, what odd columns hold, and that no file can hang, end a stage or take the memory."""

from __future__ import annotations

import gzip
import os
import re
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from etl.files import sweepfiles, sweeps
from lake.errors import DataError
from lake.files import fitsheader
from tests.etl.survey_files import read_rows, sources, sweep_of, write_sweep

CARD = 80
_CODES = {"i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}


def problem(path: Path) -> str:
    return str(sweeps.inspect(sweep_of(path)).problem)


def table(path: Path, **columns: fits.Column) -> Path:
    """A sweep of four rows in which some columns are given as FITS columns of any format."""
    plain = [
        fits.Column(name, _CODES.get(values.dtype.str[1:], f"{values.dtype.itemsize}A"), array=values)
        for name, values in sources(4).items()
        if values.ndim == 1 and name not in columns
    ]
    fits.BinTableHDU.from_columns([*plain, *columns.values()]).writeto(path)
    return path


def test_a_folder_is_read_whatever_its_files_are_called_and_the_rest_is_named(tmp_path: Path) -> None:
    columns = sources(50)
    plain = write_sweep(tmp_path / "sweep-a.fits", columns).read_bytes()
    (tmp_path / "10.1").mkdir()
    (tmp_path / "10.1" / "sweep-a.FITS").write_bytes(plain)
    (tmp_path / "sweep-b.fits.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "sweep-c.fits.gz").write_bytes(plain)
    (tmp_path / "sweep-d.fits.fz").write_bytes(plain)
    (tmp_path / "sweep-e.fits.bz2").write_bytes(b"BZh")
    (tmp_path / "sweep.sha256sum").write_text("x")
    (tmp_path / "sweep-f.fits").symlink_to(tmp_path / "gone.fits")
    (tmp_path / "10.1" / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "sweep-g.fits")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/sweep-\xff.fits")).touch()
    found = {sweep.name: sweep for sweep in sweepfiles.find(str(tmp_path))}
    assert {name: sweep.problem for name, sweep in found.items()} == {
        "10.1/sweep-a.FITS": None,
        "sweep-a.fits": None,
        "sweep-b.fits.gz": None,
        "sweep-c.fits.gz": None,
        "sweep-d.fits.fz": None,
        "sweep-e.fits.bz2": "packed as .bz2; unpack it or use gzip",
        "sweep-f.fits": "a broken link",
        "sweep-g.fits": "not a regular file (a pipe, socket or device)",
        "sweep-\ufffd.fits": "its name is not UTF-8 text",
        "sweep.sha256sum": "not a table, by its name",
    }
    rows = read_rows(tmp_path / "sweep-a.fits").drop_columns(["sweep_file"])
    for name in ("10.1/sweep-a.FITS", "sweep-b.fits.gz", "sweep-c.fits.gz", "sweep-d.fits.fz"):
        assert read_rows(tmp_path / name).drop_columns(["sweep_file"]).equals(rows), name


def test_packed_files_are_judged_before_they_are_unpacked(tmp_path: Path) -> None:
    """A table that claims 4 GB in 50 kB, one that goes on after its table, one cut short, one with a wrong byte."""
    path = write_sweep(tmp_path / "sweep.fits", sources(2000))
    plain = path.read_bytes()
    with fits.open(path) as hdus:
        head = hdus[0].header.tostring() + hdus[1].header.tostring().replace(
            f"NAXIS2  = {2000:>20}", f"NAXIS2  = {40_000_000:>20}"
        )
    packed = tmp_path / "sweep.fits.gz"
    packed.write_bytes(gzip.compress(head.encode() + bytes(50 << 20)))
    assert problem(packed).startswith("the file unpacks to many times its size, or is truncated: 67108864 bytes")
    packed.write_bytes(gzip.compress(plain + bytes(70 << 20)))
    assert problem(packed) == "the file unpacks to more than 67108864 bytes"
    whole = gzip.compress(plain)
    packed.write_bytes(whole[: len(whole) // 2])
    assert "ended before the end-of-stream marker" in problem(packed)
    packed.write_bytes(gzip.compress(plain[:200_000]))
    assert problem(packed).startswith("the file is truncated: 200000 bytes of at least")
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 1
    packed.write_bytes(bytes(broken))
    assert problem(packed) != "None"


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("OBJID", fits.Column("OBJID", "K", bzero=2**63, array=np.array([0, 1, 2**53 + 1, 2**63 - 1], np.uint64)),
         [0, 1, 2**53 + 1, 2**63 - 1]),
        ("OBJID", fits.Column("OBJID", "D", array=[0.0, 1.0, 2.5, 3.0]), [0, 1, None, 3]),
        ("OBJID", fits.Column("OBJID", "9A", array=["0", "1", "x", "3"]), [0, 1, None, 3]),
        ("MASKBITS", fits.Column("MASKBITS", "L", array=[False, True, False, False]), [0, None, 0, 0]),
        ("NOBS_G", fits.Column("NOBS_G", "E", array=[3.0, 4.0, np.nan, 2.5]), [3, 4, None, None]),
        ("FLUX_R", fits.Column("FLUX_R", "E", array=[1.0, np.inf, -np.inf, np.nan]), [1, None, None, None]),
        ("FLUX_R", fits.Column("FLUX_R", "D", array=[1.0, 1e300, 2.0, 3.0]), [1, None, 2, 3]),
        ("RA", fits.Column("RA", "12A", array=["00:04:00.0", "0h04m00s", "1.0", "east"]), [1, 1, 1, None]),
        ("DEC", fits.Column("DEC", "12A", array=["-00:30:00.0", "-0.5", "", "91"]), [-0.5, -0.5, None, None]),
        ("BRICK_PRIMARY", fits.Column("BRICK_PRIMARY", "L", array=[1, 0, 1, 1]), [True, False, True, True]),
        ("BRICK_PRIMARY", fits.Column("BRICK_PRIMARY", "B", array=[1, 0, 1, 7]), [True, False, True, None]),
        ("RELEASE", fits.Column("RELEASE", "6A", array=["9010", "", "10000", "dr9"]), [9010, None, 10000, None]),
    ],
)  # fmt: skip
def test_odd_columns_are_read_where_the_value_is_plain(
    tmp_path: Path, name: str, column: fits.Column, expected: list[Any]
) -> None:
    rows = read_rows(table(tmp_path / "sweep.fits", **{name: column}))
    found = rows[name.lower()].to_pylist()
    assert found == [value if value is None else pytest.approx(value, rel=1e-12, abs=1e-12) for value in expected]
    nothing = {"nan", ""}
    unread = [
        value is None and str(each).lower() not in nothing for value, each in zip(expected, column.array, strict=True)
    ]
    assert [bool(fault) for fault in rows["fault"].to_pylist()] == unread
    assert {fault.split("'")[1] for fault in rows["fault"].to_pylist() if fault} <= {name.lower()}


def test_columns_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    found = {
        "array": table(tmp_path / "a.fits", FLUX_G=fits.Column("FLUX_G", "3E", array=np.ones((4, 3)))),
        "bits": table(tmp_path / "b.fits", MASKBITS=fits.Column("MASKBITS", "16X", array=np.ones((4, 16), bool))),
        "text": table(tmp_path / "c.fits", TYPE=fits.Column("TYPE", "I", array=np.ones(4))),
        "twice": table(tmp_path / "d.fits", FLUX_w1=fits.Column("flux_w1", "E", array=np.ones(4))),
    }
    assert {name: problem(path) for name, path in found.items()} == {
        "array": "column flux_g: it must hold single values, but the header declares 3 per row",
        "bits": "column maskbits: it must hold single values, but the header declares bits",
        "text": "column type must be text",
        "twice": "column flux_w1: 2 columns have this name",
    }


def test_the_cases_are_read(cases: Path) -> None:
    folder = cases / "sweeps"
    assert read_rows(folder / "sweep-013-uint64objid.fits")["objid"].to_pylist() == list(range(20))
    np.testing.assert_allclose(read_rows(folder / "sweep-019-hmsra.fits")["ra"][0].as_py(), 15 * (1 / 60 + 2.3 / 3600))
    infinite = read_rows(folder / "sweep-009-infflux.fits")
    assert infinite["fault"].to_pylist() == ["'flux_g' must be a finite number"] * 5 + [None] * 15


def cards(path: Path, changes: dict[str, bytes]) -> None:
    """Replace cards of a file by their keyword; a keyword that is absent goes over the first blank card."""
    content = bytearray(path.read_bytes())
    for key, card in changes.items():
        at = content.find(f"{key:<8}=".encode(), 2880)
        content[at : at + CARD] = card.ljust(CARD)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("key", "card", "reason"),
    [
        ("NAXIS2", b"NAXIS2  =                   -5", r"NAXIS2 must be a whole number in \[0, "),
        ("NAXIS2", b"NAXIS2  =  9999999999999999999", r"NAXIS2 must be a whole number in \[0, "),
        ("NAXIS2", b"NAXIS2  =        1000000000000", "the file is truncated"),
        ("NAXIS2", b"NAXIS2  = 'many    '", "NAXIS2 must be a whole number"),
        ("NAXIS2", b"NAXIS2  =                    T", "NAXIS2 must be a whole number"),
        ("NAXIS2", b"COMMENT", "NAXIS2 must be a whole number"),
        ("NAXIS1", b"NAXIS1  =           4294967296", "columns take 129 bytes, but a row has 4294967296"),
        ("TFIELDS", b"TFIELDS =            999999999", r"TFIELDS must be a whole number in \[0, 999\]"),
        ("TFORM1", b"TFORM1  = '99999999999999999999J'", "TFORM1 must be a FITS format"),
        ("TFORM1", b"TFORM1  = 7", "TFORM1 must be text"),
        ("TFORM1", b"TFORM1  = \xff\xfe\xfd", "TFORM1 cannot be read"),
        ("TFORM3", b"TFORM3  = '1PJ(4)  '", "columns take|column objid: it must hold single values"),
        ("TTYPE3", b"TTYPE3  = 'OBJ\xc3D   '", "the required columns objid are missing"),
        ("XTENSION", b"XTENSION= 'IMAGE   '", "contains no binary table"),
    ],
)  # fmt: skip
def test_absurd_cards_are_refused_and_named(tmp_path: Path, key: str, card: bytes, reason: str) -> None:
    path = write_sweep(tmp_path / "sweep.fits", {n: v for n, v in sources(9).items() if v.ndim == 1})
    cards(path, {key: card})
    assert re.search(reason, problem(path)), problem(path)


def test_odd_cards_that_do_not_matter_change_nothing(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "sweep.fits", sources(9))
    with fits.open(path, mode="update") as hdus:
        for i in range(6):
            hdus[1].header[f"SPARE{i}"] = i
    plain = read_rows(path)
    odd = (
        b"COMMENT \xe9t\xe9 \xff",
        b"lower   = 1",
        b"OBSERVER= 'open",
        b"DATE    = 2020-01-01",
        b"\0\0",
        b"TZERO999= x",
    )
    cards(path, {f"SPARE{i}": card for i, card in enumerate(odd)})
    assert read_rows(path).equals(plain)


@given(
    text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40), comment=st.text("ab '/&", max_size=9)
)
def test_text_cards_are_read_as_by_astropy(text: str, comment: str) -> None:
    card = f"TTYPE1  = '{text}' / {comment}".encode()[:CARD].ljust(CARD)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            theirs = fits.Card.fromstring(card).value
    except Exception:  # noqa: BLE001 (whatever astropy makes of such a card)
        theirs = None
    try:
        ours = fitsheader.Header({"TTYPE1": card}).value("TTYPE1")
    except DataError:
        ours = None
    assert ours == (theirs if isinstance(theirs, str | int | float) else None)


def test_a_header_without_an_end_is_given_up_after_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "sweep.fits"
    path.write_bytes(b"SIMPLE  =                    T".ljust(CARD) + b" " * (20 << 20))
    assert problem(path) == "a header has no end in its first 2880000 bytes"
    with path.open("rb") as file:
        with pytest.raises(DataError, match="has no end"):
            fitsheader.read_header(file, 0)
        assert file.tell() == 2_880_000


def test_many_empty_parts_before_a_table_are_given_up(tmp_path: Path) -> None:
    part = fits.ImageHDU().header.tostring().encode()
    (tmp_path / "sweep.fits").write_bytes(fits.PrimaryHDU().header.tostring().encode() + part * 2000)
    assert problem(tmp_path / "sweep.fits") == "the file contains no binary table, or ends before it"


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with some of its bytes, cards or its length changed, in its headers above all."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        end = len(data) if rng.uniform() < 0.1 else min(len(data), _HEADERS)
        at, kind = int(rng.integers(0, end)), rng.integers(0, 10)
        card = slice(at // CARD * CARD, at // CARD * CARD + CARD)
        if kind < 3:
            data[at] = int(rng.integers(0, 256))
        elif kind < 6:
            data[at] = int(rng.choice(list(b"0123456789-+.'=EDKLTF ")))
        elif kind < 8:
            data[card.start + 10 : card.start + 30] = str(rng.choice(_NUMBERS)).rjust(20).encode()[:20]
        elif kind < 9:
            other = int(rng.integers(0, _HEADERS // CARD)) * CARD
            data[card] = data[other : other + CARD]
        else:
            del data[at + 1 :]
    return bytes(data)


_HEADERS = 4 * 2880
_NUMBERS = ("-1", "0", "1", "3", "2147483648", "9223372036854775808", "1" * 20, "1E400", "NaN", "T", "'x       '")


def compared(path: Path, rows: pa.Table) -> bool:
    """Whether astropy reads the file; what both read is the same."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path) as hdus:
                held = next(hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)).data
                theirs = {name: np.array(held[name], dtype=float) for name in ("flux_z", "nobs_g", "ra")}
    except Exception:  # noqa: BLE001 (whatever astropy makes of such a file)
        return False
    bad = np.array([fault is not None for fault in rows["fault"].to_pylist()], dtype=bool)
    for name, values in theirs.items():
        ours = rows[name].to_numpy().astype(float)
        same = (ours == values) | (np.isnan(ours) & (np.isnan(values) | bad))
        assert same.all(), (name, ours, values)
    return True


def fuzz(folder: Path, count: int, seed: int) -> tuple[int, int, int]:
    """Of mutated files: how many were refused with a reason, read, and read by astropy too."""
    rng, path = np.random.default_rng(seed), folder / "sweep.fits"
    unsigned = fits.Column("OBJID", "K", bzero=2**63, array=np.arange(4, dtype=np.uint64))
    scaled = fits.Column("FITBITS", "I", null=-1, array=np.arange(4))
    content = table(folder / "good.fits", OBJID=unsigned, FITBITS=scaled).read_bytes()
    refused = both = 0
    for _ in range(count):
        path.write_bytes(mutated(content, rng))
        facts = sweeps.inspect(sweep_of(path))
        if facts.problem:
            refused += 1
        else:
            rows = read_rows(path)
            assert rows.num_rows == facts.rows
            both += compared(path, rows)
    return refused, count - refused, both


def test_mutated_files_are_refused_with_a_reason_or_read_as_they_are(tmp_path: Path) -> None:
    refused, kept, both = fuzz(tmp_path, 120, 1)
    assert refused > 25
    assert both > 0.5 * kept > 15


@pytest.mark.slow
def test_many_mutated_files(tmp_path: Path) -> None:
    fuzz(tmp_path, 20_000, 2)


def test_what_a_header_claims_is_not_allocated(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "sweep.fits", {n: v for n, v in sources(9).items() if v.ndim == 1})
    cards(path, {"NAXIS2": b"NAXIS2  =        1099511627776"})
    problem(path)
    tracemalloc.start()
    try:
        assert problem(path).startswith("the file is truncated")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
