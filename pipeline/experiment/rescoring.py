"""A finder of ours on the same stamps, normalised over another annulus than its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.diagnostics.annulus_scoring import Annulus, Rescoring
from lake.store.stamps import StampStore
from modeling.scoring.card import FINDER, read_card
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.scoring import score_rows


def rescoring(folder: Path, store: StampStore) -> Rescoring | str:
    """The finder in a folder with any annulus, or why it cannot have another one."""
    if (folder / FINDER).exists():
        return "the code of a user's own finder normalises stamps itself"
    card = read_card(folder)
    native = card.preprocessing.annulus
    if card.preprocessing.kind == "full" or native == "auto":
        return "the finder normalises over the whole stamp"

    def score(rows: pd.DataFrame, annulus: Annulus) -> NDArray[np.float64]:
        scorer = load_scorer(folder, foreign={"annulus": annulus})
        return score_rows(scorer, store, pa.Table.from_pandas(rows, preserve_index=False))

    return Rescoring(native, card.stamp_pixels / 2, score)
