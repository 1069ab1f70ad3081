"""Labelled cut-outs of any survey as rows and stamps to train on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lake.config import SplitParams
from lake.errors import DataError
from lake.sky.healpix import pixel
from lake.sky.split import SPLITS, split_of, split_of_keys
from pipeline.experiment.cutouthosts import Labelled

_NSIDE = 128


@dataclass(frozen=True)
class LabelledStamps:
    """Stamps of a set, by the places that its rows name."""

    found: Labelled

    def get(self, rows: pa.Table) -> NDArray[np.float32]:
        """Stamps (batch, band, y, x) nMgy of rows, in their order."""
        return np.asarray(self.found.stamps[rows["place"].to_numpy()])


def rows_of(found: Labelled, columns: tuple[str, ...], split: SplitParams) -> pa.Table:
    """Rows as of a manifest: galaxy_id, place, label, tier, split, and ``columns`` of numbers.

    The split is that of the set's own column ``split``, or else by pixels of the sky where all positions are known, or
    else by identifiers.
    """
    objects = found.objects
    known = {
        "galaxy_id": pa.array(objects["galaxy_id"].astype(str)),
        "place": pa.array(objects["place"].to_numpy(np.int64)),
        "sha256": pa.array(objects["sha256"].astype(str)),
        "label": pa.array(objects["label"].to_numpy(np.int32)),
        "tier": pa.array(objects["tier"].to_list(), pa.string()),
        "split": pa.array(_splits(found, split)),
    }
    return pa.table({**known, **{name: found.facts[name] for name in columns}})


def fingerprint(rows: pa.Table) -> str:
    """What a training depends on: identifiers, pixels, labels, splits and all other columns, whatever their order."""
    facts = sorted(json.dumps(row, sort_keys=True) for row in rows.drop_columns(["place"]).to_pylist())
    return f"{rows.num_rows}:{hashlib.sha256(''.join(facts).encode()).hexdigest()[:32]}"


def _splits(found: Labelled, split: SplitParams) -> list[str]:
    objects = found.objects
    if "split" in objects:
        own = objects["split"].astype(str).str.strip()
        if strange := sorted(set(own) - set(SPLITS)):
            raise DataError(
                f"the column 'split' of {found.described.name} must hold {', '.join(SPLITS)}, got {strange[0]}"
            )
        return list(own)
    if {"ra", "dec"} <= set(found.facts.column_names):
        ra, dec = (found.facts[name].to_numpy() for name in ("ra", "dec"))
        if np.isfinite(ra).all() and np.isfinite(dec).all():
            return [str(one) for one in split_of(pixel(ra, dec, _NSIDE), split)]
    return [str(one) for one in split_of_keys(objects["galaxy_id"].to_numpy(str), split)]
