"""A finder that needs observing conditions is given each stamp's own: evaluated, in the grid, diagnosed, scoring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from analysis.comparisons.arcs import INJECTED, PAINTED, REAL, RENDERED, ArcStamps
from analysis.comparisons.populations import (
    ALL_HOSTS,
    BARE_HOSTS,
    EMBEDDING,
    INJECTIONS,
    LISTED,
    LOW_OFFSET,
    NEGATIVES,
    OWN_HOSTS,
)
from analysis.diagnostics.transplants import Transplants
from injection.config import IM1, GridParams
from injection.experiment.grid import plan
from injection.experiment.hostset import HostSet
from injection.experiment.stream import batches, run_batch
from lake.errors import DataError
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore
from pipeline.experiment.grids import survey_setting
from pipeline.experiment.scoring import score_rows
from pipeline.project import params
from pipeline.project.context import RunContext
from pipeline.realism.arcstamps import arc_stamps
from pipeline.realism.realism import populations
from pipeline.realism.transplanting import transplants
from pipeline.verbs import foreign
from tests.pipeline.checkout import Checkout

pytestmark = pytest.mark.usefixtures("whole_stage")


class SeesConditions:
    """Answers what it is told of the observing conditions."""

    name, checkpoint_id, stamp_pixels, bands = "sees", "sees", 101, None

    def __init__(self, *conditions: str) -> None:
        self.conditions = conditions

    def score(self, stamps: NDArray[np.float32], conditions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        if conditions is None:
            raise DataError("needs the observing conditions of each stamp")
        assert conditions.shape == (len(stamps), len(self.conditions))
        return np.log(conditions).sum(axis=1)

    def embed(self, stamps: NDArray[np.float32], conditions: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
        return self.score(stamps, conditions)[:, None].astype(np.float32)


@pytest.fixture
def context(finished: Checkout) -> RunContext:
    return RunContext("diagnose", "demo1", params.load(finished.folder))


FINDER = SeesConditions("psfsize_r", "psfdepth_r")


def test_evaluation_gives_every_cutout_its_own_conditions(context: RunContext) -> None:
    rows = context.read("manifest", slices=[context.survey.audit_manifest])
    logits = score_rows(FINDER, StampStore(context.root.cutouts), rows)
    known = rows.select(["psfsize_r", "psfdepth_r"]).to_pandas().astype(float)
    np.testing.assert_allclose(logits, np.log(known).sum(axis=1))
    with pytest.raises(DataError, match="needs the observing conditions"):
        score_rows(FINDER, StampStore(context.root.cutouts), rows.drop_columns(["psfsize_r"]))


def test_the_grid_gives_injections_the_conditions_of_their_hosts(context: RunContext) -> None:
    setting = survey_setting(context, context.project.section(GridParams, "grid"), context.seed)
    hosts = setting.hosts.table
    planned = plan(setting)
    rows = batches(planned)[0].slice(0, 8)
    found = run_batch(planned, rows, FINDER)
    own = hosts.to_pandas().set_index("galaxy_id").loc[found["galaxy_id"].to_pylist()]
    expected = np.log(own[["psfsize_r", "psfdepth_r"]].astype(float)).sum(axis=1)
    np.testing.assert_allclose(found["score"].to_numpy(), expected, rtol=1e-6)
    assert found["host_score"].to_pylist() == found["score"].to_pylist()
    lost = hosts.set_column(hosts.column_names.index("psfsize_g"), "psfsize_g", pc.multiply(hosts["psfsize_g"], np.nan))
    without = HostSet("hosts", lost, setting.hosts.load, 101, IM1, SURVEY)
    found = run_batch(plan(replace(setting, hosts=without)), rows, SeesConditions("psfsize_r", "psfsize_g"))
    assert set(found["status"].to_pylist()) == {"failed"}
    assert (
        found["reason"][0].as_py() == f"host {found['galaxy_id'][0].as_py()} lacks at least one of psfsize_r, psfsize_g"
    )


def test_diagnostics_embed_with_conditions(context: RunContext) -> None:
    from analysis.diagnostics.discovery import DiagnoseParams

    manifest = context.read("manifest", slices=[context.survey.audit_manifest]).to_pandas()
    values = context.project.section(DiagnoseParams, "diagnose")
    found = populations(context, manifest.assign(probability=0.5), StampStore(context.root.cutouts), FINDER, values)
    assert found.embeds
    lenses = manifest[(manifest["label"] == 1) & (manifest["split"] == "test")].set_index("galaxy_id")
    hosts = survey_setting(context, context.project.section(GridParams, "grid"), 1).hosts.table.to_pandas()
    own = pd.concat([lenses, hosts.set_index("galaxy_id"), manifest.set_index("galaxy_id")])
    own = own[~own.index.duplicated()]
    assert {LISTED, INJECTIONS, BARE_HOSTS, NEGATIVES, OWN_HOSTS, ALL_HOSTS, LOW_OFFSET} <= set(found.groups)
    for name, group in found.groups.items():
        expected = np.log(own.loc[group.hosts, ["psfsize_r", "psfdepth_r"]].astype(float)).sum(axis=1)
        np.testing.assert_allclose(group.spaces[EMBEDDING][:, 0], expected, rtol=1e-6, err_msg=name)


def test_arcs_are_moved_into_hosts_with_their_own_conditions(context: RunContext) -> None:
    """This finder sees the conditions alone: whatever is added to a host, its answer is the host's."""
    from analysis.diagnostics.discovery import DiagnoseParams

    manifest = context.read("manifest", slices=[context.survey.audit_manifest]).to_pandas()
    objects = manifest.assign(probability=0.5, seen_in_training=manifest["split"] == "train")
    store, own = StampStore(context.root.cutouts), context.project.section(DiagnoseParams, "diagnose")
    limits = [f"arc_pair_{name}" for name in ("area_factor", "colour_mag", "seeing_factor", "depth_mag")]
    own = own.model_copy(update={"transplant_pool": 60, **dict.fromkeys(limits, 9.0)})
    found = transplants(context, objects, store, FINDER, own)
    assert isinstance(found, Transplants), found
    assert len(found.rows)
    for limit in limits:
        narrow = own.model_copy(update={limit: 1.0 + 1e-9 if "factor" in limit else 1e-9})
        none = transplants(context, objects, store, FINDER, narrow)
        assert isinstance(none, Transplants)
        assert none.rows.empty, limit
    hosts = survey_setting(context, context.project.section(GridParams, "grid"), 1).hosts.table.to_pandas()
    seen = hosts.set_index("galaxy_id").loc[found.rows["host"], ["psfsize_r", "psfdepth_r"]].astype(float)
    for kind in ("real_arc", "moved_injection", "same_injection", "residual", "bare", "same_lens"):
        known = found.rows[kind].notna().to_numpy()
        np.testing.assert_allclose(found.rows[kind][known], expit(np.log(seen).sum(axis=1))[known], rtol=1e-6)
    assert all(share > 0.3 for share in np.sort(found.flux_kept)[len(found.flux_kept) // 2 :])
    stamps = arc_stamps(context, objects, store, own)
    assert isinstance(stamps, ArcStamps), stamps
    assert {REAL, INJECTED, PAINTED, RENDERED} == set(stamps.groups)
    assert len(stamps.groups[PAINTED]) == len(stamps.groups[RENDERED]) > 0


def test_dhs_score_takes_conditions_from_the_files_or_says_which_lack_them(
    context: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = context.read("manifest", slices=[context.survey.audit_manifest]).slice(0, 2)
    stamps = np.nan_to_num(StampStore(context.root.cutouts).get(rows), nan=0.1)
    for number, extra in enumerate([{"meta_psfsize_r": 1.5, "meta_psfdepth_r": 200.0}, {"meta_psfsize_r": 1.5}]):
        values = {"galaxy_id": f"g{number}", "ra": 10.0 + number, "dec": 2.0, "pixel_scale": 0.262}
        meta = {f"meta_{name}": value for name, value in values.items()} | extra
        np.savez(tmp_path / f"g{number}.npz", cutout=np.moveaxis(stamps[number], 0, -1), **meta)
    monkeypatch.setattr(foreign, "load_scorer", lambda folder, **more: FINDER)
    found = foreign.score_folder(context.project, tmp_path, ["demo1"]).to_pandas().sort_values("ra")
    assert found["score"].iloc[0] == pytest.approx(np.log(1.5 * 200.0))
    assert np.isnan(found["score"].iloc[1])
    assert found["reason"].tolist() == [None, "lacks at least one of meta_psfsize_r, meta_psfdepth_r"]
