"""A grid over made-up hosts, for the benchmarks of its stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from injection.config import GridParams
from injection.experiment.grid import Plan, plan
from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from lake.sky.photometry import flux_from_magnitude
from lake.sky.survey import BANDS, SURVEY
from lake.store.stamps import StampStore, shard_name, stamp_hash, write_shard

PIXELS = 101


def made_up(folder: Path, hosts: int, threads: int, batch: int, batches: int) -> Plan:
    """A plan of so many batches with the grid's parameters in params/base.yaml; the hosts' stamps lie in a folder."""
    table = _hosts_in(folder, hosts)
    rows = {galaxy_id: row for row, galaxy_id in enumerate(table["galaxy_id"].to_pylist())}
    places, store = table.select(["shard", "shard_row", "sha256"]), StampStore(folder)

    def load(galaxy_ids: Sequence[str]) -> np.ndarray:
        return store.get(places.take(pa.array([rows[each] for each in galaxy_ids])))

    grid = _params(threads, batch, batches)
    return plan(Setting.of(grid, HostSet("made-up", table, load, PIXELS, grid.host_model, SURVEY), 1))


def _params(threads: int, batch: int, batches: int) -> GridParams:
    """All hosts in one cell per Einstein radius."""
    base = yaml.safe_load((Path(__file__).parents[1] / "params" / "base.yaml").read_text(encoding="utf-8"))["grid"]
    wide = {"psf_fwhm_nea_edges_arcsec": [0.5, 3.0], "depth_edges_mag": [20.0, 27.0], "max_uses_per_host": 10**6}
    size = {"per_cell": -(-batches * batch // len(base["theta_e_arcsec"])), "batch_size": batch, "threads": threads}
    return GridParams.load({**base, **wide, **size}, "grid")


def _hosts_in(folder: Path, count: int) -> pa.Table:
    """Round galaxies of random flux with noise, in a shard as the project stores them, and their conditions."""
    random = np.random.default_rng(3)
    offset = np.arange(PIXELS) - PIXELS // 2
    galaxy = np.exp(-np.hypot(offset[:, None], offset) / 4.0)
    pixels = random.uniform(size=(count, len(BANDS), 1, 1)) * galaxy
    pixels = (pixels + random.normal(0.0, 0.02, pixels.shape)).astype(np.float32)
    write_shard(folder / shard_name(0), iter(pixels), count, PIXELS)
    depth = (5.0 / flux_from_magnitude(random.uniform(23.0, 24.5, (count, len(BANDS))))) ** 2
    seeing = random.uniform(0.9, 1.7, (count, len(BANDS)))
    return pa.table(
        {
            "galaxy_id": [f"made-up:{row:05d}" for row in range(count)],
            "shard": np.zeros(count, np.int32),
            "shard_row": np.arange(count, dtype=np.int32),
            "sha256": [stamp_hash(stamp) for stamp in pixels],
            **{f"psfsize_{band}": seeing[:, index] for index, band in enumerate(BANDS)},
            **{f"psfdepth_{band}": depth[:, index] for index, band in enumerate(BANDS)},
        }
    )
