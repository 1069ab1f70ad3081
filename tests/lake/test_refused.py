"""A write that the system refuses names the file it was for, whichever library writes, and leaves nothing of it."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from safetensors.numpy import save_file

from lake.errors import DataError
from lake.files import atomic, publishing, refused
from tests.fulldisk import no_file_over

NUMBERS = np.arange(9000.0)


def _numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, NUMBERS)


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = NUMBERS


WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: path.write_bytes(NUMBERS.tobytes()),
    "numpy": _numpy,
    "parquet": lambda path: pq.write_table(pa.table({"x": NUMBERS}), path),
    "csv": lambda path: pd.DataFrame({"x": NUMBERS}).to_csv(path),
    "fits": lambda path: fits.HDUList([fits.PrimaryHDU(NUMBERS)]).writeto(path),
    "safetensors": lambda path: save_file({"x": NUMBERS}, path),
    "hdf5": _hdf5,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_library_could_not_write_is_named_and_left_as_it_was(name: str, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("old")

    def replace() -> None:
        with no_file_over(20_000), atomic.replacing(path) as draft:
            WRITERS[name](draft)

    with pytest.raises(OSError, match=str(path)) as raised:
        replace()
    assert raised.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), errno.EDQUOT),
        (OSError("9000 requested and 2484 written"), errno.ENOSPC),
        (OSError("Not enough space on disk: requested 72000, available 0."), errno.ENOSPC),
        (OSError("file write failed: errno = 28, error message = 'No space left on device'"), errno.ENOSPC),
        (sqlite3.OperationalError("database or disk is full"), errno.ENOSPC),
        (sqlite3.OperationalError("disk I/O error"), errno.EIO),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'")]), errno.ENOSPC),
        (OSError(errno.ENOENT, "No such file or directory"), None),
        (DataError("no room for stamps: No space left on device"), None),
        (ValueError("3 requested"), None),
    ],
)
def test_the_number_is_read_where_a_library_only_writes_words(error: Exception, number: int | None) -> None:
    assert refused.number(error) == number


def test_an_error_that_names_a_file_keeps_it(tmp_path: Path) -> None:
    def copy() -> None:
        with refused.named(tmp_path / "folder"):
            raise OSError(errno.ENOSPC, "No space left on device", "a", None, "b")

    with pytest.raises(OSError, match="'a' -> 'b'"):
        copy()


def test_a_read_that_a_failing_disk_refuses_does_not_name_what_is_written(tmp_path: Path) -> None:
    def copy(words: OSError) -> None:
        with refused.named(tmp_path / "out"):
            raise words

    for words in (OSError(errno.EIO, "Input/output error"), OSError("file read failed: errno = 5, 'Input/output")):
        with pytest.raises(OSError, match=r"Input/output") as raised:
            copy(words)
        assert raised.value is words
    with pytest.raises(OSError, match=str(tmp_path / "out")):
        copy(OSError("file write failed: errno = 5, error message = 'Input/output error'"))


def test_a_folder_that_could_not_be_filled_is_named_and_left_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "kept"
    with publishing.replacing_folder(target) as draft:
        (draft / "content").write_text("old")

    def fill(way: Callable[[], object]) -> None:
        with no_file_over(20_000), way() as draft:  # type: ignore[attr-defined]
            (draft / "content").write_bytes(NUMBERS.tobytes())

    with pytest.raises(OSError, match=str(target)):
        fill(partial(publishing.replacing_folder, target))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    with pytest.raises(OSError, match=str(tmp_path / "work")):
        fill(partial(publishing.published_folder, target, tmp_path / "work"))
    assert (target / "content").read_text() == "old"
