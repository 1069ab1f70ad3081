"""Completeness of a filled grid under other priors, from its stored injections, without drawing or scoring again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.config import CompletenessParams, ReportParams
from analysis.results.reweighting import Denominator, Weights, reweighted
from analysis.results.untouched import fixing
from analysis.statistics.thresholds import (
    THRESHOLD_COLUMNS,
    Distribution,
    Ends,
    Threshold,
    bootstrap_thresholds,
    from_records,
    unlisted_ends,
)
from injection.config import GridParams
from injection.priors.prior import AnyPrior
from injection.priors.registry import load_prior, prior_of
from injection.priors.reweighting import THETA_E, Change, not_of_prior, theta_e_shares
from lake import arrays
from lake.errors import DataError, ParameterError, invalid, not_one_of
from lake.root import DataRoot
from lake.sky.photometry import depth_mag_from_psfdepth
from lake.sky.survey import SURVEY
from lake.store import delta, status
from lake.store.axisviews import MARKED, checked_axes
from pipeline.experiment.gridparams import grid_params
from pipeline.experiment.storedgrid import StoredGrid
from pipeline.project.project import Project

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

DUAL = ("v1", "anchored")
"""Priors of the dual-prior table: broad, and anchored on known lenses."""
_ROWS = ["grid_id", "injection_id", "galaxy_id", "detectable", "psf_index", "depth_index", THETA_E]


@dataclass(frozen=True)
class Asked:
    """What `dhs completeness` is asked for."""

    priors: Sequence[str] = ()
    """Names or files; none for the prior of the grid."""
    generation: str | None = None
    threshold: str | None = None
    """One threshold; None for all."""
    theta_e: Literal["grid", "prior"] = "grid"
    """Whether Einstein radii count as the grid has them, or as the prior does."""
    min_support: float = 0.95
    """A prior of which the injections cover less is refused."""
    by: tuple[str, ...] = ()
    """Up to three axes to group by."""
    population: str = "all"
    """all, or detectable."""
    net: bool = False
    """Only injections whose bare host is below the threshold."""
    weight: Literal["grid", "survey"] = "grid"
    """Whether cells of seeing and depth count as the grid fills them, or as the survey's galaxies do."""
    hosts: Literal["drawn", "lenses"] = "drawn"
    """Whether hosts count as they were drawn, or are weighted to follow the lenses' hosts."""

    def __post_init__(self) -> None:
        if self.by:
            checked_axes(self.by)
        if not 0.0 < self.min_support <= 1.0:
            raise invalid("min-support", "above 0 and at most 1", self.min_support)


@dataclass(frozen=True)
class Filled:
    """A finder's grid, ready to be reweighted to other priors."""

    stored: StoredGrid
    drawn: AnyPrior
    fixed: tuple[str, ...]
    """Parameters that its prior did not draw"""
    grid: GridParams
    rows: pa.Table
    """Identifiers, Einstein radii and cells of all injections"""
    judged: Mapping[str, NDArray[Any]]
    """Their hosts and scores, in the same order"""
    points: Sequence[Threshold]
    derived: Mapping[str, Distribution]
    ends: Mapping[str, Ends]
    """Of derived thresholds over the declared numbers of unlisted lenses"""

    @classmethod
    def of(cls, root: DataRoot, name: str, threshold_id: str | None = None) -> Filled:
        """The grid of the finder ``name``, at one threshold or all measurable ones."""
        stored = StoredGrid.of(root, name)
        drawn, grid = drawn_from(stored.facts, name), grid_params(root, name)
        points, derived, ends = thresholds_of(stored.root, stored.evaluated, threshold_id)
        fixed, rows = (THETA_E, *not_of_prior(grid, stored.imaging)), stored.injections(_ROWS)
        return cls(stored, drawn, fixed, grid, rows, _judged(stored, rows), points, derived, ends)

    @cached_property
    def parameters(self) -> pa.Table:
        """Parameters of lens and source of all injections, which only another prior needs."""
        return self.stored.injections(self.stored.parameters())

    def binned(self, by: tuple[str, ...]) -> Filled:
        """The same with the bins of some axes, as in the views of the lake."""
        if not by:
            return self
        from lake.store.query import query  # DuckDB, a tenth of a second

        if lacking := [name for name in by if name not in self.stored.axes]:
            raise not_one_of("by", list(self.stored.axes), lacking[0])
        grid_id = self.rows["grid_id"][0].as_py() if self.rows.num_rows else ""
        where = f"grid_id = '{grid_id}' AND generation = '{self.stored.evaluated}'"
        text = (
            f"SELECT DISTINCT injection_id, {', '.join(by)} FROM {self.stored.view} WHERE {where} ORDER BY injection_id"
        )
        bins = _placed(query(self.stored.root, text), self.rows["injection_id"])
        return replace(self, judged={**self.judged, **arrays.columns(bins.select(list(by)))})

    def survey_factor(self, root: DataRoot) -> Floats:
        """Weight of each injection by the share of the survey's galaxies in its cell of seeing and depth.

        Galaxies in cells without injections are left out.
        """
        band = SURVEY.reference_band
        pool = delta.read(root, "tractor_pool", [f"psfsize_{band}", f"psfdepth_{band}"], ordered=False)
        width, depth = (arrays.values(pool[name]).astype(np.float64) for name in pool.column_names)
        edges = self.grid.psf_fwhm_nea_edges_arcsec, self.grid.depth_edges_mag
        sky = np.histogram2d(width, depth_mag_from_psfdepth(depth), bins=edges)[0]
        cell = tuple(arrays.values(self.rows[f"{axis}_index"]) for axis in ("psf", "depth"))
        filled = np.zeros_like(sky)
        np.add.at(filled, cell, 1.0)
        factor: Floats = (sky / np.maximum(filled, 1.0))[cell]
        if not factor.any():
            raise DataError("no galaxy of the survey lies in a cell of seeing and depth that has injections")
        return factor / factor.mean()

    def under(
        self, prior: str | None, asked: Asked, factor: Floats | None = None, directions: Floats | None = None
    ) -> list[dict[str, Any]]:
        """Completeness under a prior (None: its own). ParameterError where the injections cover too little of it."""
        return self.towards(self.drawn if prior is None else load_prior(prior), asked, factor, directions)

    def towards(
        self, target: AnyPrior, asked: Asked, factor: Floats | None = None, directions: Floats | None = None
    ) -> list[dict[str, Any]]:
        """The same for a prior that is not in a file."""
        weights = self._weights(target, asked.theta_e)
        if (reason := weights.refusal(self.drawn.name, asked.min_support)) is not None:
            cure = "fill a grid whose prior covers it (`grid.prior: covering`), or accept less with --min-support"
            raise ParameterError(f"{reason}: {cure}")
        of = Denominator(asked.population, asked.net, asked.by, factor, directions)
        return reweighted(self.judged, weights, self.points, self.derived, of, self.ends)

    def _weights(self, target: AnyPrior, theta_e: str) -> Weights:
        change = Change(self.drawn, target, self.stored.imaging, self.fixed)
        own, count = target is self.drawn, self.rows.num_rows
        weights = np.ones(count) if own else np.exp(change.log_weights(self.parameters))
        if theta_e == "grid":
            return Weights(target.name, weights, change.support(count))
        radii, place, counts = np.unique(arrays.values(self.rows[THETA_E]), return_inverse=True, return_counts=True)
        shares, ends = theta_e_shares(target, radii.tolist())
        weights = weights * (shares / (counts / counts.sum()))[place]
        return Weights(target.name, weights, change.support(count, ends))


def completeness_under(project: Project, asked: Asked) -> pa.Table:
    """Completeness of a finder under each prior. ParameterError where the injections cover too little of one."""
    root = project.data
    filled = Filled.of(root, counting(project, asked.generation), asked.threshold).binned(asked.by)
    if filled.stored.of_set:
        _require_catalogue(asked)
    factor, along = filled.survey_factor(root) if asked.weight == "survey" else None, None
    if asked.hosts == "lenses":
        galaxy_ids = filled.rows["galaxy_id"].to_pandas()
        of_hosts, along = _of_lens_hosts(project, galaxy_ids, asked.min_support)
        factor = of_hosts if factor is None else factor * of_hosts
    priors = asked.priors or (None,)
    found = [row for prior in priors for row in filled.under(prior, asked, factor, along)]
    if not found:
        kind = "detectable " if asked.population == "detectable" else ""
        net = " whose bare host is below the threshold" if asked.net else ""
        raise DataError(f"no scored {kind}injection{net} is left to count")
    how = {"cells": asked.weight, "hosts": asked.hosts}
    marks = [{"above_20_percent": row["completeness"] > MARKED} if asked.by else {} for row in found]
    return arrays.of_rows(
        [{"prior": row["prior"], **how, **row, **mark} for row, mark in zip(found, marks, strict=True)]
    )


def _require_catalogue(asked: Asked) -> None:
    """ParameterError for what needs the survey's catalogue, which the hosts of a set of cut-outs are not in."""
    for name, other in (("weight", "grid"), ("hosts", "drawn")):
        if (value := getattr(asked, name)) != other:
            raise invalid(name, f"'{other}' for an audit of cut-outs, which are in no catalogue of the survey", value)


def _of_lens_hosts(project: Project, galaxy_ids: pd.Series, least_support: float) -> tuple[Floats, Floats]:
    """Weights of injections by which hosts follow the lenses' hosts, and their directions.

    ParameterError where that is not possible.
    """
    from pipeline.experiment.lenshosts import lens_hosts

    covariates = project.section(CompletenessParams, "completeness").host_covariates
    try:
        found = lens_hosts(partial(delta.read, project.data), project.survey, galaxy_ids.to_list(), covariates)
        found.require(least_support)
    except DataError as error:
        raise invalid("hosts", f"'drawn', because {error}", "lenses") from error
    return found.of(galaxy_ids), found.directions_of(galaxy_ids)


def dual_prior(root: DataRoot, name: str) -> pd.DataFrame:
    """The dual-prior table of a finder's grid; a prior that it does not cover has only `prior` and `refused`."""
    import pandas as pd

    try:
        filled = Filled.of(root, name)
    except DataError as error:
        return pd.DataFrame({"prior": DUAL, "refused": str(error)})
    rows: list[dict[str, Any]] = []
    for prior in DUAL:
        try:
            rows += filled.under(prior, Asked())
        except ParameterError as error:
            rows.append({"prior": prior, "refused": str(error)})
    return pd.DataFrame(rows)


def counting(project: Project, generation: str | None) -> str:
    """The finder asked for, or the one that the report shows first. LakeError where its grid does not count."""
    name = generation or headline(project)
    status.require_counts(project.data, "completeness", name)
    return name


def headline(project: Project) -> str:
    """The finder that the report shows first."""
    name = project.section(ReportParams, "report").headline_generation or next(iter(project.audited), None)
    if name is None:
        raise invalid("generation", "given, because `audited` in params.yaml lists no finder", None)
    return name


def drawn_from(facts: dict[str, Any], name: str) -> AnyPrior:
    """The prior of a filled grid, from the content stored with the grid."""
    if facts["parameters"].get("source_model") is not None:
        raise DataError("injections from a user's own source model cannot be reweighted: their prior is not known")
    if "prior_content" not in facts:
        raise DataError(f"the grid of {name} has no record of its prior's content: run `dvc repro grid@{name}`")
    return prior_of(facts["prior_content"])


def _judged(stored: StoredGrid, rows: pa.Table) -> dict[str, NDArray[Any]]:
    """Hosts, as numbers, and scores of injections, in their order."""
    scores = _placed(stored.scores(), rows["injection_id"]).drop_columns("injection_id")
    hosts = rows["galaxy_id"].combine_chunks().dictionary_encode().indices
    return {"galaxy_id": arrays.values(hosts), **arrays.columns(rows.select(["detectable"])), **arrays.columns(scores)}


def _placed(rows: pa.Table, injection_ids: pa.ChunkedArray) -> pa.Table:
    """Rows put into the order of some identifiers, null where there is none. DataError if one has several."""
    if rows["injection_id"].equals(injection_ids):
        return rows
    if len(pc.unique(rows["injection_id"])) < rows.num_rows:
        raise DataError("an injection has more than one row: run `dhs verify --deep`")
    return rows.take(pc.index_in(injection_ids, value_set=rows["injection_id"]))


def thresholds_of(
    root: DataRoot, name: str, wanted: str | None
) -> tuple[list[Threshold], dict[str, Distribution], dict[str, Ends]]:
    """The measurable thresholds of a finder (or only the wanted one); distributions and ends of derived ones."""
    rows = delta.read(root, "thresholds", THRESHOLD_COLUMNS, slices=[name]).to_pylist()
    known = {one.threshold_id: one for one in from_records(rows)}
    if wanted is not None and wanted not in known:
        raise not_one_of("threshold", list(known), wanted)
    asked = list(known.values()) if wanted is None else [known[wanted]]
    points = [point for point in asked if point.measurable]
    if not points:
        why = "; ".join(dict.fromkeys(f"{point.threshold_id} is {point.reason}" for point in asked))
        raise DataError(f"{name} has no completeness: {why}")
    columns = ["negative_use", "probability", "trained_on"]
    own = fixing(arrays.columns(delta.read(root, "scores", columns, slices=[name], ordered=False)))
    derived = [point for point in points if point.status == "measured"]
    drawn = {point.threshold_id: bootstrap_thresholds(own, point.target_fpr) for point in derived}
    return points, drawn, {point.threshold_id: both for point in derived if (both := unlisted_ends(own, point))}
