"""The survey's table of bricks, as it comes and damaged."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from etl.bricks import Bricks
from lake.errors import DataError
from tests.etl.survey_files import write_bricks

BRICKS = {"0001p000": (0.125, 0.0), "0003m002": (0.375, -0.25)}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_bricks(tmp_path, BRICKS)
    return tmp_path / "survey-bricks.fits"


def test_a_table_is_read_plain_or_packed(table: Path) -> None:
    for content in (table.read_bytes(), gzip.compress(table.read_bytes())):
        table.write_bytes(content)
        found = Bricks.read(table)
        assert found.name.tolist() == list(BRICKS)
        assert list(zip(found.ra_deg.tolist(), found.dec_deg.tolist(), strict=True)) == list(BRICKS.values())


def test_the_surveys_own_table(real_data: Path) -> None:
    for path in sorted((real_data / "survey").glob("**/survey-bricks*.fits*")):
        found, held = Bricks.read(path), Table.read(path)
        assert found.name.tolist() == [str(name).strip() for name in held["BRICKNAME"]]
        np.testing.assert_array_equal(found.ra_deg, held["RA"])


def test_a_damaged_table_is_refused_in_a_sentence(table: Path) -> None:
    content = table.read_bytes()
    damaged = {
        "is truncated": content.replace(b"NAXIS2  =                    2", b"NAXIS2  =         999999999999"),
        r"NAXIS2 must be a whole number": content.replace(
            b"NAXIS2  =                    2", b"NAXIS2  = 'two     '          "
        ),
        "it lacks ra": content.replace(b"'RA      '", b"'RADEG   '"),
        "it lacks column ra: there are 2 columns of this name": content.replace(b"'DEC     '", b"'RA      '"),
        "is no FITS file": b"<html>" * 1000,
        "a header has no end": content[:3680],
    }
    for reason, data in damaged.items():
        table.write_bytes(data)
        with pytest.raises(DataError, match=rf"is no table of bricks \(BRICKNAME, RA, DEC\): .*{reason}"):
            Bricks.read(table)
    table.unlink()
    os.mkfifo(table)
    with pytest.raises(DataError, match="there is no such file"):
        Bricks.read(table)


def test_a_brick_without_a_position_is_refused(table: Path) -> None:
    held = Table.read(table)
    held["RA"][1] = np.nan
    held.write(table, overwrite=True)
    with pytest.raises(DataError, match="each brick must have a name, RA and DEC"):
        Bricks.read(table)
