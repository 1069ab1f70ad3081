"""Training losses on logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modeling.sections import LossParams


def loss_sum(logits: Tensor, labels: Tensor, weights: Tensor, params: LossParams) -> Tensor:
    """Sum over the batch of the configured loss; divide by the rows of the whole step, however they are portioned.

    ``weights`` (batch,) count for kind ``weighted`` only. The focal loss is that of Lin et al. (2017), eq. 5.
    """
    targets = labels * (1 - 2 * params.label_smoothing) + params.label_smoothing
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if params.kind == "weighted":
        losses = losses * weights
    if params.kind == "focal":
        p = torch.sigmoid(logits)
        surprise = torch.where(labels > 0.5, 1 - p, p)
        alpha = torch.where(labels > 0.5, params.focal_alpha, 1 - params.focal_alpha)
        losses = losses * alpha * surprise.pow(params.focal_gamma)
    return losses.sum()
