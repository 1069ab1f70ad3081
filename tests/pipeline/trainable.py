"""A lake with manifests and stamps of rings, made in a second, on which every generation can be trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lake.sky.healpix import pixel
from lake.store.stamps import stamp_hash, write_shard
from modeling.config import generations, resolve_generation
from modeling.tracking.runstore import RunStore
from pipeline.project import params
from pipeline.project.context import RunContext, stage_run
from pipeline.project.project import Project
from tests.modeling.conftest import ring_stamps
from tests.pipeline.checkout import project_in

PIXELS = 65
ROWS = 120
SPLITS = ("train", "train", "train", "val", "test")
MANIFESTS = sorted({resolve_generation(name).manifest for name in generations()})


def project_with_manifests(folder: Path, names: list[str] = MANIFESTS) -> Project:
    """A project without trainings whose lake has these manifests, all of the same 120 stamps of 65 pixels."""
    project = project_in(folder)
    stamps, labels = ring_stamps(ROWS, 1, PIXELS)
    write_shard(project.data.cutouts / "bucket-0000.npy", iter(stamps), ROWS, PIXELS)
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 20, ROWS), rng.uniform(-5, 10, ROWS)
    conditions = {f"{kind}_{band}": value for kind, value in (("psfsize", 1.3), ("psfdepth", 200.0)) for band in "grz"}
    rows = [
        {
            **conditions,
            "galaxy_id": f"ring:{row:03d}",
            "cutout_path": f"bucket-0000.npy#{row}",
            "cutout_version": "v",
            "shard": 0,
            "shard_row": row,
            "sha256": stamp_hash(stamp),
            "ra": ra[row],
            "dec": dec[row],
            "type_bin": "SER",
            "nobs_z_bin": "3-5",
            "split": SPLITS[row // 3 % len(SPLITS)],
            "pool": "P" if label else "N1",
            "healpix_128": int(pixel(ra[row : row + 1], dec[row : row + 1], 128)[0]),
            "label": int(label),
            "tier": ("B" if row % 6 == 0 else "A") if label else None,
            "hard_negative": bool(not label and row % 5 == 1),
        }
        for row, (stamp, label) in enumerate(zip(stamps, labels, strict=True))
    ]
    for name in names:
        merged = [
            {
                **row,
                "manifest_id": name,
                "split": row["split"] if name.startswith("audit") or row["split"] == "train" else "val",
            }
            for row in rows
        ]
        with stage_run("manifest", name, project, RunContext) as context:
            context.write("manifest", merged, name, {"manifest_id": name})
        passed = [{"name": "overlap/galaxy_id", "passed": True, "detail": "0 in two splits"}]
        write_checks(project, name, passed)
    RunStore(project.data)  # its database takes seconds to make
    (folder / "params.yaml").write_text("# of a test\n")
    params.save(folder, {**project.values, "train": {}, "audited": []})
    return params.load(folder)


def write_checks(project: Project, manifest: str, checks: list[dict[str, object]]) -> None:
    """Leave these checks with a manifest."""
    path = project.data.cards / "checks" / f"manifest.{manifest}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(checks))
