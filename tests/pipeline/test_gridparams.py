"""What is drawn for a finished grid is drawn as it was filled, or refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from injection.experiment.setting import Setting
from lake.errors import DataError
from lake.root import DataRoot
from pipeline.experiment import grids, trials
from pipeline.experiment.gridparams import as_filled, grid_params, sources_hash
from pipeline.project.outputs import write_grid_facts
from tests.injection.scenes import planned

PAIRS = "tests.injection.test_models:Pairs"


def filled(folder: Path, setting: Setting) -> DataRoot:
    root = DataRoot.of(folder)
    root.grid("mine").mkdir(parents=True)
    facts = {"prior_content": setting.prior.model_dump(mode="json"), "sources": sources_hash(setting)}
    write_grid_facts(root.grid("mine"), facts)
    return root


def test_a_setting_whose_prior_or_sources_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = planned(source_model=PAIRS).setting
    root = filled(tmp_path, setting)
    assert as_filled(root, "mine", setting) is setting
    monkeypatch.setattr("tests.injection.test_models.Pairs.identity", ["pairs", 0.4])
    with pytest.raises(DataError, match="the source model or its galaxies changed after the grid of mine was filled"):
        as_filled(root, "mine", setting)
    with pytest.raises(DataError, match=r"the prior changed after .*: run `dvc repro grid@mine`"):
        as_filled(root, "mine", planned(prior="anchored", source_model=PAIRS).setting)


def test_profiles_have_no_sources_that_could_change(tmp_path: Path) -> None:
    setting = planned().setting
    assert sources_hash(setting) is None
    assert as_filled(filled(tmp_path, setting), "mine", setting) is setting


def test_stages_that_draw_for_a_finished_grid_refuse_another_prior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, now = filled(tmp_path, planned().setting), planned(prior="anchored").setting
    context: Any = SimpleNamespace(root=root, generation="mine", seed=now.seed, project=None, read=None)
    for module in (grids, trials):
        monkeypatch.setattr(module, "grid_params", lambda root, generation: now.grid)
        monkeypatch.setattr(module, "survey_hosts", lambda *given: now.hosts)
    with pytest.raises(DataError, match="the prior changed after the grid of mine was filled"):
        grids.scored_setting(context, "mine", pa.table({"seed": [now.seed]}))
    nothing: Any = None
    with pytest.raises(DataError, match="the prior changed after the grid of mine was filled"):
        trials.trials_of(context, nothing, nothing)


def test_a_grid_keeps_what_its_setting_is_compared_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, setting = DataRoot.of(tmp_path), planned(source_model=PAIRS).setting

    def nothing(*given: object) -> None:
        """Neither scores nor lineage are needed."""

    monkeypatch.setattr(grids, "fill", nothing)
    context: Any = SimpleNamespace(
        root=root, generation="mine", note_input=nothing, write_lineage=nothing, work=lambda *parts: tmp_path / "work"
    )
    scorer: Any = SimpleNamespace(checkpoint_id="c")
    grids.fill_grid(context, setting, scorer, "main", "mine")
    assert as_filled(root, "mine", setting) is setting
    assert grid_params(root, "mine") == setting.grid
