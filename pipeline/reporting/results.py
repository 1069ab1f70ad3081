"""Results as tables for the screen: ranked candidates, generations side by side."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa

from analysis.config import ReportParams
from analysis.reporting import compare
from analysis.reporting.pairedshares import Compared, paired_share_tests
from analysis.reporting.thresholds import INTERVALS, completeness_words, marginal_row, points
from analysis.results.discoveries import ranked_candidates
from analysis.results.untouched import Untouched, negatives_for, untouched
from analysis.statistics.completeness import equally_weighted
from lake.errors import LakeError, not_one_of
from lake.root import DataRoot
from lake.sky.split import THRESHOLD
from lake.store import cards, delta, status
from pipeline.project.project import Project
from pipeline.reporting.finderpairs import pairs

log = logging.getLogger(__name__)


def discoveries(project: Project, generation: str | None, top: int, calibrator: str) -> pa.Table:
    """The best unlisted objects of one finder, with the probabilities of one of its calibrators."""
    root, names = project.data, scored(project.data)
    name = generation or shown_first(names, project.section(ReportParams, "report").headline_generation)
    if name not in names:
        raise not_one_of("generation", names, name)
    scores = delta.read(root, "scores", slices=[name]).to_pandas()
    positions = delta.read(root, "negatives", ["galaxy_id", "ra", "dec"]).to_pandas()
    maps = calibrations(root, name)
    return pa.Table.from_pandas(ranked_candidates(scores, positions, top, maps, calibrator), preserve_index=False)


def calibrations(root: DataRoot, name: str) -> pd.DataFrame:
    """The calibrators of a finder; none if it was not evaluated, or its evaluation does not count."""
    off = status.invalid_results(root)
    held = [one.card.slice for one in cards.slices(root, "calibrations") if one.name not in off]
    return delta.read(root, "calibrations", slices=[name]).to_pandas() if name in held else pd.DataFrame()


def shown_first(names: Sequence[str], wanted: str | None) -> str:
    """The finder shown in candidates and galleries: the declared one, or the first if that has no results."""
    return names[0] if wanted is None or wanted not in names else wanted


def comparison(project: Project, threshold_id: str | None, invalid_too: bool = False) -> list[pa.Table]:
    """Metrics of every finder; paired tests of the AUC, and of recall, false-positive rate and completeness at a
    threshold (by default the headline's); finders on the same trials (`finder_pairs`)."""
    root, names = project.data, scored(project.data, invalid_too)
    off = {} if invalid_too else status.invalid_results(root)
    measures, scores, held = {}, {}, {}
    at = threshold_id or project.section(ReportParams, "report").headline_threshold_id
    for name in names:
        runs = [run for run in (f"evaluate-{name}", f"diagnose-{name}") if f"diagnostics.{run}" not in off]
        measures[name] = delta.read(root, "diagnostics", slices=runs).to_pandas()
        rows = delta.read(root, "scores", slices=[name]).to_pandas()
        tested = rows[rows["split"] == "test"]
        scores[name] = untouched(tested)
        held[name] = _compared(root, name, rows, off)
        for what, words in contamination(tested).items():
            log.warning("%s: %s: %s", name, what, words)
    found = compare.completeness_comparison(*_completeness(root, names, off))
    both = compare.pairs_in_words(pairs(root, names, off))
    metrics = pd.concat([compare.comparison(measures), found], ignore_index=True)
    shares = paired_share_tests(held, _pixels(project), at)
    return [pa.Table.from_pandas(each, preserve_index=False) for each in (metrics, _paired(scores), shares, both)]


def _compared(root: DataRoot, name: str, scores: pd.DataFrame, off: Mapping[str, object]) -> Compared:
    """What a finder was measured on, from its rows of `scores`; without its grid where that does not count."""
    columns = ["galaxy_id", "tier"]
    manifest = delta.read(root, "manifest", columns, slices=[str(scores["manifest_id"].iloc[0])]).to_pandas()
    tested = scores[scores["split"] == "test"].merge(manifest, on="galaxy_id", how="left", validate="one_to_one")
    fixing = negatives_for(scores, THRESHOLD)[["galaxy_id", "probability"]]
    thresholds = delta.read(root, "thresholds", slices=[name]).to_pandas()
    grid = {str(entry.card.slice) for entry in cards.slices(root, "completeness") if entry.name not in off}
    injections = pd.DataFrame()
    if name in grid:
        answers = delta.read(root, "injection_scores", ["injection_id", "status", "probability"], slices=[name])
        made = delta.read(root, "injections", ["grid_id", "injection_id", "galaxy_id"], slices=[name])
        injections = made.to_pandas().merge(answers.to_pandas(), on="injection_id", validate="one_to_one")
    return Compared(untouched(tested), fixing, thresholds, injections)


def _pixels(project: Project) -> pd.Series:
    """HEALPix pixel of every galaxy of the audit manifest."""
    columns = ["galaxy_id", "healpix_128"]
    rows = delta.read(project.data, "manifest", columns, slices=[project.survey.audit_manifest]).to_pandas()
    return rows.set_index("galaxy_id")["healpix_128"]


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
