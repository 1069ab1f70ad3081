"""Generations side by side: their metrics, and paired tests on the same objects and the same injections."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from analysis.reporting.thresholds import completeness_words, marginal_row, points
from analysis.reporting.views import NOT_MEASURED, REASONS, measure, reason_for, reasons
from analysis.statistics import roc
from analysis.statistics.intervals import TABLE_LEVEL, exact
from analysis.statistics.paired import PairedShares
from lake.errors import DataError

INDISTINGUISHABLE = "indistinguishable"
_FEWEST_HOSTS = 2
_RESAMPLES = 1000
HEADLINES = (
    *("auc", "trivial/auc", "trivial/recall_gain/", "tpr_at_fpr/", "fpr/", "recall/tier_A/"),
    *("partial_auc/1e-1/mcclish", "partial_auc/1e-2/mcclish", "calibration/ece", "calibration/ece_above_0.01"),
    *("calibration/cox_slope", "calibration/saturated_share"),
)
"""Names of measures; a name that ends in a slash matches all that begin with it."""


@dataclass(frozen=True)
class Fixing:
    """The negatives that fixed a derived threshold of two finders: probabilities of the same galaxies in one order."""

    probability_a: np.ndarray
    probability_b: np.ndarray
    target_fpr: float

    def thresholds(self, resample: np.ndarray) -> tuple[float, float]:
        """Both thresholds of a resample (indices) of the negatives."""
        rank = int(np.floor(self.target_fpr * len(resample) + 1e-9))
        place = len(resample) - 1 - rank
        first, second = self.probability_a[resample], self.probability_b[resample]
        return float(np.partition(first, place)[place]), float(np.partition(second, place)[place])


def comparison(measures: Mapping[str, pd.DataFrame], names: tuple[str, ...] = HEADLINES) -> pd.DataFrame:
    """One row per metric, one column per generation (`value [low, high]`), from rows of `diagnostics`."""
    known = list(dict.fromkeys(name for frame in measures.values() for name in frame["name"]))
    wanted = [n for name in names for n in ([k for k in known if k.startswith(name)] if name.endswith("/") else [name])]
    why = {model: reasons(frame) for model, frame in measures.items()}

    def text(model: str, name: str) -> str:
        row = measure(measures[model], name)
        return _text(reason_for(name, why[model]) if row is None else row)

    return pd.DataFrame([{"metric": name} | {model: text(model, name) for model in measures} for name in wanted])


def completeness_comparison(
    completeness: Mapping[str, pd.DataFrame], thresholds: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """One row per threshold, one column per generation: completeness with the false-positive rate of its threshold.

    From rows of `completeness` (one grid each) and of `thresholds`; a completeness that is not shown is a reason.
    """
    named = {generation: points(frame) for generation, frame in thresholds.items()}
    rows = []
    for threshold_id in dict.fromkeys(name for known in named.values() for name in known):
        row = {"metric": f"completeness/{threshold_id}"}
        for generation, known in named.items():
            marginal = marginal_row(completeness[generation], threshold_id)
            row[generation] = completeness_words(marginal, known.get(threshold_id)).replace("\u00a0", " ")
        rows.append(row)
    return pd.DataFrame(rows)


def paired_auc_tests(scores: Mapping[str, pd.DataFrame], refused: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Paired DeLong test of every pair of generations; frames have `galaxy_id`, `label`, `score` of the same split.

    A pair with a generation in `refused` has the reason as its verdict. Only objects that both scored are compared, and
    their number is given. A difference below two standard errors is called indistinguishable, whatever its sign.
    """
    reasons = {a: f"{a} {why}" for a, why in (refused or {}).items()}
    rows = []
    for a, b in itertools.combinations(scores, 2):
        why = [reasons[name] for name in (a, b) if name in reasons]
        rows.append({"a": a, "b": b, "verdict": "; ".join(why)} if why else _auc_row(a, b, scores[a], scores[b]))
    return pd.DataFrame(rows)


def pairs_in_words(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `finder_pairs`, one per pair and quantity: `value [low, high]`, or why it is not measured."""
    if rows.empty:
        return rows
    shares, lines = ("ceiling", "other_ceiling"), [row for _, row in rows.iterrows()]
    units = ["%" if row["quantity"] in shares else "points" for row in lines]
    figures = [
        f"{_text(row, 1)} {unit}" if pd.notna(row["value"]) else str(row["method"])
        for row, unit in zip(lines, units, strict=True)
    ]
    key = rows[["generation", "other", "quantity", "threshold_id"]]
    return key.assign(figure=figures, n=rows["n"], verdict=rows["verdict"].fillna(""))


def paired_completeness(
    a: pd.DataFrame, b: pd.DataFrame, threshold_a: float, threshold_b: float, fixing: Fixing | None = None
) -> PairedShares:
    """Two finders on one grid: frames have `grid_id`, `injection_id`, `galaxy_id` (host), `status`, `probability`.

    Injections that either finder could not score are left out of both. The units are hosts; one gives no interval.
    Derived thresholds come with the negatives that fixed them: their uncertainty is then part of the interval.
    """
    grids = set(a["grid_id"]) | set(b["grid_id"])
    if len(grids) != 1:
        raise DataError(f"completeness of different grids cannot be paired: {', '.join(sorted(grids))}")
    first, second = (rows[rows["status"] == "scored"] for rows in (a, b))
    both = _matched(first, second, "injection_id", ["probability"], ["galaxy_id"])
    if both.empty:
        raise DataError("the two finders share no scored injection")
    hit_a, hit_b = both["probability_a"] > threshold_a, both["probability_b"] > threshold_b
    change = hit_b.astype(float) - hit_a.astype(float)
    difference, error, hosts = _clustered_mean(change.to_numpy(), both["galaxy_id"].to_numpy())
    if fixing is not None:
        error = float(np.hypot(error, _threshold_error(both, fixing)))
    low, high = _change_interval(difference, error, hosts)
    if error == 0.0 and difference != 0.0:  # all hosts change alike: a sign test of that many
        error = abs(difference) / float(-scipy.special.ndtri(0.5**hosts))
    only_a, only_b = int((hit_a & ~hit_b).sum()), int((hit_b & ~hit_a).sum())
    discordant = only_a + only_b
    p = float(scipy.stats.binomtest(only_b, discordant, 0.5).pvalue) if discordant else 1.0
    return PairedShares(len(both), hosts, only_a, only_b, difference, low, high, error, p)


def fixing_of(thresholds: pd.DataFrame, a: pd.DataFrame, b: pd.DataFrame, name: str) -> Fixing | None:
    """The negatives (`galaxy_id`, `probability`) that fixed a derived threshold of both finders; None for a threshold
    chosen beforehand."""
    target = float(thresholds.set_index("threshold_id")["target_fpr"].get(name, np.nan))
    if not np.isfinite(target):
        return None
    both = _matched(a, b, "galaxy_id", ["probability"])
    return Fixing(both["probability_a"].to_numpy(float), both["probability_b"].to_numpy(float), target)


def _auc_row(a: str, b: str, first: pd.DataFrame, second: pd.DataFrame) -> dict[str, object]:
    both = _matched(first, second, "galaxy_id", ["label", "score"])
    if (both["label_a"] != both["label_b"]).any():
        raise DataError(f"{a} and {b} disagree on the label of a galaxy: they were scored on different manifests")
    test = roc.delong_paired(both["label_a"], both["score_a"], both["score_b"], TABLE_LEVEL)
    verdict = INDISTINGUISHABLE if test.indistinguishable else (f"{b} better" if test.difference > 0 else f"{a} better")
    counted = {"objects": len(both), "left_out": len(first) + len(second) - 2 * len(both)}
    return {"a": a, "b": b, **asdict(test), **counted, "verdict": verdict}


def _matched(a: pd.DataFrame, b: pd.DataFrame, key: str, columns: list[str], of_a: Sequence[str] = ()) -> pd.DataFrame:
    """Columns of the rows that both frames have, with the suffixes `_a` and `_b`, and some columns of the first."""
    first, second = a[[key, *of_a, *columns]], b[[key, *columns]]
    return first.merge(second, on=key, suffixes=("_a", "_b"), validate="one_to_one")


def _threshold_error(both: pd.DataFrame, fixing: Fixing) -> float:
    """Standard error of the difference from the thresholds alone: both of each resample of the shared negatives."""
    rng = np.random.default_rng(len(both))
    first, second = (np.sort(both[f"probability_{side}"].to_numpy(float)) for side in "ab")
    changes = []
    for _ in range(_RESAMPLES):
        cut_a, cut_b = fixing.thresholds(rng.integers(len(fixing.probability_a), size=len(fixing.probability_a)))
        changes.append(np.searchsorted(first, cut_a, side="right") - np.searchsorted(second, cut_b, side="right"))
    return float(np.std(changes, ddof=1)) / len(both)


def _clustered_mean(values: np.ndarray, clusters: np.ndarray) -> tuple[float, float, int]:
    codes = np.unique(clusters, return_inverse=True)[1]
    total, count = np.bincount(codes, values), np.bincount(codes)
    n, m = len(values), len(count)
    scatter = float(np.sum((total * n - total.sum() * count) ** 2))  # of whole numbers: 0 where all hosts agree
    error = float(np.sqrt(m / (m - 1) * scatter)) / n**2 if m > 1 else float("nan")
    return float(values.mean()), error, m


def _change_interval(difference: float, error: float, hosts: int) -> tuple[float, float]:
    """Student's t over hosts; if all hosts agree, Clopper-Pearson for as many trials as there are hosts."""
    if hosts < _FEWEST_HOSTS:
        return float("nan"), float("nan")
    if error == 0.0:
        low, high = exact(abs(difference) * hosts, hosts)
        return (-high, high) if difference == 0.0 else (low, high) if difference > 0.0 else (-high, -low)
    half = float(-scipy.special.stdtrit(hosts - 1, (1.0 - TABLE_LEVEL) / 2.0)) * error
    return max(difference - half, -1.0), min(difference + half, 1.0)


def _text(row: Mapping[Any, Any] | pd.Series | None, digits: int = 4) -> str:
    if row is None:
        return NOT_MEASURED
    if pd.isna(row["value"]):
        method = str(row.get("method"))
        return method if method.startswith(REASONS) else "not defined"
    if pd.isna(row["low"]):
        return f"{row['value']:.{digits}f}"
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
