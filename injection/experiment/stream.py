"""Inject, measure and score: batches of a planned grid as Arrow tables. No pixels are stored."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from injection.engine.tracing import Images
from injection.experiment.grid import Plan
from injection.experiment.hoststamps import host_stamps
from injection.experiment.schema import batch_schema, measured
from injection.experiment.setting import Setting
from lake.scorer import Scorer, check_bands, known
from lake.tables.injections import HOST_FACTS

log = logging.getLogger(__name__)

_REPORTED = 5
"""Failed injections of a batch that are logged one by one."""
_PLAN_ONLY = ("host_ids", "sobol_place")


def batches(plan: Plan) -> list[pa.Table]:
    """The rows of a plan, one table per batch."""
    size = plan.setting.grid.batch_size
    return [plan.rows.slice(start, size) for start in range(0, plan.rows.num_rows, size)]


class Remembering:
    """A scorer that scores stamps of the same bytes once, for bare hosts that many injections share."""

    def __init__(self, scorer: Scorer) -> None:
        self.name, self.checkpoint_id, self.conditions = scorer.name, scorer.checkpoint_id, scorer.conditions
        self.stamp_pixels, self.bands = scorer.stamp_pixels, scorer.bands
        self.any_sign = getattr(scorer, "any_sign", False)
        self._scorer, self._logits = scorer, dict[bytes, float]()

    def score(self, stamps: Images, conditions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Logits (batch,), as of the scorer."""
        more = () if conditions is None else (conditions,)
        keys = [_digest(*row) for row in zip(stamps, *more, strict=True)]
        new = {key: place for place, key in enumerate(keys) if key not in self._logits}
        if new:
            places = list(new.values())
            logits = self._scorer.score(stamps[places], *(one[places] for one in more))
            self._logits |= dict(zip(new, np.asarray(logits, dtype=np.float64).tolist(), strict=True))
        return np.array([self._logits[key] for key in keys])


class OneAtATime:
    """A scorer that several threads may use, one at a time."""

    def __init__(self, scorer: Scorer) -> None:
        self.name, self.checkpoint_id, self.conditions = scorer.name, scorer.checkpoint_id, scorer.conditions
        self.stamp_pixels, self.bands = scorer.stamp_pixels, scorer.bands
        self.any_sign = getattr(scorer, "any_sign", False)
        self._scorer, self._lock = scorer, threading.Lock()

    def score(self, stamps: Images, conditions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Logits (batch,), as of the scorer."""
        with self._lock:
            return self._scorer.score(stamps) if conditions is None else self._scorer.score(stamps, conditions)


def side_by_side(plan: Plan, scorer: Scorer) -> tuple[Plan, Scorer, int]:
    """A plan, a scorer, and the number of batches at once: more than one if the finder runs on a GPU.

    While the GPU scores one batch, threads load, render and measure others: as many batches as the grid has threads.
    Without a GPU, one batch uses all threads. The rows are the same either way.
    """
    grid = plan.setting.grid
    if not getattr(scorer, "on_gpu", False) or grid.threads == 1:
        return plan, scorer, 1
    alone = replace(plan.setting, grid=grid.model_copy(update={"threads": 1}))
    return replace(plan, setting=alone), OneAtATime(scorer), grid.threads


def _digest(*arrays: NDArray[Any]) -> bytes:
    return blake2b(b"".join(np.ascontiguousarray(one).tobytes() for one in arrays)).digest()


def run_batch(plan: Plan, rows: pa.Table, scorer: Scorer, of_hosts: Scorer | None = None) -> pa.Table:
    """Rows of a plan, injected, measured and scored: a table with the columns of ``schema.batch_schema``.

    A row does not depend on the rest of the batch. A host that cannot be loaded or used, or whose stamp gets no finite
    score, is replaced by the next of the row's hosts. A row that runs out of hosts, or cannot be rendered, fails with
    its reason. ``of_hosts`` scores bare hosts: the same finder, or one that remembers.
    """
    check_bands(scorer, plan.setting.hosts.imaging)
    scorers = scorer, of_hosts or scorer
    out, again = _attempt(plan, rows, 0, scorers)
    attempt = 0
    while len(again):
        attempt += 1
        more, still = _attempt(plan, rows.take(pa.array(again)), attempt, scorers)
        place = np.arange(out.num_rows)
        place[again] = out.num_rows + np.arange(len(again))
        out = pa.concat_tables([out, more]).combine_chunks().take(pa.array(place))
        again = again[still]
    _report(out.column("injection_id").to_pylist(), plan.setting.seed, out.column("reason").to_pylist())
    return out


def _attempt(
    plan: Plan, rows: pa.Table, attempt: int, scorers: tuple[Scorer, Scorer]
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Rows injected into one of their hosts and scored, and which of them to try again in another host."""
    setting, choices = plan.setting, rows.column("host_ids").to_pylist()
    ids = [hosts[attempt] for hosts in choices]
    stamps, reasons = host_stamps(setting, ids)
    drawn = setting.parameters(rows.append_column("galaxy_id", pa.array(ids)))
    columns = {**_identity(plan, rows, ids, attempt), **{name: drawn.column(name) for name in drawn.column_names}}
    good = np.flatnonzero([reason is None for reason in reasons])
    of_host = np.array([reason is not None for reason in reasons])
    if len(good) < len(ids):
        drawn, stamps = drawn.take(pa.array(good)), stamps[good]
    values, faults, of_host[good] = _inject(setting, drawn, stamps, scorers)
    for place, index in enumerate(good):
        reasons[index] = faults[place]
    scored = np.array([reason is None for reason in reasons])
    for field in measured(setting.hosts.imaging):
        columns[field.name] = _spread(values.get(field.name), good, scored, field.type)
    columns["status"] = pa.array(np.where(scored, "scored", "failed"))
    columns["reason"] = pa.array(reasons, pa.string())
    left = np.array([attempt + 1 < len(hosts) for hosts in choices])
    schema = batch_schema(setting.hosts.imaging)
    table = pa.table([_cast(columns[field.name], field) for field in schema], schema=schema)
    return table, np.flatnonzero(of_host & left)


def _inject(
    setting: Setting, rows: pa.Table, stamps: Images, scorers: tuple[Scorer, Scorer]
) -> tuple[dict[str, Any], list[str | None], NDArray[np.bool_]]:
    """Measurements and scores of rows with a host, why rows failed, and whether the host may be the cause."""
    if not rows.num_rows:
        return {}, [], np.zeros(0, bool)
    scorer, drawn = scorers[0], setting.draw(rows, stamps)
    values, reasons, names = setting.measured(drawn), drawn.reasons, scorer.conditions
    ids = rows["galaxy_id"].to_pylist()
    conditions = setting.hosts.conditions(names, setting.hosts.rows_of(ids)) if names else None
    for name, one, images in zip(("score", "host_score"), scorers, (drawn.images, drawn.bare), strict=True):
        values[name] = _scored(one, images, conditions)
    if conditions is not None:
        for index in np.flatnonzero(~known(scorer, conditions)):
            reasons[index] = reasons[index] or f"host {ids[index]} lacks at least one of {', '.join(names)}"
    for index in np.flatnonzero(~(np.isfinite(values["score"]) & np.isfinite(values["host_score"]))):
        reasons[index] = reasons[index] or "the scorer returned no finite score"
    of_host = [why is not None and arc is None for why, arc in zip(reasons, drawn.arcs.reasons, strict=True)]
    return values, reasons, np.array(of_host)


def _scored(scorer: Scorer, stamps: Images, conditions: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Logits, NaN where required conditions are unknown."""
    if conditions is None:
        return np.asarray(scorer.score(stamps), dtype=np.float64)
    usable = np.flatnonzero(known(scorer, conditions))
    logits = np.full(len(conditions), np.nan)
    if len(usable):
        logits[usable] = scorer.score(stamps[usable], conditions[usable])
    return logits


def _identity(plan: Plan, rows: pa.Table, ids: list[str], attempt: int) -> dict[str, Any]:
    """Columns that identify the injection of each row, and its host."""
    setting, hosts, count = plan.setting, plan.setting.hosts, rows.num_rows
    host = hosts.rows_of(ids)
    columns: dict[str, Any] = {name: rows.column(name) for name in rows.column_names if name not in _PLAN_ONLY}
    columns["grid_id"] = pa.array([plan.grid_id] * count)
    columns["seed"] = np.full(count, setting.seed)
    columns["prior"] = pa.array([setting.prior.name] * count)
    for name in ("host_selection", "lens_shape"):
        columns[name] = pa.array([getattr(setting.grid, name)] * count)
    columns |= {name: pa.nulls(count) for name in HOST_FACTS} | hosts.catalogue(host)
    columns["galaxy_id"], columns["host_attempt"] = pa.array(ids), np.full(count, attempt)
    for index, band in enumerate(hosts.imaging.bands):
        columns[f"host_psf_fwhm_nea_{band}_arcsec"] = hosts.fwhm_nea_arcsec[host, index]
    columns[f"host_depth_{hosts.imaging.reference_band}_mag"] = hosts.depth_mag[host]
    width = hosts.fwhm_nea_arcsec[host, hosts.imaging.reference]
    columns["theta_e_over_fwhm_nea"] = rows.column("lens_theta_e_arcsec").to_numpy() / width
    columns["poisson_gain_e_per_nmgy"] = pa.array([setting.grid.poisson_gain_e_per_nmgy] * count, pa.float64())
    return columns


def _spread(values: Any, good: NDArray[np.int64], scored: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    """Values of the rows with a host as a column of all rows; null in failed rows and where not finite."""
    full = np.zeros(len(scored), dtype=kind.to_pandas_dtype())
    known = scored.copy()
    if values is not None:
        finite = np.isfinite(np.asarray(values, dtype=np.float64))
        full[good] = np.where(finite, values, 0)
        known[good] &= finite
    return pa.array(full, kind, mask=~known)


def _cast(column: Any, field: pa.Field) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else pa.array(column)
    return array.cast(field.type)


def _report(injection_ids: list[str], seed: int, reasons: list[str | None]) -> None:
    """Log the first failed injections of a batch, with id and seed to draw them again; the table has all of them."""
    failed = [(name, reason) for name, reason in zip(injection_ids, reasons, strict=True) if reason is not None]
    for name, reason in failed[:_REPORTED]:
        log.warning("injection %s of seed %d failed: %s", name, seed, reason)
    if len(failed) > _REPORTED:
        log.warning("%d more of %d injections failed, see the column 'reason'", len(failed) - _REPORTED, len(reasons))
