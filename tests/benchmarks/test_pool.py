"""The benchmark of the pool: sweeps in DR10's layout, of which a plain script and the pool keep the same rows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from benchmarks.pool import made_up, plain, product
from benchmarks.pool.__main__ import same_rows
from lake.errors import LakeError
from lake.root import DataRoot
from lake.store import delta
from tests.etl.inprocess import Here


@pytest.fixture
def sweeps(tmp_path: Path) -> Path:
    (tmp_path / "sweeps").mkdir()
    return made_up.sweeps(tmp_path / "sweeps", 20_000)


def test_the_layout_is_that_of_a_dr10_sweep(sweeps: Path, real_data: Path) -> None:
    with (real_data / "sweeps" / "dr10_sweep_schema.csv").open() as file:
        kinds = [row["dtype"] for row in csv.DictReader(file)]
    assert len(made_up.LAYOUT) == len(kinds)
    assert np.dtype(made_up.LAYOUT).itemsize == 505
    held = fits.getdata(next(sweeps.glob("*.fits")), 1)
    words = {"i2": "int16", "i4": "int32", "i8": "int64", "f4": "float32", "f8": "float64", "u1": "uint8"}
    codes = [np.dtype(code).str.lstrip("<>|") for _, code, *_ in made_up.LAYOUT]
    ours = [f"char[{code[1:]}]" if code[0] == "S" else words[code] for code in codes]
    assert [kind.replace("boolean", "uint8").replace("[5]", "") for kind in kinds] == ours
    assert len(held) == 20_000


@pytest.mark.usefixtures("whole_stage")
def test_a_plain_script_keeps_the_same_rows(sweeps: Path, tmp_path: Path) -> None:
    root, rows = DataRoot.of(tmp_path / "data"), plain.pool(next(sweeps.glob("*.fits")))
    product.run(str(sweeps), root, Here())
    assert same_rows(rows, root).startswith(f"{delta.read(root, 'tractor_pool').num_rows}:")
    assert rows.num_rows == pytest.approx(0.24 * 20_000, rel=0.05)
    with pytest.raises(LakeError, match="the script's rows have the fingerprint"):
        same_rows(rows[1:], root)
