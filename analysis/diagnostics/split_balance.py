"""Diagnostic: are the spatial splits balanced, disjoint and complete?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import scipy
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Gate, Measure, Outcome, Status, decide, not_measured
from analysis.statistics import intervals
from lake.sky.imaging import Imaging

SPLITS = ("train", "val", "test")
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
    return Outcome("split_balance", (*_counts(manifest), *shares, *conditions), gates)


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
