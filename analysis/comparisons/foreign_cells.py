"""Per-cell selection functions in the layout of the reference system: rows that can be used, and those that cannot.

A file has one row per cell (Einstein radius, PSF width, depth; the centres of its bins), threshold and magnitude bin.
Bins may divide more than one kind of magnitude (`23-24` unlensed, `lensed_20-22` lensed) under one column; each prefix
is a family, declared on import, and only bins of one family divide the same injections.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from analysis.statistics.completeness import ALL, MARGINAL, UNLENSED, require_one_identity
from analysis.statistics.thresholds import fpr_name, probability_name
from lake.config import Section
from lake.errors import DataError, invalid
from lake.files import usercsv

NOT_RECORDED = "not recorded"
AXES = ("theta_e", "psf_fwhm", "depth_5sig")
COUNTS = ("n_injections", "n_detected", "n_failed")
INTERVALS = ("ci68_lo", "ci68_hi", "ci95_lo", "ci95_hi")
MEANS = ("mean_score", "mean_arc_snr")
COLUMNS = (
    *AXES, "threshold", "threshold_type", "fpr_target", "source_mag_bin", *COUNTS, "completeness", *INTERVALS, *MEANS,
    "sufficient",
)  # fmt: skip
"""Columns of the layout."""
RATES = {
    "fpr_reached": "fpr_reached",
    "fpr_low": "fpr_ci95_lo",
    "fpr_high": "fpr_ci95_hi",
    "fpr_unlisted_low": "fpr_unlisted_lo",
    "fpr_unlisted_high": "fpr_unlisted_hi",
}
"""Further columns that our own exports have, by those of `completeness`: the rate that each threshold reaches."""
RANGE = {"unlisted_low": "completeness_unlisted_lo", "unlisted_high": "completeness_unlisted_hi"}
"""The same of each cell: its completeness over the declared numbers of unlisted lenses."""
_FURTHER = (*RATES.values(), *RANGE.values())
_OPTIONAL = {*INTERVALS, *MEANS, "sufficient"}
_NUMBERS = [name for name in COLUMNS if name not in ("threshold_type", "source_mag_bin", "sufficient")]
KEY = ["cell", "threshold_id", "source_mag_bin"]
_BIN = r"^(?:(?P<prefix>[A-Za-z][A-Za-z0-9_]*?)_)?(?P<low>\d+(?:\.\d+)?)-(?P<high>\d+(?:\.\d+)?)$"
_EMPTY = ("", "nan", "none", "null")
_MOST = 2.0**53
"""Largest count that is exact as a number of double precision."""
_ROUNDED = 0.06
"""How far a rate that is written with two digits may be from the rate itself, relatively."""


class Declared(Section):
    """What the numbers of a foreign table mean; the JSON file that comes with it is often incomplete."""

    prior: str = Field(min_length=1)
    """Prior of the injections: a name, or 'not recorded'."""
    source_mag_families: dict[str, str] = Field(default_factory=dict)
    """For each prefix of magnitude bins ('lensed' for lensed_20-22) the magnitudes that its bins divide."""
    selection: Literal[">", ">=", "not recorded"] = "not recorded"
    """Whether a score equal to the threshold is found."""
    psf_width: Literal["fwhm_nea", "fwhm", "not recorded"] = "not recorded"
    """Kind of the PSF widths: catalogue psfsize (fwhm_nea), or full width of a named profile."""
    threshold_sample: str = Field(default="unknown", min_length=1)
    """Sample of negatives that fixed the thresholds at a false-positive rate."""


@dataclass(frozen=True)
class Cells:
    """A file's rows: those of cells, stated marginals (no axis given), and those that cannot be used."""

    kept: pd.DataFrame
    """`row_index` (line of the file), `cell`, `threshold_id`, `family`, numbers of `COLUMNS` as they are stated"""
    marginals: pd.DataFrame
    rejected: pd.DataFrame
    """`row_index`, `reason`, `record` (the line as JSON)"""
    decimals: Mapping[str, int]
    """Most decimal places of each column"""


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file as text, with `row_index`: the line of each row. DataError if it is not one."""
    rows = usercsv.read(path, "as a CSV file", dtype=str, keep_default_na=False, skip_blank_lines=False)
    rows = rows.fillna("").apply(lambda column: column.str.strip())
    rows = rows.assign(row_index=np.arange(len(rows)) + 2)[(rows != "").any(axis=1)]
    if rows.empty:
        raise DataError(f"{path} has no rows")
    return rows


def require_columns(rows: pd.DataFrame, needed: tuple[str, ...], what: str) -> None:
    """DataError that names the columns that a file lacks."""
    missing = [name for name in needed if name not in rows.columns]
    if missing:
        held = ", ".join(name for name in rows.columns if name != "row_index")
        raise DataError(f"{what} lacks the columns {', '.join(missing)}; it has {held}")


def understood(rows: pd.DataFrame, declared: Declared) -> Cells:
    """Judge every line of a table (:func:`read_table`). DataError where columns or declarations are missing."""
    require_columns(rows, tuple(name for name in COLUMNS if name not in _OPTIONAL), "the table")
    text = rows.reindex(columns=["row_index", *COLUMNS, *_FURTHER], fill_value="")
    decimals = {name: int(_decimals(text[name]).max()) for name in _NUMBERS}
    values = text[["row_index", "threshold_type", "source_mag_bin", "sufficient"]].copy()
    for name in (*_NUMBERS, *_FURTHER):
        values[name] = pd.to_numeric(text[name].where(~text[name].str.lower().isin(_EMPTY)), errors="coerce")
    values["family"] = _families(values["source_mag_bin"], declared)
    values["threshold_id"] = _threshold_ids(values, declared.threshold_sample)
    values["cell"] = _cells(values)
    reasons = _reasons(text, values)
    left = values[reasons.isna()]
    if len(left):
        _require_partitions(left)
        reasons = reasons.where(reasons.notna(), _repeated(left).reindex(values.index))
    good = reasons.isna()
    if not (good & (values["cell"] != MARGINAL)).any():
        first = reasons.dropna().iloc[0] if len(reasons.dropna()) else f"it has no {' and no '.join(AXES)}"
        raise DataError(f"none of the {len(rows)} rows can be used; the first: {first}")
    lines = text.drop(columns="row_index").apply(lambda line: json.dumps(line.to_dict()), axis=1)
    rejected = pd.DataFrame({"row_index": text["row_index"], "reason": reasons, "record": lines})[~good]
    whole = values["cell"] == MARGINAL
    return Cells(values[good & ~whole], values[good & whole], rejected, decimals)


def _decimals(text: pd.Series) -> pd.Series:
    """Places after the point of each number, its exponent counted."""
    parts = text.str.extract(r"^[^.eE]*(?:\.(?P<places>\d*))?(?:[eE]-(?P<exponent>\d+))?$")
    return parts["places"].str.len().astype(float).fillna(0.0) + pd.to_numeric(parts["exponent"]).fillna(0)


def _families(bins: pd.Series, declared: Declared) -> pd.Series:
    """What the magnitudes of each bin are; null for `all`, for names that are not bins, and for bins without width."""
    parts = bins.str.extract(_BIN)
    prefixes = parts["prefix"].fillna("").where(parts["low"].astype(float) < parts["high"].astype(float))
    known = {"": UNLENSED, **declared.source_mag_families}
    unknown = sorted(set(prefixes.dropna()) - set(known))
    if unknown:
        example = 'as in lensed="lensed magnitude"'
        allowed = f"declared for each prefix of magnitude bins, here {', '.join(unknown)}, {example}"
        raise invalid("source_mag_families", allowed, declared.source_mag_families)
    return prefixes.map(known)


def _require_partitions(values: pd.DataFrame) -> None:
    """DataError where bins of one family overlap: they would count injections twice."""
    edges = values["source_mag_bin"].str.extract(_BIN)[["low", "high"]].astype(float)
    bins = values[["family", "source_mag_bin"]].join(edges).dropna().drop_duplicates()
    for family, part in bins.sort_values(["low", "high"]).groupby("family"):
        for (one, _, top), (other, low, _) in pairwise(part[["source_mag_bin", "low", "high"]].to_numpy().tolist()):
            if low < top:
                cure = "give those of a second partition a prefix, and declare what it means"
                raise DataError(f"the bins {one} and {other} ({family}) overlap: {cure}")


def _threshold_ids(values: pd.DataFrame, sample: str) -> pd.Series:
    pairs = zip(values["threshold"], values["fpr_target"], strict=True)
    return pd.Series([threshold_id(value, rate, sample) for value, rate in pairs], index=values.index)


def threshold_id(threshold: float, fpr: float | None, sample: str) -> str:
    """Name of a threshold that was chosen (no rate: null or NaN), or derived from a sample."""
    return probability_name(threshold) if fpr is None or np.isnan(fpr) else f"{fpr_name(fpr)}@{sample}"


def _cells(values: pd.DataFrame) -> pd.Series:
    """Names of cells by the places of their centres; `marginal` where none is given, null where only some are."""
    codes = {name: pd.factorize(values[name].round(6), sort=True)[0] for name in AXES}
    theta_e, psf, depth = codes.values()
    names = [f"t{t:02d}p{p}d{d}" for t, p, d in zip(theta_e, psf, depth, strict=True)]
    given = values[list(AXES)].notna()
    found = pd.Series(names, index=values.index, dtype=object).where(given.all(axis=1))
    return found.mask(~given.any(axis=1), MARGINAL)


def _reasons(text: pd.DataFrame, values: pd.DataFrame) -> pd.Series:
    """Why a row cannot be used, the first rule that it breaks; null where it can."""
    given = {name: ~text[name].str.lower().isin(_EMPTY) for name in (*_NUMBERS, *_FURTHER)}
    tests = [(given[name] & ~np.isfinite(values[name]), f"'{name}' is not a number") for name in given]
    tests += [(given[name] & ~values[name].between(0, 1), f"'{name}' is not a share") for name in _FURTHER]
    tests.append((values["cell"].isna(), f"only some of {', '.join(AXES)} are given"))
    for name in COUNTS:
        odd = ~values[name].between(0, _MOST) | (values[name] % 1 != 0)
        tests.append((odd, f"'{name}' is not a count"))
    tests += [(values[name] <= 0, f"'{name}' is not positive") for name in ("theta_e", "psf_fwhm")]
    kind = values["threshold_type"].str.lower()
    fixed, rate = kind == "fixed", pd.to_numeric(kind.str.extract(r"^fpr\s*=\s*(.*)$")[0], errors="coerce")
    apart = (rate / values["fpr_target"] - 1.0).abs() > _ROUNDED
    tests += [
        (~fixed & rate.isna(), "'threshold_type' is neither 'fixed' nor FPR=rate"),
        (~fixed & apart, "'threshold_type' and 'fpr_target' give different rates"),
        (values["n_detected"] > values["n_injections"], "more detected than injected"),
        (~values["threshold"].between(0, 1), "'threshold' is not a probability"),
        (~values["fpr_target"].fillna(0.5).between(0, 1, inclusive="neither"), "'fpr_target' is not a rate"),
        (fixed & values["fpr_target"].notna(), "a fixed threshold with a rate"),
        (~fixed & values["fpr_target"].isna(), "a derived threshold without its rate"),
        (values["family"].isna() & (values["source_mag_bin"] != ALL), f"'source_mag_bin' is not '{ALL}' or low-high"),
    ]  # fmt: skip
    found = np.select([test.to_numpy() for test, _ in tests], [reason for _, reason in tests], default="")
    return pd.Series(found, index=values.index, dtype=object).replace("", None)


def _repeated(values: pd.DataFrame) -> pd.Series:
    """Why rows with the key of another row cannot be used: one of equal ones is kept, none of contradictory ones."""
    lines = values.groupby(KEY)["row_index"].transform("min")
    kinds = values[list(COUNTS)].astype(str).agg("/".join, axis=1).groupby([values[name] for name in KEY])
    same = kinds.transform("nunique") == 1
    first = values["row_index"] == lines
    twice = values.duplicated(KEY, keep=False)
    words = np.where(same, "repeats the row of line ", "contradicts other rows of the same cell, first in line ")
    told = pd.Series(words, index=values.index, dtype=object) + lines.astype(str)
    return told.where(twice & ~(same & first))


def counts(cells: Cells, identity: Mapping[str, Any]) -> pd.DataFrame:
    """Rows for :func:`analysis.statistics.completeness.table_rows`: cells as stated, marginals summed from them.

    DataError where one threshold has several values.
    """
    kept = cells.kept
    rows = pd.DataFrame(
        {
            **{name: kept[name] for name in (*KEY, "threshold")},
            "source_mag_family": kept["family"],
            "theta_e_arcsec": kept["theta_e"],
            "psf_centre_arcsec": kept["psf_fwhm"],
            "depth_centre_mag": kept["depth_5sig"],
            "n": kept["n_injections"],
            "detected": kept["n_detected"],
            "failed": kept["n_failed"],
            "mean_score": kept["mean_score"],
            "mean_arc_snr": kept["mean_arc_snr"],
            **{ours: kept[theirs] for ours, theirs in (RATES | RANGE).items()},
        }
    )
    whole = pd.concat([rows, _marginals(rows)], ignore_index=True)
    whole = whole.astype(dict.fromkeys(("n", "detected", "failed"), "int64"))
    whole = whole.assign(hosts=np.nan, origin="foreign", **identity)
    require_one_identity(whole)
    return whole


def _marginals(rows: pd.DataFrame) -> pd.DataFrame:
    """Sums over cells, per threshold and bin; means are those of all injections, null where a cell's is missing.

    The rate of a threshold is that of its cells, null where they differ.
    """
    means = (*MEANS, *RANGE)
    by = ["threshold_id", "threshold", "source_mag_bin", "source_mag_family"]
    used = rows.assign(**{f"sum_{name}": rows[name] * rows["n"] for name in means})
    used.loc[used["n"] == 0, [f"sum_{name}" for name in means]] = 0.0
    grouped = used.groupby(by, dropna=False, sort=True)
    sums = grouped[["n", "detected", "failed"]].sum()
    for name in means:
        total = grouped[f"sum_{name}"].sum(min_count=1).where(grouped[f"sum_{name}"].count() == grouped.size())
        sums[name] = total / sums["n"].where(sums["n"] > 0)
    for name in RATES:
        sums[name] = grouped[name].first().where(grouped[name].nunique(dropna=False) == 1)
    return sums.reset_index().assign(cell=MARGINAL)
