"""Shards of simulated stamps: the coadds' own pixels, controls stored once, the same bytes in every batching."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from astropy.wcs import WCS

from etl.cutouts.coadds import brick_folder, coadd_name
from etl.simulated.shards import Renderer, ShardMaker
from lake.sky.survey import MASKBITS
from lake.store.stamps import StampStore
from tests.etl.stampplans import CUTTING, PLACES, SIDE, SIZE, planned, renderer
from tests.etl.survey_files import write_brick

pytestmark = pytest.mark.usefixtures("whole_stage")


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, np.ndarray]], dict[str, WCS]]:
    folder, images, wcs = tmp_path_factory.mktemp("survey"), {}, {}
    for number, (name, place) in enumerate(PLACES.items()):
        rng = np.random.default_rng(number)
        image: dict[str, np.ndarray] = {b: rng.normal(0.1, 1, (SIZE, SIZE)).astype(np.float32) for b in "grz"}
        image |= {f"psfsize-{b}": np.full((SIZE, SIZE), 1.3, np.float32) for b in "grz"}
        image |= {f"invvar-{b}": np.full((SIZE, SIZE), 25.0, np.float32) for b in "grz"}
        image["invvar-g"][50, 150] = 0.0
        image["maskbits"] = np.zeros((SIZE, SIZE), np.int32)
        image["maskbits"][:, 108:] = 1 << MASKBITS["MEDIUM"]
        images[name], wcs[name] = image, write_brick(folder, name, *place, image)
    return folder, images, wcs


def run(folder: Path, survey: Path, batches: list[pa.RecordBatch], render: Renderer = renderer) -> list[dict[str, int]]:
    maker = ShardMaker(str(survey), str(folder), CUTTING, render)
    return [row for batch in maker(iter(batches)) for row in batch.to_pylist()]


def test_a_shard_holds_the_coadds_pixels_and_every_planned_stamp_has_a_row(survey: Any, tmp_path: Path) -> None:
    folder, images, wcs = survey
    plan = planned(wcs)
    assert run(tmp_path, folder, plan.to_batches()) == [{"shard": 1, "rows": plan.num_rows, "place": None}]
    made = {row["stamp_id"]: row for row in pq.read_table(tmp_path / "rows/0001.parquet").to_pylist()}
    assert set(made) == set(plan["stamp_id"].to_pylist())
    control, lens = made["1000p000/a/0000C"], made["1000p000/a/0000L"]
    good = pa.Table.from_pylist([control, lens])
    pixels = StampStore(tmp_path / "shards").get(good)
    window = np.stack([images["1000p000"][b][70 - 32 : 70 + 32, 60 - 32 : 60 + 32] for b in "grz"])
    np.testing.assert_array_equal(pixels[0], window, "the galaxy is on pixel 32")
    np.testing.assert_array_equal(pixels[1], window + np.float32(1.0))
    assert (control["x_offset_px"], control["y_offset_px"]) == pytest.approx((0.25, -0.125), abs=1e-5)
    assert lens["lens_q"] == pytest.approx(0.25, abs=1e-5), "the renderer gets the host's place"
    assert control["lens_q"] is None
    shared = made["1000p000/a/0001C"]
    assert (shared["shard_row"], shared["xxh3_128"]) == (control["shard_row"], control["xxh3_128"])
    reasons = {key.partition("/")[2]: row["reason"] for key, row in made.items() if row["status"] == "rejected"}
    assert reasons["edge/0000L"] == "the coadd does not hold the whole window"
    assert reasons["hole/0000C"] == "pixels within 8 px of the centre are not finite"
    assert made["nowhere/0000L"]["reason"] == "no brick holds the whole window"
    assert reasons["c/0001L"] == "too large"
    assert "a/0001C" not in reasons, "a control has no lens that could fail"
    held = np.load(tmp_path / "shards/bucket-0001.npy", mmap_mode="r")
    ok = [row for row in made.values() if row["status"] == "ok"]
    assert held.shape == (2 * 3 + 2 * 3, 3, SIDE, SIDE), "three hosts and three lenses of each brick"
    size = (tmp_path / "shards/bucket-0001.npy").stat().st_size
    assert size == held.offset + held.nbytes, "room for lenses that failed is given back"
    assert {row["shard_row"] for row in ok} == set(range(12))


def test_masks_and_conditions(survey: Any, tmp_path: Path) -> None:
    folder, _, wcs = survey
    run(tmp_path, folder, planned(wcs).to_batches())
    made = {row["stamp_id"]: row for row in pq.read_table(tmp_path / "rows/0001.parquet").to_pylist()}
    whole, half, other = (made[f"1000p000/{name}/0000L"] for name in ("a", "c", "b"))
    assert (whole["masked_fraction"], whole["ring_masked_fraction"], whole["ring_masked"]) == (0.0, 0.0, False)
    assert half["masked_fraction"] == pytest.approx(24 / 64)
    y, x = np.mgrid[:SIDE, :SIDE] - 32
    ring = np.abs(np.hypot(x, y) * 0.262 - 1.0) <= 0.6
    assert half["ring_masked_fraction"] == pytest.approx(ring[:, 40:].sum() / ring.sum())
    assert not half["ring_masked"]
    assert other["ring_masked"], "all of it is masked"
    assert other["arc_snr"] == (x + 120 < 108).sum(), "the renderer is told what is usable"
    assert whole["psfsize_r"] == pytest.approx(1.2), "the catalogue's"
    assert other["psfsize_r"] == pytest.approx(1.3), "the coadds'"
    assert whole["theta_e_over_fwhm_nea"] == pytest.approx(1.0 / 1.2)


def test_the_same_bytes_in_any_batches_and_nothing_is_made_twice(survey: Any, tmp_path: Path) -> None:
    folder, _, wcs = survey
    plan = planned(wcs)
    run(tmp_path / "whole", folder, plan.to_batches())
    mixed = plan.take(np.random.default_rng(1).permutation(plan.num_rows))
    run(tmp_path / "parts", folder, mixed.to_batches(max_chunksize=5))
    for name in ("shards/bucket-0001.npy", "rows/0001.parquet"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    before = (tmp_path / "whole/shards/bucket-0001.npy").stat().st_mtime_ns
    run(tmp_path / "whole", folder, plan.to_batches())
    assert (tmp_path / "whole/shards/bucket-0001.npy").stat().st_mtime_ns == before
    (tmp_path / "whole/shards/bucket-0001.npy").unlink()
    run(tmp_path / "whole", folder, plan.to_batches())
    assert (tmp_path / "whole/shards/bucket-0001.npy").read_bytes() == (
        tmp_path / "parts/shards/bucket-0001.npy"
    ).read_bytes(), "rows without their pixels are not taken for a shard"


def test_a_changed_or_damaged_coadd_remakes_its_shard_and_rejects_with_its_name(survey: Any, tmp_path: Path) -> None:
    _, images, _ = survey
    folder = tmp_path / "survey"
    wcs = {name: write_brick(folder, name, *place, images[name]) for name, place in PLACES.items()}
    plan = planned(wcs)
    run(tmp_path, folder, plan.to_batches())
    path = Path(brick_folder(str(folder), "1001p000"), coadd_name("1001p000", "image", "r"))
    path.write_bytes(path.read_bytes()[:9000])
    run(tmp_path, folder, plan.to_batches())
    made = pq.read_table(tmp_path / "rows/0001.parquet").to_pylist()
    lost = {row["reason"] for row in made if row["galaxy_id"].startswith("1001p000")}
    assert len(lost) == 1
    assert "legacysurvey-1001p000-image-r.fits.fz cannot be read" in lost.pop()
    assert sum(row["status"] == "ok" for row in made) == 3 * 3


def test_shards_follow_each_other_across_batches(survey: Any, tmp_path: Path) -> None:
    folder, _, wcs = survey
    plan = planned(wcs)
    number = pa.array([0] * 8 + [1] * (plan.num_rows - 8), pa.int32())
    two = plan.set_column(plan.column_names.index("shard"), "shard", number)

    def batches() -> Iterator[pa.RecordBatch]:
        yield from two.to_batches(max_chunksize=3)

    made = run(tmp_path, folder, list(batches()))
    assert [(one["shard"], one["rows"]) for one in made] == [(0, 8), (1, plan.num_rows - 8)]


def stuck(rows: pa.Table, hosts: np.ndarray, usable: np.ndarray, of: np.ndarray) -> Any:
    """Renders the first brick's lenses, and hangs at those of the second."""
    if rows["brick"][0].as_py() == "1001p000":
        time.sleep(600)
    return renderer(rows, hosts, usable, of)


def test_killed_in_a_shard_and_run_again(survey: Any, tmp_path: Path) -> None:
    """A shard that was done stays, the one begun leaves nothing, and the bytes are those of an uninterrupted run."""
    folder, _, wcs = survey
    plan = planned(wcs)
    plan = plan.filter(pc.not_equal(plan["brick"], ""))
    number = pc.cast(pc.equal(plan["brick"], "1001p000"), pa.int32())
    plan = plan.set_column(plan.column_names.index("shard"), "shard", number)
    pq.write_table(plan, tmp_path / "plan.parquet")
    script = (
        "import sys, pathlib, pyarrow.parquet as pq; from tests.etl import test_simulated_shards as t;"
        "place, survey = map(pathlib.Path, sys.argv[1:]);"
        "t.run(place / 'killed', survey, pq.read_table(place / 'plan.parquet').to_batches(), t.stuck)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(folder)]) as process:
        shards, deadline = tmp_path / "killed/shards", time.monotonic() + 120
        while not list(shards.glob(".*bucket-0001.npy")):
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, "it never began the second shard"
            time.sleep(0.02)
        process.kill()
    assert [path.name for path in shards.glob("[!.]*")] == ["bucket-0000.npy"]
    before = (shards / "bucket-0000.npy").stat().st_mtime_ns
    for place in ("killed", "whole"):
        assert [row["shard"] for row in run(tmp_path / place, folder, plan.to_batches())] == [0, 1]
    assert (shards / "bucket-0000.npy").stat().st_mtime_ns == before
    for name in ("shards/bucket-0000.npy", "shards/bucket-0001.npy", "rows/0000.parquet", "rows/0001.parquet"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "killed").glob("*/.*")), "drafts of the killed run are gone"
