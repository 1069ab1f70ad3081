"""A checkpoint scored with another annulus than its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.diagnostics.annulus_scoring import Rescoring
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.rescoring import rescoring

STAMPS = np.random.default_rng(0).normal(size=(20, 3, 101, 101)).astype(np.float32)


class Store:
    """Answers stamps by their row."""

    def get(self, rows: Any) -> np.ndarray:
        return STAMPS[rows["shard_row"].to_numpy()]


def test_another_annulus_gives_the_scores_of_the_foreign_scorer(trained: Path):
    found = rescoring(trained, Store())
    assert isinstance(found, Rescoring)
    own = load_scorer(trained)
    assert found.native == own.preprocessing.annulus
    assert found.largest == own.stamp_pixels / 2
    rows = pd.DataFrame({"shard_row": [3, 1, 7], "label": [0, 1, 0]}, index=[9, 4, 2])
    stamps = STAMPS[[3, 1, 7]]
    np.testing.assert_array_equal(found.score(rows, found.native), own.score(stamps))
    other = found.native[0] / 2, found.native[0]
    foreign = load_scorer(trained, {"annulus": list(other)}).score(stamps)
    np.testing.assert_array_equal(found.score(rows, other), foreign)
    assert not np.array_equal(foreign, own.score(stamps))


def test_a_users_own_finder_is_not_scored_again(tmp_path: Path):
    (tmp_path / "scorer.json").write_text("{}")
    assert "user's own finder" in str(rescoring(tmp_path, Store()))
