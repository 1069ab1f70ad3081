"""Weights of trials under another prior, from parameters that are drawn again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from injection.experiment.setting import Setting
from injection.priors.registry import load_prior, log_density
from injection.priors.reweighting import THETA_E
from lake.errors import DataError
from lake.sky.survey import SURVEY
from pipeline.experiment import trials
from tests.injection.scenes import host_set, params

IDS = [f"sensitivity/t00p0d0-{place:04d}" for place in range(400)]


@pytest.fixture
def context(monkeypatch):
    """A finder whose grid was drawn from the prior `covering`, and conditioned on its hosts."""
    grid = params(prior="covering", lens_shape="conditioned")
    monkeypatch.setattr(trials, "grid_params", lambda root, name: grid)
    monkeypatch.setattr(trials, "grid_facts", lambda root, name: {})
    monkeypatch.setattr(trials, "drawn_from", lambda facts, name: load_prior("covering"))
    return SimpleNamespace(root=None, generation="demo1")


def rows(**changes):
    frame = pd.DataFrame({"trial_id": IDS, "theta_e_arcsec": np.tile([1.0, 1.5], 200), "seed": 42})
    return frame.assign(**changes)


def test_weights_are_those_of_the_parameters_that_the_trials_were_drawn_with(context):
    setting = Setting.of(params(prior="covering"), host_set(), 42)
    galaxies = pa.array(np.resize(np.asarray(setting.hosts.ids), len(IDS)))
    planned = {"injection_id": IDS, "galaxy_id": galaxies, THETA_E: rows()["theta_e_arcsec"]}
    drawn = setting.parameters(pa.table(planned))
    found = trials.trial_weights(context, rows(), "v1")
    target, own = (log_density(load_prior(name), drawn, SURVEY, (THETA_E,)) for name in ("v1", "covering"))
    np.testing.assert_allclose(found.values, np.exp(target - own), rtol=1e-9)
    assert found.mean == pytest.approx(1.0, abs=0.15)
    assert found.support > 0.99
    assert found.refusal("covering", 0.95) is None


def test_a_prior_that_is_not_known_or_rows_of_two_seeds_give_the_reason(context, monkeypatch):
    assert "nosuch" in trials.trial_weights(context, rows(), "nosuch")
    two = rows(seed=np.tile([1, 2], 200))
    assert trials.trial_weights(context, two, "v1") == "the trials were drawn with different seeds"

    def refuse(facts, name):
        raise DataError("its prior is not known")

    monkeypatch.setattr(trials, "drawn_from", refuse)
    assert trials.trial_weights(context, rows(), "v1") == "its prior is not known"
