"""Training arrays and the order of an epoch."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from lake.errors import DataError, ParameterError
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore
from modeling.config import TrainParams
from modeling.networks.preprocess import normalise
from modeling.training import data
from modeling.training.data import Reused, epoch_order, load_arrays
from modeling.training.state import read
from modeling.training.train import train
from tests.modeling.conftest import write_manifest

LABELS = (np.arange(120) % 6 == 0).astype(np.float32)


def test_every_row_once(small: TrainParams) -> None:
    loop = small.loop.model_copy(update={"positive_fraction": 0.0})
    order = epoch_order(LABELS, loop, 42, 0)
    assert sorted(order) == list(range(120))
    assert not np.array_equal(order, epoch_order(LABELS, loop, 42, 1))
    assert np.array_equal(order, epoch_order(LABELS, loop, 42, 0))


def test_balanced_epochs_repeat_lenses_evenly(small: TrainParams) -> None:
    loop = small.loop.model_copy(update={"positive_fraction": 0.5})
    order = epoch_order(LABELS, loop, 42, 0)
    assert len(order) == 120
    assert len(set(order.tolist())) == 120
    rows = order % 120
    counts = np.bincount(rows[LABELS[rows] == 1], minlength=120)[LABELS == 1]
    assert counts.sum() == 60
    assert set(counts) == {3}


def test_one_class_cannot_be_balanced(small: TrainParams) -> None:
    loop = small.loop.model_copy(update={"positive_fraction": 0.5})
    with pytest.raises(DataError, match="one of the classes is empty"):
        epoch_order(np.zeros(10, dtype=np.float32), loop, 42, 0)


def test_arrays_do_not_depend_on_the_order_of_rows(tmp_path: Path, small: TrainParams) -> None:
    rows = write_manifest(tmp_path, 30, 1)
    store = StampStore(tmp_path)
    straight = load_arrays(rows, store, small, SURVEY)
    shuffled = load_arrays(rows.take(np.random.default_rng(0).permutation(30)), store, small, SURVEY)
    assert straight.galaxy_ids.equals(shuffled.galaxy_ids)
    assert torch.equal(straight.x, shuffled.x)
    assert torch.equal(straight.labels, shuffled.labels)
    stamps = torch.from_numpy(store.get(rows))
    assert torch.equal(straight.x, normalise(stamps, small.preprocessing))


def test_empty_split_and_missing_metadata(tmp_path: Path, small: TrainParams) -> None:
    rows = write_manifest(tmp_path, 6, 1)
    with pytest.raises(DataError, match="no rows"):
        load_arrays(rows.slice(0, 0), StampStore(tmp_path), small, SURVEY)
    network = small.network.model_copy(update={"metadata_columns": ("psfdepth_r",)})
    with pytest.raises(ParameterError, match="columns of the manifest"):
        load_arrays(rows, StampStore(tmp_path), small.model_copy(update={"network": network}), SURVEY)
    assert isinstance(rows, pa.Table)


@pytest.mark.usefixtures("whole_stage")
def test_stamps_that_would_fill_the_memory_are_trained_on_from_a_file_bit_for_bit(
    tmp_path: Path, small: TrainParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, store = write_manifest(tmp_path / "stamps", 48, 1), StampStore(tmp_path / "stamps")
    weights = []
    for share in (1.0, 0.0):
        monkeypatch.setattr(data, "MAPPED_ABOVE", share)
        work = tmp_path / str(share)
        work.mkdir()
        held = load_arrays(rows, store, small, SURVEY, work)
        assert held.mapped == (share == 0.0)
        assert list(work.iterdir()) == [], "the file has no name"
        train(small, held, held, work)
        weights.append(read(work / "state.safetensors")[0])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_no_room_for_stamps_is_one_sentence(
    tmp_path: Path, small: TrainParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    rows = write_manifest(tmp_path, 6, 1)
    monkeypatch.setattr(data, "MAPPED_ABOVE", 0.0)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DataError, match=r"no room for 0\.0 GB of stamps in .*: .*No space left on device"):
        load_arrays(rows, StampStore(tmp_path), small, SURVEY, tmp_path)
    assert not (tmp_path / "stamps.mapped").exists()


def test_batches_are_put_together_in_the_same_memory() -> None:
    memory, x = Reused(), torch.arange(60.0).reshape(10, 2, 3)
    first = memory.rows(x, torch.tensor([3, 1, 9]))
    place = first.data_ptr()
    assert torch.equal(first, x[[3, 1, 9]])
    second = memory.rows(x, torch.tensor([7, 0]))
    assert torch.equal(second, x[[7, 0]])
    assert second.data_ptr() == place
    for other in (x.half(), x[:, :1], x.repeat(3, 1, 1)):
        which = torch.arange(len(other) - 1, -1, -1)
        assert torch.equal(memory.rows(other, which), other.flip(0))
