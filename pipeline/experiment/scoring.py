"""Scores of cut-outs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit

from lake.config import SplitParams
from lake.progress import track
from lake.scorer import Scorer, check_bands
from lake.sky.split import negative_uses
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore

CHUNK = 1024
"""Cut-outs read at a time: as many as a GPU scores at once."""


def score_rows(scorer: Scorer, store: StampStore, rows: pa.Table) -> NDArray[np.float64]:
    """Logits of the cut-outs that ``rows`` (``shard``, ``shard_row``, the stamp's hash) point to, in their order.

    ``rows`` also hold the observing conditions that the scorer needs, if it needs any.
    """
    check_bands(scorer, SURVEY)
    parts = []
    for start in track(range(0, rows.num_rows, CHUNK), "score cut-outs"):
        chunk = rows.slice(start, CHUNK)
        parts.append(scorer.score(store.get(chunk), conditions_of(chunk, scorer.conditions)))
    return np.concatenate(parts)


def conditions_of(rows: pa.Table | pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64] | None:
    """Observing conditions (row, name); None if none are asked for or the rows lack some of them."""
    held = rows.column_names if isinstance(rows, pa.Table) else list(rows.columns)
    if not names or not set(names) <= set(held):
        return None
    columns = [rows[name].to_pandas() if isinstance(rows, pa.Table) else rows[name] for name in names]
    return np.stack([column.to_numpy(dtype=np.float64, na_value=np.nan) for column in columns], axis=1)


def score_table(
    scorer: Scorer,
    generation: str,
    rows: pa.Table,
    logits: NDArray[np.float64],
    seen: pa.Array,
    trained: pa.Array,
    split: SplitParams,
) -> pa.Table:
    """Rows of the ``scores`` table, without lineage."""
    columns = {
        **{name: rows[name] for name in ("galaxy_id", "cutout_version", "manifest_id", "split", "label")},
        "checkpoint_id": pa.repeat(scorer.checkpoint_id, rows.num_rows),
        "generation": pa.repeat(generation, rows.num_rows),
        "score": logits,
        "probability": expit(logits),
        "seen_in_training": seen,
        "trained_on": trained,
        "negative_use": negative_uses(rows["ra"], rows["dec"], rows["split"], rows["label"], split),
    }
    return pa.table(columns)
