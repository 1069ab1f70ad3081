"""A selection function as the reference system writes it, with the habits of its real files."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

THETA_E, PSF, DEPTH = (1.0, 1.25), (0.9, 1.05), (22.5, 23.0)
THRESHOLDS = ((0.3, "fixed", ""), (0.81234567, "FPR=1.0e-03", 0.001))
BINS = ("23-24", "24-25", "25-26")
LENSED = ("lensed_18-20", "lensed_20-22", "lensed_22-24", "lensed_24-27")
N = 50
DECLARED = {"prior": "not recorded", "source_mag_families": {"lensed": "lensed r magnitude"}}


def reference_rows(seed: int = 3) -> list[dict[str, Any]]:
    """Cells x thresholds x bins; the last cell has no hosts, so it has rows `all` alone. Lensed magnitudes have noise,
    so some lie outside every lensed bin; intervals have no edge rules."""
    return [dict(row) for row in _rows(seed)]


@cache
def _rows(seed: int) -> list[dict[str, Any]]:
    rng, rows = np.random.default_rng(seed), []
    for theta_e in THETA_E:
        for psf in PSF:
            for depth in DEPTH:
                axes = {"theta_e": theta_e, "psf_fwhm": psf, "depth_5sig": depth}
                if (theta_e, psf, depth) == (THETA_E[-1], PSF[-1], DEPTH[-1]):
                    rows += [_row(axes, at, "all", np.zeros(0), np.zeros(0)) for at in THRESHOLDS]
                    continue
                score, mag = rng.beta(0.3, 2, N), rng.uniform(23, 26, N)
                lensed = mag - rng.uniform(1, 7, N)
                for at in THRESHOLDS:
                    rows.append(_row(axes, at, "all", score, np.ones(N, bool)))
                    rows += [_row(axes, at, name, score, _inside(name, mag)) for name in BINS]
                    rows += [_row(axes, at, name, score, _inside(name, lensed)) for name in LENSED]
    return rows


def _inside(name: str, values: Any) -> Any:
    low, high = (float(edge) for edge in name.removeprefix("lensed_").split("-"))
    return (values >= low) & (values < high)


def _row(axes: dict[str, float], at: tuple[float, str, Any], name: str, score: Any, part: Any) -> dict[str, Any]:
    n = int(part.sum())
    k = int((score[part] >= at[0]).sum()) if n else 0
    row: dict[str, Any] = {**axes, "threshold": at[0], "threshold_type": at[1], "fpr_target": at[2]}
    row |= {"source_mag_bin": name, "n_injections": n, "n_detected": k, "n_failed": 2 if name == "all" and n else 0}
    row |= {"completeness": k / n if n else ""}
    for level in (68, 95):
        tail = (100 - level) / 200
        for end, place in (("lo", tail), ("hi", 1 - tail)):
            row[f"ci{level}_{end}"] = float(stats.beta.ppf(place, k + 0.5, n - k + 0.5)) if n else ""
    row |= {"mean_score": float(score[part].mean()) if n else "", "mean_arc_snr": 7.5 if n else ""}
    return {**row, "sufficient": n >= (N if name == "all" else 10)}


def facts(**more: Any) -> dict[str, Any]:
    """The reference's own file of facts, which has no prior and only centres of cells."""
    grid = {"theta_e": list(THETA_E), "psf_fwhm": list(PSF), "depth_5sig": list(DEPTH)}
    return {
        "checkpoint": "gen4/best.pt",
        "injections_per_cell": N,
        "grid": grid,
        "n_cells": 8,
        "n_empty_cells": 1,
        "n_sufficient_cells": 7,
        "total_injections_ok": 7 * N,
        **more,
    }


def write(folder: Path, rows: list[dict[str, Any]], meta: dict[str, Any], name: str = "table") -> tuple[Path, Path]:
    """The CSV file and its JSON file."""
    table, about = folder / f"{name}.csv", folder / f"{name}.json"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    about.write_text(json.dumps(meta))
    return table, about
