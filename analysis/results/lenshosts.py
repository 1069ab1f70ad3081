"""Completeness with hosts weighted to follow the lenses' hosts: rows of the table, and the measures behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.fitted.propensity import Propensity
from analysis.records import Measure, Outcome
from analysis.statistics.completeness import ALL, MARGINAL, bin_numbers
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.roc import auc_measure
from analysis.statistics.thresholds import Distribution, Threshold
from analysis.statistics.weighted import Weighted, effective_number, weighted_share
from lake import tables
from lake.errors import DataError
from lake.sky.imaging import Imaging

DIAGNOSTIC = "lens_hosts"
AUC, SUPPORT, EFFECTIVE = "lens_hosts/propensity_auc", "lens_hosts/support", "lens_hosts/effective_hosts"
BALANCE = "lens_hosts/balance"
_KEYS = ["cell", "source_mag_bin", "threshold_id"]
_SAME = (
    "grid_id", "grid_name", "checkpoint_id", "generation", "origin", *_KEYS, "source_mag_family", "prior", "threshold",
    "fpr_reached", "fpr_low", "fpr_high", "fpr_unlisted_low", "fpr_unlisted_high", "theta_e_arcsec",
    *(f"{axis}_{end}" for axis in ("psf_fwhm_nea_arcsec", "depth_mag") for end in ("low", "high")),
    "psf_centre_arcsec", "depth_centre_mag", "failed",
)  # fmt: skip
"""Columns that weights do not change."""
_MEASURED = (
    "n", "detected", "hosts", "n_eff", "completeness",
    *(f"{kind}_95_{end}" for kind in ("host_clustered", "joint", "field_clustered") for end in ("low", "high")),
)  # fmt: skip


@dataclass(frozen=True)
class LensHosts:
    """Weights of the hosts of a grid under a fitted propensity."""

    propensity: Propensity
    hosts: pd.DataFrame
    """Catalogue rows of the grid's hosts, by `galaxy_id`"""
    weights: NDArray[np.float64]
    """Weight of each host; their mean is 1"""
    outside: int
    """Training lenses whose hosts fail the cuts that negatives passed"""

    def of(self, galaxy_ids: pd.Series) -> NDArray[np.float64]:
        """The weight of the host of each injection; 0 for a host that the catalogue does not hold."""
        by_host = pd.Series(self.weights, index=self.hosts.index)
        return np.asarray(galaxy_ids.map(by_host).fillna(0.0), dtype=np.float64)

    def directions_of(self, galaxy_ids: pd.Series) -> NDArray[np.float64]:
        """Derivatives of the log weight of each injection along independent errors of the fit; 0 for such a host."""
        by_host = pd.DataFrame(self.propensity.directions(self.hosts), index=self.hosts.index)
        return np.asarray(by_host.reindex(galaxy_ids.to_list()).fillna(0.0), dtype=np.float64)

    def require(self, least_support: float) -> None:
        """Raise a DataError if the weighted hosts cannot stand for the lenses' hosts."""
        if (reason := self.propensity.refusal(self.weights, least_support)) is not None:
            raise DataError(reason)

    def outcome(self) -> Outcome:
        """AUC, support, effective hosts, and balance of each covariate before and after weighting."""
        fit, n = self.propensity, len(self.hosts)
        lenses = f"{len(fit.lenses):,} training lenses and {fit.negatives:,} negatives"
        apart = f"{self.outside} lenses fail the pool's cuts, {fit.incomplete} galaxies lack a covariate"
        method = f"host propensity on {', '.join(fit.covariates)}; {lenses}, cross-fitted; {apart}"
        share = "share of the lenses' hosts that negatives represent"
        kish = "Kish's effective number of weighted hosts"
        measures = [
            auc_measure(AUC, fit.labels, fit.scores, method),
            Measure(SUPPORT, fit.support, n=len(fit.lenses), method=share),
            Measure(EFFECTIVE, effective_number(self.weights), n=n, unit="hosts", method=kish),
        ]
        gap = "difference of means, hosts minus lenses' hosts, over the standard deviation; "
        for row in fit.balance(self.hosts, self.weights).to_dict("records"):
            for when, hosts in (("before", "equal hosts"), ("after", "weighted hosts")):
                measures.append(Measure(f"{BALANCE}/{row['column']}/{when}", row[when], n=n, method=gap + hosts))
        return Outcome(DIAGNOSTIC, tuple(measures))


def not_weighted(reason: str) -> Outcome:
    """The outcome where hosts cannot be weighted, with the reason."""
    return Outcome(DIAGNOSTIC, (Measure(AUC, np.nan, method=f"not measured: {reason}"),))


def weighted_rows(
    own: pa.Table,
    scored: pd.DataFrame,
    points: Sequence[Threshold],
    derived: Mapping[str, Distribution],
    edges: Sequence[float],
    imaging: Imaging,
    directions: NDArray[np.float64],
) -> pa.Table:
    """Rows of `completeness` with weighted hosts, for the cells and marginals that hold weighted injections.

    `own`: the table's rows with equal weights. `scored`: injections as
    :func:`analysis.statistics.uncertain.joint_intervals` takes them, with `field` and `weight`; `directions`: how each
    weight follows the errors of the propensity (:meth:`LensHosts.directions_of`). Cells have the row of
    all magnitudes, marginals one of each bin.
    """
    held = scored.assign(place=np.arange(len(scored)))[scored["weight"] > 0.0]
    found = pd.DataFrame(
        [
            {
                "cell": cell,
                "source_mag_bin": name,
                "threshold_id": point.threshold_id,
                **_share(part, point, derived, directions),
            }
            for cell, name, part in _groups(held, edges, imaging)
            for point in points
        ],
        columns=[*_KEYS, *_MEASURED],
    )
    kept = own.select(_SAME).to_pandas().merge(found, on=_KEYS, how="inner")
    kept["weighting_id"] = weighting(str(own["prior"][0]))
    fields = [column.arrow for column in tables.spec("completeness").columns if column.role != "lineage"]
    rows = kept.reindex(columns=[field.name for field in fields])
    return pa.Table.from_pandas(rows, schema=pa.schema(fields), preserve_index=False)


def weighting(prior: str) -> str:
    """The `weighting_id` of a prior whose hosts follow the lenses' hosts."""
    return f"{prior}+{DIAGNOSTIC}"


def _groups(held: pd.DataFrame, edges: Sequence[float], imaging: Imaging) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Cell, magnitude bin and injections of each row."""
    if held.empty:
        return
    yield MARGINAL, ALL, held
    bins = bin_numbers(held[imaging.source_columns[0]].to_numpy(float), edges)
    for index, (low, high) in enumerate(pairwise(edges)):
        if (bins == index).any():
            yield MARGINAL, f"{low:g}-{high:g}", held[bins == index]
    for cell, part in held.groupby("cell", sort=True):
        yield str(cell), ALL, part


def _share(
    part: pd.DataFrame, point: Threshold, derived: Mapping[str, Distribution], directions: NDArray[np.float64]
) -> dict[str, float]:
    """Counts and weighted completeness of one group, with its intervals."""
    values, weights, along = part["probability"], part["weight"], directions[part["place"]]

    def clustered(by: str, drawn: Distribution | None) -> Weighted:
        return weighted_share(part[by], values, weights, point.threshold, drawn, TABLE_LEVEL, along)

    hosts, drawn = clustered("galaxy_id", None), derived.get(point.threshold_id)
    found = {
        "n": len(part),
        "detected": int((values > point.threshold).sum()),
        "hosts": part["galaxy_id"].nunique(),
        "n_eff": hosts.n_eff,
        "completeness": hosts.completeness,
        "host_clustered_95_low": hosts.low,
        "host_clustered_95_high": hosts.high,
    }
    if drawn is not None:
        joint = clustered("galaxy_id", drawn)
        found |= {"joint_95_low": joint.low, "joint_95_high": joint.high}
    if part["cell"].nunique() > 1 and part["field"].notna().all():
        sky = clustered("field", drawn)
        found |= {"field_clustered_95_low": sky.low, "field_clustered_95_high": sky.high}
    return found
