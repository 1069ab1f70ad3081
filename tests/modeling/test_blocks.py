"""Activations of blocks, embedding and logit of a network in one pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeling.networks.blocks import blocks_of, pooled_blocks
from modeling.networks.factory import build
from modeling.sections import NetworkParams


def network(name):
    torch.manual_seed(0)
    return build(NetworkParams(name=name, pretrained=False, dropout=0.0, width=8, metadata_columns=()), 3).eval()


@pytest.mark.parametrize(("name", "blocks"), [("pixelnet_small", 3), ("bottlenecked_resnet", 10), ("resnet18", 4)])
def test_every_block_is_pooled_in_order(name, blocks):
    made = network(name)
    assert len(blocks_of(made)) == blocks
    x = torch.randn(5, 3, 64, 64)
    with torch.inference_mode(), pooled_blocks(made) as held:
        embedding = made.embed(x)
    assert list(held) == [f"block {number}" for number in range(1, blocks + 1)]
    assert all(values.shape[0] == 5 and values.ndim == 2 for values in held.values())
    if name != "bottlenecked_resnet":
        np.testing.assert_allclose(held[f"block {blocks}"], embedding.numpy(), rtol=1e-4, atol=1e-5)
    assert not any(block._forward_hooks for block in blocks_of(made)), "the hooks are gone"


@pytest.mark.parametrize(("name", "blocks"), [("efficientnet_v2_s", 8), ("convnext_tiny", 8)])
def test_networks_of_torchvision_have_their_stages(name, blocks):
    with torch.device("meta"):
        made = network(name)
    assert len(blocks_of(made)) == blocks
