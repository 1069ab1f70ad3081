"""Weights of the grid's hosts: equal, early types alone, or by propensity to follow the lenses' hosts."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.diagnostics.closure import PROPENSITY
from analysis.statistics import propensity
from injection.experiment.hostset import EARLY_TYPES, HostSet
from lake.errors import DataError
from pipeline.experiment.lenshosts import lens_hosts
from pipeline.project.context import RunContext

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
HostWeights = Callable[[HostSet], dict[str, Floats]]
"""Weights of hosts by the name of the host weighting; the last one is judged."""


def plain_weights(hosts: HostSet) -> dict[str, Floats]:
    """Equal weights, and early types alone where types are known."""
    weights = {"all": np.ones(len(hosts.ids))}
    if "type" in hosts.table.column_names:
        weights["early_types"] = np.isin(np.asarray(hosts.table["type"]), EARLY_TYPES).astype(np.float64)
    return weights


def survey_weights(context: RunContext, hosts: HostSet) -> dict[str, Floats]:
    """The same, and weights by the propensity to be a lens's host, where enough training lenses are listed."""
    weights = plain_weights(hosts)
    ids = hosts.ids.to_pylist()
    try:
        found = lens_hosts(context.read, context.survey, ids, propensity.DEFAULT)
    except DataError as error:
        log.warning("hosts are not weighted by propensity: %s", error)
        return weights
    return weights | {PROPENSITY: found.of(pd.Series(ids))}
