"""Other teams' simulated lenses, found or missed: complete lists give completeness, incomplete ones are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from analysis.comparisons.foreign_cells import Declared, require_columns, threshold_id
from analysis.statistics.completeness import ALL, MARGINAL, UNLENSED, bin_numbers
from lake.errors import DataError, invalid

_FOUND = {"true": True, "1": True, "yes": True, "found": True, "false": False, "0": False, "no": False, "missed": False}
_NUMBERS = {
    "score": ("score", 0.0, 1.0),
    "theta_e": ("theta_e_arcsec", 0.0, np.inf),
    "src_mag": ("src_mag", -np.inf, np.inf),
}
"""Optional columns of a list, their names in `foreign_objects`, and their smallest and largest value."""


class DeclaredObjects(Declared):
    """What a list of simulated lenses means."""

    simulated: int = Field(ge=1)
    """Lenses that were simulated and shown to the finder: the list must hold exactly as many."""
    threshold: float = Field(ge=0, le=1)
    """Probability above which a lens counts as found."""
    fpr_target: float | None = Field(default=None, gt=0, lt=1)
    """False-positive rate that the threshold was derived from; null if it was chosen beforehand."""
    src_mag_family: str = UNLENSED
    """What `src_mag` is: unlensed, or lensed r magnitude."""
    theta_e_edges: tuple[float, ...] = ()
    """Edges of bins of Einstein radius (arcsec), the cells; empty for the whole list only."""
    src_mag_edges: tuple[float, ...] = ()
    """Edges of magnitude bins; empty for all magnitudes only."""

    @property
    def threshold_id(self) -> str:
        return threshold_id(self.threshold, self.fpr_target, self.threshold_sample)


@dataclass(frozen=True)
class Objects:
    """A complete list: `row_index`, `object_id`, `found` and, where given, `score`, `theta_e_arcsec`, `src_mag`."""

    rows: pd.DataFrame
    disagreements: pd.DataFrame


def merged(found: pd.DataFrame, missed: pd.DataFrame | None) -> pd.DataFrame:
    """One list from a file with a column `found`, or from a file of found lenses and one of missed ones."""
    require_columns(found, ("id",), "the list")
    if missed is None:
        require_columns(found, ("id", "found"), "the list (without --missed)")
        return found
    require_columns(missed, ("id",), "the list of missed lenses")
    for what, rows in (("found", found), ("missed", missed)):
        if "found" in rows:
            cure = "give one list with it, or two without it, of the found and of the missed lenses"
            raise DataError(f"the list of {what} lenses has a column 'found': {cure}")
    both = sorted(set(found["id"]) & set(missed["id"]))
    if both:
        raise DataError(f"{len(both)} lenses are both found and missed, first: {both[0]}")
    return pd.concat([found.assign(found="true"), missed.assign(found="false")], ignore_index=True).fillna("")


def complete(rows: pd.DataFrame, declared: DeclaredObjects) -> Objects:
    """The list as it is stored. DataError where a lens lacks a result, occurs twice, or the list is not complete."""
    _require_whole(rows, declared.simulated)
    told = rows["found"].str.lower().map(_FOUND)
    if told.isna().any():
        bad = rows[told.isna()].iloc[0]
        words = f"of lens {bad['id']} in line {bad['row_index']}; found must be true or false"
        raise DataError(f"{int(told.isna().sum())} lenses have no result, first '{bad['found']}' {words}")
    kept = pd.DataFrame({"row_index": rows["row_index"], "object_id": rows["id"], "found": told.astype(bool)})
    for name, (ours, low, high) in _NUMBERS.items():
        kept[ours] = _numbers(rows, name, low, high)
    return Objects(kept, _contradictions(kept, declared))


def _require_whole(rows: pd.DataFrame, simulated: int) -> None:
    ids = rows["id"]
    if (ids == "").any():
        raise DataError(f"line {rows.loc[ids == '', 'row_index'].iloc[0]} has no id")
    twice = sorted(set(ids[ids.duplicated()]))
    if twice:
        raise DataError(f"{len(twice)} lenses occur more than once, first: {twice[0]}")
    if len(ids) != simulated:
        lost = f": {simulated - len(ids)} are missing" if len(ids) < simulated else ""
        raise DataError(
            f"the list holds {len(ids)} lenses and {simulated} were simulated{lost}. Completeness is found / "
            "simulated, so a list without its missed lenses would overstate it"
        )


def _numbers(rows: pd.DataFrame, name: str, low: float, high: float) -> pd.Series:
    text = rows[name] if name in rows.columns else pd.Series("", index=rows.index)
    values = pd.to_numeric(text.where(~text.str.lower().isin(("", "nan", "null", "none"))), errors="coerce")
    given = ~text.str.lower().isin(("", "nan", "null", "none"))
    bad = given & ~(np.isfinite(values) & values.between(low, high))
    if bad.any():
        got = text[bad].iloc[0]
        place = f"{name} in line {rows.loc[bad, 'row_index'].iloc[0]}"
        raise invalid(place, "a number" if np.isnan(values[bad].iloc[0]) else _range(low, high), got)
    return values


def _range(low: float, high: float) -> str:
    """The numbers that are allowed, in words."""
    ends = [f"{word} {end:g}" for word, end in (("from", low), ("to", high)) if np.isfinite(end)]
    return " ".join(["a finite number", *ends])


def _contradictions(kept: pd.DataFrame, declared: DeclaredObjects) -> pd.DataFrame:
    """Lenses found below the threshold, or missed above it."""
    above = kept["score"] >= declared.threshold if declared.selection == ">=" else kept["score"] > declared.threshold
    bad = kept["score"].notna() & (above != kept["found"])
    return pd.DataFrame(
        {
            "row_index": kept["row_index"][bad],
            "threshold_id": declared.threshold_id,
            "figure": "found",
            "stated": kept["found"][bad].astype(float),
            "expected": above[bad].astype(float),
            "explanation": "score of " + kept["object_id"][bad] + f" against the threshold {declared.threshold:g}",
        }
    )


def object_counts(objects: pd.DataFrame, declared: DeclaredObjects, identity: dict[str, Any]) -> pd.DataFrame:
    """Rows for :func:`analysis.statistics.completeness.table_rows`: bins of Einstein radius, of magnitude, and all."""
    cells: dict[str, tuple[float | None, np.ndarray]] = {MARGINAL: (None, np.ones(len(objects), dtype=bool))}
    for i, (centre, inside) in enumerate(_bins(objects["theta_e_arcsec"], declared.theta_e_edges, "theta_e")):
        cells[f"t{i:02d}"] = (centre, inside)
    parts = {ALL: np.ones(len(objects), dtype=bool)}
    edges = declared.src_mag_edges
    for i, (_, inside) in enumerate(_bins(objects["src_mag"], edges, "src_mag")):
        parts[f"{edges[i]:g}-{edges[i + 1]:g}"] = inside
    rows = [
        {
            "cell": cell,
            "source_mag_bin": name,
            "source_mag_family": None if name == ALL else declared.src_mag_family,
            "theta_e_arcsec": centre,
            "n": int((here & part).sum()),
            "detected": int((here & part & objects["found"]).sum()),
        }
        for cell, (centre, here) in cells.items()
        for name, part in parts.items()
    ]
    made = pd.DataFrame(rows).assign(threshold_id=declared.threshold_id, threshold=declared.threshold, failed=0)
    return made.assign(hosts=np.nan, origin="foreign", **identity)


def _bins(values: pd.Series, edges: Sequence[float], name: str) -> list[tuple[float, np.ndarray]]:
    """Centre and members of each bin; every lens must be in one."""
    if not edges:
        return []
    if len(edges) < 2 or np.any(np.diff(edges) <= 0):
        raise invalid(f"{name}_edges", "ascending, two or more", list(edges))
    index = bin_numbers(values.to_numpy(float), edges)
    if (index < 0).any():
        raise DataError(f"{int((index < 0).sum())} lenses have no {name} within {name}_edges, {list(edges)}")
    return [((edges[i] + edges[i + 1]) / 2.0, index == i) for i in range(len(edges) - 1)]
