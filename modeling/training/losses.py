"""Training losses on logits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lake.errors import DataError
from modeling.sections import LossParams


def row_weights(
    labels: NDArray[np.float32], tiers: NDArray[np.object_], hard: NDArray[np.bool_], params: LossParams
) -> Tensor:
    """Weight of each row (row,): if kind is weighted, by tier for lenses and the same for all negatives, else one;
    times ``hard_negative_weight`` for ``hard`` negatives."""
    weights = np.ones(len(labels), dtype=np.float32)
    if params.kind == "weighted":
        lens = labels > 0.5
        require_tiers(lens, tiers)
        known = {"A": params.tier_a_weight, "B": params.tier_b_weight}
        weights[~lens] = params.negative_weight
        for tier, weight in known.items():
            weights[lens & (tiers == tier)] = weight
    weights[hard & (labels <= 0.5)] *= params.hard_negative_weight
    return torch.from_numpy(weights)


def require_tiers(lens: NDArray[np.bool_], tiers: NDArray[np.object_]) -> None:
    """Refuse lenses whose weight a weighted loss does not know."""
    unknown = lens & ~np.isin(tiers, ["A", "B"])
    if unknown.any():
        raise DataError(
            f"{int(unknown.sum())} of {int(lens.sum())} lenses have no tier A or B, which a weighted loss needs; "
            "give their grades, or train with loss.kind: bce"
        )


def loss_sum(logits: Tensor, labels: Tensor, weights: Tensor, params: LossParams) -> Tensor:
    """Weighted sum over the batch of the configured loss; divide it by the number of rows in the whole step.

    ``weights`` (batch,) are those of :func:`row_weights`. The focal loss is that of Lin et al. (2017), eq. 5.
    """
    targets = labels * (1 - 2 * params.label_smoothing) + params.label_smoothing
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if params.kind == "focal":
        p = torch.sigmoid(logits)
        surprise = torch.where(labels > 0.5, 1 - p, p)
        alpha = torch.full_like(losses, 1 - params.focal_alpha).masked_fill_(labels > 0.5, params.focal_alpha)
        losses = losses * alpha * surprise.pow(params.focal_gamma)
    return (losses * weights).sum()
