"""CSV files of users: what pandas would read differently from how it looks is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lake.errors import DataError, one_line

_ENCODING = "utf-8-sig"


def read(path: Path, what: str, **options: Any) -> pd.DataFrame:
    """The rows of a file, with the names of its first line, stripped, as columns.

    ``what`` names the file in errors (``as a list of galaxies``); ``options`` are those of :func:`pandas.read_csv`.
    DataError where it cannot be read, two columns have one name, or rows have more cells than there are names: pandas
    would name the second column ``name.1``, and take the first cells for an index, which shifts all others.
    """
    named = {key: options[key] for key in ("skip_blank_lines",) if key in options}
    try:
        first = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding=_ENCODING, **named)
        rows = pd.read_csv(path, encoding=_ENCODING, **options)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise DataError(f"{path} cannot be read {what}: {reason}") from error
    names = first.iloc[0].str.strip()
    if len(twice := sorted(set(names[names.duplicated() & (names != "")]))):
        raise DataError(f"{path} has columns of the same name: {', '.join(twice)}")
    if not isinstance(rows.index, pd.RangeIndex):
        raise DataError(
            f"{path} has {len(names)} names in its first line, and more cells in the others: name every column, and "
            "leave no comma at the ends of lines"
        )
    return rows.set_axis([str(name).strip() for name in rows.columns], axis=1)
