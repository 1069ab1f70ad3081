"""The experiment `host_pairs`: the same lens and source in hosts of any type and in early types, with either shape."""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa
from pydantic import PositiveInt

from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from injection.experiment.trials import Experiment, Variant
from lake.config import Section
from lake.errors import DataError
from lake.sky.hashing import key_hash

NAME = "host_pairs"
_NEAREST = 12
"""Early-type hosts that the one of a trial is drawn from: the nearest in seeing and depth."""


class HostPairParams(Section):
    """Its size."""

    per_radius: PositiveInt
    """Trials at each Einstein radius of the grid."""


def host_pairs(params: HostPairParams) -> Experiment:
    """The experiment: {all, early-type hosts} x {independent, conditioned shape}, parameters from the grid's prior."""
    variants = tuple(
        Variant(
            f"{selection}_{shape}",
            {"host_selection": selection, "lens_shape": shape},
            rows=partial(_into, f"{selection}_host"),
        )
        for selection in ("all", "early")
        for shape in ("independent", "conditioned")
    )
    # The trials are laid out over hosts with a shape, which all four variants have.
    common = {"host_selection": "all", "lens_shape": "conditioned"}
    return Experiment(NAME, common, partial(_pairs, params.per_radius), variants)


def _pairs(per_radius: int, setting: Setting) -> pa.Table:
    """Trials with a host of any type (`all_host`) and an early-type one in the same conditions (`early_host`)."""
    parts = []
    for theta_e in setting.grid.theta_e_arcsec:
        galaxies = setting.hosts.choose(per_radius, setting.seed, f"{NAME}/{theta_e:g}")
        uses = np.arange(per_radius) // len(setting.hosts.ids)
        names = [f"{NAME}/{theta_e:g}/{galaxy}/{use}" for galaxy, use in zip(galaxies, uses, strict=True)]
        parts.append(
            pa.table(
                {
                    "trial_id": names,
                    "all_host": galaxies,
                    "early_host": _similar(setting.hosts, galaxies, names, setting.seed),
                    "bin": [f"{theta_e:g}"] * per_radius,
                    "lens_theta_e_arcsec": np.full(per_radius, theta_e),
                }
            )
        )
    return pa.concat_tables(parts).combine_chunks()


def _into(column: str, setting: Setting, trials: pa.Table) -> pa.Table:
    """Trials in one of their two hosts."""
    galaxies = trials[column]
    return trials.drop_columns(["all_host", "early_host"]).append_column("galaxy_id", galaxies)


def _similar(hosts: HostSet, galaxies: list[str], trials: list[str], seed: int) -> list[str]:
    """For the host of each trial an early-type one, drawn from the nearest in seeing and depth."""
    early = hosts.early
    if not early.any():
        raise DataError("there is no early-type host")
    near = hosts.nearest(hosts.rows_of(galaxies), np.flatnonzero(early), _NEAREST)
    ids = np.asarray(hosts.ids)[near]
    keys = pa.array([f"{trial}|{host}" for trial, row in zip(trials, ids, strict=True) for host in row])
    first = np.argmin(key_hash(seed, keys).reshape(ids.shape), axis=1)
    return [str(host) for host in np.take_along_axis(ids, first[:, None], axis=1).ravel()]
