"""The stage `hard_negatives`, on a manifest of simulated stamps made in a second."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from lake.store import cards, delta
from lake.store.stamps import stamp_hash, write_shard
from modeling.config import resolve_generation
from pipeline.project import params
from pipeline.project.context import RunContext, stage_run
from pipeline.project.project import Project
from pipeline.reporting import lensshares
from pipeline.stage import run_stage
from pipeline.stages import hard_negatives
from tests.pipeline.trainable import PIXELS, members, project_with_manifests

BASE, NAME = "sim_unpaired_resolved", "sim_unpaired_hard_negatives"
BRIGHT = ("ring:001", "ring:004")
"""Controls of the training split that the finder below takes for lenses."""


class Bright:
    """A finder of stamps that are bright everywhere."""

    name, checkpoint_id, conditions, stamp_pixels, bands = "bright", "bright-1", (), None, None

    def score(self, stamps: NDArray[np.float32], conditions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        return np.where(stamps.mean(axis=(1, 2, 3)) > 5.0, 8.0, -8.0)


@pytest.fixture
def project(once: Callable[[str, Callable[[Path], object]], Path], tmp_path: Path) -> Project:
    """A project with the stamps and the manifest of a set, some of whose controls are bright."""
    shutil.copytree(once("trainable", project_with_manifests), tmp_path / "project")
    made = params.load(tmp_path / "project")
    rows = members()
    stamps = np.random.default_rng(0).normal(0, 0.1, (len(rows), 3, PIXELS, PIXELS)).astype(np.float32)
    for place, row in enumerate(rows):
        stamps[place] += 10.0 * (row["galaxy_id"] in BRIGHT)
    write_shard(made.data.stamps("unpaired") / "bucket-0000.npy", iter(stamps), len(rows), PIXELS)
    with stage_run("stamp_manifest", BASE, made, RunContext) as context:
        own = ("galaxy_id", "shard", "shard_row", "ra", "dec", "split", "healpix_128", "label")
        kept = [
            {**{name: row[name] for name in (*own, *(n for n in row if n.startswith("psf")))},
             "stamp_id": f"{row['galaxy_id']}/0000", "set_name": "unpaired",
             "xxh3_128": stamp_hash(stamps[place], "xxh3_128"), "manifest_id": BASE, "hard_negative": False}
            for place, row in enumerate(rows)
        ]  # fmt: skip
        context.write("stamp_manifest", kept, BASE, {"manifest_id": BASE})
    checks = made.data.cards / "checks" / f"stamp_manifest.{BASE}.json"
    checks.write_text(json.dumps([{"name": "pairing", "passed": True, "detail": "told"}]))
    return made


@pytest.mark.usefixtures("whole_stage")
def test_controls_that_the_scorer_takes_for_lenses_are_marked_and_the_rest_is_the_base(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hard_negatives, "load_scorer", lambda folder: Bright())
    run_stage(project, "hard_negatives", NAME)
    base, hard = (delta.read(project.data, "stamp_manifest", slices=[name]).to_pandas() for name in (BASE, NAME))
    assert hard.loc[hard["hard_negative"], "galaxy_id"].tolist() == list(BRIGHT)
    same = [name for name in base.columns if name not in ("manifest_id", "hard_negative", "extracted_at")]
    assert hard[same].equals(base[same])
    assert (hard["extracted_at"] > base["extracted_at"].max()).all(), "rows say when they were written"
    checks = (project.data.cards / "checks" / f"stamp_manifest.{name}.json" for name in (BASE, NAME))
    assert len({path.read_text() for path in checks}) == 1


def test_the_share_of_lenses_is_that_of_the_simulated_training_stamps(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = RunContext("report", None, project)
    rows = delta.read(project.data, "stamp_manifest", slices=[BASE]).to_pandas()
    known = SimpleNamespace(manifest_id=BASE, config=resolve_generation("sim-gen4"))
    known.manifest_fingerprint = cards.read_slice(project.data, "stamp_manifest", BASE).card.fingerprint
    monkeypatch.setattr(lensshares, "read_card", lambda folder: known)
    share, origin = lensshares.lens_share(context, "sim-gen4")
    assert share == pytest.approx(rows.loc[rows["split"] == "train", "label"].mean())
    assert 0.0 < share < 1.0
    assert origin == (
        "as among its simulated training stamps, shifted by its focal loss, its hard negatives weigh 5 times as much"
    )
    known.manifest_fingerprint = "another"
    assert lensshares.lens_share(context, "sim-gen4") == (None, "")
