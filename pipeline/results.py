"""Results as tables for the screen: ranked candidates, generations side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from analysis.candidates import ranked_candidates as ranked
from analysis.compare import comparison as compared
from analysis.compare import paired_auc_tests
from analysis.config import ReportParams
from lake import cards, delta
from lake.errors import LakeError, invalid
from pipeline import params


def ranked_candidates(generation: str | None, top: int) -> pa.Table:
    """The best unlisted objects of one finder."""
    root, names = params.root(), _scored()
    name = generation or shown_first(names, params.typed(ReportParams, "report").headline_generation)
    if name not in names:
        raise invalid("generation", f"one of {', '.join(names)}", name)
    scores = delta.read(root, "scores", slices=[name]).to_pandas()
    positions = delta.read(root, "negatives", ["galaxy_id", "ra", "dec"]).to_pandas()
    return pa.Table.from_pandas(ranked(scores, positions, top), preserve_index=False)


def shown_first(names: Sequence[str], wanted: str | None) -> str:
    """The model that candidates and galleries follow: the declared one, or the first where it has no results."""
    return names[0] if wanted is None or wanted not in names else wanted


def comparison() -> tuple[pa.Table, pa.Table]:
    """Metrics of every finder, and paired DeLong tests on the test split of the audit manifest."""
    root, names = params.root(), _scored()
    measures = {}
    for name in names:
        runs = [f"evaluate-{name}", f"diagnose-{name}"]
        measures[name] = delta.read(root, "diagnostics", slices=runs).to_pandas()
    scores = {name: _test_scores(name) for name in names}
    tables = (compared(measures), paired_auc_tests(scores))
    metrics, tests = (pa.Table.from_pandas(table, preserve_index=False) for table in tables)
    return metrics, tests


def _test_scores(name: str) -> pd.DataFrame:
    scores = delta.read(params.root(), "scores", slices=[name]).to_pandas()
    return scores[scores["split"] == "test"]


def _scored() -> list[str]:
    names = [str(entry.card.slice) for entry in cards.slices(params.root(), "scores")]
    if not names:
        raise LakeError("no finder has been evaluated yet; run `dvc repro`")
    return names
