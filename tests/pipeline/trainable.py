"""A lake with manifests and stamps of rings, made in a second, on which every generation can be trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lake.sky.healpix import pixel
from lake.store.stamps import stamp_hash, write_shard
from modeling.tracking.runstore import RunStore
from pipeline.project import params
from pipeline.project.context import RunContext, stage_run
from pipeline.project.project import Project
from pipeline.training.readiness import Finding
from tests.modeling.conftest import ring_stamps
from tests.pipeline.checkout import project_in

PIXELS = 65
ROWS = 120
SMALL = ("loop.epochs=1", "loop.batch=16", "loop.micro_batch=8", "network.width=8", "execution.threads=1")
AUDIT = "audit_70_15_15"
SPLITS = ("train", "train", "train", "val", "test")


def project_with_manifests(folder: Path) -> Project:
    """A project without trainings whose lake has the two manifests of the survey."""
    project = project_in(folder)
    stamps, _ = ring_stamps(ROWS, 1, PIXELS)
    write_shard(project.data.cutouts / "bucket-0000.npy", iter(stamps), ROWS, PIXELS)
    for name in (AUDIT, "parity_70_30"):
        add_manifest(project, name)
    RunStore(project.data)  # its database takes seconds to make
    (folder / "params.yaml").write_text("# of a test\n")
    params.save(folder, {**project.values, "train": {}, "audited": []})
    return params.load(folder)


def add_manifest(project: Project, name: str) -> None:
    """A manifest of the 120 stamps, with a test split if it is for audits; its checks passed."""
    rows = [{**row, "manifest_id": name} for row in members()]
    if not name.startswith("audit"):
        rows = [{**row, "split": "val" if row["split"] == "test" else row["split"]} for row in rows]
    with stage_run("manifest", name, project, RunContext) as context:
        context.write("manifest", rows, name, {"manifest_id": name})
    write_checks(project, name, [{"name": "overlap/galaxy_id", "passed": True, "detail": "0 in two splits"}])


def members() -> list[dict[str, object]]:
    """Rows of a manifest without its name: of five triples of stamps three are for training."""
    stamps, labels = ring_stamps(ROWS, 1, PIXELS)
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 20, ROWS), rng.uniform(-5, 10, ROWS)
    conditions = {f"{kind}_{band}": value for kind, value in (("psfsize", 1.3), ("psfdepth", 200.0)) for band in "grz"}
    shared = {"cutout_version": "v", "shard": 0, "type_bin": "SER", "nobs_z_bin": "3-5", **conditions}
    return [
        {
            **shared,
            "galaxy_id": f"ring:{row:03d}",
            "cutout_path": f"bucket-0000.npy#{row}",
            "shard_row": row,
            "sha256": stamp_hash(stamps[row]),
            "ra": ra[row],
            "dec": dec[row],
            "split": SPLITS[row // 3 % len(SPLITS)],
            "pool": "P" if label else "N1",
            "healpix_128": int(pixel(ra[row : row + 1], dec[row : row + 1], 128)[0]),
            "label": int(label),
            "tier": ("B" if row % 6 == 0 else "A") if label else None,
            "hard_negative": bool(not label and row % 5 == 1),
        }
        for row, label in enumerate(labels)
    ]


def write_checks(project: Project, manifest: str, checks: list[dict[str, object]]) -> None:
    """Leave these checks with a manifest."""
    path = project.data.cards / "checks" / f"manifest.{manifest}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(checks))


def problems(found: list[Finding]) -> list[str]:
    """What a dry run found missing."""
    return [each.line() for each in found if not each.good]
