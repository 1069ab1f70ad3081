"""Lists of galaxies that people or earlier finders judged: negatives that a manifest leaves out, or marks as hard."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lake.errors import DataError
from lake.files import usercsv

log = logging.getLogger(__name__)

NEGATIVE = "negative"
VERDICTS = ("lens", "unsure", NEGATIVE)
"""What a person may write in the column ``verdict``; an empty one is not judged yet."""


def read(path: Path) -> pd.DataFrame:
    """A list: ``galaxy_id``, each once, and ``verdict`` (empty where the list has none)."""
    rows = usercsv.read(path, "as a list of galaxies", dtype=str, keep_default_na=False)
    if "galaxy_id" not in rows.columns:
        raise DataError(f"{path} must have a column galaxy_id, got {', '.join(rows.columns) or 'none'}")
    if (twice := rows["galaxy_id"].duplicated()).any():
        raise DataError(f"{path} lists {rows['galaxy_id'][twice].iloc[0]} twice; keep one row")
    verdicts = rows["verdict"].str.strip().str.lower() if "verdict" in rows.columns else ""
    rows = rows.assign(verdict=verdicts)
    if (odd := ~rows["verdict"].isin(["", *VERDICTS])).any():
        first = rows[odd].iloc[0]
        raise DataError(
            f"{path}: the verdict on {first['galaxy_id']} must be one of {', '.join(VERDICTS)} or empty, "
            f"got '{first['verdict']}'"
        )
    return rows


def without(made: pa.Table, path: Path) -> pa.Table:
    """Rows of a manifest without the negatives on a list, save those that a person judged to be negatives."""
    suspects = read(path)
    suspects = suspects[suspects["verdict"] != NEGATIVE]
    out = np.isin(made["galaxy_id"].to_pandas(), suspects["galaxy_id"]) & (made["label"].to_numpy() == 0)
    waiting = int((suspects["verdict"] == "").sum())
    log.info("%d negatives left out by %s (%d of its galaxies wait for a verdict)", out.sum(), path.name, waiting)
    return made.filter(pa.array(~out))


def marked(made: pa.Table, path: Path) -> pa.Table:
    """Rows of a manifest with ``hard_negative`` true for the training negatives on a list."""
    training = (made["label"].to_numpy() == 0) & (made["split"].to_pandas() == "train").to_numpy()
    hard = np.isin(made["galaxy_id"].to_pandas(), read(path)["galaxy_id"]) & training
    log.info("%d training negatives marked as hard by %s", hard.sum(), path.name)
    place = made.column_names.index("hard_negative")
    return made.set_column(place, made.schema.field(place), pa.array(hard))
