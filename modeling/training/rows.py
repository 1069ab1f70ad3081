"""Rows of a manifest that a run trains and selects on; those that cannot serve are refused before any pixel is read."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.errors import DataError, invalid
from lake.store.stamps import HASHES
from modeling.config import TrainParams
from modeling.training.losses import require_tiers

_READ = ("galaxy_id", "stamp_id", "shard", "shard_row", *HASHES, "label", "tier", "split", "hard_negative")


def columns(known: Collection[str], params: TrainParams) -> list[str]:
    """Of a manifest's columns, those that a run reads."""
    return [name for name in (*_READ, *params.network.metadata_columns) if name in known]


def splits(rows: pa.Table, params: TrainParams) -> tuple[pa.Table, pa.Table]:
    """Training and validation rows of a manifest (``split``, ``label``, ``tier``, ...); the test split is not touched.

    DataError or ParameterError if a split lacks lenses or negatives, if there are fewer rows than a batch, or if tiers
    or observing conditions that the run needs are not known.
    """
    training, validation = (rows.filter(pc.equal(rows["split"], name)) for name in ("train", "val"))
    for part, word in ((training, "training"), (validation, "validation")):
        lenses = int(pc.sum(pc.greater(part["label"], 0)).as_py() or 0)
        if not 0 < lenses < part.num_rows:
            raise DataError(
                f"manifest '{params.manifest}' has {lenses} lenses and {part.num_rows - lenses} negatives in its "
                f"{word} split; {params.generation} needs both"
            )
        _require_conditions(part, params.network.metadata_columns, word)
        if params.loss.kind == "weighted":
            require_tiers(part["label"].to_numpy() > 0, np.array(part["tier"].to_pylist(), dtype=object))
    if training.num_rows < params.loop.batch:
        raise invalid("loop.batch", f"at most the {training.num_rows} training rows", params.loop.batch)
    return training, validation


def _require_conditions(rows: pa.Table, columns: tuple[str, ...], word: str) -> None:
    if missing := [name for name in columns if name not in rows.column_names]:
        raise invalid("network.metadata_columns", "columns of the manifest", missing)
    for name in columns:
        values = rows[name].to_numpy().astype(np.float64)
        bad = int((~(np.isfinite(values) & (values > 0))).sum())
        if bad:
            raise DataError(f"{name} must be positive in every {word} row, but {bad} of {len(values)} lack it")
