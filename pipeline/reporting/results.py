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
from analysis.results.untouched import Untouched, untouched
from analysis.statistics.completeness import equally_weighted
from lake.errors import LakeError, not_one_of
from lake.root import DataRoot
from lake.store import cards, delta, status
from pipeline.project.project import Project
from pipeline.reporting.finderpairs import pairs

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
    """The finder shown in candidates and galleries: the declared one, or the first if that has no results."""
    return names[0] if wanted is None or wanted not in names else wanted


def comparison(project: Project, invalid_too: bool = False) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Metrics of every finder; paired DeLong tests on the test split of the audit manifest; finders on the same trials
    (`finder_pairs`)."""
    root, names = project.data, scored(project.data, invalid_too)
    off = {} if invalid_too else status.invalid_results(root)
    measures, scores = {}, {}
    for name in names:
        runs = [run for run in (f"evaluate-{name}", f"diagnose-{name}") if f"diagnostics.{run}" not in off]
        measures[name] = delta.read(root, "diagnostics", slices=runs).to_pandas()
        rows = delta.read(root, "scores", slices=[name]).to_pandas()
        tested = rows[rows["split"] == "test"]
        scores[name] = untouched(tested)
        for what, words in contamination(tested).items():
            log.warning("%s: %s: %s", name, what, words)
    found = compare.completeness_comparison(*_completeness(root, names, off))
    both = compare.pairs_in_words(pairs(root, names, off))
    tables = (pd.concat([compare.comparison(measures), found], ignore_index=True), _paired(scores), both)
    metrics, tests, paired = (pa.Table.from_pandas(table, preserve_index=False) for table in tables)
    return metrics, tests, paired


def _paired(scores: Mapping[str, Untouched]) -> pd.DataFrame:
    refused = {name: why for name, held in scores.items() if (why := held.refusal())}
    return compare.paired_auc_tests({name: held.objects for name, held in scores.items()}, refused)


def contamination(tested: pd.DataFrame) -> Mapping[str, str]:
    """What is left out of the test figures because the finder trained or selected on it, or that this is not known."""
    unknown = int(tested["seen_in_training"].isna().sum())
    if words := untouched(tested).words:
        return {"test figures": words}
    if unknown:
        return {"test figures": f"training status is unknown for {unknown:,} of {len(tested):,} test galaxies"}
    return {}


def headlines(project: Project) -> list[str]:
    """One line per finder with its completeness and false-positive rate; then a line on the marks of intervals."""
    names, threshold_id = scored(project.data), project.section(ReportParams, "report").headline_threshold_id
    completeness, thresholds = _completeness(project.data, names, status.invalid_results(project.data))
    lines = []
    for name in names:
        point = points(thresholds[name]).get(threshold_id)
        words = completeness_words(marginal_row(completeness[name], threshold_id), point).replace("\u00a0", " ")
        lines.append(f"{name}: completeness at {threshold_id}: {words}")
    return [*lines, f"({INTERVALS})"]


def _completeness(
    root: DataRoot, names: Sequence[str], off: Mapping[str, object]
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Rows of `completeness` and of `thresholds` per finder; none where it has no grid yet, or none that counts."""

    def rows(table: str) -> dict[str, pd.DataFrame]:
        held = {str(entry.card.slice) for entry in cards.slices(root, table) if entry.name not in off}
        read = {name: delta.read(root, table, slices=[name]).to_pandas() for name in held & set(names)}
        return {name: read.get(name, pd.DataFrame()) for name in names}

    equal = {name: equally_weighted(found) for name, found in rows("completeness").items()}
    return equal, rows("thresholds")


def scored(root: DataRoot, invalid_too: bool = False) -> list[str]:
    """Names of the finders that were evaluated, without those whose evaluation does not count."""
    names = [str(entry.card.slice) for entry in cards.of_survey(root, "scores")]
    if not names:
        raise cards.missing(root, "'scores'", cards.foreign(root, "scores"))
    off = {} if invalid_too else status.invalid_results(root)
    for name in (name for name in names if f"scores.{name}" in off):
        log.warning("%s is left out: %s", name, off[f"scores.{name}"].text)
    valid = [name for name in names if f"scores.{name}" not in off]
    if not valid:
        raise LakeError("the evaluation of every finder is invalidated: `dhs registry --status invalidated` says why")
    return valid
