"""The listed lenses of the test split, each with its score and what list and catalogue say of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from analysis.statistics.thresholds import Threshold
from lake.sky.imaging import Imaging
from lake.sky.photometry import depth_mag_from_psfdepth

_FROM_LIST = ["galaxy_id", "name", "reference", "grading", "z_lens", "theta_e_arcsec"]
_OF_MANIFEST = ["galaxy_id", "ra", "dec", "tier", "type_bin", "nobs_z_bin", "score", "probability"]


def lens_rows(lenses: pd.DataFrame, listed: pd.DataFrame, imaging: Imaging, point: Threshold | None) -> pd.DataFrame:
    """A row per lens, most probable first, for the table `test_lenses`; `point` decides which are missed.

    `lenses`: rows of the manifest with `score` and `probability`. `listed`: what is known of them by `galaxy_id`, of
    list and catalogue. What is not known is null.
    """
    band = imaging.reference_band
    catalogue = [f"mag_{band}", *imaging.colours, "shape_r", "sersic"]
    known = listed.reindex(columns=[*_FROM_LIST, *catalogue]).astype({"galaxy_id": object})
    rows = lenses[[*_OF_MANIFEST, f"psfsize_{band}", f"psfdepth_{band}"]].merge(known, on="galaxy_id", how="left")
    depth = depth_mag_from_psfdepth(rows.pop(f"psfdepth_{band}").to_numpy(float))
    measurable = point is not None and point.measurable
    missed = ~(rows["probability"] > point.threshold) if measurable and point else pd.Series(pd.NA, rows.index)
    at = point.threshold_id if measurable and point else None
    rows = rows.assign(**{f"depth_{band}_mag": depth}, missed=missed.astype("boolean"), threshold_id=at)
    return rows.sort_values(["probability", "galaxy_id"], ascending=[False, True], ignore_index=True)


def properties(imaging: Imaging) -> Mapping[str, str]:
    """Columns of `test_lenses` in which missed and found lenses are compared, and what they are in words."""
    band = imaging.reference_band
    colours = {colour: colour.replace("_minus_", " - ") for colour in imaging.colours}
    return {
        "theta_e_arcsec": "Einstein radius",
        f"psfsize_{band}": "seeing",
        f"depth_{band}_mag": "depth",
        f"mag_{band}": "magnitude",
        **colours,
        "shape_r": "size",
        "sersic": "Sersic n",
        "z_lens": "redshift",
    }


def programmes(names: pd.Series, references: pd.Series, patterns: Mapping[str, str]) -> pd.Series:
    """The programme whose pattern a name or reference contains, of several the first by name; None for none."""
    text = names.fillna("").astype(str) + " " + references.fillna("").astype(str)
    found = pd.Series(None, index=names.index, dtype=object)
    for programme, pattern in sorted(patterns.items(), reverse=True):
        found = found.where(~text.str.contains(pattern, flags=re.IGNORECASE, regex=True), programme)
    return found


def plain_rows(rows: pd.DataFrame) -> list[dict[str, object]]:
    """Rows for a table: None for what is missing, numbers of Python."""
    columns = {
        str(name): [None if missing else value for value, missing in zip(column.tolist(), column.isna(), strict=True)]
        for name, column in rows.items()
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
