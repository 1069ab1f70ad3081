"""Results as tables for the screen: ranked candidates, generations side by side."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa

from analysis.config import ReportParams
from analysis.reporting import compare
from analysis.reporting.thresholds import INTERVALS, completeness_words, marginal_row, points
from analysis.results.discoveries import ranked_candidates
from lake.errors import not_one_of
from lake.root import DataRoot
from lake.store import cards, delta
from pipeline.project.project import Project

log = logging.getLogger(__name__)


def discoveries(project: Project, generation: str | None, top: int) -> pa.Table:
    """The best unlisted objects of one finder."""
    root, names = project.data, scored(project.data)
    name = generation or shown_first(names, project.section(ReportParams, "report").headline_generation)
    if name not in names:
        raise not_one_of("generation", names, name)
    scores = delta.read(root, "scores", slices=[name]).to_pandas()
    positions = delta.read(root, "negatives", ["galaxy_id", "ra", "dec"]).to_pandas()
    return pa.Table.from_pandas(ranked_candidates(scores, positions, top), preserve_index=False)


def shown_first(names: Sequence[str], wanted: str | None) -> str:
    """The model shown in candidates and galleries: the declared one, or the first if that has no results."""
    return names[0] if wanted is None or wanted not in names else wanted


def comparison(project: Project) -> tuple[pa.Table, pa.Table]:
    """Metrics of every finder, and paired DeLong tests on the test split of the audit manifest."""
    root, names = project.data, scored(project.data)
    measures, scores = {}, {}
    for name in names:
        runs = [f"evaluate-{name}", f"diagnose-{name}"]
        measures[name] = delta.read(root, "diagnostics", slices=runs).to_pandas()
        rows = delta.read(root, "scores", slices=[name]).to_pandas()
        scores[name] = rows[rows["split"] == "test"]
    for name, tested in scores.items():
        for what, words in contamination(tested).items():
            log.warning("%s: %s %s", name, what, words)
    found = compare.completeness_comparison(*_completeness(root, names))
    tables = (pd.concat([compare.comparison(measures), found], ignore_index=True), compare.paired_auc_tests(scores))
    metrics, tests = (pa.Table.from_pandas(table, preserve_index=False) for table in tables)
    return metrics, tests


def contamination(tested: pd.DataFrame) -> Mapping[str, str]:
    """The line that marks test figures of galaxies that the model trained or selected on, or may have."""
    known = tested["seen_in_training"].astype("boolean")
    seen, unknown = int(known.sum()), int(known.isna().sum())
    if seen:
        return {"test figures": f"CONTAMINATED: {seen:,} of {len(tested):,} test galaxies were trained or selected on"}
    if unknown:
        return {"test figures": f"training status is unknown for {unknown:,} of {len(tested):,} test galaxies"}
    return {}


def headlines(project: Project) -> list[str]:
    """One line per finder with its completeness and false-positive rate; then a line on the marks of intervals."""
    names, threshold_id = scored(project.data), project.section(ReportParams, "report").headline_threshold_id
    completeness, thresholds = _completeness(project.data, names)
    lines = []
    for name in names:
        point = points(thresholds[name]).get(threshold_id)
        words = completeness_words(marginal_row(completeness[name], threshold_id), point).replace("\u00a0", " ")
        lines.append(f"{name}: completeness at {threshold_id}: {words}")
    return [*lines, f"({INTERVALS})"]


def _completeness(root: DataRoot, names: Sequence[str]) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Rows of `completeness` and of `thresholds` per finder; none where it has no grid yet."""

    def rows(table: str) -> dict[str, pd.DataFrame]:
        held = {str(entry.card.slice) for entry in cards.slices(root, table)}
        read = {name: delta.read(root, table, slices=[name]).to_pandas() for name in held & set(names)}
        return {name: read.get(name, pd.DataFrame()) for name in names}

    return rows("completeness"), rows("thresholds")


def scored(root: DataRoot) -> list[str]:
    """Names of the finders that were evaluated."""
    names = [str(entry.card.slice) for entry in cards.of_survey(root, "scores")]
    if not names:
        raise cards.missing(root, "'scores'", cards.foreign(root, "scores"))
    return names
