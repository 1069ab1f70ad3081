"""Batches side by side, where the finder is on a GPU: the same files, one scoring at a time, work in between."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from injection.experiment.grid import Plan
from injection.experiment.stream import side_by_side
from pipeline.experiment.grids import fill
from tests.injection.scenes import Brightness, load_hosts, planned


class OnGpu(Brightness):
    """A finder that says it is on a GPU, and notes who uses it."""

    on_gpu = True

    def __init__(self) -> None:
        self.users: list[int] = []
        self.at_once = self.most = 0

    def score(self, stamps: NDArray[np.float32], conditions: object = None) -> NDArray[np.float32]:
        self.users.append(threading.get_ident())
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        time.sleep(0.002)
        self.at_once -= 1
        return super().score(stamps)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(threads=3, batch_size=5, psf_fwhm_nea_edges_arcsec=[0.9, 1.5], depth_edges_mag=[23.0, 25.0])


def test_batches_side_by_side_are_the_same_files(plan: Plan, tmp_path: Path) -> None:
    ours = OnGpu()
    for folder, scorer in (("one", Brightness()), ("many", ours)):
        (tmp_path / folder).mkdir()
        fill(plan, scorer, tmp_path / folder)
    one, many = (sorted((tmp_path / folder).iterdir()) for folder in ("one", "many"))
    assert [path.name for path in one] == [path.name for path in many]
    assert len(one) == 3
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in many]
    assert ours.most == 1, "threads score one after the other"
    assert len(set(ours.users)) > 1


def test_each_thread_has_a_batch_of_its_own_only_where_the_finder_is_on_a_gpu(plan: Plan) -> None:
    grid = plan.setting.grid
    alone, _, at_once = side_by_side(plan, OnGpu())
    assert (at_once, alone.setting.grid.threads, alone.grid_id) == (3, 1, plan.grid_id)
    assert side_by_side(plan, here := Brightness()) == (plan, here, 1)
    single = planned(threads=1)
    assert side_by_side(single, OnGpu())[2] == 1
    assert grid.threads == 3


def test_what_was_not_finished_is_made_when_it_goes_on(plan: Plan, tmp_path: Path) -> None:
    """An error in one of several batches under way: those before it are kept, and no other file appears."""
    broken, calls = [True], list[int]()

    def load(galaxy_ids: list[str]) -> NDArray[np.float32]:
        calls.append(len(galaxy_ids))
        if broken[0] and len(calls) > 1:
            raise KeyError("shards are gone")
        return load_hosts(galaxy_ids)

    table = plan.setting.hosts.table
    faulty = planned(table, load, **{name: getattr(plan.setting.grid, name) for name in (
        "threads", "batch_size", "psf_fwhm_nea_edges_arcsec", "depth_edges_mag")})  # fmt: skip
    with pytest.raises(KeyError):
        fill(faulty, OnGpu(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["batch-00000.parquet"]
    broken[0] = False
    fill(faulty, OnGpu(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
