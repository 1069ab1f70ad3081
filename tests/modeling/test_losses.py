"""Losses: tier weights belong to the generation, and an unweighted run knows nothing of tiers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional

from lake.errors import DataError
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore
from modeling.config import TrainParams, generations, resolve_generation
from modeling.training.data import TrainingArrays, load_arrays
from modeling.training.losses import loss_sum, row_weights
from modeling.training.state import read
from modeling.training.train import train
from tests.modeling.conftest import arrays, write_manifest

LABELS = np.array([1, 1, 0], dtype=np.float32)
TIERS = np.array(["A", "B", None], dtype=object)
NONE_HARD = np.zeros(3, dtype=bool)


def gradients(params: TrainParams) -> list[float]:
    """Gradient of the loss with respect to three equally surprising logits: Tier A, Tier B, negative."""
    logits = torch.tensor([-0.5, -0.5, 0.5], requires_grad=True)
    weights = row_weights(LABELS, TIERS, NONE_HARD, params.loss)
    loss_sum(logits, torch.from_numpy(LABELS), weights, params.loss).backward()  # type: ignore[no-untyped-call]
    return [abs(float(value)) for value in logits.grad]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["gen5c", "resnet18_baseline_v1", "gen5a-audit"])
def test_a_tier_b_lens_pulls_half_as_much_whatever_the_manifest(name: str) -> None:
    for manifest in ("parity_70_30", "audit_70_15_15"):
        a, b, negative = gradients(resolve_generation(name, {"manifest": manifest}))
        assert b == pytest.approx(0.5 * a)
        assert negative == pytest.approx(a)
    a, b, negative = gradients(resolve_generation(name, {"loss.tier_b_weight": 0.2, "loss.negative_weight": 3.0}))
    assert (b / a, negative / a) == pytest.approx((0.2, 3.0))


def test_unweighted_losses_know_no_tiers() -> None:
    logits, labels = torch.randn(3), torch.from_numpy(LABELS)
    for name in generations():
        params = resolve_generation(name)
        if params.loss.kind != "weighted":
            assert gradients(params)[0] == gradients(params)[1], name
    parity = resolve_generation("gen5a").loss
    plain = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum()
    assert torch.equal(loss_sum(logits, labels, row_weights(LABELS, TIERS, NONE_HARD, parity), parity), plain)


@pytest.mark.parametrize("name", ["R4", "R6", "sim-gen4", "sim-gen5"])
def test_a_hard_negative_pulls_five_times_as_much(name: str) -> None:
    params = resolve_generation(name)
    labels = np.array([0, 0, 1], dtype=np.float32)
    tiers = np.array([None, None, "A"], dtype=object)
    weights = row_weights(labels, tiers, np.array([True, False, True]), params.loss)
    assert weights.tolist() == [5.0, 1.0, 1.0], "a lens is never a hard negative"
    logits = torch.zeros(3, requires_grad=True)
    loss_sum(logits, torch.from_numpy(labels), weights, params.loss).backward()  # type: ignore[no-untyped-call]
    assert float(logits.grad[0]) == pytest.approx(5 * float(logits.grad[1]))  # type: ignore[index]


@pytest.mark.usefixtures("whole_stage")
def test_hard_negatives_of_an_epoch_are_counted_and_weigh_in_every_kind_of_loss(
    tmp_path: Path, small: TrainParams
) -> None:
    params = small.model_copy(
        update={
            "loop": small.loop.model_copy(update={"epochs": 2, "positive_fraction": 0.0}),
            "loss": small.loss.model_copy(update={"hard_negative_weight": 5.0}),
        }
    )
    rows, validation = write_manifest(tmp_path / "stamps", 48, 1), arrays(tmp_path / "val", params, 30, 2)
    hard = rows.append_column("hard_negative", [[i % 4 == 1 for i in range(48)]])
    found = train(
        params, load_arrays(hard, StampStore(tmp_path / "stamps"), params, SURVEY), validation, tmp_path / "hard"
    )
    assert [row.hard_negatives for row in found.rows] == [12, 12], "48 rows are three whole batches"
    plain = final(tmp_path / "plain", params, rows, validation)
    changed = read(tmp_path / "hard" / "state.safetensors")[0]
    assert not all(torch.equal(plain[name], changed[name]) for name in plain)


def final(folder: Path, params: TrainParams, rows: pa.Table, validation: TrainingArrays) -> dict[str, torch.Tensor]:
    train(params, load_arrays(rows, StampStore(folder.parent / "stamps"), params, SURVEY), validation, folder)
    return read(folder / "state.safetensors")[0]


@pytest.mark.usefixtures("whole_stage")
def test_tiers_change_a_weighted_run_and_leave_an_unweighted_one_bit_for_bit(
    tmp_path: Path, small: TrainParams
) -> None:
    loop = small.loop.model_copy(update={"epochs": 1})
    plain = small.model_copy(update={"loop": loop})
    weighted = plain.model_copy(update={"loss": plain.loss.model_copy(update={"kind": "weighted"})})
    rows = write_manifest(tmp_path / "stamps", 48, 1)
    validation = arrays(tmp_path / "val", plain, 30, 2)
    all_a = rows.set_column(
        rows.column_names.index("tier"), "tier", [[None if tier is None else "A" for tier in rows["tier"].to_pylist()]]
    )
    runs = {
        (kind, tiers): final(tmp_path / f"{kind}-{tiers}", params, table, validation)
        for kind, params in (("plain", plain), ("weighted", weighted))
        for tiers, table in (("mixed", rows), ("all A", all_a))
    }
    same = {
        (one, other): all(torch.equal(runs[one][name], runs[other][name]) for name in runs[one])
        for one in runs
        for other in runs
    }
    assert same[("plain", "mixed"), ("plain", "all A")]
    assert same[("plain", "mixed"), ("weighted", "all A")], "weights of one change nothing"
    assert not same[("weighted", "mixed"), ("weighted", "all A")]


def test_a_lens_without_a_tier_is_no_weighted_lens() -> None:
    tiers = np.array(["A", None, None], dtype=object)
    with pytest.raises(DataError, match="1 of 2 lenses have no tier A or B"):
        row_weights(LABELS, tiers, NONE_HARD, resolve_generation("gen5c").loss)
