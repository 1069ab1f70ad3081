"""Networks by name; each returns one logit per stamp.

Torchvision takes seconds to import, so only networks built from it import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from lake.errors import DataError, invalid, one_line
from modeling.networks import imagenet
from modeling.sections import NetworkParams

FOLD = 4
"""Pixels per side that pixelnet_small folds into channels."""
BOTTLENECK_BLOCKS = (3, 3, 4)
"""Blocks per stage of the bottlenecked ResNet: with base width 27, 194,800 parameters (Paper IV: 194,433)."""


def build(params: NetworkParams, bands: int) -> LensFinder:
    """Make the network for stamps of ``bands`` bands.

    ``forward(x (batch, band, y, x)[, metadata (batch, column)]) -> logits (batch,)``.

    Weights come from torch's global generator (seed it first), or from ImageNet if ``pretrained``.
    """
    return _FACTORIES[params.name](params, bands)


def restored(params: NetworkParams, bands: int, weights: Mapping[str, Tensor]) -> LensFinder:
    """The network with these weights; memory is allocated only once the weights are known to fit ``params``."""
    try:
        with torch.device("meta"):
            network = build(params.model_copy(update={"pretrained": False}), bands)
        network.load_state_dict({name: value.clone() for name, value in weights.items()}, assign=True)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise DataError(
            f"the weights do not fit network {params.name} of width {params.width} for {bands} bands: {one_line(error)}"
        ) from error
    return network


class LensFinder(nn.Module):
    """Features of a stamp, optionally joined by observing conditions, and a head that returns one logit."""

    METADATA_FEATURES = 32

    def __init__(self, features: nn.Module, size: int, params: NetworkParams) -> None:
        super().__init__()
        columns = len(params.metadata_columns)
        self.features = features
        self.fuse = nn.Sequential(nn.Linear(columns, self.METADATA_FEATURES), nn.GELU()) if columns else None
        linear = nn.Linear(size + (self.METADATA_FEATURES if columns else 0), 1)
        self.head = nn.Sequential(nn.Dropout(params.dropout), linear)

    def embed(self, x: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Features (batch, feature) before the head."""
        features = cast(Tensor, self.features(x))
        if self.fuse is None:
            return features
        if metadata is None:
            raise DataError("this network needs observing conditions as well as the pixels, but none were given")
        return torch.cat([features, self.fuse(metadata)], dim=1)

    def forward(self, x: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Logits (batch,) of normalised stamps; ``metadata`` (batch, column) if the network takes it."""
        return cast(Tensor, self.head(self.embed(x, metadata))).squeeze(1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016), batch-normalised."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        first, second = _conv_bn(inside, outside, 3, stride), _conv_bn(outside, outside, 3, 1)
        self.main = nn.Sequential(*first, nn.ReLU(inplace=True), *second)
        same = stride == 1 and inside == outside
        self.shortcut = nn.Identity() if same else nn.Sequential(*_conv_bn(inside, outside, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Same layout; the side divided by the stride."""
        return torch.relu(self.main(x) + self.shortcut(x))


class PreActivationBottleneck(nn.Module):
    """Pre-activation 1x1 - 3x3 - 1x1 bottleneck as in CMU DeepLens (Lanusse et al. 2018, sec. 3.2)."""

    def __init__(self, inside: int, bottleneck: int, outside: int, stride: int) -> None:
        super().__init__()
        self.activate = nn.Sequential(nn.BatchNorm2d(inside), nn.ELU())
        first, second = _conv_bn(inside, bottleneck, 1, stride), _conv_bn(bottleneck, bottleneck, 3, 1)
        self.main = nn.Sequential(*first, nn.ELU(), *second, nn.ELU(), nn.Conv2d(bottleneck, outside, 1))
        same = stride == 1 and inside == outside
        self.shortcut = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Same layout; the side divided by the stride."""
        activated = self.activate(x)
        shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(activated)
        return self.main(activated) + shortcut


def require_side(params: NetworkParams, side: int) -> None:
    """Refuse stamps of a side that a network cannot take."""
    if params.name == "pixelnet_small" and side % FOLD:
        raise invalid(
            "preprocessing.crop_pixels",
            f"a multiple of {FOLD} for {params.name}, or 0 with stamps of such a side",
            side,
        )


def _pixelnet_small(params: NetworkParams, bands: int) -> LensFinder:
    """Pixels folded 4x4 into channels, then three basic blocks: made for training on two CPU cores."""
    first, second, third = params.width, 2 * params.width, 3 * params.width
    layers: list[nn.Module] = [
        nn.PixelUnshuffle(FOLD),
        *_conv_bn(bands * FOLD**2, first, 1, 1),
        nn.ReLU(inplace=True),
        BasicBlock(first, first, 1),
        BasicBlock(first, second, 2),
        BasicBlock(second, third, 2),
    ]
    return LensFinder(_pooled(layers), third, params)


def _efficientnet_v2_s(params: NetworkParams, bands: int) -> LensFinder:
    network = _torchvision("efficientnet_v2_s", "features.0.0", params, bands)
    network.classifier = nn.Identity()
    return LensFinder(network, 1280, params)


def _resnet18(params: NetworkParams, bands: int) -> LensFinder:
    network = _torchvision("resnet18", "conv1", params, bands)
    network.fc = nn.Identity()
    return LensFinder(network, 512, params)


def _resnet18_small(params: NetworkParams, bands: int) -> LensFinder:
    """ResNet-18 for 64-pixel stamps: a 3x3 stem without stride, no max-pool."""
    finder = _resnet18(params, bands)
    finder.features.conv1 = nn.Conv2d(bands, 64, 3, 1, 1, bias=False)
    finder.features.maxpool = nn.Identity()
    return finder


def _bottlenecked_resnet(params: NetworkParams, bands: int) -> LensFinder:
    """CMU DeepLens with a narrow base: channels and stride double per stage, bottlenecks of half the channels."""
    channels = params.width
    layers: list[nn.Module] = [nn.Conv2d(bands, channels, 3, 2, 1, bias=False)]
    for stage, blocks in enumerate(BOTTLENECK_BLOCKS):
        outside = params.width * 2**stage
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 0 else 1
            layers.append(PreActivationBottleneck(channels, outside // 2, outside, stride))
            channels = outside
    return LensFinder(_pooled([*layers, nn.BatchNorm2d(channels), nn.ELU()]), channels, params)


def _convnext_tiny(params: NetworkParams, bands: int) -> LensFinder:
    network = _torchvision("convnext_tiny", "features.0.0", params, bands)
    network.classifier = nn.Sequential(network.get_submodule("classifier.0"), nn.Flatten())
    return LensFinder(network, 768, params)


def _conv_bn(inside: int, outside: int, size: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inside, outside, size, stride, size // 2, bias=False), nn.BatchNorm2d(outside)


def _pooled(layers: list[nn.Module]) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _for_bands(stem: nn.Conv2d, bands: int) -> nn.Conv2d:
    """The first convolution of a network, for ``bands`` bands.

    Each new band starts from the scaled mean over the old ones, so equal light in all bands gives the same response.
    """
    if stem.in_channels == bands:
        return stem
    made = nn.Conv2d(bands, stem.out_channels, stem.kernel_size, stem.stride, stem.padding, bias=stem.bias is not None)  # type: ignore[arg-type]
    mean = stem.weight.detach().mean(dim=1, keepdim=True) * (stem.in_channels / bands)
    made.weight = nn.Parameter(mean.repeat(1, bands, 1, 1))
    if stem.bias is not None:
        made.bias = nn.Parameter(stem.bias.detach().clone())
    return made


def _torchvision(name: str, stem: str, params: NetworkParams, bands: int) -> nn.Module:
    """A torchvision network for ``bands`` bands, with ImageNet weights if ``params`` asks for them."""
    import torchvision

    network: nn.Module = getattr(torchvision.models, name)(weights=None)
    if params.pretrained:
        network.load_state_dict(imagenet.weights(name))
    network.set_submodule(stem, _for_bands(cast(nn.Conv2d, network.get_submodule(stem)), bands))
    return network


_FACTORIES: dict[str, Callable[[NetworkParams, int], LensFinder]] = {
    "pixelnet_small": _pixelnet_small,
    "efficientnet_v2_s": _efficientnet_v2_s,
    "resnet18": _resnet18,
    "resnet18_small": _resnet18_small,
    "bottlenecked_resnet": _bottlenecked_resnet,
    "convnext_tiny": _convnext_tiny,
}
