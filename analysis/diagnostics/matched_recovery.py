"""Diagnostic: do known lenses score like injections at their Einstein radius, seeing and depth?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, Point, Status, decide, missing, unmeasured
from analysis.results.untouched import FEWEST, LENS
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.thresholds import Threshold
from lake.sky.imaging import Imaging
from lake.sky.photometry import depth_mag_from_psfdepth

UNTOUCHED = True
Floats = NDArray[np.float64]
MEAN = "matched_recovery/mean_rank"
VISIBLE = f"{MEAN}/visible"
_RANKS, _LENSES = "matched_recovery/ranks", "matched_recovery/lenses"
FIGURES = {
    _RANKS: Drawing(
        "Ranks of known lenses among their matched injections", "rank", "lenses of lower rank", "lines", percent=True
    ),
    _LENSES: Drawing("Rank of each known lens", "theta_E (arcsec)", "rank", "scatter", reference=0.5),
}
_SHOWN = 400
_REACH = 3.5
"""Kernel widths within which an injection counts."""
_RESAMPLED = "bootstrap of lenses and hosts"


class Params(DiagnosticParams):
    """Injections that are like known lenses."""

    matched_theta_e_width: float = Field(0.12, gt=0)
    """Kernel width in ln(theta_E)."""
    matched_psf_width_arcsec: float = Field(0.1, gt=0)
    """Kernel width in seeing of the reference band."""
    matched_depth_width_mag: float = Field(0.25, gt=0)
    """Kernel width in 5-sigma depth of the reference band."""
    matched_least_effective: float = Field(20.0, ge=2)
    """Effective number of injections below which a lens has no match."""
    matched_replicates: int = Field(1000, ge=100)
    """Resamples of lenses and of hosts behind the intervals."""
    matched_visible_snr: float = Field(20.0, ge=0)
    """Arc SNR of the injections that are compared apart, because lists hold the lenses whose arcs were seen."""
    matched_rank_tolerance: float = Field(0.1, gt=0, lt=0.5)
    """Largest distance of the mean rank from 0.5."""


@dataclass(frozen=True)
class Matches:
    """Known lenses and the injections that are like them."""

    lenses: pd.DataFrame
    """Lenses with enough injections, with `rank`, `p` and `effective`"""
    weights: csr_array
    """Weight of each injection for each lens (lens, injection), zero for all but those near it"""
    unmatched: int
    """Lenses with too few injections like them"""

    @property
    def lens(self) -> NDArray[np.int64]:
        """Place of the lens of each weight."""
        return np.repeat(np.arange(self.weights.shape[0]), np.diff(self.weights.indptr))

    def where(self, true: NDArray[np.bool_] | Floats) -> csr_array:
        """The weights for which something is true, or the given share of each."""
        held = self.weights
        return csr_array((held.data * true, held.indices, held.indptr), shape=held.shape)

    def below(self, injections: pd.DataFrame) -> Floats:
        """Of each weight, whether the injection scores lower than the lens (1 or 0); 0.5 where both score the same."""
        theirs = injections["score"].to_numpy(float)[self.weights.indices]
        own = self.lenses["score"].to_numpy(float)[self.lens]
        return np.asarray((theirs < own) + 0.5 * (theirs == own))


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The untouched listed lenses of the test split with a measured Einstein radius, and the finder's grid."""
    held = subject.untouched
    if (why := held.refusal((LENS,))) is not None:
        return _nothing(why, params)
    if "theta_e_arcsec" not in subject.listed.columns:
        return _nothing("the list gives no Einstein radii", params)
    radii = subject.listed.loc[subject.listed["theta_e_arcsec"].notna(), ["galaxy_id", "theta_e_arcsec"]]
    lenses = held.objects[held.objects["label"] == 1].merge(radii, on="galaxy_id", validate="one_to_one")
    return matched_recovery(lenses, subject.injections, subject.thresholds, subject.imaging, params, subject.seed)


def matched_recovery(
    lenses: pd.DataFrame,
    injections: pd.DataFrame,
    thresholds: Sequence[Threshold],
    imaging: Imaging,
    params: Params,
    seed: int,
) -> Outcome:
    """Rank of each lens's score among injections like it, and the recall of lenses against that of these injections.

    `lenses`: `galaxy_id`, `theta_e_arcsec`, `psfsize_<band>`, `psfdepth_<band>` of the reference band, `score`,
    `probability`. `injections`: those scored, with `lens_theta_e_arcsec`, `host_psf_fwhm_nea_<band>_arcsec`,
    `host_depth_<band>_mag`, `galaxy_id` (the host), `arc_snr`, `score`, `probability`. Ranks are uniform if lenses have
    the sources of injections and look like them; they are matched in Einstein radius, seeing and depth alone.
    """
    if len(lenses) < FEWEST or injections.empty:
        why = f"{len(lenses):,} test lenses have a measured Einstein radius, fewer than {FEWEST}"
        return _nothing(why if len(lenses) < FEWEST else "the finder has no scored injections", params)
    found = match(lenses, injections, imaging, params)
    if len(found.lenses) < FEWEST:
        few = f"{len(found.lenses):,} of {len(lenses):,} lenses have {params.matched_least_effective:g} injections like"
        return _nothing(f"{few} them, fewer than {FEWEST}", params)
    draws = _Draws(found, injections, params, seed)
    mean = draws.mean_rank(MEAN)
    ranks = found.lenses["rank"].to_numpy()
    test = scipy.stats.kstest(ranks, "uniform")
    how = "distance of the ranks from uniform; its p-value takes lenses as independent, though they share injections"
    offset = _offset(found, injections)
    measures = (
        mean,
        Measure("matched_recovery/ks", float(test.statistic), n=len(ranks), method=how),
        Measure("matched_recovery/ks/p", float(test.pvalue), n=len(ranks), method="one-sample KS"),
        _visible(lenses, injections, imaging, params, seed),
        Measure("matched_recovery/unmatched", float(found.unmatched), n=len(lenses), method="lenses left out"),
        Measure(
            "matched_recovery/theta_e_offset", offset, n=len(ranks), method="mean ln(theta_E) of injections - lens"
        ),
        *(each for point in thresholds if point.measurable for each in draws.recovery(point)),
    )
    said, points = (_finding(measures, len(lenses)),), tuple(_points(found))
    arrays = {"matched": found.lenses[["galaxy_id", "rank", "p", "effective"]]}
    return Outcome("matched_recovery", measures, (_gate(mean, params),), arrays, findings=said, points=points)


def match(lenses: pd.DataFrame, injections: pd.DataFrame, imaging: Imaging, params: Params) -> Matches:
    """Gaussian weights of injections by their distance in ln(theta_E), seeing and depth, and the ranks they give."""
    band = imaging.reference_band
    own = (
        np.log(lenses["theta_e_arcsec"].to_numpy(float)),
        lenses[f"psfsize_{band}"].to_numpy(float),
        depth_mag_from_psfdepth(lenses[f"psfdepth_{band}"].to_numpy(float)),
    )
    theirs = (
        np.log(injections["lens_theta_e_arcsec"].to_numpy(float)),
        injections[f"host_psf_fwhm_nea_{band}_arcsec"].to_numpy(float),
        injections[f"host_depth_{band}_mag"].to_numpy(float),
    )
    weights = _weights(np.stack(own, axis=1), np.stack(theirs, axis=1), params)
    total, squares = weights.sum(axis=1), weights.power(2).sum(axis=1)
    effective = np.divide(total**2, squares, out=np.zeros(len(total)), where=squares > 0)
    kept = effective >= params.matched_least_effective
    found = Matches(lenses[kept].reset_index(drop=True), weights[kept], int((~kept).sum()))
    share = found.where(found.below(injections)).sum(axis=1) / total[kept]
    rank = (share * effective[kept] + 0.5) / (effective[kept] + 1.0)
    p = np.minimum(2.0 * np.minimum(rank, 1.0 - rank), 1.0)
    return replace(found, lenses=found.lenses.assign(rank=rank, p=p, effective=effective[kept]))


def _weights(own: Floats, theirs: Floats, params: Params) -> csr_array:
    """Weights (lens, injection) of places (row, axis) within `_REACH` kernel widths; a place with a NaN has none."""
    widths = params.matched_theta_e_width, params.matched_psf_width_arcsec, params.matched_depth_width_mag
    known = np.flatnonzero(np.isfinite(theirs).all(axis=1))
    tree = cKDTree(theirs[known] / widths)
    near = [tree.query_ball_point(each / widths, _REACH) if np.isfinite(each).all() else [] for each in own]
    lens = np.repeat(np.arange(len(own)), [len(each) for each in near])
    injection = known[np.asarray(list(chain.from_iterable(near)), dtype=np.int64)]
    distance = np.square((own[lens] - theirs[injection]) / widths).sum(axis=1)
    return csr_array((np.exp(-0.5 * distance), (lens, injection)), shape=(len(own), len(theirs)))


class _Draws:
    """Resamples of lenses and of the hosts of injections, drawn independently (the pigeonhole bootstrap, Owen 2007)."""

    def __init__(self, found: Matches, injections: pd.DataFrame, params: Params, seed: int) -> None:
        self.found, self.injections = found, injections
        rng, replicates = np.random.default_rng(seed), params.matched_replicates
        self.host = np.unique(injections["galaxy_id"].to_numpy(), return_inverse=True)[1]
        n, hosts = len(found.lenses), int(self.host.max()) + 1
        self.of_lenses = rng.multinomial(n, np.full(n, 1.0 / n), replicates).astype(np.float64)
        self.of_hosts = rng.multinomial(hosts, np.full(hosts, 1.0 / hosts), replicates).astype(np.float64)

    def mean_rank(self, name: str) -> Measure:
        value = float(self.found.lenses["rank"].mean())
        ends = _ends(self._resampled(self.found.below(self.injections)))
        how = f"of 0 to 1, 0.5 if lenses score like injections; {_RESAMPLED}"
        return Measure(name, value, *ends, len(self.found.lenses), "", how)

    def recovery(self, point: Threshold) -> Iterator[Measure]:
        """Recall of the lenses, of the injections like them, and the difference."""
        hit = (self.found.lenses["probability"] > point.threshold).to_numpy(float)
        above = (self.injections["probability"] > point.threshold).to_numpy()[self.found.weights.indices]
        theirs = float((self.found.where(above).sum(axis=1) / self.found.weights.sum(axis=1)).mean())
        of_lenses, of_injections = self.of_lenses @ hit / len(hit), self._resampled(above)
        for what, value, replicates in (
            ("recall", hit.mean(), of_lenses),
            ("completeness", theirs, of_injections),
            ("difference", hit.mean() - theirs, of_lenses - of_injections),
        ):
            name, how = f"matched_recovery/{what}/{point.threshold_id}", f"{_RECOVERED[what]}; {_RESAMPLED}"
            yield Measure(name, float(value), *_ends(replicates), len(hit), "", how)

    def _resampled(self, true: NDArray[np.bool_] | Floats) -> Floats:
        """Mean over lenses of the weighted share of injections for which something is true, by resample."""
        shape = (len(self.host), self.of_hosts.shape[1])
        member = csr_array((np.ones(len(self.host)), (np.arange(len(self.host)), self.host)), shape=shape)
        hits, all_ = (
            np.asarray(self.of_hosts @ (each @ member).T) for each in (self.found.where(true), self.found.weights)
        )
        shares = np.divide(hits, all_, out=np.full_like(hits, np.nan), where=all_ > 0)
        return np.asarray(np.nansum(shares * self.of_lenses, axis=1) / self.of_lenses.sum(axis=1))


def _visible(lenses: pd.DataFrame, injections: pd.DataFrame, imaging: Imaging, params: Params, seed: int) -> Measure:
    """The mean rank among injections whose arcs can be seen alone."""
    bright = injections[injections["arc_snr"] > params.matched_visible_snr]
    found = match(lenses, bright, imaging, params)
    if len(found.lenses) < FEWEST:
        return missing(VISIBLE, f"{len(found.lenses):,} lenses have enough of them")
    held = _Draws(found, bright, params, seed).mean_rank(VISIBLE)
    return replace(held, method=f"among injections with arc SNR above {params.matched_visible_snr:g}; {held.method}")


_RECOVERED = {
    "recall": "known lenses above the threshold",
    "completeness": "injections above it, weighted to be like the lenses",
    "difference": "lenses minus injections like them",
}


def _ends(replicates: Floats) -> tuple[float, float]:
    tail = (1.0 - TABLE_LEVEL) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail])
    return float(low), float(high)


def _offset(found: Matches, injections: pd.DataFrame) -> float:
    theirs = found.weights @ np.log(injections["lens_theta_e_arcsec"].to_numpy(float)) / found.weights.sum(axis=1)
    return float((theirs - np.log(found.lenses["theta_e_arcsec"].to_numpy(float))).mean())


def _gate(mean: Measure, params: Params) -> Gate:
    limit = params.matched_rank_tolerance
    status: Status = "BORDERLINE"
    if abs(mean.low - 0.5) <= limit and abs(mean.high - 0.5) <= limit:
        status = "PASS"
    elif mean.low > 0.5 + limit or mean.high < 0.5 - limit:
        status = "FAIL"
    rule = f"mean rank within {limit:g} of 0.5: PASS if the whole 95 % interval is, FAIL if none of it is"
    return decide("matched_recovery", mean, 0.5, rule, status)


def _points(found: Matches) -> Iterator[Point]:
    ranks = np.sort(found.lenses["rank"].to_numpy())
    at = np.unique(np.linspace(0, len(ranks) - 1, min(len(ranks), 60)).astype(int))
    for index in at:
        yield Point(_RANKS, "lenses", float(ranks[index]), (index + 1) / len(ranks), n=len(ranks))
    for end in (0.0, 1.0):
        yield Point(_RANKS, "like injections", end, end)
    shown = found.lenses.head(_SHOWN)
    for radius, rank, effective in zip(shown["theta_e_arcsec"], shown["rank"], shown["effective"], strict=True):
        yield Point(_LENSES, "lenses", float(radius), float(rank), n=round(effective))


def _finding(measures: Sequence[Measure], lenses: int) -> Finding:
    held = {one.name: one for one in measures}
    mean, p = held[MEAN], held["matched_recovery/ks/p"]
    told = "score higher than" if mean.low > 0.5 else "score lower than" if mean.high < 0.5 else "are not told from"
    bright, visible = held[VISIBLE], "few injections have visible arcs"
    if np.isfinite(bright.value):
        visible = f"{bright.value:.3f} among injections with visible arcs"
    differences = [one for name, one in held.items() if name.startswith("matched_recovery/difference/")]
    recall = "".join(
        f"; at {one.name.rpartition('/')[2]} their recall minus the completeness of such injections is "
        f"{100 * one.value:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}] points"
        for one in differences[:1]
    )
    return Finding(
        f"{mean.n:,} of {lenses:,} lenses with a measured Einstein radius have enough injections at that radius, "
        f"seeing and depth. Their mean rank among these is {mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}], that "
        f"of injections 0.5 (KS test against uniform p = {p.value:.2g}; {visible}): known lenses {told} such "
        f"injections{recall}. A list holds only lenses whose arcs could be seen."
    )


def _nothing(why: str, params: Params) -> Outcome:
    gates = {"matched_recovery": (0.5, "mean rank of lenses among injections like them")}
    said = "The recovery of known lenses is not compared with injections"
    return unmeasured("matched_recovery", why, MEAN, gates, said)
