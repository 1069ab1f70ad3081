"""Trials of a finder: which variants can be made of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from injection.experiment.designs import TrialsParams, experiments
from injection.experiment.trials import Variant
from lake.errors import DataError
from modeling.scoring.card import FINDER
from pipeline.experiment import trials
from tests.pipeline.checkout import project_in


def test_only_a_network_of_this_project_is_scored_with_another_preprocessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(trials, "load_scorer", lambda folder, foreign: asked.append((folder, foreign)) or "other")
    own: Any = SimpleNamespace(name="mine")
    clipped = Variant("clip20", preprocessing={"clip_range": 20.0})
    assert trials.scorer_of(tmp_path, Variant("baseline"), own) is own
    assert trials.scorer_of(tmp_path, clipped, own) == "other"
    assert asked == [(tmp_path, {"clip_range": 20.0})]
    (tmp_path / FINDER).write_text("{}")
    assert trials.scorer_of(tmp_path, clipped, own) is None
    assert trials.scorer_of(tmp_path, Variant("poisson", {"poisson_gain_e_per_nmgy": 150.0}), own) is own


def test_every_experiment_of_the_parameters_is_made_and_names_its_variants_apart(tmp_path: Path) -> None:
    params = project_in(tmp_path).section(TrialsParams, "trials")
    made = {one.name: one for one in experiments(params)}
    assert set(made) == set(TrialsParams.model_fields)
    for experiment in made.values():
        names = [variant.name for variant in experiment.variants]
        assert len(names) == len(set(names))


def test_a_variant_that_hosts_or_prior_do_not_allow_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any) -> Any:
        raise DataError("there is no early-type host")

    monkeypatch.setattr(trials, "tried", refuse)
    experiment: Any = SimpleNamespace(name="host_pairs")
    given: Any = None
    assert trials._tried(experiment, Variant("early_independent"), given, given, (given, given)) == []
