"""Networks: sizes of the specification, one logit, as many bands as the stamps have."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from lake.errors import DataError
from modeling.config import generations, resolve_generation
from modeling.networks.factory import _for_bands, build, restored
from modeling.sections import NetworkParams

PIXELS = 32
"""The smallest side that every network takes."""


@pytest.mark.parametrize(
    ("generation", "count"),
    [
        ("gen1", 20_178_769),
        ("resnet18", 11_177_025),
        ("resnet-gen1", 194_800),
        ("demo1", 222_945),
    ],
)
def test_parameter_counts(generation: str, count: int) -> None:
    params = resolve_generation(generation).network.model_copy(update={"pretrained": False})
    with torch.device("meta"):
        network = build(params, 3)
    assert sum(weights.numel() for weights in network.parameters()) == count


@cache
def shape_of_logits(network: str, pixels: int) -> tuple[int, ...]:
    """Of two stamps; generations that share a network share the answer."""
    params = NetworkParams.model_validate_json(network)
    with torch.device("meta"):
        columns = len(params.metadata_columns)
        conditions = torch.empty(2, columns) if columns else None
        return tuple(build(params, 3)(torch.empty(2, 3, pixels, pixels), conditions).shape)


@pytest.mark.parametrize("generation", generations())
def test_every_generation_has_a_network_that_takes_its_stamps(generation: str) -> None:
    params = resolve_generation(generation)
    network = params.network.model_copy(update={"pretrained": False}).model_dump_json()
    side = 101 if params.manifest.startswith(("audit_", "parity_")) else 64
    assert shape_of_logits(network, params.preprocessing.crop_pixels or side) == (2,)


@pytest.mark.parametrize("name", ["pixelnet_small", "resnet18_small", "bottlenecked_resnet", "convnext_tiny"])
def test_one_logit_and_an_embedding(name: str) -> None:
    params = NetworkParams.load(
        {"name": name, "pretrained": False, "width": 16, "dropout": 0.1, "metadata_columns": []}, "network"
    )
    network = build(params, 3).eval()
    with torch.inference_mode():
        x = torch.randn(2, 3, PIXELS, PIXELS)
        assert network(x).shape == (2,)
        assert torch.allclose(network.head(network.embed(x)).squeeze(1), network(x))


def test_metadata_join_the_features() -> None:
    params = resolve_generation("sim-gen3").network
    network = build(params, 3).eval()
    x = torch.randn(2, 3, PIXELS, PIXELS)
    with torch.inference_mode():
        one, other = (network(x, torch.full((2, 2), value)) for value in (0.0, 1.0))
    assert not torch.equal(one, other)
    with pytest.raises(DataError, match="observing conditions"):
        network(x)


@pytest.mark.parametrize(
    "name", ["pixelnet_small", "resnet18", "resnet18_small", "bottlenecked_resnet", "convnext_tiny"]
)
def test_networks_take_as_many_bands_as_their_stamps_have(name: str) -> None:
    params = NetworkParams.load(
        {"name": name, "pretrained": False, "width": 16, "dropout": 0.1, "metadata_columns": []}, "network"
    )
    with torch.device("meta"):
        network = build(params, 2).eval()
        assert network(torch.empty(3, 2, PIXELS, PIXELS)).shape == (3,)
        with pytest.raises(RuntimeError):
            network(torch.empty(3, 3, PIXELS, PIXELS))
    with pytest.raises(DataError, match=f"do not fit network {name} of width 16 for 3 bands"):
        restored(params, 3, network.state_dict())


def test_a_stem_for_other_bands_keeps_what_it_learned_of_light() -> None:
    """The same light in every band gives the response that three such bands gave."""
    stem = torch.nn.Conv2d(3, 5, 3, 2, 1)
    light = torch.rand(2, 1, 9, 9)
    for bands in (2, 5):
        made = _for_bands(stem, bands)
        torch.testing.assert_close(made(light.expand(-1, bands, -1, -1)), stem(light.expand(-1, 3, -1, -1)))
    assert _for_bands(stem, 3) is stem
