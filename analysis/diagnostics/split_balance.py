"""Diagnostic: are the spatial splits balanced, disjoint and complete?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import scipy
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, Point, Status, decide, not_measured
from analysis.statistics import intervals
from lake.sky.imaging import Imaging
from lake.sky.photometry import depth_mag_from_psfdepth

SPLITS = ("train", "val", "test")
_COUNTS, _SEEING, _DEPTH = (f"split_balance/{name}" for name in ("counts", "seeing", "depth"))
_SHARE = "HEALPix pixels below"
FIGURES = {
    _COUNTS: Drawing("Rows of each split", "rows of", "rows", "bars", log_y=True),
    _SEEING: Drawing("Seeing of the splits, one value per pixel", "psfsize (arcsec)", _SHARE, "lines", percent=True),
    _DEPTH: Drawing("Depth of the splits, one value per pixel", "5-sigma depth (mag)", _SHARE, "lines", percent=True),
}
_STEPS = 21
_STRATA = ("tier", "type_bin", "nobs_z_bin", "pool")


class Params(DiagnosticParams):
    """The balance of the splits."""

    split_tolerance: float = Field(0.02, gt=0)
    """Allowed deviation of a share (or three standard errors over pixels, whichever is wider)."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The splits of the audit manifest."""
    return split_balance(subject.manifest, subject.fractions, subject.imaging, params)


def split_balance(
    manifest: pd.DataFrame, fractions: tuple[float, float, float], imaging: Imaging, params: Params
) -> Outcome:
    """Counts, shares, overlaps and observing conditions of the splits of one manifest.

    `manifest`: `galaxy_id`, `split`, `label`, `healpix_128`, `psfsize_<band>` and `psfdepth_<band>` of the reference
    band, and any of tier, type_bin, nobs_z_bin, pool. `fractions`: intended shares of train, val and test (0 where a
    manifest has no such split). The unit of shares and KS tests is the HEALPix pixel: neighbours share their seeing.
    """
    shares, share_gates = _shares(manifest, fractions, params)
    conditions, condition_gates = _conditions(manifest, imaging.reference_band, params)
    missing = int((manifest["healpix_128"].fillna(-1) < 0).sum())
    known = _zero_gate("split/healpix_known", missing, "every row has a HEALPix pixel, so leakage can be checked")
    gates = (*share_gates, *condition_gates, *_overlaps(manifest), known)
    counts = [*_counts(manifest), *_coverage(manifest, missing)]
    points = (*_count_points(manifest), *_condition_points(manifest, imaging.reference_band))
    said = _finding(manifest, shares, conditions, gates)
    return Outcome("split_balance", (*counts, *shares, *conditions), gates, findings=(said,), points=points)


def _coverage(manifest: pd.DataFrame, missing: int) -> Iterator[Measure]:
    """HEALPix pixels (nside 128) of each split, and rows without one."""
    for split, group in manifest.groupby("split"):
        pixels = group["healpix_128"]
        yield Measure(f"split/{split}/pixels", float(pixels[pixels >= 0].nunique()), n=len(group))
    yield Measure("split/healpix_missing", float(missing), n=len(manifest), method="rows without a HEALPix pixel")


def _count_points(manifest: pd.DataFrame) -> Iterator[Point]:
    tier = manifest["tier"] if "tier" in manifest.columns else pd.Series(None, index=manifest.index, dtype=object)
    kind = ("Tier " + tier.astype(object)).where(tier.notna(), "positives").where(manifest["label"] == 1, "negatives")
    places = {name: float(x) for x, name in enumerate(sorted(kind.unique(), key=lambda each: (each[0] != "T", each)))}
    for (split, name), group in manifest.groupby(["split", kind.rename("kind")]):
        yield Point(_COUNTS, str(split), places[name], float(len(group)), n=len(group), label=str(name))


def _condition_points(manifest: pd.DataFrame, band: str) -> Iterator[Point]:
    """Cumulative shares of pixels, at evenly spaced shares."""
    pixels = manifest.groupby(["split", "healpix_128"])[[f"psfsize_{band}", f"psfdepth_{band}"]].median()
    depth = pd.Series(depth_mag_from_psfdepth(pixels[f"psfdepth_{band}"]), pixels.index)
    shown = {_SEEING: pixels[f"psfsize_{band}"], _DEPTH: depth}
    at = np.linspace(0.0, 1.0, _STEPS)
    for figure, values in shown.items():
        for split, group in values.groupby("split"):
            known = group.to_numpy(float)[np.isfinite(group.to_numpy(float))]
            for share, value in zip(at, np.quantile(known, at) if len(known) else (), strict=False):
                yield Point(figure, str(split), float(value), float(share), n=len(known))


def _finding(
    manifest: pd.DataFrame, shares: Sequence[Measure], conditions: Sequence[Measure], gates: Sequence[Gate]
) -> Finding:
    p = [one.value for one in conditions if one.name.endswith("/p")]
    least = (
        f"the least KS p-value of seeing and depth between splits is {min(p):.2g}" if p else "seeing is not compared"
    )
    failed = [gate.name for gate in gates if gate.status == "FAIL"]
    reading = f"but {', '.join(failed)} fail" if failed else "so the splits are not told apart"
    parts = " / ".join(f"{100 * one.value:.1f}" for one in shares)
    return Finding(
        f"Train, val and test hold {parts} % of {shares[0].n:,} HEALPix pixels ({len(manifest):,} rows), and {least} "
        f"(one value per pixel), {reading}."
    )


def _counts(manifest: pd.DataFrame) -> Iterator[Measure]:
    kinds = manifest["label"].map({1: "positives", 0: "negatives"})
    for (split, kind), group in manifest.groupby(["split", kinds]):
        yield Measure(f"split/{split}/{kind}", float(len(group)))
    for column in [name for name in _STRATA if name in manifest.columns]:
        for (split, value, kind), group in manifest.groupby(["split", column, kinds], observed=True):
            yield Measure(f"split/{split}/{column}/{value}/{kind}", float(len(group)))


def _shares(
    manifest: pd.DataFrame, fractions: tuple[float, float, float], params: Params
) -> tuple[list[Measure], list[Gate]]:
    pixels = manifest.drop_duplicates("healpix_128")
    total, measures, gates = len(pixels), [], []
    for split, intended in zip(SPLITS, fractions, strict=True):
        error = math.sqrt(intended * (1.0 - intended) / total)
        allowed = max(params.split_tolerance, 3.0 * error)
        method = "share of the manifest's HEALPix pixels, Clopper-Pearson"
        measure = intervals.share(f"split/{split}/pixel_share", int((pixels["split"] == split).sum()), total, method)
        rule = f"|share of pixels - {intended:g}| <= {allowed:.3f} (tolerance or three standard errors over pixels)"
        status: Status = "PASS" if abs(measure.value - intended) <= allowed else "FAIL"
        measures.append(measure)
        gates.append(decide(f"split/{split}_share", measure, intended, rule, status))
    return measures, gates


def _conditions(manifest: pd.DataFrame, band: str, params: Params) -> tuple[list[Measure], list[Gate]]:
    columns = [f"psfsize_{band}", f"psfdepth_{band}"]
    pixels = manifest.groupby(["split", "healpix_128"])[columns].median().reset_index()
    measures, gates, held = [], [], set(manifest["split"])
    for column, (a, b) in itertools.product(columns, itertools.combinations(SPLITS, 2)):
        first, second = (pixels.loc[pixels["split"] == split, column].dropna() for split in (a, b))
        name, limit, n = f"split/{column}_{a}_{b}", params.ks_material_p, len(first) + len(second)
        rule = f"KS p-value of {column} between {a} and {b} (one value per pixel) >= {limit:g}"
        if len(first) < 2 or len(second) < 2:
            if {a, b} <= held:
                gates.append(not_measured(name, limit, f"{rule}; one value or none in a split"))
            continue
        test = scipy.stats.ks_2samp(first, second)
        statistic = Measure(f"split/ks_{column}/{a}_{b}", float(test.statistic), n=n, method="one median per pixel")
        p_value = Measure(f"split/ks_{column}/{a}_{b}/p", float(test.pvalue), n=n, method="two-sample KS")
        measures += [statistic, p_value]
        least = _least_p(len(first), len(second))
        if least >= limit:
            gates.append(not_measured(name, limit, f"{rule}; with {n} pixels no p-value can be below {least:.2g}"))
            continue
        gates.append(decide(name, p_value, limit, rule, "PASS" if test.pvalue >= limit else "FAIL"))
    return measures, gates


def _least_p(first: int, second: int) -> float:
    """The smallest p-value of a two-sample KS test with this many values: one sample entirely below the other."""
    ways = math.lgamma(first + second + 1) - math.lgamma(first + 1) - math.lgamma(second + 1)
    return min(1.0, 2.0 * math.exp(-ways))


def _overlaps(manifest: pd.DataFrame) -> Iterator[Gate]:
    for column, what in (("galaxy_id", "galaxies"), ("healpix_128", "HEALPix pixels"), ("cutout_path", "cut-outs")):
        if column in manifest.columns:
            known = manifest.dropna(subset=[column])
            if known.empty:
                yield not_measured(f"split/shared_{column}", 0.0, f"no {what} in two splits; none is known")
                continue
            shared = int((known.groupby(column)["split"].nunique() > 1).sum())
            yield _zero_gate(f"split/shared_{column}", shared, f"no {what} in two splits")


def _zero_gate(name: str, found: int, rule: str) -> Gate:
    return Gate(name, "PASS" if found == 0 else "FAIL", float(found), np.nan, np.nan, 0.0, rule)
