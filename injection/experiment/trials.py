"""Trials: injections made again under one change at a time, with the same host, lens, source and noise.

An experiment declares its trials once, and variants that each change the setting, the rows or the scorer's
preprocessing. All random numbers are keyed by seed and ``trial_id``, so two variants differ by their change alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike
from scipy.special import expit

from injection.config import INDICES, GridParams, HostModel
from injection.experiment.grid import Plan
from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from injection.experiment.stream import batches, run_batch
from lake.scorer import Scorer

HostsOf = Callable[[HostModel], HostSet]
"""The hosts that a selection of hosts and a shape of lenses allow."""


def _unchanged(setting: Setting) -> Setting:
    return setting


def _same(setting: Setting, trials: pa.Table) -> pa.Table:
    return trials


@dataclass(frozen=True)
class Variant:
    """One change of an experiment's injections; what it does not name stays."""

    name: str
    grid: Mapping[str, Any] = field(default_factory=dict)
    """Fields of :class:`injection.config.GridParams`, other hosts included"""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the preprocessing of a scorer that this project trained; others cannot be scored so"""
    rows: Callable[[Setting, pa.Table], pa.Table] = _same
    """Trials with other parameters (:func:`given`) or hosts"""
    setting: Callable[[Setting], Setting] = _unchanged
    """Whatever else of the setting changes"""


@dataclass(frozen=True)
class Experiment:
    """Trials, and the variants that each of them is injected in."""

    name: str
    grid: Mapping[str, Any]
    """Fields of the grid's parameters that differ in all variants"""
    trials: Callable[[Setting], pa.Table]
    """``trial_id`` (unique in all experiments), ``galaxy_id``, ``bin``, ``lens_theta_e_arcsec``, and any other
    parameters that are not drawn: columns of the prior's ``direct``"""
    variants: tuple[Variant, ...]


def given(rows: pa.Table, name: str, values: ArrayLike) -> pa.Table:
    """Rows with a parameter that is then not drawn from the prior."""
    kept = rows.drop_columns(name) if name in rows.column_names else rows
    return kept.append_column(name, pa.array(np.asarray(values)))


def tried(
    experiment: Experiment,
    variant: Variant,
    base: Setting,
    hosts_of: HostsOf,
    scorer: Scorer,
    of_hosts: Scorer | None = None,
) -> pa.Table:
    """All trials of an experiment in one variant, scored: columns of the table ``trials`` that describe a trial.

    ``base`` is the setting of the grid; ``of_hosts``: see :func:`stream.run_batch`. No row depends on the others.
    A host that cannot be used is not replaced by another, which would end the pair: the trial fails with the reason.
    """
    common = _changed(base, experiment.grid, hosts_of)
    setting = variant.setting(_changed(common, variant.grid, hosts_of))
    rows = variant.rows(setting, experiment.trials(common))
    plan = Plan(setting, experiment.name, _planned(rows), pa.table({}))
    found = [run_batch(plan, some, scorer, of_hosts) for some in batches(plan)]
    return _answers(experiment, variant, setting, pa.concat_tables(found).combine_chunks())


def _changed(setting: Setting, changes: Mapping[str, Any], hosts_of: HostsOf) -> Setting:
    grid = GridParams.load({**setting.grid.model_dump(mode="json"), **changes}, "grid")
    hosts = setting.hosts if grid.host_model == setting.grid.host_model else hosts_of(grid.host_model)
    return replace(setting, grid=grid, hosts=hosts)


def _planned(trials: pa.Table) -> pa.Table:
    """Trials as the rows of a plan: one host each, all in one cell."""
    names = [{"trial_id": "injection_id", "bin": "cell"}.get(name, name) for name in trials.column_names]
    rows = trials.rename_columns(names).drop_columns("galaxy_id")
    for name in INDICES:
        rows = rows.append_column(name, pa.array(np.zeros(len(trials), np.int32)))
    return rows.append_column("host_ids", pa.array([[host] for host in trials["galaxy_id"].to_pylist()]))


def _answers(experiment: Experiment, variant: Variant, setting: Setting, found: pa.Table) -> pa.Table:
    score, host = (found[name].to_numpy(zero_copy_only=False) for name in ("score", "host_score"))
    failed = np.isnan(score)
    return pa.table(
        {
            "experiment": pa.repeat(experiment.name, len(found)),
            "variant": pa.repeat(variant.name, len(found)),
            "trial_id": found["injection_id"],
            "seed": found["seed"],
            "galaxy_id": found["galaxy_id"],
            "bin": found["cell"],
            "theta_e_arcsec": found["lens_theta_e_arcsec"],
            "beta_frac": found["src_beta_frac"],
            "src_mag": found[setting.hosts.imaging.source_columns[0]],
            "arc_snr": found["arc_snr"],
            "score": found["score"],
            "probability": pa.array(expit(score), mask=failed),
            "host_probability": pa.array(expit(host), mask=failed),
            "status": found["status"],
            "reason": found["reason"],
        }
    )
