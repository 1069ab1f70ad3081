"""How often intervals of completeness hold the truth, over simulated skies with one finder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

KINDS = ("host", "field")
"""Clusters of an interval: hosts, or the fields (bricks) they lie in."""
_REPLICATES = 4000
_ENDS = (2.5, 97.5)


def truth_of(lenses: pd.DataFrame, thresholds: Mapping[str, float], bins: Mapping[str, str]) -> pd.DataFrame:
    """True completeness (`truth`) with its standard error over skies: a row per threshold and bin.

    ``lenses`` has `sky`, `probability` of each lens as painted, and a column of bins for each name in ``bins``.
    """
    rows = []
    for name, value in thresholds.items():
        for family, column in {"all": "", **bins}.items():
            groups = [("all", lenses)] if not column else list(lenses.groupby(column, observed=True))
            for label, part in groups:
                by_sky = part.assign(hit=part["probability"] > value).groupby("sky")["hit"].agg(["sum", "size"])
                share = by_sky["sum"].sum() / by_sky["size"].sum()
                residual = by_sky["sum"] - share * by_sky["size"]
                error = float(np.sqrt((residual**2).sum()) / by_sky["size"].sum())
                rows.append((name, family, str(label), float(share), error, int(by_sky["size"].sum())))
    return pd.DataFrame(rows, columns=["threshold_id", "family", "bin", "truth", "truth_error", "lenses"])


def covered(estimates: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Estimates of all skies with the truth, and whether each interval holds it (`<kind>_holds`).

    They have `sky`, `threshold_id`, `family`, `bin`, `completeness`, `<kind>_low` and `<kind>_high`.
    """
    both = estimates.merge(truth, on=["threshold_id", "family", "bin"], validate="many_to_one")
    for kind in KINDS:
        both[f"{kind}_holds"] = (both[f"{kind}_low"] <= both["truth"]) & (both["truth"] <= both[f"{kind}_high"])
    return both


def summary(found: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Coverage over all intervals and by threshold and bin; its interval resamples skies, whose intervals correlate.

    `effective` is the number of independent intervals that would give the coverage the same error.
    """
    skies = found["sky"].unique()
    drawn = np.random.default_rng(seed).multinomial(len(skies), np.full(len(skies), 1 / len(skies)), _REPLICATES)
    out: dict[str, Any] = {"skies": len(skies), "intervals": len(found)}
    for kind in KINDS:
        of_sky = found.groupby("sky")[f"{kind}_holds"].agg(["sum", "size"]).loc[skies]
        replicates = (drawn @ of_sky["sum"].to_numpy()) / (drawn @ of_sky["size"].to_numpy())
        value, spread = float(of_sky["sum"].sum() / of_sky["size"].sum()), float(replicates.std())
        low, high = np.percentile(replicates, _ENDS)
        effective = value * (1.0 - value) / spread**2 if spread > 0 else float(len(skies))
        bounds = {"coverage": value, "low": low, "high": high, "effective": effective}
        out[kind] = {name: _digits(number) for name, number in bounds.items()}
    out["rows"] = _rows(found)
    return out


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def _rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for _, part in found.groupby(["threshold_id", "family", "bin"], sort=False):
        bias, error = part["completeness"] - part["truth"], float(part["truth_error"].iloc[0])
        width = (part["field_high"] - part["field_low"]).mean() / 2.0
        names: dict[str, Any] = {name: str(part[name].iloc[0]) for name in ("threshold_id", "family", "bin")}
        rows.append(
            {
                **names,
                "truth": _digits(part["truth"].iloc[0]),
                "truth_error": _digits(error),
                "bias": _digits(bias.mean()),
                "bias_error": _digits(np.hypot(bias.std(ddof=1) / np.sqrt(len(part)), error)),
                "half_width": _digits(width),
                **{kind: _digits(part[f"{kind}_holds"].mean()) for kind in KINDS},
                "skies": len(part),
            }
        )
    return rows
