"""The emulator of a grid: completeness at a point of the parameters of injections, and its test against the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from analysis.fitted.emulator import checked, fit, host_weights, logit_interval, out_of_fold, refusal
from analysis.fitted.emulatorbasis import Basis
from analysis.results.injection_views import SCORED
from analysis.statistics.calibration import cox, log_loss
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.thresholds import Distribution, Ends, Threshold
from lake.errors import DataError
from lake.sky.imaging import Imaging

Floats = NDArray[np.float64]

THETA_E = "lens_theta_e_arcsec"
INSIDE, FEW, OUTSIDE = "inside", "few injections near", "outside"
_REPLICATES = 100
_NEAR = 0.15
"""Largest distance of a near injection, as a share of the range of each parameter."""
_SLACK = 0.01
"""Share of the range by which a point may lie outside it: the ends of a uniform draw are never drawn."""
_FEWEST = 20
"""Near injections, with fewer of which a point is marked."""


def constraints(imaging: Imaging) -> dict[str, int]:
    """Parameters of the emulator, columns of injections, and how p may change along each: 1 up, -1 down, 0 freely.

    Deeper stamps have less noise, and a broader PSF spreads the same arc over more of it: neither helps. All else is
    free: a finder misses arcs that are too faint, and may miss those that outshine their host, unlike those of its
    training; completeness peaks in the Einstein radius (arcs merge with the host below, and are thin above it);
    magnification, surface brightness and contrast with the host pull in different directions along the others.
    """
    magnitude, *colours = imaging.source_columns
    band = imaging.reference_band
    free = (*colours, "src_beta_frac", "src_re_arcsec", "src_n", "src_q", "lens_q")
    steep = {f"host_depth_{band}_mag": 1, f"host_psf_fwhm_nea_{band}_arcsec": -1}
    return {THETA_E: 0, magnitude: 0, **steep, **dict.fromkeys(free, 0)}


def _by_ratio(name: str) -> bool:
    """Whether a parameter is a size, to the emulator its logarithm: equal ratios are equal steps."""
    return name.endswith("_arcsec") or name == "src_beta_frac"


@dataclass(frozen=True)
class Sample:
    """Scored injections of one grid and finder, and the parameters that the emulator sees."""

    rows: pd.DataFrame
    signs: Mapping[str, int]
    """Of the parameters that are known for every injection, the Einstein radius first."""

    @classmethod
    def of(cls, injections: pd.DataFrame, imaging: Imaging) -> Sample:
        """`injections`: with `galaxy_id` (host), `status`, `probability` and their parameters; not the failed ones.

        A parameter that is not known for all of them (the Sersic index of a real galaxy) or that no injection varies is
        averaged over. DataError without Einstein radii.
        """
        rows = injections[injections["status"] == SCORED].reset_index(drop=True)
        wanted = constraints(imaging)
        held = [name for name in wanted if name in rows.columns and rows[name].notna().all()]
        if not len(rows) or THETA_E not in held:
            raise DataError("an emulator needs scored injections with their Einstein radii")
        return cls(rows, {name: wanted[name] for name in held if name == THETA_E or rows[name].nunique() > 1})

    @cached_property
    def radii(self) -> Floats:
        """Logarithms of the Einstein radii."""
        return self.at({})[0]

    @cached_property
    def values(self) -> Floats:
        """All parameters but the Einstein radius, sizes by their logarithms, (n, k)."""
        return self.at({})[1]

    def at(self, point: Mapping[str, float]) -> tuple[Floats, Floats]:
        """Radii and values of all injections with those of the point in their place."""
        moved = self.rows[list(self.signs)].astype(np.float64)
        least = moved.min()
        moved = moved.assign(**point)
        for name in self.signs:
            if _by_ratio(name) and least[name] > 0.0:
                moved[name] = np.log(np.maximum(moved[name], least[name]))
        return moved[THETA_E].to_numpy(), moved.iloc[:, 1:].to_numpy()

    @property
    def own_signs(self) -> list[int]:
        return list(self.signs.values())[1:]

    @property
    def hosts(self) -> NDArray[np.str_]:
        return self.rows["galaxy_id"].to_numpy(dtype=str)

    def above(self, threshold: float) -> NDArray[np.bool_]:
        """Whether each injection is detected."""
        return self.rows["probability"].to_numpy() > threshold

    def place(self, point: Mapping[str, float]) -> tuple[str, int]:
        """Whether a point lies where injections were drawn, and how many lie near it in all its parameters."""
        near, inside = np.ones(len(self.rows), dtype=bool), True
        for name, value in point.items():
            drawn = self.rows[name].to_numpy(np.float64)
            width = np.ptp(drawn)
            inside &= bool(drawn.min() - _SLACK * width <= value <= drawn.max() + _SLACK * width)
            near &= np.abs(drawn - value) <= _NEAR * width
        count = int(near.sum())
        return (OUTSIDE if not inside else INSIDE if count >= _FEWEST else FEW), count


def at_points(
    sample: Sample,
    points: Mapping[str, Mapping[str, float]],
    threshold: Threshold,
    drawn: Distribution | None,
    rng: np.random.Generator,
    ends: Ends | None = None,
) -> pd.DataFrame:
    """Completeness and its 95 % interval at named points of the parameters, one row each; null outside what was drawn.

    Parameters that a point lacks are averaged over the injections, as if independent of the given ones: a grid draws
    them so, but for seeing and depth, which are those of hosts. The interval is from resampled hosts, with the
    threshold drawn from its distribution, if it has one, each time. `ends` are those of a derived threshold over the
    declared numbers of unlisted lenses: the completeness at each of them, `unlisted_low` and `unlisted_high`, is null
    where no range is declared, or too few injections are detected or missed there for a fit.
    """
    places = {name: sample.place(point) for name, point in points.items()}
    answered = [point for name, point in points.items() if places[name][0] != OUTSIDE]
    checked(sample.hosts, sample.above(threshold.threshold))
    with threadpool_limits(1):  # many small fits: threads that wait for each other make them twenty times slower
        found = iter(_bootstrapped(sample, answered, threshold.threshold, drawn, rng) if answered else ())
        ranges = iter(_over_lenses(sample, answered, ends))
    rows, nothing = [], (np.nan, np.nan, np.nan)
    for name, (support, near) in places.items():
        value, low, high = nothing if support == OUTSIDE else next(found)
        least, most = nothing[:2] if support == OUTSIDE else next(ranges)
        rows.append(
            {
                "at": name,
                "threshold_id": threshold.threshold_id,
                "fpr_reached": threshold.fpr_reached,
                "fpr_unlisted_low": threshold.fpr_unlisted_low,
                "fpr_unlisted_high": threshold.fpr_unlisted_high,
                "completeness": value,
                "low_95": low,
                "high_95": high,
                "interval": "" if support == OUTSIDE else "h" if drawn is None else "t",
                "unlisted_low": least,
                "unlisted_high": most,
                "n_near": near,
                "support": support,
                "averaged_over": ", ".join(each for each in sample.signs if each not in points[name]),
            }
        )
    return pd.DataFrame(rows)


def _bootstrapped(
    sample: Sample,
    points: Sequence[Mapping[str, float]],
    threshold: float,
    drawn: Distribution | None,
    rng: np.random.Generator,
) -> list[tuple[float, float, float]]:
    """Value and bounds at each point."""
    hosts, detected = sample.hosts, sample.above(threshold)
    basis = Basis.of(sample.radii, sample.values, sample.own_signs)
    columns = basis.columns(sample.radii, sample.values)
    there = [basis.columns(*sample.at(point)) for point in points]
    cuts = np.full(_REPLICATES, threshold) if drawn is None else rng.choice(drawn[0], _REPLICATES, p=drawn[1])

    whole = fit(basis, columns, detected)

    def means(found: NDArray[np.bool_], weights: Floats) -> list[float]:
        model = fit(basis, columns, found, weights, whole)
        return [float(np.average(model.of_columns(each), weights=weights)) for each in there]

    values = means(detected, np.ones(len(detected)))
    resampled = zip(cuts, host_weights(hosts, _REPLICATES, rng), strict=True)
    replicates = np.array([means(sample.above(cut), weights) for cut, weights in resampled])
    clusters = len(np.unique(hosts))
    return [
        (value, *logit_interval(value, replicates[:, place], clusters, TABLE_LEVEL))
        for place, value in enumerate(values)
    ]


def _over_lenses(sample: Sample, points: Sequence[Mapping[str, float]], ends: Ends | None) -> list[tuple[float, float]]:
    """Value at each point at the highest and the lowest threshold that unlisted lenses allow."""
    if ends is None:
        return [(np.nan, np.nan)] * len(points)
    basis = Basis.of(sample.radii, sample.values, sample.own_signs)
    columns = basis.columns(sample.radii, sample.values)
    found = []
    for cut, _ in ends:
        detected = sample.above(cut)
        if refusal(sample.hosts, detected) is None:
            model = fit(basis, columns, detected)
            found.append([float(model(*sample.at(point)).mean()) for point in points])
        else:
            found.append([np.nan] * len(points))
    return list(zip(*found, strict=True))


@dataclass(frozen=True)
class Comparison:
    """The emulator beside the table, at one threshold."""

    cells: pd.DataFrame
    """`cell`, the table's `n`, `detected`, `completeness` and interval, and the emulator's mean, `z` and whether it is
    inside the interval."""
    log_loss: float
    """Nats per injection, of models that did not see its host"""
    log_loss_constant: float
    """The same of the mean completeness"""
    calibration_slope: float
    """Slope of the outcomes on the logits: 1 if calibrated, below 1 if too extreme"""

    @property
    def inside(self) -> int:
        return int(self.cells["inside"].sum())

    @property
    def scatter(self) -> float:
        """Root of the mean z^2: 1 where the emulator misses no structure of the table."""
        return float(np.sqrt(np.mean(self.cells["z"] ** 2)))

    @property
    def figures(self) -> dict[str, float]:
        """The figures of the comparison, by name."""
        return {
            "inside": self.inside,
            "cells": len(self.cells),
            "scatter": self.scatter,
            "log_loss": self.log_loss,
            "log_loss_constant": self.log_loss_constant,
            "calibration_slope": self.calibration_slope,
        }

    @property
    def summary(self) -> str:
        """The comparison in one line."""
        return (
            f"log loss {self.log_loss:.4f} (constant {self.log_loss_constant:.4f}), calibration slope "
            f"{self.calibration_slope:.2f}, {self.inside} of {len(self.cells)} cells inside, rms z {self.scatter:.2f}"
        )


def compared(sample: Sample, table: pd.DataFrame, threshold: float) -> Comparison:
    """The emulator against the binned table.

    `sample.rows` have their `cell`; `table`: rows of `completeness` of the cells at this threshold, magnitude bin
    'all'. The emulator's probability of an injection comes from models that did not see its host. `z` is the detected
    less the expected number over its standard error, whose design effect by hosts is one for all cells.
    """
    hosts, found, cells = sample.hosts, sample.above(threshold), sample.rows["cell"].to_numpy()
    with threadpool_limits(1):
        p = out_of_fold(sample.radii, sample.values, sample.own_signs, hosts, found)
    frame = pd.DataFrame({"cell": cells, "host": hosts, "p": p, "spread": p * (1.0 - p), "rest": found - p})
    effect = max(float((frame.groupby(["cell", "host"])["rest"].sum() ** 2).sum() / frame["spread"].sum()), 1.0)
    sums = frame.groupby("cell")[["p", "spread", "rest"]].sum().rename(columns={"p": "expected"}).reset_index()
    kept = ["cell", "n", "detected", "completeness", "host_clustered_95_low", "host_clustered_95_high"]
    rows = table[table["n"] > 0][kept].merge(sums, on="cell", how="inner", validate="one_to_one")
    rows["emulator"] = rows["expected"] / rows["n"]
    rows["z"] = rows["rest"] / np.sqrt(effect * rows["spread"])
    rows["inside"] = rows["emulator"].between(rows["host_clustered_95_low"], rows["host_clustered_95_high"])
    labels, kept = found.astype(np.int64), [*kept, "emulator", "z", "inside"]
    constant = log_loss(labels, np.full(len(p), labels.mean()))[0]
    return Comparison(rows[kept], log_loss(labels, p)[0], constant, cox(labels, p)[0])
