"""Selection metrics and losses against independent codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from lake.errors import DataError
from modeling.config import TrainParams
from modeling.training.losses import loss_sum
from modeling.training.selection import auc, measured_tpr, saturated_fraction, selection_metric, tpr_at_fpr


def test_auc_equals_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(0)
    labels, logits = (rng.random(500) < 0.2).astype(float), rng.normal(size=500).round(1)
    assert auc(logits, labels) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)


def test_auc_needs_both_classes() -> None:
    with pytest.raises(DataError, match="lenses and negatives"):
        auc(np.zeros(3), np.zeros(3))


def test_tpr_at_fpr_by_hand(small: TrainParams) -> None:
    logits, labels = np.array([5.0, 3, 1, 4, 2, 0, -1]), np.array([1.0, 1, 1, 0, 0, 0, 0])
    assert tpr_at_fpr(logits, labels, 0.1) == pytest.approx(1 / 3)
    assert tpr_at_fpr(logits, labels, 0.25) == pytest.approx(2 / 3)
    loop = small.loop.model_copy(update={"selection": "tpr@fpr", "selection_fpr": 0.25})
    assert selection_metric(logits, labels, loop) == pytest.approx(2 / 3)
    assert saturated_fraction(np.array([0.0, 5, -5, 1])) == 0.5


def test_losses_against_torch(small: TrainParams) -> None:
    from torchvision.ops import sigmoid_focal_loss  # with it comes a compiler, which not every process needs

    logits, labels = torch.linspace(-3, 3, 8), torch.tensor([0.0, 1] * 4)
    weights, even = torch.linspace(0.5, 1, 8), torch.ones(8)
    plain = small.loss.model_copy(update={"kind": "bce", "label_smoothing": 0.0})
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(logits, labels, reduction="sum")
    assert torch.equal(loss_sum(logits, labels, even, plain), expected)
    weighted = plain.model_copy(update={"kind": "weighted"})
    expected = bce(logits, labels, weight=weights, reduction="sum")
    assert torch.allclose(loss_sum(logits, labels, weights, weighted), expected)
    focal = plain.model_copy(update={"kind": "focal"})
    expected = sigmoid_focal_loss(logits, labels, 0.25, 2.0, reduction="none")
    assert torch.allclose(loss_sum(logits, labels, weights, focal), (expected * weights).sum())


def test_a_rate_that_the_sample_cannot_measure_is_not_given() -> None:
    logits, labels = np.r_[np.full(5, 2.0), np.linspace(-3, 1, 999)], np.r_[np.ones(5), np.zeros(999)]
    assert measured_tpr(logits, labels, 1e-2) is None
    assert measured_tpr(np.r_[logits, -3.0], np.r_[labels, 0.0], 1e-2) == 1.0
    assert measured_tpr(logits, labels, 1e-3) is None
