"""Weights of the grid's hosts: equal, early types alone, or by propensity to follow the lenses' hosts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.diagnostics.closure import PROPENSITY
from analysis.fitted import propensity
from injection.experiment.hostset import EARLY_TYPES, HostSet
from lake.errors import DataError
from pipeline.experiment.lenshosts import lens_hosts
from pipeline.project.context import RunContext

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weighted:
    """Weights of hosts, in their order."""

    weights: dict[str, Floats]
    """By the name of the host weighting; the last one is judged"""
    directions: dict[str, Floats] = field(default_factory=dict)
    """By estimated weighting: derivatives of the log weights (host, error) along independent errors of the fit"""

    def errors(self, hosts: HostSet) -> dict[str, pd.DataFrame]:
        """The derivatives, with a row for the `galaxy_id` of each host."""
        ids = hosts.ids.to_pylist()
        return {name: pd.DataFrame(each, index=ids) for name, each in self.directions.items()}


HostWeights = Callable[[HostSet], Weighted]


def plain_weights(hosts: HostSet) -> Weighted:
    """Equal weights, and early types alone where types are known."""
    weights = {"all": np.ones(len(hosts.ids))}
    if "type" in hosts.table.column_names:
        weights["early_types"] = np.isin(np.asarray(hosts.table["type"]), EARLY_TYPES).astype(np.float64)
    return Weighted(weights)


def survey_weights(context: RunContext, hosts: HostSet) -> Weighted:
    """The same, and weights by the propensity to be a lens's host, where enough training lenses are listed."""
    plain, ids = plain_weights(hosts), hosts.ids.to_pylist()
    try:
        found = lens_hosts(context.read, context.survey, ids, propensity.DEFAULT)
    except DataError as error:
        log.warning("hosts are not weighted by propensity: %s", error)
        return plain
    own = pd.Series(ids)
    directions = {PROPENSITY: found.directions_of(own)}
    return replace(plain, weights=plain.weights | {PROPENSITY: found.of(own)}, directions=directions)
