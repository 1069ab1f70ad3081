"""Diagnostic: does the chain from lenses to completeness close? On surveys whose lenses are known, link by link.

Each link is a difference of completeness, in points: the finder on the lenses as painted, on the same lenses rendered
by us into their own hosts, into hosts of the grid, and on the grid's injections reweighted to the lenses' population.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics import closure_balance as balancing
from analysis.diagnostics.closure_light import judged_light, light_errors, within
from analysis.diagnostics.subject import Subject
from analysis.records import Gate, Measure, Outcome, missing, not_measured, reason, unmeasured
from analysis.results.untouched import unjudged
from analysis.statistics.intervals import exact
from analysis.statistics.paired import PairedBootstrap, Resampled, Sample, not_narrower
from analysis.statistics.thresholds import Threshold, why_not
from analysis.statistics.weighted import effective_number

Floats = NDArray[np.float64]

PROPENSITY = "propensity"
_POINTS = 100.0
_ORDER = ("light", "renderer", "hosts", "population", "self")
BALANCED = ("hosts", "population")
LEFT_OUT = "closure/left_out"


class Params(DiagnosticParams):
    """The chain from true lenses to completeness."""

    closure_threshold: str = "p0.5"
    """Threshold whose completeness the gates judge; all measurable thresholds are measured."""
    closure_hosts_per_lens: int = Field(5, ge=1)
    """Hosts of the grid that the parameters of each lens are rendered into."""
    closure_replicates: int = Field(2000, ge=100)
    """Resamples (lenses and hosts) behind the intervals."""
    closure_renderer_points: float = Field(2.5, gt=0)
    """Largest bias of completeness from the renderer (points)."""
    closure_light_tolerance: float = Field(0.015, gt=0)
    """Largest relative error (median over lenses) of the rendered light: of its total with and without sign, and of its
    root of squares; three times what the demo's two renderers differ by."""
    closure_host_points: float = Field(5.0, gt=0)
    """Largest bias of completeness from the hosts (points)."""
    closure_population_points: float = Field(5.0, gt=0)
    """Largest bias of completeness from the prior and the weights (points)."""
    closure_balance: float = Field(0.25, gt=0)
    """Largest standardised mean difference between the true lenses and weighted injections, of their hosts' light and
    of their parameters; the customary limit (Rubin 2001; Stuart 2010)."""


@dataclass(frozen=True)
class Chain:
    """The finder's probabilities along the chain."""

    lenses: pd.DataFrame
    """A row per lens: `painted`, `own` (rendered into its own host), `seen` (whether the finder trained or selected on
    it), `flux_<band>` and `norm_<band>` (rendered light over the true one: total, and root of squares), and what is
    balanced: `hosts/<column>`, `population/<column>`"""
    pairs: pd.DataFrame
    """A row per lens and host of the grid: `lens` (place), `host` (galaxy_id), `probability`, a column per host
    weighting, and `hosts/<column>` as the lenses have"""
    models: Sequence[str]
    """Host weightings: columns of weights in `pairs` and `grid`; the last one is judged"""
    grid: pd.DataFrame | None = None
    """A row per injection of the grid: `host`, `probability`, `weight` to the lens population, a column per
    host weighting, and `population/<column>` as the lenses have"""
    grid_refused: str = "the grid's injections were not compared"
    """Why there is no `grid`"""
    errors: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """By estimated host weighting: derivatives of the log weight of each host (index: galaxy_id) along independent
    errors of the fit, of unit variance"""

    @property
    def untouched(self) -> Chain:
        """The same with the lenses alone that the finder has not seen."""
        new = ~self.lenses["seen"].to_numpy(bool)
        place, kept = np.cumsum(new) - 1, new[self.pairs["lens"]]
        pairs = self.pairs[kept].assign(lens=lambda rows: place[rows["lens"]]).reset_index(drop=True)
        return replace(self, lenses=self.lenses[new].reset_index(drop=True), pairs=pairs)

    @property
    def unscored(self) -> str | None:
        """Why no link can be measured: a score that is not finite is neither a detection nor a miss."""
        grid = [] if self.grid is None else [self.grid["probability"]]
        scores = np.concatenate([self.lenses["painted"], self.lenses["own"], self.pairs["probability"], *grid])
        lost = int((~np.isfinite(scores)).sum())
        return f"{lost:,} of {len(scores):,} stamps of the chain have no finite score" if lost else None


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The links of the chain; nothing where the survey's lenses are not known."""
    found = subject.closure(params)
    if found is None:
        return Outcome("closure")
    if isinstance(found, str):
        return _refused(found, params)
    return closed(found, subject.thresholds, params, np.random.default_rng(subject.seed), subject.unknown)


def closed(
    chain: Chain, points: Sequence[Threshold], params: Params, rng: np.random.Generator, unknown: str | None = None
) -> Outcome:
    """Bias of each link at each measurable threshold, and the gates of one threshold.

    What the finder answers is measured on lenses that it has not seen; light and balance, which no finder decides, on
    all. ``unknown``: why it is not known which it has seen; no link is then judged.
    """
    light = light_errors(chain.lenses, params.closure_replicates, rng)
    tested, whole = chain.untouched, _Links(chain, params.closure_replicates, rng)
    links = whole if len(tested.lenses) == len(chain.lenses) else _Links(tested, params.closure_replicates, rng)
    balances = {link: found for link in BALANCED if (found := whole.balance(link))}
    biases = tuple(m for point in points if point.measurable for m in links.biases(point))
    lacking = why_not(points, params.closure_threshold)
    judged = unjudged(Outcome("closure", gates=tuple(_gates(tested, biases, params, lacking))), unknown)
    gates = [judged_light(light, params.closure_light_tolerance), *judged.gates]
    gates += [balancing.judged(link, found, params.closure_balance) for link, found in balances.items()]
    seen, total = len(chain.lenses) - len(tested.lenses), len(chain.lenses)
    left_out = Measure(
        LEFT_OUT, float(seen), n=total, method="lenses trained or selected on, in no figure of the finder"
    )
    every = (left_out, *light, *biases, *(each.measure for found in balances.values() for each in found))
    return Outcome("closure", every, tuple(gates))


def _gates(chain: Chain, biases: Sequence[Measure], params: Params, lacking: str) -> Iterator[Gate]:
    """The gates of the links in which the finder answers; ``lacking``: why their threshold is not measurable."""
    held, at, judged = {m.name: m for m in biases}, params.closure_threshold, chain.models[-1]
    yield _judged(held, "renderer", f"closure/renderer/{at}", params.closure_renderer_points, lacking)
    yield _judged(held, "hosts", f"closure/hosts/{judged}/{at}", params.closure_host_points, lacking)
    if chain.grid is None:
        rule = f"bias of the population: {chain.grid_refused}"
        yield not_measured("closure/population", params.closure_population_points, rule)
    else:
        yield _judged(held, "population", f"closure/population/{at}", params.closure_population_points, lacking)


def self_closed(chain: Chain, points: Sequence[Threshold], params: Params, rng: np.random.Generator) -> Outcome:
    """The same for real lenses with models: their stamps against their parameters in hosts of the grid, in one link.

    ``chain.lenses`` has the finder's probability of each lens's real stamp as `painted` and as `own`.
    """
    resampler, group = _Links(chain, params.closure_replicates, rng), "closure/self/"
    found = [m for point in points if point.measurable for m in resampler.biases(point) if "/renderer/" not in m.name]
    words = [("lenses as painted", "lenses' real stamps"), ("own hosts", "real stamps")]
    measures = []
    for measure in found:
        how = measure.method
        for ours, theirs in words:
            how = how.replace(ours, theirs)
        measures.append(replace(measure, name=measure.name.replace("closure/", group), method=how))
    held, name = {m.name: m for m in measures}, f"{group}hosts/{chain.models[-1]}/{params.closure_threshold}"
    gate = _judged(held, "self", name, params.closure_host_points, why_not(points, params.closure_threshold))
    return Outcome("closure", tuple(measures), (gate,))


def failing(outcome: Outcome) -> list[str]:
    """Names of the links that fail, in the order of the chain."""
    failed = {gate.name.split("/")[1] for gate in outcome.gates if gate.status == "FAIL"}
    return [link for link in _ORDER if link in failed]


class _Links:
    """The links of a chain, resampled together: lenses and hosts."""

    def __init__(self, chain: Chain, replicates: int, rng: np.random.Generator) -> None:
        self.chain = chain
        hosts = [chain.pairs["host"], *([] if chain.grid is None else [chain.grid["host"]])]
        ids, place = np.unique(np.concatenate([np.asarray(each, dtype=str) for each in hosts]), return_inverse=True)
        self.of_pairs, self.of_grid = place[: len(chain.pairs)], place[len(chain.pairs) :]
        self.bootstrap = PairedBootstrap({"lens": len(chain.lenses), "host": len(ids)}, replicates, rng)
        self.errors = {model: rng.normal(size=(replicates, along.shape[1])) for model, along in chain.errors.items()}

    def biases(self, point: Threshold) -> list[Measure]:
        """The finder's true completeness at a threshold, and the bias of each link in points."""
        chain, name = self.chain, point.threshold_id
        painted, own = (self._of_lenses(_hits(chain.lenses[link], point)) for link in ("painted", "own"))
        n, everyone = len(chain.lenses), _POINTS * painted.value
        low, high = (_POINTS * end for end in exact(painted.value * n, n))
        found = [Measure(f"closure/true/{name}", everyone, low, high, n, "percent", "recall of the lenses as painted")]
        found.append(self._bias(f"renderer/{name}", own, painted, n, "rendered into own hosts, minus as painted"))
        for model in chain.models:
            found.append(self._hosts(model, point, own))
        if chain.grid is not None:
            found += self._population(chain.grid, point, painted)
        return found

    def _weighting(self, model: str) -> str:
        return f"{model}, with the error of its fit" if model in self.errors else model

    def balance(self, link: str) -> list[balancing.Balance]:
        """How far weighted injections are from the lenses, in each column that the chain has for a link."""
        chain, model = self.chain, self.chain.models[-1]
        rows, mean = chain.pairs, partial(self._over_pairs, model)
        if link == "population":
            if chain.grid is None:
                return []
            rows, mean = chain.grid, partial(self._over_grid, chain.grid, model)
        found = []
        for column in (name for name in chain.lenses.columns if name.startswith(f"{link}/")):
            name = f"closure/{link}/balance/{column.partition('/')[2]}"
            values, of_lenses = (np.asarray(frame[column], dtype=np.float64) for frame in (rows, chain.lenses))
            found.append(balancing.balance(name, values, mean, of_lenses, self._of_lenses))
        return found

    def _of_lenses(self, values: Floats) -> Resampled:
        return self.bootstrap.recall(_sample(values, np.ones(len(values)), {"lens": np.arange(len(values))}))

    def _over_pairs(self, model: str, values: Floats) -> Resampled:
        pairs = self.chain.pairs
        units = {"lens": pairs["lens"].to_numpy(), "host": self.of_pairs}
        return self._with_errors(model, pairs["host"], _sample(values, pairs[model].to_numpy(), units))

    def _over_grid(self, grid: pd.DataFrame, model: str, values: Floats) -> Resampled:
        sample = _sample(values, _population_weights(grid, model), {"host": self.of_grid})
        return self._with_errors(model, grid["host"], sample)

    def _in_hosts(self, model: str, point: Threshold) -> Resampled:
        return self._over_pairs(model, _hits(self.chain.pairs["probability"], point))

    def _with_errors(self, model: str, hosts: pd.Series, sample: Sample) -> Resampled:
        """Recall with estimated weights: each replicate draws an error of the fit, the same in all links."""
        found = self.bootstrap.recall(sample)
        if model not in self.errors:
            return found
        shares = sample.weights / sample.weights.sum()
        along = (shares * (sample.hits - found.value)) @ self.chain.errors[model].loc[hosts].to_numpy()
        return replace(found, replicates=found.replicates + self.errors[model] @ along)

    def _hosts(self, model: str, point: Threshold, own: Resampled) -> Measure:
        weights, by = self.chain.pairs[model].to_numpy(), self._weighting(model)
        how = f"hosts of the grid ({by}) minus own hosts; {effective_number(weights):,.0f} effective pairs"
        found = self._in_hosts(model, point)
        return self._bias(f"hosts/{model}/{point.threshold_id}", found, own, int((weights > 0).sum()), how)

    def _population(self, grid: pd.DataFrame, point: Threshold, painted: Resampled) -> list[Measure]:
        model = self.chain.models[-1]
        weights = _population_weights(grid, model)
        whole = self._over_grid(grid, model, _hits(grid["probability"], point))
        n, by = int((weights > 0).sum()), self._weighting(model)
        how = f"{effective_number(weights):,.0f} effective injections, hosts: {by}"
        in_hosts, at = self._in_hosts(model, point), point.threshold_id
        own = f"grid reweighted to the lenses minus their own parameters in hosts of the grid; {how}"
        return [
            self._bias(f"population/{at}", whole, in_hosts, n, own),
            self._bias(f"whole/{at}", whole, painted, n, f"grid minus lenses as painted; {how}"),
        ]

    def _bias(self, name: str, link: Resampled, before: Resampled, n: int, how: str) -> Measure:
        """A link minus the one before, in points."""
        if math.isnan(link.value) or math.isnan(before.value):
            return missing(f"closure/{name}", f"nothing has a weight ({how})", n, "points")
        found = not_narrower(link.minus(before), len(self.chain.lenses))
        value, low, high = (_POINTS * part for part in found)
        return Measure(f"closure/{name}", value, low, high, n, "points", f"{how}; bootstrap of lenses and hosts")


def _hits(probability: pd.Series, point: Threshold) -> Floats:
    return np.asarray(probability > point.threshold, dtype=np.float64)


def _population_weights(grid: pd.DataFrame, model: str) -> Floats:
    """Of the grid's injections: to the lenses' parameters, and to their hosts."""
    return np.asarray(grid["weight"] * grid[model], dtype=np.float64)


def _sample(values: Floats, weights: Floats, units: Mapping[str, NDArray[np.int64]]) -> Sample:
    """Values to be averaged; unknown ones have no weight."""
    known = np.isfinite(values)
    return Sample(np.where(known, values, 0.0), np.where(known, weights, 0.0), units)


def _refused(why: str, params: Params) -> Outcome:
    tolerances = {
        "light": params.closure_light_tolerance,
        "renderer": params.closure_renderer_points,
        "hosts": params.closure_host_points,
        "population": params.closure_population_points,
    }
    gates = {f"closure/{link}": (tolerance, f"bias of {link}") for link, tolerance in tolerances.items()}
    return unmeasured("closure", why, f"closure/true/{params.closure_threshold}", gates, "The chain is not measured")


def _judged(held: dict[str, Measure], link: str, name: str, tolerance: float, lacking: str) -> Gate:
    if name in held and math.isnan(held[name].value):
        return not_measured(f"closure/{link}", tolerance, f"bias of {link}: {reason(held[name])}")
    if name not in held:
        return not_measured(f"closure/{link}", tolerance, f"bias of {link}: {lacking}")
    return within(link, held[name], tolerance, f"of completeness (points), {name}")
