"""Which galaxies of the lake a host propensity is fitted on, and whose weights it gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.fitted.propensity import fit
from lake.errors import DataError
from pipeline.experiment.lenshosts import lens_hosts
from tests.analysis.hostgalaxies import SHAPE, galaxies

SURVEY: Any = SimpleNamespace(audit_manifest="audit", seed=7)


def held() -> dict[str, pd.DataFrame]:
    """Lenses that fail a cut or lie in other splits are unlike the others, and so are negatives of other splits."""
    lens, negative = galaxies(120, 1, 0.6), galaxies(700, 2)
    lens.index = pd.Index([f"l{k:03d}" for k in range(120)], name="galaxy_id")
    negative.index = pd.Index([f"n{k:03d}" for k in range(700)], name="galaxy_id")
    lens["failed_cut"] = np.where(np.arange(120) < 10, "mag_z", None)
    lens["split"] = np.where(np.arange(120) < 100, "train", "test")
    negative["split"] = np.where(np.arange(700) < 600, "train", "val")
    lens.loc[(lens["failed_cut"].notna()) | (lens["split"] == "test"), "mag_z"] = 5.0
    labelled = pd.concat([lens.assign(label=1), negative.assign(label=0)])[["split", "label"]].reset_index()
    return {
        "manifest": labelled,
        "tractor_near_candidates": lens.reset_index(),
        "tractor_pool": negative.reset_index(),
    }


def read(of: dict[str, pd.DataFrame]) -> Any:
    return lambda name, columns, slices=None, ordered=True: pa.Table.from_pandas(of[name][columns])


def test_training_lenses_within_the_cuts_against_training_negatives() -> None:
    of = held()
    hosts = [f"n{k:03d}" for k in range(600, 700)]
    found = lens_hosts(read(of), SURVEY, [*hosts, *hosts, "elsewhere"], SHAPE)
    lens, pool = (of[name].set_index("galaxy_id") for name in ("tractor_near_candidates", "tractor_pool"))
    expected = fit(lens.iloc[10:100], pool.iloc[:600], SHAPE, 7)
    assert (len(found.propensity.lenses), found.propensity.negatives, found.outside) == (90, 600, 10)
    np.testing.assert_allclose(found.weights, expected.weights(pool.loc[hosts]))
    assert found.hosts.index.tolist() == hosts
    weights = found.of(pd.Series(["n650", "elsewhere"]))
    assert weights[0] > 0
    assert weights[1] == 0


def test_too_few_lenses_or_foreign_hosts_are_an_error() -> None:
    of = held()
    with pytest.raises(DataError, match="no host has a value of each of mag_z"):
        lens_hosts(read(of), SURVEY, ["des46:001"], SHAPE)
    with pytest.raises(DataError, match="needs 50 lenses with all covariates, and there are 40"):
        lens_hosts(read({**of, "manifest": of["manifest"].iloc[60:]}), SURVEY, ["n650"], SHAPE)
