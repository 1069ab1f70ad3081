"""A picture shows what was scored: gallery, realism probe and sheets have the pixels that a finder was given."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.comparisons.populations import LENS_LIKE, NEGATIVES, TRUE_LENSES
from analysis.config import ReportParams
from analysis.diagnostics.discovery import DiagnoseParams
from injection.config import IM1, IM2, GridParams
from injection.experiment.grid import Plan
from injection.experiment.setting import Setting
from injection.experiment.stream import run_batch
from lake.root import DataRoot
from lake.store.stamps import StampStore, shard_name, write_shard
from lake.store.views import MAIN
from pipeline.experiment import grids
from pipeline.project.context import RunContext
from pipeline.project.project import Project
from pipeline.realism.realism import populations
from pipeline.reporting.galleries import injected
from pipeline.verbs.foreign import scored_examples
from pipeline.verbs.rendering import examples
from tests.pipeline.checkout import values_of

pytestmark = pytest.mark.usefixtures("whole_stage")

PIXELS, NAME = 101, "keeping"
Pair = tuple[np.ndarray, np.ndarray]


class Keeping:
    """A finder that keeps what it is given, to be scored or described."""

    name, checkpoint_id, stamp_pixels, bands, conditions = NAME, "kept", PIXELS, None, ()

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []

    def score(self, stamps: np.ndarray, conditions: object = None) -> np.ndarray:
        self.kept.append(np.array(stamps))
        return stamps.sum(axis=(1, 2, 3), dtype=np.float64)

    def embed(self, stamps: np.ndarray, conditions: object = None) -> np.ndarray:
        self.kept.append(np.array(stamps))
        return stamps.mean(axis=(2, 3))


class Held(RunContext):
    """A stage's context whose tables are in memory."""

    held: dict[str, pa.Table]

    def read(self, table: str, columns: Any = None, slices: Any = None, ordered: bool = True) -> pa.Table:
        return self.held[table].select(columns or self.held[table].column_names)


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return values_of("test")


@pytest.fixture
def held(root: DataRoot, values: dict[str, Any]) -> dict[str, pa.Table]:
    """Sixty early-type validation negatives with stamps of noise."""
    stamps = np.random.default_rng(1).normal(0, 0.02, (60, 3, PIXELS, PIXELS)).astype("<f4")
    write_shard(root.cutouts / shard_name(0), iter(stamps), 60, PIXELS)
    rows = [
        {"galaxy_id": f"x:{k:02d}", "shard": 0, "shard_row": k, "sha256": hashlib.sha256(stamp.tobytes()).hexdigest()}
        | {"split": "val", "label": 0, "ra": 1.0 + 3.0 * k, "dec": 0.5 * k}
        | {f"psfsize_{band}": 1.3 for band in "grz"}
        | {f"psfdepth_{band}": 900.0 for band in "grz"}
        for k, stamp in enumerate(stamps)
    ]
    catalogue = {"type": "SER", "shape_e1": 0.1, "shape_e2": -0.2, "shape_r": 1.0, "sersic": 4.0}
    catalogue |= {"mag_r": 19.0, "mag_z": 18.5, "nobs_z_bin": "3-5", "brickname": "0001p000"}
    shapes = [{"galaxy_id": row["galaxy_id"], **catalogue} for row in rows]
    lens = {"ra": [0.0], "dec": [80.0]}
    covariates = {"g_minus_r": 1.0, "r_minus_z": 0.5, "z_minus_w1": 0.5}
    shapes = [{**row, **covariates} for row in shapes]
    near = pa.Table.from_pylist([{**row, "failed_cut": None} for row in shapes[:1]])
    return {
        "manifest": pa.Table.from_pylist(rows),
        "tractor_pool": pa.Table.from_pylist(shapes),
        "tractor_near_candidates": near,
        "lens_candidates": pa.table(lens),
    }


def context(stage: str, root: DataRoot, values: dict[str, Any], held: dict[str, pa.Table]) -> Held:
    made = Held(stage, NAME, Project(root.local.parent, values))
    made.held = held
    return made


@pytest.fixture(params=[IM1, IM2])
def filled(
    request: pytest.FixtureRequest,
    root: DataRoot,
    values: dict[str, Any],
    held: dict[str, pa.Table],
) -> tuple[Setting, dict[str, Pair]]:
    """A grid with every kind of noise: its setting, and the pixels that were scored by injection."""
    finder, noise = Keeping(), {"poisson_gain_e_per_nmgy": 150.0, "sky_noise": "annulus"}
    changes = {"per_cell": 12, "core_suppression_radius_arcsec": 0.4, "host_selection": request.param.selection}
    changes |= {"lens_shape": request.param.lens_shape, **noise}
    stage = context("grid", root, values, held)
    setting = grids.survey_setting(stage, GridParams.load({**values["grid"], **changes}, "grid"), stage.seed)
    grids.fill_grid(stage, setting, finder, MAIN, NAME)
    rows = pa.concat_tables([pq.read_table(path) for path in sorted(root.grid(NAME).glob("batch-*.parquet"))])
    held["injections"] = rows
    held["injection_scores"] = pa.table({"injection_id": rows["injection_id"], "probability": rows["score"]})
    seen, bare = (np.concatenate(finder.kept[first::2]) for first in (0, 1))
    ids = rows["injection_id"].to_pylist()
    assert len(ids) == len(seen) > 12
    return setting, {name: (seen[k], bare[k]) for k, name in enumerate(ids)}


def test_the_realism_probe_is_given_the_scored_pixels(
    filled: tuple[Setting, dict[str, Pair]], root: DataRoot, values: dict[str, Any], held: dict[str, pa.Table]
) -> None:
    stage, finder = context("diagnose", root, values, held), Keeping()
    chosen = DiagnoseParams.load(values["diagnose"], "diagnose")
    lenses = held["manifest"].to_pandas().assign(label=1, split="test", tier="A").head(3)
    found = populations(stage, lenses, StampStore(root.cutouts), finder, chosen)
    bright = held["injections"].filter(
        pa.compute.less_equal(held["injections"]["src_mag_r"], chosen.probe_source_mag_max)
    )
    ids = grids.sample(bright, chosen.probe_injections, stage.seed)["injection_id"].to_pylist()
    assert ids
    for place, stamps in enumerate(finder.kept[2:6:2]):  # after the lenses
        np.testing.assert_array_equal(stamps, [filled[1][name][place] for name in ids])
    assert found.absent[TRUE_LENSES] == "the truth of this survey's lenses is not known"
    assert NEGATIVES not in found.groups
    assert LENS_LIKE in found.absent


def test_the_gallery_shows_the_scored_pixels(
    filled: tuple[Setting, dict[str, Pair]], root: DataRoot, values: dict[str, Any], held: dict[str, pa.Table]
) -> None:
    stage = context("report", root, values, held)
    test = pd.DataFrame(held["manifest"].to_pandas()).assign(label=1, probability=0.5)
    chosen = ReportParams.load(values["report"], "report")
    shown = injected(stage, test, NAME, StampStore(root.cutouts), chosen)
    by_pixels = {seen.tobytes(): bare.tobytes() for seen, bare in filled[1].values()}
    pairs = list(zip(shown.rows[:-1:2], shown.rows[1:-1:2], strict=True))
    assert pairs
    for hosts, arcs in pairs:
        assert [by_pixels[stamp.tobytes()] for stamp in arcs[1]] == [stamp.tobytes() for stamp in hosts[1]]


def test_sheets_show_the_scored_pixels(filled: tuple[Setting, dict[str, Pair]], root: DataRoot) -> None:
    setting, scored = filled
    rows, drawn = scored_examples(Path(root.grid(NAME)), setting)
    np.testing.assert_array_equal(drawn.images, [scored[name][0] for name in rows["injection_id"].to_pylist()])
    shown = examples(setting, 5, {"lens_theta_e_arcsec": 1.2})
    planned = pa.table(
        {
            **{name: shown.rows[name] for name in ("injection_id", "lens_theta_e_arcsec")},
            **{name: pa.array([0] * 5, pa.int32()) for name in ("theta_e_index", "psf_index", "depth_index")},
            "cell": ["t00p0d0"] * 5,
            "host_ids": [[galaxy_id] for galaxy_id in shown.rows["galaxy_id"].to_pylist()],
        }
    )
    finder = Keeping()
    run_batch(Plan(setting, "sheet", planned, planned), planned, finder)
    np.testing.assert_array_equal(shown.images, finder.kept[0])
    np.testing.assert_array_equal(shown.bare, finder.kept[1])
