"""Hosts weighted to follow the hosts of the training split's lenses, from the lake's catalogue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.fitted.propensity import DEFAULT, LEAST_SUPPORT, fit, needed
from analysis.results.lenshosts import LensHosts
from lake.config import SurveyParams
from lake.errors import DataError
from lake.store.delta import Read
from pipeline.project.context import RunContext


def lens_hosts(read: Read, survey: SurveyParams, galaxy_ids: Sequence[str], covariates: Sequence[str]) -> LensHosts:
    """Weights of hosts, fitted on the audit manifest's training split: its lenses that pass the pool's cuts, and its
    negatives.

    DataError if there are too few of them, or no host is in the catalogue.
    """
    columns = list(needed(covariates))
    manifest = read("manifest", ["galaxy_id", "split", "label"], slices=[survey.audit_manifest])
    training = manifest.filter(pc.equal(manifest["split"], "train"))
    lens, negative = (training.filter(pc.equal(training["label"], label))["galaxy_id"] for label in (1, 0))
    near = _rows(read("tractor_near_candidates", ["galaxy_id", "failed_cut", *columns], ordered=False), lens)
    inside = near["failed_cut"].isna()
    hosts = pa.array(sorted(set(galaxy_ids)), pa.string())
    pool = _rows(
        read("tractor_pool", ["galaxy_id", *columns], ordered=False),
        pa.chunked_array([*negative.chunks, hosts], pa.string()),
    )
    propensity = fit(near[inside], pool[pool.index.isin(negative.to_pylist())], covariates, survey.seed)
    of_grid = pool[pool.index.isin(hosts.to_pylist())]
    return LensHosts(propensity, of_grid, propensity.weights(of_grid), int((~inside).sum()))


def lens_host_weights(context: RunContext, hosts: pd.Series) -> NDArray[np.float64] | str:
    """Weights of injections, by the `galaxy_id` of their hosts, that make these follow the lenses' hosts; or why there
    are none."""
    try:
        found = lens_hosts(context.read, context.survey, hosts.to_list(), DEFAULT)
        found.require(LEAST_SUPPORT)
    except DataError as error:
        return str(error)
    return found.of(hosts)


def _rows(table: pa.Table, galaxy_ids: pa.ChunkedArray) -> pd.DataFrame:
    """Catalogue rows of some galaxies, by their identifiers in order."""
    chosen = table.filter(pc.is_in(table["galaxy_id"], value_set=galaxy_ids.combine_chunks()))
    return chosen.to_pandas().set_index("galaxy_id").sort_index()
