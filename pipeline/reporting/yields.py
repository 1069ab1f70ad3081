"""What the report says about yields: lenses of a declared population, and the galaxies that may be taken for lenses."""

from __future__ import annotations

import pandas as pd

from analysis.config import ReportParams
from lake.errors import DataError, ParameterError
from lake.store.query import query
from pipeline.experiment.populations import footprint_deg2, predicted
from pipeline.experiment.reweighting import Filled
from pipeline.project.context import RunContext


def expected_lenses(context: RunContext, name: str, params: ReportParams) -> pd.DataFrame:
    """Lenses per square degree that a finder would find, by threshold; one row with the reason, `refused`, if unknown.

    Empty where no population is declared.
    """
    if params.population is None:
        return pd.DataFrame()
    try:
        return predicted(Filled.of(context.root, name), params.population, 1.0, params.population_min_support)
    except (DataError, ParameterError) as error:
        return pd.DataFrame({"refused": [str(error)]})


def galaxies(context: RunContext) -> tuple[pd.DataFrame, float]:
    """Galaxies of the pool per stratum, `n`, and the area (square degrees) that they lie in."""
    context.note_table("tractor_pool", None)
    text = "SELECT type_bin, nobs_z_bin, count(*) AS n FROM tractor_pool GROUP BY ALL ORDER BY ALL"
    return query(context.root, text).to_pandas(), footprint_deg2(context.project)
