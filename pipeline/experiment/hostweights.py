"""Weights of the grid's hosts: all alike, early types alone, or like lenses' hosts as far as the catalogue can tell."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.diagnostics.closure import PROPENSITY
from analysis.statistics import propensity
from injection.experiment.hostset import EARLY_TYPES, HostSet
from lake.errors import DataError
from pipeline.project.context import RunContext

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]


def plain_weights(hosts: HostSet) -> dict[str, Floats]:
    """All hosts alike, and early types alone where types are known."""
    weights = {"all": np.ones(len(hosts.ids))}
    if "type" in hosts.table.column_names:
        weights["early_types"] = np.isin(np.asarray(hosts.table["type"]), EARLY_TYPES).astype(np.float64)
    return weights


def survey_weights(context: RunContext, hosts: HostSet) -> dict[str, Floats]:
    """The same, and weights by the propensity to be a lens's host, where enough training lenses are listed."""
    weights = plain_weights(hosts)
    try:
        fitted = training_propensity(context)
    except DataError as error:
        log.warning("hosts are not weighted by propensity: %s", error)
        return weights
    columns = ["galaxy_id", *propensity.needed(fitted.covariates)]
    rows = context.read("tractor_pool", columns, ordered=False).to_pandas().set_index("galaxy_id")
    return weights | {PROPENSITY: fitted.weights(rows.loc[hosts.ids.to_pylist()])}


def training_propensity(context: RunContext) -> propensity.Propensity:
    """Propensity of listed lenses' hosts against negatives, of the training split both."""
    manifest = context.read("manifest", ["galaxy_id", "label", "split"], slices=[context.survey.audit_manifest])
    training = manifest.to_pandas().query("split == 'train'")
    lenses, negatives = (
        _rows(context, table, training.loc[training["label"] == label, "galaxy_id"])
        for label, table in ((1, "tractor_near_candidates"), (0, "tractor_pool"))
    )
    return propensity.fit(lenses, negatives, propensity.DEFAULT, context.seed)


def _rows(context: RunContext, table: str, galaxy_ids: pd.Series) -> pd.DataFrame:
    """What the catalogue says about some galaxies, ordered by name; those that the table lacks are left out."""
    columns = ["galaxy_id", *propensity.needed(propensity.DEFAULT)]
    rows = context.read(table, columns, ordered=False).to_pandas()
    return rows[rows["galaxy_id"].isin(galaxy_ids)].sort_values("galaxy_id", ignore_index=True)
